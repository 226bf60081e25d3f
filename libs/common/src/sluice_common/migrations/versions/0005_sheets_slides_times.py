"""A chunk says on which sheet or slide it stands, or between which seconds it is said."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
PHASE = "pre"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("chunks", sa.Column("sheet", sa.Text(), nullable=True))
    op.add_column("chunks", sa.Column("slide", sa.Integer(), nullable=True))
    op.add_column("chunks", sa.Column("time_start", sa.Float(), nullable=True))
    op.add_column("chunks", sa.Column("time_end", sa.Float(), nullable=True))


def downgrade() -> None:
    for name in ("time_end", "time_start", "slide", "sheet"):
        op.drop_column("chunks", name)
