"""What the gateway answers, as frozen dataclasses that ignore fields they do not know."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Json = Mapping[str, Any]  # a decoded JSON object: its values are whatever the wire carries

ENDED = frozenset({"ready", "failed", "cancelled", "deleting", "deleted"})


@dataclass(frozen=True)
class Count:
    """How many of how many; `total` is None while it is unknown."""

    done: int = 0
    total: int | None = None


@dataclass(frozen=True)
class Progress:
    """How far a document is."""

    percent: int = 0
    """0 to 100; never falls within one request."""
    pages: Count = Count()
    failed_pages: tuple[int, ...] = ()
    chunks: Count = Count()
    queue_position: int | None = None
    eta_seconds: float | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True)
class DocumentError:
    """Why a document failed and what to do about it."""

    code: str
    message: str = ""
    remedy: str | None = None
    retryable: bool = False
    detail_code: str | None = None


@dataclass(frozen=True)
class Embedding:
    """The model that a document's chunks are embedded with."""

    model: str
    dimensions: int | None = None


@dataclass(frozen=True)
class Document:
    """One document as the status table knows it at the moment of asking."""

    id: str
    name: str
    collection: str
    status: str
    """queued, processing, ready, failed, cancelled or deleting."""
    stage: str | None = None
    """received, extracting, embedding or done."""
    waiting_reason: str | None = None
    message: str = ""
    progress: Progress = Progress()
    external_id: str | None = None
    active_run: int | None = None
    published_run: int | None = None
    job_id: str | None = None
    sha256: str | None = None
    media_type: str | None = None
    bytes: int | None = None
    tries: int = 0
    max_tries: int | None = None
    total_chunks: int | None = None
    error: DocumentError | None = None
    warnings: tuple[Any, ...] = ()  # words or objects, as the gateway lists them
    attributes: Json = field(default_factory=dict)
    chunking: Json = field(default_factory=dict)
    multimodal: bool = False
    embedding: Embedding | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    already_there: bool = False
    """True from `upload` when the same bytes were in the collection before and nothing new was made."""

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more unless somebody asks for it."""
        return self.status in ENDED


@dataclass(frozen=True)
class Status:
    """The short form of a document."""

    id: str
    name: str
    status: str
    stage: str | None = None
    percent: int = 0
    message: str = ""
    total_chunks: int | None = None
    error: DocumentError | None = None
    job_id: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more unless somebody asks for it."""
        return self.status in ENDED


@dataclass(frozen=True)
class Chunk:
    """A span of a document's text that is embedded as one."""

    number: int
    text: str
    page_start: int | None = None
    page_end: int | None = None
    char_start: int | None = None
    char_end: int | None = None
    tokens: int | None = None
    section: str | None = None
    sheet: str | None = None
    slide: int | None = None
    time_start: float | None = None
    """Seconds from the beginning of a recording or of what subtitles belong to."""
    time_end: float | None = None
    boxes: tuple[Any, ...] = ()  # as the reader of the format gives them


@dataclass(frozen=True)
class Hit:
    """One chunk returned by a search."""

    document_id: str
    name: str
    collection: str
    chunk: int
    """The chunk's number in its document."""
    text: str
    score: float
    """Cosine (dense), BM25-like (lexical) or reciprocal rank fusion (hybrid); higher is better within one mode."""
    page_start: int | None = None
    page_end: int | None = None
    section: str | None = None
    sheet: str | None = None
    slide: int | None = None
    time_start: float | None = None
    """Seconds from the beginning of a recording or of what subtitles belong to."""
    time_end: float | None = None
    attributes: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Collection:
    """A tenant's named set of documents."""

    name: str
    id: str | None = None
    chunking: Json = field(default_factory=dict)
    documents: int | None = None
    created_at: datetime | None = None


