"""Documents as the catalogue shows them, made by hand."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sluice_common.catalogue import DocumentView
from sluice_common.status import Lifecycle, State

STARTED = datetime(2026, 11, 20, 11, 46, 2, tzinfo=UTC)
DOCUMENT_ID = UUID("0199a3f2-c1d4-7e0b-8a5d-3c2b1a098877")
JOB_ID = UUID("0199a3f2-c1d5-7b3c-9d2e-1f0a5b6c7d8e")


def make_view(**changes) -> DocumentView:
    """A document in the middle of being embedded; *changes* say what matters to the test."""
    values = {
        "id": DOCUMENT_ID,
        "tenant_id": UUID(int=1),
        "collection_id": UUID(int=2),
        "collection": "default",
        "external_id": None,
        "name": "보고서.pdf",
        "sha256": "ab" * 32,
        "media_type": "application/pdf",
        "size_bytes": 1048576,
        "storage_key": "aa/bb",
        "original_no": 1,
        "lifecycle": Lifecycle.ACTIVE,
        "state": State.EMBEDDING,
        "job_id": JOB_ID,
        "active_run": 7,
        "published_run": 5,
        "tries": 1,
        "max_tries": 3,
        "losses": 0,
        "percent": 60,
        "pages_done": 500,
        "pages_total": 500,
        "chunks_done": 812,
        "chunks_total": 1320,
        "error_code": None,
        "error_detail": None,
        "error_detail_code": None,
        "waiting_code": None,
        "queue_position": None,
        "warnings": [],
        "attributes": {"year": 2026},
        "options": {"chunking": {"max_chars": 1000, "overlap_chars": 200}, "multimodal": False},
        "embed_model": "model",
        "embed_dimensions": 256,
        "row_version": 12,
        "created_at": STARTED - timedelta(seconds=1),
        "updated_at": STARTED + timedelta(seconds=60),
        "started_at": STARTED,
        "finished_at": None,
    }
    return DocumentView(**{**values, **changes})
