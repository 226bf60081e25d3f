"""The lease that all services must agree on, and when a jump of the clock was last made good."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
PHASE = "pre"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("keeper", sa.Column("lease_s", sa.Float(), nullable=True))
    op.add_column("keeper", sa.Column("clock_moved_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("keeper", "clock_moved_at")
    op.drop_column("keeper", "lease_s")