@dataclass(frozen=True)
class Event:
    """One thing that happened to a document."""

    id: str | None
    """Grows per tenant; give the last one back to go on behind it."""
    type: str
    document_id: str | None = None
    status: str | None = None
    stage: str | None = None
    percent: int | None = None
    message: str = ""
    created_at: datetime | None = None
    fields: Json = field(default_factory=dict)
    """The event as it was sent."""

    @property
    def ended(self) -> bool:
        """Whether the document needs no more watching."""
        return self.status in ENDED


@dataclass(frozen=True)
class Job:
    """One request for a document, and what became of it."""

    id: str
    kind: str
    status: str
    """pending, progress, success, failure or cancelled."""
    document_id: str
    progress: int | None = None
    message: str = ""
    result: Json | None = None
    """Of a success: its run, and the analysis of a recording."""
    error: DocumentError | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True)
class Key:
    """An API key; `secret` is there only in the answer that made it."""

    id: str
    name: str | None = None
    scopes: tuple[str, ...] = ()
    collections: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    created_at: datetime | None = None
    secret: str | None = None


@dataclass(frozen=True)
class StagePing:
    """Whether one stage's worker took a task from its queue."""

    stage: str
    message: str = ""
    worker: str | None = None
    seconds: float | None = None

    @property
    def has_answered(self) -> bool:
        return self.worker is not None


def document_from(body: Json, *, already_there: bool = False) -> Document:
    return Document(
        **_plain(body, Document),
        progress=progress_from(body.get("progress")),
        error=document_error_from(body.get("error")),
        warnings=tuple(body.get("warnings") or ()),
        attributes=body.get("attributes") or {},
        chunking=body.get("chunking") or {},
        embedding=_embedding_from(body.get("embedding")),
        already_there=already_there,
        **_moments(body, "created_at", "started_at", "finished_at"),
    )


def job_from(body: Json) -> Job:
    return Job(
        id=str(body.get("id", "")),
        kind=str(body.get("kind", "")),
        status=str(body.get("status", "")),
        document_id=str(body.get("document_id", "")),
        progress=body.get("progress"),
        message=str(body.get("message") or ""),
        result=body.get("result"),
        error=document_error_from(body.get("error")),
        **_moments(body, "created_at", "finished_at"),
    )


def status_from(body: Json) -> Status:
    return Status(
        **_plain(body, Status),
        percent=_percent(body.get("progress")) or 0,
        error=document_error_from(body.get("error")),
        **_moments(body, "created_at", "started_at", "finished_at"),
    )


def progress_from(progress: Any) -> Progress:  # an object in the long form, an integer in the short one
    if not isinstance(progress, Mapping):
        return Progress(percent=_percent(progress) or 0)
    pages = progress.get("pages") or {}
    return Progress(
        percent=_percent(progress) or 0,
        pages=_count(pages),
        failed_pages=tuple(pages.get("failed") or ()),
        chunks=_count(progress.get("chunks") or {}),
        queue_position=progress.get("queue_position"),
        eta_seconds=progress.get("eta_seconds"),
        **_moments(progress, "updated_at"),
    )


def document_error_from(error: Any) -> DocumentError | None:  # null, a bare code, or an object
    if not error:
        return None
    if not isinstance(error, Mapping):
        return DocumentError(code=str(error))
    return DocumentError(
        code=str(error.get("code", "internal")),
        message=str(error.get("message") or error.get("detail") or ""),
        remedy=error.get("remedy"),
        retryable=bool(error.get("retryable")),
        detail_code=error.get("detail_code"),
    )


def chunk_from(body: Json) -> Chunk:
    return Chunk(
        number=int(body.get("chunk", body.get("number", 0))),
        text=str(body.get("text", "")),
        page_start=body.get("page_start"),
        page_end=body.get("page_end"),
        char_start=body.get("char_start"),
        char_end=body.get("char_end"),
        tokens=body.get("tokens"),
        section=body.get("section"),
        sheet=body.get("sheet"),
        slide=body.get("slide"),
        time_start=body.get("time_start"),
        time_end=body.get("time_end"),
        boxes=tuple(body.get("boxes") or ()),
    )


