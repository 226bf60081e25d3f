"""Reads documents for those who ask about them; writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from sluice_common.database import Database, one, rows
from sluice_common.status import Lifecycle, State


@dataclass(frozen=True)
class DocumentView:
    """Everything a client may know of a document, in our own terms; the gateway puts it into its JSON."""

    id: UUID
    tenant_id: UUID
    collection_id: UUID
    collection: str
    external_id: str | None
    name: str
    sha256: str
    media_type: str | None
    size_bytes: int
    storage_key: str
    original_no: int
    lifecycle: Lifecycle
    state: State
    job_id: UUID
    active_run: int | None
    published_run: int | None
    tries: int
    max_tries: int
    losses: int
    percent: int
    pages_done: int
    pages_total: int | None
    chunks_done: int
    chunks_total: int | None
    error_code: str | None
    error_detail: str | None
    error_detail_code: str | None
    waiting_code: str | None
    """Why nothing works on it: the error code, a colon and the detail code of a batch that was put back; that of the
    document itself, while its time has not come; or `worker_slot` where it is only nobody's turn yet."""
    queue_position: int | None
    """Among the tenant's queued documents; counted to 1000 and no further."""
    warnings: Sequence[Mapping[str, Any]]  # JSON: code and detail
    attributes: Mapping[str, Any]  # the client's own JSON
    options: Mapping[str, Any]  # as validated by the gateway
    embed_model: str | None
    embed_dimensions: int | None
    row_version: int
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class ChunkView:
    chunk_no: int
    text: str
    page_start: int | None
    page_end: int | None
    char_start: int
    char_end: int
    tokens: int
    section: str | None
    sheet: str | None
    slide: int | None
    time_start: float | None  # seconds
    time_end: float | None
    boxes: Sequence[Mapping[str, Any]] | None  # JSON: per page the rectangles that the text covers


@dataclass(frozen=True)
class AnalysisView:
    run_id: int
    analysis: Mapping[str, Any]  # JSON, as the extractor made it


@dataclass(frozen=True)
class DocumentQuery:
    """Which documents a list shows; None means any."""

    collection_ids: Sequence[UUID] | None = None
    states: Sequence[State] | None = None
    error_code: str | None = None
    name: str | None = None
    external_id: str | None = None
    sha256: str | None = None
    created_after: datetime | None = None
    updated_after: datetime | None = None


_SELECT = """
    SELECT d.id, d.tenant_id, d.collection_id, c.name AS collection, d.external_id, o.name, o.sha256,
           COALESCE(o.media_type, o.declared_type) AS media_type, o.size_bytes, o.storage_key,
           o.request_no AS original_no, d.lifecycle, d.state, d.job_id, d.active_run, d.published_run, d.tries,
           d.max_tries, d.losses, d.percent, d.pages_done, d.pages_total,
           COALESCE(b.chunks_done, r.n_chunks, 0) AS chunks_done, r.n_chunks AS chunks_total, d.error_code,
           d.error_detail, d.error_detail_code,
           COALESCE(b.waiting_code, CASE WHEN d.state = 'queued' AND d.not_before > now()
                                         THEN COALESCE(d.error_code || COALESCE(':' || d.error_detail_code, ''),
                                                       'backoff') END) AS waiting_code,
           CASE WHEN d.state = 'queued' THEN (
               SELECT count(*) + 1 FROM (
                   SELECT 1 FROM documents e
                   WHERE e.state = 'queued' AND e.lifecycle = 'active' AND e.tenant_id = d.tenant_id
                     AND (e.priority, e.created_at) < (d.priority, d.created_at) LIMIT 999) AS before)
           END AS queue_position,
           d.warnings, d.attributes, d.options, p.embed_model, p.embed_dimensions, d.row_version, d.created_at,
           d.updated_at, d.started_at, d.finished_at
    FROM documents d
    JOIN collections c ON c.id = d.collection_id
    LEFT JOIN runs p ON p.id = d.published_run
    LEFT JOIN runs r ON r.id = COALESCE(d.active_run, d.published_run)
    JOIN LATERAL (
        -- what is shown is the content that is served; the new one once it is published, or when there is no other
        SELECT * FROM originals o WHERE o.document_id = d.id AND o.request_no <= COALESCE(p.request_no, d.request_no)
        ORDER BY o.request_no DESC LIMIT 1) o ON true
    LEFT JOIN LATERAL (
        SELECT COALESCE(sum(last_chunk - first_chunk + 1) FILTER (WHERE state = 'done'), 0) AS chunks_done,
               CASE WHEN bool_or(state = 'pending') AND NOT bool_or(state = 'running')
                    THEN COALESCE(min(error_code || ':' || COALESCE(error_detail_code, ''))
                                  FILTER (WHERE state = 'pending'),
                                  CASE WHEN d.state = 'embedding' THEN 'worker_slot' END) END AS waiting_code
        FROM batches WHERE run_id = d.active_run AND d.active_run IS NOT NULL) b ON d.active_run IS NOT NULL
"""

