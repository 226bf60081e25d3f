"""The shapes of what comes in and goes out over HTTP, with the examples of the OpenAPI document."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from starlette.responses import Response

from sluice_api.problems import FieldFault, Problem
from sluice_common.errors import FailureCode
from sluice_common.settings import ChunkingSettings
from sluice_common.status import Stage, Status

MAX_ATTRIBUTES = 16
MAX_ATTRIBUTE_KEY = 64
MAX_ATTRIBUTE_TEXT = 512
_LARGEST_INTEGER = 2**63

Json = dict[str, Any]  # a JSON object: its values are whatever the wire carries


class JsonResponse(Response):
    """JSON by orjson; times in it are already text."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:  # any JSON
        return orjson.dumps(content)


def _printable(text: str) -> str:
    # PostgreSQL stores no NUL, and nobody means the others.
    if any(ord(character) < 0x20 or 0xD800 <= ord(character) <= 0xDFFF for character in text):  # noqa: PLR2004 - C0 controls and halves of surrogates
        raise ValueError("control characters are not allowed")
    return text


def _json_object(sent: object) -> object:
    """The object in a form's text field; what is no text is left to the next validator."""
    if not isinstance(sent, str):
        return sent
    try:
        return orjson.loads(sent)
    except orjson.JSONDecodeError as error:
        raise ValueError("this is not JSON") from error


def _attributes(sent: Json) -> Json:
    if len(sent) > MAX_ATTRIBUTES:
        raise ValueError(f"at most {MAX_ATTRIBUTES} attributes")
    for key, value in sent.items():
        if not 0 < len(_printable(key)) <= MAX_ATTRIBUTE_KEY:
            raise ValueError(f"a key has 1 to {MAX_ATTRIBUTE_KEY} characters")
        if not _is_attribute(value):
            raise ValueError(f"a value is a text of at most {MAX_ATTRIBUTE_TEXT} characters, a number or a boolean")
    return sent


def _is_attribute(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_ATTRIBUTE_TEXT and "\0" not in value
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool) or (isinstance(value, int) and abs(value) < _LARGEST_INTEGER)


Line = Annotated[str, AfterValidator(_printable)]
"""Text without control characters."""

Attributes = Annotated[Json, BeforeValidator(_json_object), AfterValidator(_attributes)]
"""The client's own JSON about a document: few, short and flat, so that search can filter by it."""

OnDuplicate = Literal["return", "replace", "allow", "reject"]