def hit_from(body: Json) -> Hit:
    return Hit(
        document_id=str(body.get("document_id", "")),
        name=str(body.get("name", "")),
        collection=str(body.get("collection", "")),
        chunk=int(body.get("chunk", 0)),
        text=str(body.get("text", "")),
        score=float(body.get("score", 0.0)),
        page_start=body.get("page_start"),
        page_end=body.get("page_end"),
        section=body.get("section"),
        sheet=body.get("sheet"),
        slide=body.get("slide"),
        time_start=body.get("time_start"),
        time_end=body.get("time_end"),
        attributes=body.get("attributes") or {},
    )


def collection_from(body: Json) -> Collection:
    return Collection(
        name=str(body.get("name", "")),
        id=body.get("id"),
        chunking=body.get("chunking") or {},
        documents=body.get("documents") if isinstance(body.get("documents"), int) else None,
        **_moments(body, "created_at"),
    )


def event_from(body: Json, *, event_id: str | None = None, event_type: str | None = None) -> Event:
    nested = body.get("document")
    document: Json = nested if isinstance(nested, Mapping) else body
    progress = document.get("progress")
    return Event(
        id=event_id or _text(body.get("id")),
        type=event_type or str(body.get("type") or body.get("event") or "message"),
        document_id=body.get("document_id") or document.get("id"),
        status=document.get("status"),
        stage=document.get("stage"),
        percent=_percent(progress),
        message=str(document.get("message") or ""),
        fields=body,
        **_moments(body, "created_at"),
    )


def key_from(body: Json) -> Key:
    collections = body.get("collections")
    return Key(
        id=str(body.get("id", "")),
        name=body.get("name"),
        scopes=tuple(body.get("scopes") or ()),
        collections=tuple(collections) if collections else None,
        secret=body.get("key") or body.get("secret"),
        **_moments(body, "created_at", "expires_at"),
    )


def stage_ping_from(body: Json) -> StagePing:
    return StagePing(
        stage=str(body.get("stage", "")),
        message=str(body.get("message") or ""),
        worker=body.get("worker"),
        seconds=body.get("seconds"),
    )


_BUILT = frozenset(
    {"progress", "percent", "error", "warnings", "attributes", "chunking", "embedding", "already_there"}
    | {"created_at", "started_at", "finished_at"}
)


def _plain(body: Json, kind: type[Document] | type[Status]) -> dict[str, Any]:
    known = kind.__dataclass_fields__.keys() - _BUILT
    given = {name: body[name] for name in known if body.get(name) is not None}
    return {"id": "", "name": "", "status": ""} | ({"collection": ""} if kind is Document else {}) | given


def _moments(body: Json, *names: str) -> dict[str, Any]:
    return {name: _moment(body.get(name)) for name in names}


def _moment(text: Any) -> datetime | None:  # RFC 3339, or seconds since 1970
    if isinstance(text, int | float):
        return datetime.fromtimestamp(text).astimezone()
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _percent(progress: Any) -> int | None:  # an object with `percent`, or the number itself
    percent = progress.get("percent") if isinstance(progress, Mapping) else progress
    return int(percent) if isinstance(percent, int | float) else None


def _count(body: Json) -> Count:
    return Count(done=int(body.get("done") or 0), total=body.get("total"))


def _embedding_from(body: Any) -> Embedding | None:  # null before the model is known
    if not isinstance(body, Mapping) or not body.get("model"):
        return None
    return Embedding(model=str(body["model"]), dimensions=body.get("dimensions"))


def _text(value: Any) -> str | None:  # ids of events are numbers in JSON and text in a stream
    return None if value is None else str(value)


def items_of(page: Json) -> Iterator[Json]:
    """The objects of one page of a list."""
    yield from page.get("data") or ()