_ONE = sa.text(_SELECT + " WHERE d.id = :id AND d.tenant_id = :tenant_id")

# The keyset runs over (created_at, id), newest first.
_PAGE = sa.text(
    _SELECT
    + """
    WHERE d.tenant_id = :tenant_id AND d.lifecycle = 'active'
      AND (CAST(:collection_ids AS uuid[]) IS NULL OR d.collection_id = ANY(CAST(:collection_ids AS uuid[])))
      AND (CAST(:states AS text[]) IS NULL OR d.state = ANY(CAST(:states AS text[])))
      AND (CAST(:error_code AS text) IS NULL OR d.error_code = :error_code)
      AND (CAST(:name AS text) IS NULL OR o.name = :name)
      AND (CAST(:external_id AS text) IS NULL OR d.external_id = :external_id)
      AND (CAST(:sha256 AS text) IS NULL OR o.sha256 = :sha256)
      AND (CAST(:created_after AS timestamptz) IS NULL OR d.created_at > :created_after)
      AND (CAST(:updated_after AS timestamptz) IS NULL OR d.updated_at > :updated_after)
      AND (CAST(:before_time AS timestamptz) IS NULL
           OR (d.created_at, d.id) < (CAST(:before_time AS timestamptz), CAST(:before_id AS uuid)))
    ORDER BY d.created_at DESC, d.id DESC LIMIT :limit
"""
)

_CHUNKS = sa.text("""
    SELECT k.chunk_no, k.text, k.page_start, k.page_end, k.char_start, k.char_end, k.tokens, k.section, k.sheet,
           k.slide, k.time_start, k.time_end, k.boxes
    FROM chunks k JOIN documents d ON d.published_run = k.run_id
    WHERE d.id = :id AND d.tenant_id = :tenant_id AND d.lifecycle = 'active' AND k.chunk_no >= :start
    ORDER BY k.chunk_no LIMIT :limit
""")

# As everything that is shown, of the published run; None where there is none.
_ANALYSIS = sa.text("""
    SELECT r.id AS run_id, r.analysis FROM runs r JOIN documents d ON d.published_run = r.id
    WHERE d.id = :id AND d.tenant_id = :tenant_id AND d.lifecycle = 'active' AND r.analysis IS NOT NULL
""")

_SECRET = sa.text("SELECT cursor_secret FROM keeper WHERE id = 1")


class Catalogue:
    """Answers questions about documents."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, tenant_id: UUID, document_id: UUID) -> DocumentView | None:
        """The document, deleted ones too (see `lifecycle`); None when the tenant never had it."""
        with self._database.single() as connection:
            row = one(connection, _ONE, id=document_id, tenant_id=tenant_id)
        return None if row is None else _view_of(row)

    def page(
        self,
        tenant_id: UUID,
        query: DocumentQuery,
        *,
        before: tuple[datetime, UUID] | None = None,
        limit: int = 20,
    ) -> list[DocumentView]:
        """Active documents, newest first, those behind *before* in that order."""
        values = vars(query) | {
            "collection_ids": None if query.collection_ids is None else list(query.collection_ids),
            "states": None if query.states is None else [state.value for state in query.states],
            "before_time": before and before[0],
            "before_id": before and before[1],
        }
        with self._database.single() as connection:
            return [_view_of(row) for row in rows(connection, _PAGE, tenant_id=tenant_id, limit=limit, **values)]

    def chunks_of(self, tenant_id: UUID, document_id: UUID, *, start: int = 0, limit: int = 100) -> list[ChunkView]:
        """Chunks of the published run from number *start* on, in order."""
        with self._database.single() as connection:
            found = rows(connection, _CHUNKS, id=document_id, tenant_id=tenant_id, start=start, limit=limit)
        return [ChunkView(**row._mapping) for row in found]  # noqa: SLF001 - SQLAlchemy's documented name

    def analysis_of(self, tenant_id: UUID, document_id: UUID) -> "AnalysisView | None":
        """What was found out about the recording that the published run is of; None where that is none."""
        with self._database.single() as connection:
            row = one(connection, _ANALYSIS, id=document_id, tenant_id=tenant_id)
        return None if row is None else AnalysisView(row.run_id, row.analysis)

    def cursor_secret(self) -> bytes:
        """What signs cursors; the same for every gateway, made by the first migration."""
        with self._database.single() as connection:
            row = one(connection, _SECRET)
        assert row is not None, "the first migration writes this row"
        return bytes(row.cursor_secret)


def _view_of(row: sa.Row[Any]) -> DocumentView:  # any column type
    fields = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
    return DocumentView(**{**fields, "lifecycle": Lifecycle(row.lifecycle), "state": State(row.state)})
