"""What happened to a document: as a list, or as a stream that goes on until the document has ended."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated
from uuid import UUID

import orjson
import structlog
from fastapi import APIRouter, Depends, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from sluice_api.auth import needs
from sluice_api.cursors import Cursors
from sluice_api.deps import ApiDeps
from sluice_api.presenting import Language, language_of, list_answer, moment_json, status_json
from sluice_api.problems import Problem
from sluice_api.routes.documents import find_document
from sluice_api.schemas import Json, Page, page_of, refusal
from sluice_common import ids
from sluice_common.catalogue import DocumentView
from sluice_common.errors import TransientError
from sluice_common.events import PROGRESS, STATUS, Event
from sluice_common.keys import Principal, Scope
from sluice_common.status import ENDED, Lifecycle, State, stage_of, status_of

log = structlog.get_logger(__name__)

SILENCE_S = 15.0
"""A comment is sent after this long without an event, so that proxies and clients know that we are there."""

PROGRESS_INTERVAL_S = 0.5
MOST_AT_ONCE = 1000

_RETRY = b"retry: 2000\n\n"
_COMMENT = b":\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx must pass every event on at once
_MAX_ID_DIGITS = 18  # such a number fits the table's 64 bits

_EVENT_EXAMPLE: Json = {
    "id": 4711,
    "object": "event",
    "event": "document.status",
    "document_id": "doc_0199a3a0c1d27cc2a6f1f3b4c5d6e7f8",
    "status": "processing",
    "stage": "extracting",
    "run": 7,
    "facts": {"try": 1},
    "created_at": "2026-11-20T11:48:10Z",
}
_STREAM_EXAMPLE = (
    'retry: 2000\n\nid: 4711\nevent: document.status\ndata: {"document_id":"doc_0199a3a0c1d27cc2a6f1f3b4c5d6e7f8",'
    '"status":"processing","stage":"extracting","progress":12,"message":"Extracting text (12 of 100 pages)."}\n\n'
)
_SHOWN = {
    "description": "Oldest first; with `Accept: text/event-stream` a stream that begins with the current state, or "
    "behind `Last-Event-ID`, and ends with the document.",
    "content": {
        "application/json": {"example": page_of([_EVENT_EXAMPLE], None)},
        "text/event-stream": {"example": _STREAM_EXAMPLE},
    },
}


def event_routes(deps: ApiDeps) -> APIRouter:
    """The history of one document, as a list and as a stream."""
    router = APIRouter(prefix="/v1", tags=["documents"])
    cursors = Cursors(deps)

    @router.get(
        "/documents/{document_id}/events",
        operation_id="list_document_events",
        summary="Show or follow what happens to a document",
        responses={
            200: _SHOWN,
            400: refusal("`Last-Event-ID` is no number, or the cursor is not one of ours."),
            404: refusal("There is no such document."),
            410: refusal("The document was deleted."),
        },
    )
    async def document_events(
        document_id: str,
        request: Request,
        principal: Annotated[Principal, Depends(needs(Scope.READ))],
        page: Annotated[Page, Query()],
    ) -> Response:
        last_id = _last_event_id(request)
        wanted = (await run_in_threadpool(find_document, deps, principal, document_id)).id
        if "text/event-stream" in request.headers.get("accept", "").lower():
            stream = DocumentStream(deps, principal.tenant_id, wanted, language_of(request))
            return StreamingResponse(stream.pieces(last_id), headers=_HEADERS, media_type="text/event-stream")
        asked = _Asked(request, principal.tenant_id, wanted, last_id or 0, page)
        return await run_in_threadpool(_list, deps, cursors, asked)

    return router


@dataclass(frozen=True)
class _Asked:
    request: Request
    tenant_id: UUID
    document_id: UUID
    after: int
    page: Page


def _last_event_id(request: Request) -> int | None:
    text = request.headers.get("last-event-id")
    if not text:
        return None
    if len(text) > _MAX_ID_DIGITS or not (text.isascii() and text.isdigit()):
        raise Problem(400, "invalid_request", "Last-Event-ID is the id of an event.", param="Last-Event-ID")
    return int(text)


def _list(deps: ApiDeps, cursors: Cursors, asked: _Asked) -> Response:
    tenant_id, document_id, limit = asked.tenant_id, asked.document_id, asked.page.limit
    subject = ["events", document_id.hex]
    cursor = asked.page.cursor
    after = asked.after if cursor is None else cursors.position_of(tenant_id, subject, cursor)[0]
    found = deps.events.history_of(tenant_id, document_id, after=after, limit=limit + 1)
    shown = found[:limit]
    next_cursor = cursors.after(tenant_id, subject, [shown[-1].id]) if len(found) > limit else None
    return list_answer(asked.request, [_event_json(document_id, event) for event in shown], next_cursor)


def _event_json(document_id: UUID, event: Event) -> Json:
    state = State(event.state)
    return {
        "id": event.id,
        "object": "event",
        "event": event.event,
        "document_id": ids.shown("doc", document_id),
        "status": status_of(state, Lifecycle.ACTIVE).value,
        "stage": stage_of(state).value,
        "run": event.run_id,
        "facts": event.facts,
        "created_at": moment_json(event.created_at),
    }


@dataclass(frozen=True)
class _News:
    """Events that were not sent yet, oldest first, and the document as it is behind the last of them."""

    events: Sequence[Event]
    view: DocumentView

    @property
    def is_only_progress(self) -> bool:
        return all(event.event == PROGRESS for event in self.events)

    @property
    def is_end(self) -> bool:
        """Whether nothing more will come unless somebody asks for it."""
        if len(self.events) >= MOST_AT_ONCE:
            return False
        if self.view.lifecycle is not Lifecycle.ACTIVE:
            return True
        return self.view.state in ENDED and all(event.state == self.view.state for event in self.events[-1:])


class DocumentStream:
    """One client's stream of Server-Sent Events about one document."""

    def __init__(self, deps: ApiDeps, tenant_id: UUID, document_id: UUID, language: Language) -> None:
        self._deps = deps
        self._tenant_id = tenant_id
        self._document_id = document_id
        self._language = language
        self._sent = 0
        self._seen = 0
        """Newest event we know of; ahead of `_sent` while progress is held back."""
        self._progress_due = 0.0
        self._is_over = False

    async def pieces(self, last_id: int | None) -> AsyncIterator[bytes]:
        """The stream's bytes: first the current state, or what came behind *last_id*, then each event as it comes.

        Ends after the document has, when the process stops, and when the database is away: the client connects
        again and goes on behind the last event it has.
        """
        yield _RETRY
        try:
            yield await self._beginning(last_id)
            while not self._is_over and not self._deps.watch.is_closed:
                yield await self._next()
        except TransientError as error:
            log.warning("stream_broken", document_id=str(self._document_id), code=error.code)

    async def _beginning(self, last_id: int | None) -> bytes:
        latest = await run_in_threadpool(self._deps.events.latest_ids, [self._document_id])
        newest = latest.get(self._document_id, 0)
        if last_id is not None and last_id <= newest:
            self._sent = self._seen = last_id
            return await self._behind()
        # Read behind the id, so that the state is at least as new as the id says.
        news = await run_in_threadpool(self._news, newest, events_wanted=False)
        self._sent = self._seen = newest
        self._is_over = news.is_end
        return self._line(newest, STATUS, news.view, {"run": news.view.active_run, "facts": {}})

    async def _next(self) -> bytes:
        is_holding = self._seen > self._sent
        patience_s = max(0.0, self._progress_due - time.monotonic()) if is_holding else SILENCE_S
        has_changed = await self._deps.watch.changed(self._document_id, self._seen, patience_s)
        return await self._behind() if has_changed or is_holding else _COMMENT

    async def _behind(self) -> bytes:
        news = await run_in_threadpool(self._news, self._sent)
        if news.events:
            self._seen = news.events[-1].id
        if news.is_only_progress and not news.is_end and time.monotonic() < self._progress_due:
            return b""
        self._sent = self._seen
        self._is_over = news.is_end
        self._progress_due = time.monotonic() + PROGRESS_INTERVAL_S
        return b"".join(self._line_of(event, news) for event in _shown(news.events))

    def _news(self, after: int, *, events_wanted: bool = True) -> _News:
        if not events_wanted:
            return _News([], self._view())
        events = self._history(after)
        view = self._view()
        if view.state in ENDED and len(events) < MOST_AT_ONCE:
            # What ended it, and whether it was asked for again meanwhile, may have come behind the first look.
            events += self._history(events[-1].id if events else after)
        return _News(events, view)

    def _history(self, after: int) -> list[Event]:
        return self._deps.events.history_of(self._tenant_id, self._document_id, after=after, limit=MOST_AT_ONCE)

    def _view(self) -> DocumentView:
        view = self._deps.catalogue.find(self._tenant_id, self._document_id)
        assert view is not None, "rows of documents stay"
        return view

    def _line_of(self, event: Event, news: _News) -> bytes:
        is_latest = event is news.events[-1]
        view = news.view if is_latest and _agrees(event, news.view) else _as_it_was(news.view, event)
        return self._line(event.id, event.event, view, {"run": event.run_id, "facts": event.facts})

    def _line(self, event_id: int, event: str, view: DocumentView, facts: Json) -> bytes:
        body = {"document_id": ids.shown("doc", view.id), **status_json(view, self._language), **facts}
        # JSON has no line breaks outside its strings, and orjson escapes those within.
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (event_id, event.encode(), orjson.dumps(body))


def _shown(events: Sequence[Event]) -> list[Event]:
    """Every change of status; of progress only the last, because the ones before say nothing any more."""
    return [event for event in events if event.event == STATUS or event is events[-1]]


def _agrees(event: Event, view: DocumentView) -> bool:
    return event.state == view.state or view.lifecycle is not Lifecycle.ACTIVE


_CEILINGS: Mapping[State, int] = {
    State.QUEUED: 40,
    State.EXTRACTING: 40,
    State.EMBEDDING: 95,
    State.VERIFYING: 95,
}
"""The most that a document in this state has done, in percent."""


def _as_it_was(view: DocumentView, event: Event) -> DocumentView:
    state = State(event.state)
    return replace(
        view,
        lifecycle=Lifecycle.ACTIVE,
        state=state,
        percent=min(view.percent, _CEILINGS.get(state, 100)),
        error_code=event.facts.get("error_code"),
        error_detail=None,
        error_detail_code=event.facts.get("detail_code"),
        finished_at=event.created_at if state in ENDED else None,
    )
