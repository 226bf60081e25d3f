"""Indexes for a backlog of a hundred thousand documents and a long history."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
PHASE = "pre"

_WAITING = "state IN ('queued', 'verifying') AND lifecycle = 'active'"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _replace_dispatch("tenant_id", "priority", "dispatch_after")
    op.create_index(
        "ix_document_events_progress",
        "document_events",
        ["created_at"],
        postgresql_where=sa.text("event = 'document.progress'"),
    )
    op.create_index("ix_jobs_ping", "jobs", ["created_at"], postgresql_where=sa.text("kind = 'ping'"))


def downgrade() -> None:
    op.drop_index("ix_jobs_ping")
    op.drop_index("ix_document_events_progress")
    _replace_dispatch("priority", "dispatch_after")


def _replace_dispatch(*columns: str) -> None:
    op.drop_index("ix_documents_dispatch")
    op.create_index("ix_documents_dispatch", "documents", list(columns), postgresql_where=sa.text(_WAITING))
