"""The first tables."""

import secrets

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
PHASE = "pre"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    op.execute("CREATE SEQUENCE runs_id_seq")
    op.execute("CREATE SEQUENCE document_events_id_seq")
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("token", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_expires", "idempotency_keys", ["expires_at"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=True),
        sa.Column("request_no", sa.Integer(), nullable=True),
        sa.Column("answered_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_document", "jobs", ["document_id"], unique=False)
    op.create_table(
        "keeper",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("redis_run", sa.Text(), nullable=False),
        sa.Column("redis_seq", sa.BigInteger(), nullable=False),
        sa.Column("store_epoch", sa.Uuid(), nullable=True),
        sa.Column("cursor_secret", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_keeper_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_keeper")),
    )
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("name", name=op.f("uq_tenants_name")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("collection_ids", postgresql.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_api_keys_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_keys_prefix")),
    )
    op.create_index("ix_api_keys_tenant_id", "api_keys", ["tenant_id"], unique=False)
    op.create_table(
        "collections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("lifecycle", sa.Text(), server_default="active", nullable=False),
        sa.Column("chunking", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("row_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("lifecycle IN ('active', 'deleting', 'deleted')", name=op.f("ck_collections_lifecycle")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_collections_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collections")),
    )
    op.create_index(
        "uq_collections_name",
        "collections",
        ["tenant_id", "name"],
        unique=True,
        postgresql_where=sa.text("lifecycle = 'active'"),
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("dedupe_sha", sa.Text(), nullable=True),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lifecycle", sa.Text(), server_default="active", nullable=False),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("request_no", sa.Integer(), server_default="1", nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("active_run", sa.BigInteger(), nullable=True),
        sa.Column("published_run", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_tries", sa.Integer(), server_default="3", nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_losses", sa.Integer(), server_default="10", nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("dispatch_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dispatch_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("error_detail_code", sa.Text(), nullable=True),
        sa.Column("warnings", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("percent", sa.Integer(), server_default="0", nullable=False),
        sa.Column("pages_done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("pages_total", sa.Integer(), nullable=True),
        sa.Column("progressed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("purge_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("purge_pass", sa.Integer(), server_default="0", nullable=False),
        sa.Column("row_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('extracting', 'embedding', 'verifying')) = (active_run IS NOT NULL)",
            name=op.f("ck_documents_run_iff_working"),
        ),
        sa.CheckConstraint(
            "lifecycle = 'active' OR (active_run IS NULL AND published_run IS NULL)",
            name=op.f("ck_documents_dead_is_unreferenced"),
        ),
        sa.CheckConstraint("lifecycle IN ('active', 'deleting', 'deleted')", name=op.f("ck_documents_lifecycle")),
        sa.CheckConstraint(
            "state <> 'completed' OR published_run IS NOT NULL OR lifecycle <> 'active'",
            name=op.f("ck_documents_completed_is_published"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'extracting', 'embedding', 'verifying', 'completed', 'failed', 'cancelled')",
            name=op.f("ck_documents_state"),
        ),
        sa.CheckConstraint(
            "tries >= 0 AND losses >= 0 AND percent BETWEEN 0 AND 100", name=op.f("ck_documents_counts")
        ),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name=op.f("fk_documents_collection_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_documents_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
    )
    op.create_index(
        "ix_documents_collection",
        "documents",
        ["collection_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_documents_dispatch",
        "documents",
        ["priority", "dispatch_after"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'verifying') AND lifecycle = 'active'"),
    )
    op.create_index(
        "ix_documents_lease",
        "documents",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state IN ('extracting', 'verifying')"),
    )
    op.create_index(
        "ix_documents_list",
        "documents",
        ["tenant_id", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_documents_purge",
        "documents",
        ["purge_at"],
        unique=False,
        postgresql_where=sa.text("lifecycle = 'deleting'"),
    )
    op.create_index(
        "ix_documents_unfinished",
        "documents",
        ["tenant_id", "created_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'extracting', 'embedding', 'verifying')"),
    )
    op.create_index(
        "uq_documents_dedupe",
        "documents",
        ["collection_id", "dedupe_sha"],
        unique=True,
        postgresql_where=sa.text("lifecycle = 'active'"),
    )
    op.create_index(
        "uq_documents_external",
        "documents",
        ["collection_id", "external_id"],
        unique=True,
        postgresql_where=sa.text("lifecycle = 'active'"),
    )
    op.create_table(
        "document_events",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name=op.f("fk_document_events_document_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_document_events")),
    )
    op.create_index("ix_document_events_document", "document_events", ["document_id", "id"], unique=False)
    op.create_table(
        "originals",
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("request_no", sa.Integer(), nullable=False),
        sa.Column("storage_key", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("declared_type", sa.Text(), nullable=True),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name=op.f("fk_originals_document_id")),
        sa.PrimaryKeyConstraint("document_id", "request_no", name=op.f("pk_originals")),
        sa.UniqueConstraint("storage_key", name=op.f("uq_originals_storage_key")),
    )
    op.create_index("ix_originals_sha256", "originals", ["sha256"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("request_no", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("pipeline_hash", sa.Text(), nullable=True),
        sa.Column("embed_model", sa.Text(), nullable=True),
        sa.Column("embed_dimensions", sa.Integer(), nullable=True),
        sa.Column("n_chunks", sa.Integer(), nullable=True),
        sa.Column("n_batches", sa.Integer(), nullable=True),
        sa.Column("n_done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("gc_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("gc_pass", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('extracting', 'embedding', 'published', 'superseded', 'abandoned')", name=op.f("ck_runs_state")
        ),
        sa.CheckConstraint("n_batches IS NULL OR n_done <= n_batches", name=op.f("ck_runs_n_done_at_most_n_batches")),
        sa.CheckConstraint("n_done >= 0", name=op.f("ck_runs_n_done_not_negative")),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name=op.f("fk_runs_document_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index("ix_runs_collect", "runs", ["gc_at"], unique=False, postgresql_where=sa.text("gc_at IS NOT NULL"))
    op.create_index("ix_runs_document", "runs", ["document_id"], unique=False)
    op.create_index(
        "ix_runs_hidden",
        "runs",
        ["tenant_id"],
        unique=False,
        postgresql_where=sa.text("state <> 'published' AND gc_pass < 2"),
    )
    op.create_table(
        "batches",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("batch_no", sa.Integer(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("max_tries", sa.Integer(), server_default="8", nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("dispatch_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dispatch_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_chunk", sa.Integer(), nullable=False),
        sa.Column("last_chunk", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_detail_code", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'running', 'done', 'failed')", name=op.f("ck_batches_state")),
        sa.CheckConstraint("tries >= 0 AND losses >= 0 AND first_chunk <= last_chunk", name=op.f("ck_batches_counts")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_batches_run_id")),
        sa.PrimaryKeyConstraint("run_id", "batch_no", name=op.f("pk_batches")),
    )
    op.create_index(
        "ix_batches_dispatch",
        "batches",
        ["dispatch_after"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_batches_lease", "batches", ["lease_until"], unique=False, postgresql_where=sa.text("state = 'running'")
    )
    op.create_table(
        "chunks",
        sa.Column("run_id", sa.BigInteger(), nullable=False),
        sa.Column("chunk_no", sa.Integer(), nullable=False),
        sa.Column("batch_no", sa.Integer(), nullable=False),
        sa.Column("point_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("page_start", sa.Integer(), nullable=True),
        sa.Column("page_end", sa.Integer(), nullable=True),
        sa.Column("char_start", sa.BigInteger(), nullable=False),
        sa.Column("char_end", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("section", sa.Text(), nullable=True),
        sa.Column("boxes", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id", "batch_no"],
            ["batches.run_id", "batches.batch_no"],
            name=op.f("fk_chunks_run_id_batch_no"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run_id", "chunk_no", name=op.f("pk_chunks")),
        sa.UniqueConstraint("point_id", name=op.f("uq_chunks_point_id")),
    )
    op.create_index("ix_chunks_batch", "chunks", ["run_id", "batch_no"], unique=False)
    keeper = sa.table(
        "keeper", sa.column("id"), sa.column("redis_run"), sa.column("redis_seq"), sa.column("cursor_secret")
    )
    op.bulk_insert(keeper, [{"id": 1, "redis_run": "", "redis_seq": 0, "cursor_secret": secrets.token_bytes(32)}])


def downgrade() -> None:
    op.drop_index("ix_chunks_batch", table_name="chunks")
    op.drop_table("chunks")
    op.drop_index("ix_batches_lease", table_name="batches", postgresql_where=sa.text("state = 'running'"))
    op.drop_index("ix_batches_dispatch", table_name="batches", postgresql_where=sa.text("state = 'pending'"))
    op.drop_table("batches")
    op.drop_index("ix_runs_hidden", table_name="runs", postgresql_where=sa.text("state <> 'published' AND gc_pass < 2"))
    op.drop_index("ix_runs_document", table_name="runs")
    op.drop_index("ix_runs_collect", table_name="runs", postgresql_where=sa.text("gc_at IS NOT NULL"))
    op.drop_table("runs")
    op.drop_index("ix_originals_sha256", table_name="originals")
    op.drop_table("originals")
    op.drop_index("ix_document_events_document", table_name="document_events")
    op.drop_table("document_events")
    op.drop_index("uq_documents_external", table_name="documents", postgresql_where=sa.text("lifecycle = 'active'"))
    op.drop_index("uq_documents_dedupe", table_name="documents", postgresql_where=sa.text("lifecycle = 'active'"))
    op.drop_index(
        "ix_documents_unfinished",
        table_name="documents",
        postgresql_where=sa.text("state IN ('queued', 'extracting', 'embedding', 'verifying')"),
    )
    op.drop_index("ix_documents_purge", table_name="documents", postgresql_where=sa.text("lifecycle = 'deleting'"))
    op.drop_index("ix_documents_list", table_name="documents")
    op.drop_index(
        "ix_documents_lease", table_name="documents", postgresql_where=sa.text("state IN ('extracting', 'verifying')")
    )
    op.drop_index(
        "ix_documents_dispatch",
        table_name="documents",
        postgresql_where=sa.text("state IN ('queued', 'verifying') AND lifecycle = 'active'"),
    )
    op.drop_index("ix_documents_collection", table_name="documents")
    op.drop_table("documents")
    op.drop_index("uq_collections_name", table_name="collections", postgresql_where=sa.text("lifecycle = 'active'"))
    op.drop_table("collections")
    op.drop_index("ix_api_keys_tenant_id", table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("tenants")
    op.drop_table("keeper")
    op.drop_index("ix_jobs_document", table_name="jobs")
    op.drop_table("jobs")
    op.drop_index("ix_idempotency_keys_expires", table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.execute("DROP SEQUENCE runs_id_seq")
    op.execute("DROP SEQUENCE document_events_id_seq")
