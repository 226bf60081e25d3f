"""An index by which a request finds the idempotency key that it holds: three times for each upload with one."""

from alembic import op

revision = "0010"
down_revision = "0009"
PHASE = "pre"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_index("ix_idempotency_keys_token", "idempotency_keys", ["token"])


def downgrade() -> None:
    op.drop_index("ix_idempotency_keys_token", "idempotency_keys")
