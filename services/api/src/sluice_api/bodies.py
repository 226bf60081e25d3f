"""Bounds every request's body in time and size, and lets early refusals reach the client."""

import asyncio
import contextlib
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sluice_api.auth import body_limit_of, too_large
from sluice_api.problems import Problem

GRACE_S = 60.0
SLOWEST_BYTES_PER_S = 50_000
"""A body may take `GRACE_S` and what it would take at this speed; a drip that never pauses ends here."""

DRAINED_BYTES = 64 * 2**10
LINGER_S = 1.0
"""After a refusal so much is still read, or waited for: closing at once would reset the connection, and the client
might never see the answer."""


class BodyGate:
    """Cuts bodies that are too long or too slow, and closes the connections of those that nobody reads."""

    def __init__(self, app: ASGIApp, *, max_document_bytes: int, gap_s: float) -> None:
        self._app = app
        self._max_document_bytes = max_document_bytes
        self._gap_s = gap_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        limit = body_limit_of(scope["path"], self._max_document_bytes)
        body = _Body(receive, limit=limit, gap_s=self._gap_s)
        answer = _Answer(send, body)
        await self._app(scope, body.receive, answer.send)
        await answer.end()


class _Body:
    """One request's body as it arrives."""

    def __init__(self, receive: Receive, *, limit: int, gap_s: float) -> None:
        self._receive = receive
        self._limit = limit
        self._gap_s = gap_s
        self._began = time.monotonic()
        self.size_bytes = 0
        self.is_complete = False

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            Problem: 408 after a silence or when the whole is too slow, 413 past the limit.
        """
        if self.is_complete:
            return await self._receive()  # waits for the end of the connection, which may take long
        try:
            async with asyncio.timeout(self._patience_s()):
                message = await self.next_piece()
        except TimeoutError as error:
            raise Problem(408, "request_timeout", "The body came too slowly; nothing was stored.") from error
        if self.size_bytes > self._limit:
            raise too_large(self._limit)
        return message

    async def next_piece(self) -> Message:
        """The next piece, without limits."""
        message = await self._receive()
        self.size_bytes += len(message.get("body", b""))
        self.is_complete = not message.get("more_body", False)  # also when the client is gone
        return message

    def _patience_s(self) -> float:
        allowed_s = GRACE_S + self.size_bytes / SLOWEST_BYTES_PER_S
        return max(0.0, min(self._gap_s, self._began + allowed_s - time.monotonic()))


class _Answer:
    """The answer to a request whose body may not have been read to its end."""

    def __init__(self, send: Send, body: _Body) -> None:
        self._send = send
        self._body = body
        self._lingers = False

    async def send(self, message: Message) -> None:
        """Pass *message* on; the server is not told yet that an early answer is over, or it would close at once."""
        if message["type"] == "http.response.start" and not self._body.is_complete:
            self._lingers = True
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        if self._lingers and message["type"] == "http.response.body":
            message = {**message, "more_body": True}
        await self._send(message)

    async def end(self) -> None:
        """Let the client read an early answer, then close the connection."""
        if self._lingers:
            await self._linger()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _linger(self) -> None:
        enough = self._body.size_bytes + DRAINED_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while not self._body.is_complete:
                    if self._body.size_bytes >= enough:
                        await asyncio.sleep(LINGER_S)  # ended by the timeout: time for the client to read the answer
                    await self._body.next_piece()


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""
