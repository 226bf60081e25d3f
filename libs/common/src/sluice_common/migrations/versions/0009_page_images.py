"""Images of pages, kept for a while for those who look at hits."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
PHASE = "pre"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "page_images",
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("original_no", sa.Integer(), nullable=False),
        sa.Column("page", sa.Integer(), nullable=False),
        sa.Column("dpi", sa.Integer(), nullable=False),
        sa.Column("png", sa.LargeBinary(), nullable=True),
        sa.Column("drawn_dpi", sa.Float(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("document_id", "original_no", "page", "dpi", name="pk_page_images"),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["documents.id"],
            name="fk_page_images_document_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_page_images_asked", "page_images", ["asked_at"])


def downgrade() -> None:
    op.drop_table("page_images")
