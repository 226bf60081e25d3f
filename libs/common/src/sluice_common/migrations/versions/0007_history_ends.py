"""Indexes by which rows of deleted documents and replaced runs are found when they are old."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
PHASE = "pre"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_index(
        "ix_documents_deleted", "documents", ["updated_at"], postgresql_where=sa.text("lifecycle = 'deleted'")
    )
    op.create_index(
        "ix_runs_collected", "runs", ["created_at"], postgresql_where=sa.text("gc_pass >= 2 AND gc_at IS NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_runs_collected")
    op.drop_index("ix_documents_deleted")
