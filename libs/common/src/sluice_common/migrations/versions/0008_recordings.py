"""What was found out about a recording, and the pieces of its transcript that were paid for already."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0008"
down_revision = "0007"
PHASE = "pre"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("runs", sa.Column("analysis", pg.JSONB(), nullable=True))
    op.create_table(
        "transcript_pieces",
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("transcript", pg.JSONB(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("document_id", "key", name="pk_transcript_pieces"),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["documents.id"],
            name="fk_transcript_pieces_document_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_transcript_pieces_created", "transcript_pieces", ["created_at"])


def downgrade() -> None:
    op.drop_table("transcript_pieces")
    op.drop_column("runs", "analysis")
