"""${message}."""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
PHASE = "pre"  # runs before the new code, works with the old; or "post": runs after the old code is gone


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    ${upgrades if upgrades else ""}


def downgrade() -> None:
    ${downgrades if downgrades else ""}
