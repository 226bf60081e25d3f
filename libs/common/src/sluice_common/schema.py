"""The tables; PostgreSQL only. Migrations make them, tests compare the two."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from sluice_common.status import BatchState, Lifecycle, RunState, State

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: type[State | Lifecycle | RunState | BatchState]) -> str:
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


def _moment(name: str, *, nullable: bool = False, now: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=sa.func.now() if now else None)


def _count(name: str, default: int = 0) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=str(default))


tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    _moment("created_at", now=True),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("tenant_id", sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("prefix", sa.Text, nullable=False, unique=True),
    sa.Column("secret_sha256", sa.LargeBinary, nullable=False),
    sa.Column("scopes", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("collection_ids", pg.ARRAY(sa.Uuid)),  # null: every collection of the tenant
    _moment("created_at", now=True),
    _moment("expires_at", nullable=True),
    _moment("revoked_at", nullable=True),
    _moment("last_used_at", nullable=True),
    sa.Index("ix_api_keys_tenant_id", "tenant_id"),
)

collections = sa.Table(
    "collections",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("tenant_id", sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("lifecycle", sa.Text, nullable=False, server_default=Lifecycle.ACTIVE.value),
    sa.Column("chunking", pg.JSONB, nullable=False, server_default="{}"),
    _count("row_version", 1),
    _moment("created_at", now=True),
    _moment("updated_at", now=True),
    sa.CheckConstraint(_one_of("lifecycle", Lifecycle), name="lifecycle"),
    sa.Index("uq_collections_name", "tenant_id", "name", unique=True, postgresql_where=sa.text("lifecycle = 'active'")),
)

documents = sa.Table(
    "documents",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("tenant_id", sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("collection_id", sa.ForeignKey("collections.id"), nullable=False),
    sa.Column("external_id", sa.Text),
    sa.Column("dedupe_sha", sa.Text),  # null where the same bytes may stand twice
    sa.Column("attributes", pg.JSONB, nullable=False, server_default="{}"),
    sa.Column("options", pg.JSONB, nullable=False, server_default="{}"),
    _count("priority"),
    sa.Column("lifecycle", sa.Text, nullable=False, server_default=Lifecycle.ACTIVE.value),
    sa.Column("state", sa.Text, nullable=False, server_default=State.QUEUED.value),
    _count("request_no", 1),
    sa.Column("job_id", sa.Uuid, nullable=False),
    sa.Column("request_id", sa.Text),  # of the HTTP request that asked for the work: joins the logs of all services
    sa.Column("traceparent", sa.Text),  # of that request: its workers go on with the same trace, whatever Redis forgot
    sa.Column("active_run", sa.BigInteger),  # the fence of every worker
    sa.Column("published_run", sa.BigInteger),  # what a search sees
    _count("tries"),
    _count("max_tries", 3),
    _count("losses"),
    _count("max_losses", 10),
    sa.Column("lease_owner", sa.Text),
    _moment("lease_until", nullable=True),
    _moment("not_before", now=True),
    _moment("dispatch_after", nullable=True),
    _count("dispatch_count"),
    _moment("deadline"),
    sa.Column("error_code", sa.Text),
    sa.Column("error_detail", sa.Text),
    sa.Column("error_detail_code", sa.Text),
    sa.Column("warnings", pg.JSONB, nullable=False, server_default="[]"),
    _count("percent"),
    _count("pages_done"),
    sa.Column("pages_total", sa.Integer),
    _moment("progressed_at", nullable=True),
    _moment("purge_at", nullable=True),
    _count("purge_pass"),
    _count("row_version", 1),
    _moment("created_at", now=True),
    _moment("updated_at", now=True),
    _moment("started_at", nullable=True),
    _moment("finished_at", nullable=True),
    sa.CheckConstraint(_one_of("lifecycle", Lifecycle), name="lifecycle"),
    sa.CheckConstraint(_one_of("state", State), name="state"),
    sa.CheckConstraint(
        "(state IN ('extracting', 'embedding', 'verifying')) = (active_run IS NOT NULL)", name="run_iff_working"
    ),
    sa.CheckConstraint(
        "lifecycle = 'active' OR (active_run IS NULL AND published_run IS NULL)", name="dead_is_unreferenced"
    ),
    sa.CheckConstraint(
        "state <> 'completed' OR published_run IS NOT NULL OR lifecycle <> 'active'", name="completed_is_published"
    ),
    sa.CheckConstraint("tries >= 0 AND losses >= 0 AND percent BETWEEN 0 AND 100", name="counts"),
    sa.Index(
        "uq_documents_external",
        "collection_id",
        "external_id",
        unique=True,
        postgresql_where=sa.text("lifecycle = 'active'"),
    ),
    sa.Index(
        "uq_documents_dedupe",
        "collection_id",
        "dedupe_sha",
        unique=True,
        postgresql_where=sa.text("lifecycle = 'active'"),
    ),
    sa.Index(
        "ix_documents_dispatch",
        "tenant_id",
        "priority",
        "dispatch_after",
        postgresql_where=sa.text("state IN ('queued', 'verifying') AND lifecycle = 'active'"),
    ),
    sa.Index("ix_documents_lease", "lease_until", postgresql_where=sa.text("state IN ('extracting', 'verifying')")),
    sa.Index(
        "ix_documents_unfinished",
        "tenant_id",
        "created_at",
        postgresql_where=sa.text("state IN ('queued', 'extracting', 'embedding', 'verifying')"),
    ),
    sa.Index("ix_documents_purge", "purge_at", postgresql_where=sa.text("lifecycle = 'deleting'")),
    sa.Index("ix_documents_deleted", "updated_at", postgresql_where=sa.text("lifecycle = 'deleted'")),
    sa.Index("ix_documents_list", "tenant_id", sa.text("created_at DESC"), sa.text("id DESC")),
    sa.Index("ix_documents_collection", "collection_id", sa.text("created_at DESC"), sa.text("id DESC")),
)

originals = sa.Table(
    "originals",
    metadata,
    sa.Column("document_id", sa.ForeignKey("documents.id"), primary_key=True),
    sa.Column("request_no", sa.Integer, primary_key=True),
    sa.Column("storage_key", sa.Text, nullable=False, unique=True),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("declared_type", sa.Text),
    sa.Column("media_type", sa.Text),  # by content, once a reader has seen it
    sa.Column("name", sa.Text, nullable=False),  # for display only; the key never comes from it
    _moment("created_at", now=True),
    sa.Index("ix_originals_sha256", "sha256"),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Sequence("runs_id_seq"), primary_key=True),  # the fencing token
    sa.Column("document_id", sa.ForeignKey("documents.id"), nullable=False),
    sa.Column("tenant_id", sa.Uuid, nullable=False),
    sa.Column("collection_id", sa.Uuid, nullable=False),
    sa.Column("request_no", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("pipeline_hash", sa.Text),
    sa.Column("embed_model", sa.Text),
    sa.Column("embed_dimensions", sa.Integer),
    sa.Column("n_chunks", sa.Integer),
    sa.Column("n_batches", sa.Integer),
    _count("n_done"),
    _moment("gc_at", nullable=True),
    _count("gc_pass"),
    _moment("created_at", now=True),
    _moment("published_at", nullable=True),
    sa.Column("analysis", pg.JSONB),  # what an ensemble found out about a recording
    sa.CheckConstraint(_one_of("state", RunState), name="state"),
    sa.CheckConstraint("n_done >= 0", name="n_done_not_negative"),
    sa.CheckConstraint("n_batches IS NULL OR n_done <= n_batches", name="n_done_at_most_n_batches"),
    sa.Index("ix_runs_document", "document_id"),
    sa.Index("ix_runs_collect", "gc_at", postgresql_where=sa.text("gc_at IS NOT NULL")),
    sa.Index("ix_runs_collected", "created_at", postgresql_where=sa.text("gc_pass >= 2 AND gc_at IS NULL")),
    sa.Index("ix_runs_hidden", "tenant_id", postgresql_where=sa.text("state <> 'published' AND gc_pass < 2")),
)

batches = sa.Table(
    "batches",
    metadata,
    sa.Column("run_id", sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("batch_no", sa.Integer, primary_key=True),
    sa.Column("document_id", sa.Uuid, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default=BatchState.PENDING.value),
    _count("fence"),
    _count("tries"),
    _count("max_tries", 8),
    _count("losses"),
    sa.Column("lease_owner", sa.Text),
    _moment("lease_until", nullable=True),
    _moment("not_before", now=True),
    _moment("dispatch_after", nullable=True),
    _count("dispatch_count"),
    sa.Column("first_chunk", sa.Integer, nullable=False),
    sa.Column("last_chunk", sa.Integer, nullable=False),
    sa.Column("error_code", sa.Text),
    sa.Column("error_detail_code", sa.Text),
    sa.CheckConstraint(_one_of("state", BatchState), name="state"),
    sa.CheckConstraint("tries >= 0 AND losses >= 0 AND first_chunk <= last_chunk", name="counts"),
    sa.Index("ix_batches_dispatch", "dispatch_after", postgresql_where=sa.text("state = 'pending'")),
    sa.Index("ix_batches_lease", "lease_until", postgresql_where=sa.text("state = 'running'")),
)

chunks = sa.Table(
    "chunks",
    metadata,
    sa.Column("run_id", sa.BigInteger, primary_key=True),
    sa.Column("chunk_no", sa.Integer, primary_key=True),
    sa.Column("batch_no", sa.Integer, nullable=False),
    sa.Column("point_id", sa.Uuid, nullable=False, unique=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("content_sha256", sa.LargeBinary, nullable=False),
    sa.Column("page_start", sa.Integer),
    sa.Column("page_end", sa.Integer),
    sa.Column("char_start", sa.BigInteger, nullable=False),
    sa.Column("char_end", sa.BigInteger, nullable=False),
    sa.Column("tokens", sa.Integer, nullable=False),
    sa.Column("section", sa.Text),
    sa.Column("sheet", sa.Text),
    sa.Column("slide", sa.Integer),
    sa.Column("time_start", sa.Float),
    sa.Column("time_end", sa.Float),
    sa.Column("boxes", pg.JSONB),
    sa.ForeignKeyConstraint(["run_id", "batch_no"], ["batches.run_id", "batches.batch_no"], ondelete="CASCADE"),
    sa.Index("ix_chunks_batch", "run_id", "batch_no"),
)

transcript_pieces = sa.Table(
    "transcript_pieces",
    metadata,
    sa.Column("document_id", sa.ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.LargeBinary, primary_key=True),  # of the sound, and of how it was asked for
    sa.Column("transcript", pg.JSONB, nullable=False),
    _moment("created_at", now=True),
    sa.Index("ix_transcript_pieces_created", "created_at"),
)

page_images = sa.Table(
    "page_images",
    metadata,
    sa.Column("document_id", sa.ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("original_no", sa.Integer, primary_key=True),  # the `request_no` of the original that is shown
    sa.Column("page", sa.Integer, primary_key=True),
    sa.Column("dpi", sa.Integer, primary_key=True),  # as asked for
    sa.Column("png", sa.LargeBinary),  # null while nobody has drawn it
    sa.Column("drawn_dpi", sa.Float),  # less than what was asked for where the page is too large for that
    sa.Column("error_code", sa.Text),  # why it cannot be drawn
    _moment("asked_at", now=True),
    sa.Index("ix_page_images_asked", "asked_at"),
)

document_events = sa.Table(
    "document_events",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Sequence("document_events_id_seq"), primary_key=True),
    sa.Column("xid", sa.BigInteger, nullable=False),  # its transaction: orders the feed of a whole tenant
    sa.Column("tenant_id", sa.Uuid, nullable=False),
    sa.Column("document_id", sa.ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("run_id", sa.BigInteger),
    sa.Column("facts", pg.JSONB, nullable=False, server_default="{}"),
    _moment("created_at", now=True),
    sa.Index("ix_document_events_document", "document_id", "id"),
    sa.Index("ix_document_events_progress", "created_at", postgresql_where=sa.text("event = 'document.progress'")),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("tenant_id", sa.Uuid, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("document_id", sa.Uuid),
    sa.Column("request_no", sa.Integer),
    sa.Column("answered_by", sa.Text),  # of a ping
    _moment("created_at", now=True),
    _moment("finished_at", nullable=True),
    sa.Index("ix_jobs_document", "document_id"),
    sa.Index("ix_jobs_ping", "created_at", postgresql_where=sa.text("kind = 'ping'")),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("token", sa.Uuid, nullable=False),  # of the request that is working on it
    sa.Column("document_id", sa.Uuid),  # what that request made, written with it in one transaction
    sa.Column("status", sa.Integer),
    sa.Column("body", pg.JSONB),
    sa.Column("headers", pg.JSONB),
    _moment("locked_until"),
    _moment("expires_at"),
    sa.Index("ix_idempotency_keys_expires", "expires_at"),
    sa.Index("ix_idempotency_keys_token", "token"),
)

keeper = sa.Table(
    "keeper",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("redis_run", sa.Text, nullable=False),
    sa.Column("redis_seq", sa.BigInteger, nullable=False),
    sa.Column("store_epoch", sa.Uuid),
    sa.Column("lease_s", sa.Float),
    sa.Column("clock_seen_at", sa.DateTime(timezone=True)),
    sa.Column("cursor_secret", sa.LargeBinary, nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)

LATEST_TIME = "GREATEST(now(), (SELECT clock_seen_at FROM keeper WHERE id = 1))"
"""What a day of patience is counted from, in SQL: a clock that has gone back and jumps ahead once more, unseen in
between, must not have eaten it up."""

provider_paces = sa.Table(
    "provider_paces",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),  # its address
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),  # who writes must have read the newest
    sa.Column("rate", sa.Float, nullable=False),
    sa.Column("is_limit_known", sa.Boolean, nullable=False),
    sa.Column("is_answered", sa.Boolean, nullable=False),
    _moment("booked_until"),
    _moment("limited_at"),
    _moment("limited_until"),
    _count("failures"),
    _moment("failing_since"),
    _moment("probe_at", nullable=True),
    sa.Column("detail_code", sa.Text),
    _moment("updated_at", now=True),
)
