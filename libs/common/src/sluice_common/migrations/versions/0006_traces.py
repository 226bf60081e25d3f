"""The trace that a request belongs to, for the workers who go on with it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
PHASE = "pre"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("documents", sa.Column("traceparent", sa.Text))


def downgrade() -> None:
    op.drop_column("documents", "traceparent")