class Body(BaseModel):
    """What a client sends: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Chunking(Body):
    """How long chunks are, in characters; what is left out comes from the collection, then from the service."""

    max_chars: int | None = Field(default=None, ge=100, le=20_000, strict=True)
    overlap_chars: int | None = Field(default=None, ge=0, le=10_000, strict=True)

    def within(self, *defaults: Mapping[str, Any], service: ChunkingSettings) -> dict[str, int]:  # stored JSON
        """The sizes that hold, these before *defaults* in their order, before the service's.

        An overlap that nobody asked for in this request gives way to a small chunk.

        Raises:
            Problem: 422, the overlap is not shorter than a chunk.
        """
        chosen = service.model_dump()
        for layer in (*reversed(defaults), self.model_dump(exclude_none=True)):
            chosen.update({name: layer[name] for name in chosen if layer.get(name) is not None})
        if self.overlap_chars is None:
            chosen["overlap_chars"] = min(chosen["overlap_chars"], chosen["max_chars"] // 2)
        if chosen["overlap_chars"] >= chosen["max_chars"]:
            raise Problem(
                422,
                "validation_failed",
                "overlap_chars must be less than max_chars.",
                pointer="/chunking/overlap_chars",
            )
        return chosen


class UploadFields(Body):
    """The fields of an upload beside the file."""

    collection: Annotated[Line, Field(min_length=1, max_length=255)] = "default"
    attributes: Attributes = Field(default_factory=dict)
    chunking: Annotated[Chunking, BeforeValidator(_json_object)] = Chunking()
    multimodal: bool = False
    external_id: Annotated[Line, Field(min_length=1, max_length=255)] | None = None
    on_duplicate: OnDuplicate = "return"


UPLOAD_FIELDS = frozenset(UploadFields.model_fields)


class Reprocessing(Body):
    """From where a document is processed again."""

    from_: Literal["extract", "embed"] = Field(default="extract", alias="from")


class Page(Body):
    """Which part of a list."""

    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=1024, description="`next_cursor` of the page before.")


class DocumentFilters(Page):
    """Which documents a list shows, newest first; all of what is given must hold."""

    collection: Line | None = None
    status: Status | None = None
    stage: Stage | None = None
    error_code: FailureCode | None = None
    name: Line | None = None
    external_id: Line | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    created_after: datetime | None = None
    updated_after: datetime | None = None

    @model_validator(mode="after")
    def _has_zones(self) -> "DocumentFilters":
        for moment in (self.created_after, self.updated_after):
            if moment is not None and moment.tzinfo is None:
                raise ValueError("a time needs a zone, as in 2026-11-20T11:48:10Z")
        return self

    def filters(self) -> Json:
        """What the cursor of the list is bound to."""
        return self.model_dump(mode="json", exclude={"limit", "cursor"}, exclude_none=True)


def upload_fields_of(sent: Mapping[str, str]) -> UploadFields:
    """The checked fields of a form.

    Raises:
        Problem: 422, with a pointer to each wrong field.
    """
    try:
        return UploadFields.model_validate(dict(sent))
    except ValidationError as error:
        faults = [
            FieldFault("/" + "/".join(map(str, item["loc"])), item["msg"].removeprefix("Value error, "))
            for item in error.errors()
        ]
        detail = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults)
        param = str(error.errors()[0]["loc"][0])
        raise Problem(422, "validation_failed", detail, param=param, errors=faults) from error


def page_of(shown: list[Json], next_cursor: str | None) -> Json:
    """A list as every route answers it."""
    return {"object": "list", "data": shown, "next_cursor": next_cursor}


_ID = "doc_0199a3f2c1d47e0b8a5d3c2b1a098877"
_JOB = "job_0199a3f2c1d57b3c9d2e1f0a5b6c7d8e"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

DOCUMENT_EXAMPLE: Json = {
    "id": _ID,
    "object": "document",
    "collection": "default",
    "external_id": None,
    "name": "report.pdf",
    "status": "processing",
    "stage": "embedding",
    "waiting_reason": None,
    "message": "Embedding 812 of 1320 chunks.",
    "progress": {
        "percent": 73,
        "pages": {"done": 500, "total": 500, "failed": [7]},
        "chunks": {"done": 812, "total": 1320},
        "queue_position": None,
        "eta_seconds": 48,
        "updated_at": "2026-11-20T11:48:10Z",
    },
    "active_run": 7,
    "published_run": 5,
    "job_id": _JOB,
    "sha256": _SHA256,
    "media_type": "application/pdf",
    "bytes": 1048576,
    "tries": 1,
    "max_tries": 3,
    "total_chunks": 1320,
    "error": None,
    "warnings": [],
    "attributes": {"year": 2026},
    "chunking": {"max_chars": 1000, "overlap_chars": 200},
    "multimodal": False,
    "embedding": {"model": "text-embedding-3-small", "dimensions": 1536},
    "created_at": "2026-11-20T11:46:01Z",
    "started_at": "2026-11-20T11:46:02Z",
    "finished_at": None,
    "links": {
        "self": f"https://sluice.example/v1/documents/{_ID}",
        "events": f"https://sluice.example/v1/documents/{_ID}/events",
        "content": f"https://sluice.example/v1/documents/{_ID}/content",
        "chunks": f"https://sluice.example/v1/documents/{_ID}/chunks",
    },
}

ACCEPTED_EXAMPLE: Json = DOCUMENT_EXAMPLE | {
    "status": "queued",
    "stage": "received",
    "waiting_reason": "worker_slot",
    "message": "The document was uploaded and is being processed in the background.",
    "active_run": None,
    "published_run": None,
    "total_chunks": None,
}

STATUS_EXAMPLE: Json = {
    "id": _ID,
    "name": "report.pdf",
    "status": "processing",
    "stage": "embedding",
    "progress": 73,
    "total_chunks": 1320,
    "message": "Embedding 812 of 1320 chunks.",
    "error": None,
    "job_id": _JOB,
    "created_at": "2026-11-20T11:46:01Z",
    "started_at": "2026-11-20T11:46:02Z",
    "finished_at": None,
}

CHUNK_EXAMPLE: Json = {
    "object": "chunk",
    "chunk": 12,
    "text": "The contract ends on 31 March 2027.",
    "page_start": 3,
    "page_end": 3,
    "char_start": 10400,
    "char_end": 10435,
    "tokens": 9,
    "section": "Term",
    "sheet": None,
    "slide": None,
    "time_start": None,
    "time_end": None,
    "boxes": None,
}

ANALYSIS_EXAMPLE: Json = {
    "object": "analysis",
    "document_id": _ID,
    "run": 7,
    "kind": "audio",
    "duration_s": 9.993,
    "recording": {
        "container": "mp3",
        "codec": "mp3",
        "sample_rate": 44100,
        "channels": 1,
        "has_video": False,
        "tags": {"title": "Shakespeare on Scenery", "artist": "Oscar Wilde"},
    },
    "measures": {
        "loudness_lufs": -27.87,
        "peak_dbfs": -8.58,
        "clipped_ratio": 0.0,
        "silence_s": 2.9,
        "speech_s": 6.985,
    },
    "silences": [[0.0, 0.9], [2.7, 3.3], [4.3, 5.2], [7.1, 7.6]],
    "speeches": [[1.088, 2.72], [3.328, 4.544], [5.248, 7.04], [7.648, 9.993]],
    "labels": [
        {
            "label": "speech",
            "confidence": 0.95,
            "votes": [
                {"member": "speech", "confidence": 1.0, "weight": 1.0},
                {"member": "audioset", "confidence": 0.9, "weight": 1.0},
            ],
        }
    ],
    "members": [
        {"name": "speech", "kind": "built_in", "weight": 1.0, "outcome": "ok", "reason": None},
        {"name": "audioset", "kind": "endpoint", "weight": 1.0, "outcome": "ok", "reason": None},
        {"name": "mood", "kind": "installed", "weight": 2.0, "outcome": "left_out", "reason": "timeout"},
    ],
    "transcript": {"outcome": "ok", "model": "whisper-1", "language": "english"},
}

JOB_EXAMPLE: Json = {
    "id": _JOB,
    "object": "job",
    "kind": "ingest",
    "status": "success",
    "document_id": _ID,
    "progress": 100,
    "message": "The document is ready.",
    "result": {"document_id": _ID, "run": 7, "total_chunks": 3, "analysis": None},
    "error": None,
    "created_at": "2026-11-20T11:46:01Z",
    "finished_at": "2026-11-20T11:46:09Z",
}

DELETED_EXAMPLE: Json = {"id": _ID, "status": "deleting"}

PROBLEM_EXAMPLE: Json = {
    "type": "https://sluice.example/problems/not_found",
    "title": "There is no such thing",
    "status": 404,
    "detail": "There is no such document.",
    "instance": "/v1/requests/req_4c0f1d2e3b5a49788796a5b4c3d2e1f0",
    "code": "not_found",
    "request_id": "req_4c0f1d2e3b5a49788796a5b4c3d2e1f0",
    "errors": [],
    "error": {"message": "There is no such document.", "type": "not_found_error", "param": None, "code": "not_found"},
}

UPLOAD_BODY: Json = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "The document, with its name."},
                    "collection": {"type": "string", "default": "default"},
                    "attributes": {
                        "type": "object",
                        "description": "Flat JSON: texts, numbers and booleans; search can filter by them.",
                    },
                    "chunking": {
                        "type": "object",
                        "properties": {"max_chars": {"type": "integer"}, "overlap_chars": {"type": "integer"}},
                    },
                    "multimodal": {"type": "boolean", "default": False},
                    "external_id": {"type": "string", "maxLength": 255},
                    "on_duplicate": {
                        "type": "string",
                        "enum": ["return", "replace", "allow", "reject"],
                        "default": "return",
                    },
                },
            },
            "encoding": {
                "attributes": {"contentType": "application/json"},
                "chunking": {"contentType": "application/json"},
            },
            "example": {"file": "(the bytes)", "collection": "default", "attributes": {"year": 2026}},
        }
    },
}


def answer(description: str, example: Json) -> Json:
    """An answer of a route, for the OpenAPI document."""
    return {"description": description, "content": {"application/json": {"example": example}}}


def refusal(description: str) -> Json:
    """A problem that a route may answer with, for the OpenAPI document."""
    return {"description": description, "content": {"application/problem+json": {"example": PROBLEM_EXAMPLE}}}
