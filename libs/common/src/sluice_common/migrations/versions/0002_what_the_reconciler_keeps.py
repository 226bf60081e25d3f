"""The lease that all services must agree on, and until when a reconciler has seen time pass."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
PHASE = "pre"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("keeper", sa.Column("lease_s", sa.Float(), nullable=True))
    op.add_column("keeper", sa.Column("clock_seen_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("keeper", "clock_seen_at")
    op.drop_column("keeper", "lease_s")
