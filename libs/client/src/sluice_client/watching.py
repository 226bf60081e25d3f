"""Following a document: by its event stream, else by long polling, else by polling."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from sluice_client import results
from sluice_client.errors import Gone, RequestRefused, WaitTimeout
from sluice_client.results import Document, Event
from sluice_client.server_sent_events import EventParser, lines_of
from sluice_client.transport import Request, Transport, decoded

Progressed = Callable[[Document], None]
"""Called with the document as it is, from the waiting thread."""

SILENCE_S = 45.0  # a comment comes every 15 s; three missed ones are a dead connection
LEAST_SILENCE_S = 5.0  # less would take a slow first answer for a dead gateway
STREAM_TRIES = 3
POLL_S = 1.0
LONG_POLL_S = 25
FIRST_RECONNECT_S = 0.5


class StreamUnavailable(Exception):
    """The event stream cannot be had now, though other requests may get through."""


class EventStream:
    """The events of one path, over as many connections as it takes; each goes on behind the last event."""

    def __init__(self, transport: Transport, path: str, *, last_event_id: str | None = None) -> None:
        self._transport = transport
        self._path = path
        self._parser = EventParser(last_event_id)
        self._failures = 0
        self._is_reconnecting = False

    @property
    def last_event_id(self) -> str | None:
        """Behind which event the next connection goes on."""
        return self._parser.last_event_id

    @contextmanager
    def connected(self, *, open_for_s: float = math.inf) -> Iterator[Iterator[Event]]:
        """Open one connection; its events end when the gateway or the network ends it.

        Args:
            open_for_s: end the events after so long, or up to `LEAST_SILENCE_S` later while nothing comes.

        Raises:
            StreamUnavailable: the answer is no event stream, or it failed `STREAM_TRIES` times in a row.
            Gone: the document was deleted, or the last event is no longer kept.
        """
        if self._is_reconnecting:
            # Also after a good connection: a gateway that is stopping ends each one at once.
            time.sleep(self._wait_s())
        self._is_reconnecting = True
        with self._transport.streamed(self._request(max(LEAST_SILENCE_S, min(SILENCE_S, open_for_s)))) as answer:
            if not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise StreamUnavailable("the gateway does not offer an event stream")
            yield self._events_of(answer, time.monotonic() + open_for_s)
        if self._failures >= STREAM_TRIES:
            raise StreamUnavailable("the event stream breaks off again and again")

    def _request(self, silence_s: float) -> Request:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._parser.last_event_id:
            headers["Last-Event-ID"] = self._parser.last_event_id
        return Request("GET", self._path, headers=headers, timeout_s=silence_s)

    def _events_of(self, answer: httpx.Response, until: float) -> Iterator[Event]:
        self._failures += 1  # taken back by the first event
        self._parser = EventParser(self._parser.last_event_id)
        try:
            for line in lines_of(answer.iter_bytes()):
                event = self._parser.feed(line)
                if event is not None:
                    self._failures = 0
                    yield results.event_from(_fields_of(event.body), event_id=event.id, event_type=event.type)
                elif time.monotonic() > until:
                    return
        except httpx.TransportError:
            return  # the caller connects again

    def _wait_s(self) -> float:
        if self._parser.retry_ms is not None:
            return self._parser.retry_ms / 1000
        return float(FIRST_RECONNECT_S * 2**self._failures)


class Watch:
    """Waiting for the end of one document."""

    def __init__(self, transport: Transport, path: str, on_progress: Progressed | None, deadline: float | None) -> None:
        self._transport = transport
        self._path = path
        self._on_progress = on_progress
        self._deadline = deadline
        self._etag: str | None = None
        self._latest: Document | None = None

    def until_ended(self) -> Document:
        """Wait by the best way that gets through."""
        document = self._look()
        if document.ended:
            return document
        try:
            return self._by_stream()
        except StreamUnavailable:
            return self._by_polling()
        except RequestRefused as refused:
            if isinstance(refused, Gone) and refused.code != "event_gap":
                raise
            return self._by_polling()

    def _by_stream(self) -> Document:
        stream = EventStream(self._transport, f"{self._path}/events")
        while True:
            with stream.connected(open_for_s=self._left_s()) as events:
                # Between the last look and the opening of the stream the document may have ended.
                document = self._look()
                while not document.ended and next(events, None) is not None:
                    document = self._look()
            if document.ended:
                return document

    def _by_polling(self) -> Document:
        while True:
            began = time.monotonic()
            document = self._look(wait_s=min(LONG_POLL_S, self._left_s()))
            if document.ended:
                return document
            # A gateway that does not wait, or a proxy that drops the header, must not be asked in a tight loop.
            pause_s = min(POLL_S, self._left_s()) - (time.monotonic() - began)
            if pause_s > 0:
                time.sleep(pause_s)

    def _look(self, *, wait_s: float = 0) -> Document:
        headers = {"If-None-Match": self._etag} if self._etag else {}
        headers |= {"Prefer": f"wait={int(wait_s)}"} if wait_s >= 1 else {}
        answer = self._transport.answer_to(Request("GET", self._path, headers=headers))
        if answer.status_code != httpx.codes.NOT_MODIFIED or self._latest is None:
            self._etag = answer.headers.get("ETag")
            self._report(results.document_from(decoded(answer)))
        assert self._latest is not None
        return self._latest

    def _report(self, document: Document) -> None:
        is_new = document != self._latest
        self._latest = document
        if is_new and self._on_progress:
            self._on_progress(document)

    def _left_s(self) -> float:
        """Seconds until the deadline.

        Raises:
            WaitTimeout: there are none.
        """
        if self._deadline is None:
            return math.inf
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise WaitTimeout(f"{self._path.rpartition('/')[2]} was still unfinished when the time was over")
        return left_s


def _fields_of(body: str) -> dict[str, object]:
    try:
        fields = json.loads(body)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
