"""Puts what the gateway knows into the JSON of its answers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from sluice_api.messages import (
    PHRASES,
    Language,
    accepted_message,
    failure_code_of,
    failure_text,
    language_of,
    message_of,
)
from sluice_api.schemas import Json, JsonResponse, page_of
from sluice_common import ids
from sluice_common.catalogue import AnalysisView, ChunkView, DocumentView
from sluice_common.errors import FAILURES
from sluice_common.jobs import JobView
from sluice_common.status import State, Status, stage_of, status_of

__all__ = [
    "Language",
    "accepted_message",
    "analysis_json",
    "chunk_json",
    "document_json",
    "etag_of",
    "job_json",
    "language_of",
    "list_answer",
    "message_of",
    "moment_json",
    "status_json",
    "waiting_reason_of",
]

UNREAD_PAGES = frozenset({"page_unreadable", "page_not_read"})
"""The warnings that name a page, in their member `page`, whose text is missing."""

_JOB_STATUSES = {
    State.QUEUED: "pending",
    State.EXTRACTING: "progress",
    State.EMBEDDING: "progress",
    State.VERIFYING: "progress",
    State.COMPLETED: "success",
    State.FAILED: "failure",
    State.CANCELLED: "cancelled",
}

_WAITING_REASONS = {
    "provider_unavailable": "provider_down",
    "dimension_mismatch": "provider_down",  # another model answers than the configured one: no use of it either
    "worker_slot": "worker_slot",
    "released": "worker_slot",  # its worker was told to stop, and the next one that is free takes it
}


def document_json(view: DocumentView, language: Language, *, base_url: str, now: datetime | None = None) -> Json:
    """The document as every route answers it.

    Args:
        view: what the table knows.
        language: of the texts for people; codes never change.
        base_url: begins the links; empty for paths only.
        now: what the remaining time is estimated against; the clock when None.
    """
    return {
        "id": ids.shown("doc", view.id),
        "object": "document",
        "collection": view.collection,
        "external_id": view.external_id,
        "name": view.name,
        "status": status_of(view.state, view.lifecycle).value,
        "stage": stage_of(view.state).value,
        "waiting_reason": waiting_reason_of(view),
        "message": message_of(view, language),
        "progress": _progress_json(view, now or datetime.now(UTC)),
        "active_run": view.active_run,
        "published_run": view.published_run,
        "job_id": ids.shown("job", view.job_id),
        "sha256": view.sha256,
        "media_type": view.media_type,
        "bytes": view.size_bytes,
        "tries": view.tries,
        "max_tries": view.max_tries,
        "total_chunks": view.chunks_total,
        "error": _error_json(view, language),
        "warnings": _warnings_json(view, language),
        "attributes": dict(view.attributes),
        "chunking": view.options.get("chunking") or {},
        "multimodal": bool(view.options.get("multimodal")),
        "embedding": _embedding_json(view),
        "created_at": moment_json(view.created_at),
        "started_at": moment_json(view.started_at),
        "finished_at": moment_json(view.finished_at),
        "links": _links_json(view, base_url),
    }


def status_json(view: DocumentView, language: Language) -> Json:
    """The short form; `progress` is a whole number from 0 to 100."""
    return {
        "id": ids.shown("doc", view.id),
        "name": view.name,
        "status": status_of(view.state, view.lifecycle).value,
        "stage": stage_of(view.state).value,
        "progress": view.percent,
        "total_chunks": view.chunks_total,
        "message": message_of(view, language),
        "error": _error_json(view, language),
        "job_id": ids.shown("job", view.job_id),
        "created_at": moment_json(view.created_at),
        "started_at": moment_json(view.started_at),
        "finished_at": moment_json(view.finished_at),
    }


def chunk_json(chunk: ChunkView) -> Json:
    """One chunk; `char_start` and `char_end` count in the text of the whole document."""
    return {
        "object": "chunk",
        "chunk": chunk.chunk_no,
        "text": chunk.text,
        "page_start": chunk.page_start,
        "page_end": chunk.page_end,
        "char_start": chunk.char_start,
        "char_end": chunk.char_end,
        "tokens": chunk.tokens,
        "section": chunk.section,
        "sheet": chunk.sheet,
        "slide": chunk.slide,
        "time_start": chunk.time_start,
        "time_end": chunk.time_end,
        "boxes": chunk.boxes,
    }


def analysis_json(document_id: UUID, found: AnalysisView) -> Json:
    """What was found out about a recording, and by which run."""
    return {
        "object": "analysis",
        "document_id": ids.shown("doc", document_id),
        "run": found.run_id,
        **found.analysis,
    }


def job_json(job: JobView, view: DocumentView, language: Language) -> Json:
    """One request for a document; *view* is the document as the job left it, or as it is while the job goes on."""
    status = _JOB_STATUSES[view.state]
    return {
        "id": ids.shown("job", job.id),
        "object": "job",
        "kind": job.kind,
        "status": status,
        "document_id": ids.shown("doc", job.document_id),
        "progress": 100 if status == "success" else view.percent if job.is_newest else None,
        "message": message_of(view, language),
        "result": _job_result(job) if status == "success" else None,
        "error": _error_json(view, language),
        "created_at": moment_json(job.created_at),
        "finished_at": moment_json(job.finished_at),
    }


def _job_result(job: JobView) -> Json:
    found = None
    if job.run_id is not None and job.analysis is not None:
        found = analysis_json(job.document_id, AnalysisView(job.run_id, job.analysis))
    shown = ids.shown("doc", job.document_id)
    return {"document_id": shown, "run": job.run_id, "total_chunks": job.n_chunks, "analysis": found}


def etag_of(view: DocumentView) -> str:
    """The strong entity tag of the row's version; also the one that a change must name in `If-Match`."""
    return f'"{view.row_version}"'


def moment_json(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, with Z; as exact as the table keeps it, so that a list can continue behind it."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def waiting_reason_of(view: DocumentView) -> str | None:
    """Why an unfinished document does not move just now; None while it does."""
    if view.waiting_code is None:
        return "worker_slot" if status_of(view.state, view.lifecycle) is Status.QUEUED else None
    code, _, detail_code = view.waiting_code.partition(":")
    # A provider that asks us to wait is away by its code and rate-limited by the finer one.
    if "rate_limited" in {code, detail_code}:
        return "provider_rate_limited"
    return _WAITING_REASONS.get(code, "retry_backoff")


def list_answer(request: Request, items: list[Json], next_cursor: str | None) -> Response:
    """A page of a list, with the `Link` to the next one; *next_cursor* is None on the last page."""
    headers = {}
    if next_cursor is not None:
        following = request.url.include_query_params(cursor=next_cursor)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return JsonResponse(page_of(items, next_cursor), headers=headers)


def _progress_json(view: DocumentView, now: datetime) -> Json:
    failed_pages = {
        warning["page"] for warning in view.warnings if warning.get("code") in UNREAD_PAGES and "page" in warning
    }
    return {
        "percent": view.percent,
        "pages": {"done": view.pages_done, "total": view.pages_total, "failed": sorted(failed_pages)},
        "chunks": {"done": view.chunks_done, "total": view.chunks_total},
        "queue_position": view.queue_position,
        "eta_seconds": _eta_seconds(view, now),
        "updated_at": moment_json(view.updated_at),
    }


def _eta_seconds(view: DocumentView, now: datetime) -> int | None:
    is_processing = status_of(view.state, view.lifecycle) is Status.PROCESSING
    if not is_processing or view.started_at is None or view.percent == 0:
        return None
    elapsed_s = max(0.0, (now - view.started_at).total_seconds())
    return round(elapsed_s * (100 - view.percent) / view.percent)


def _error_json(view: DocumentView, language: Language) -> Json | None:
    if view.state is not State.FAILED:
        return None  # a setback that is tried again is shown as what the document waits for
    code = failure_code_of(view)
    text = failure_text(code, language, view.error_detail_code)
    return {
        "code": code.value,
        "message": text.sentence,
        "retryable": FAILURES[code].retryable,
        "remedy": text.remedy,
        "detail": view.error_detail,
        "detail_code": view.error_detail_code,
    }


def _warnings_json(view: DocumentView, language: Language) -> list[Mapping[str, Any]]:  # JSON
    warnings = list(view.warnings)
    if view.state in {State.FAILED, State.CANCELLED} and view.published_run is not None:
        warnings.append({"code": "previous_version_served", "detail": PHRASES[language].previous_version})
    return warnings


def _embedding_json(view: DocumentView) -> Json | None:
    if view.embed_model is None:
        return None
    return {"model": view.embed_model, "dimensions": view.embed_dimensions}


def _links_json(view: DocumentView, base_url: str) -> Json:
    here = f"{base_url.rstrip('/')}/v1/documents/{ids.shown('doc', view.id)}"
    return {"self": here, "events": f"{here}/events", "content": f"{here}/content", "chunks": f"{here}/chunks"}
