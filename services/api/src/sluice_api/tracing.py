"""One id, one log line, one measurement and, where that is wanted, one span for every request."""

import re
import time
from contextlib import AbstractContextManager
from uuid import UUID, uuid4

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sluice_api.metrics import GatewayMetrics
from sluice_common import ids
from sluice_common.spans import NO_SPANS, Span, Spans

log = structlog.get_logger(__name__)

UNMATCHED = "(none)"
"""The route of requests that no route answers; their paths are the client's words and stand nowhere."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACED = "/v1/"
"""Begins the paths of work; health checks and the page would only fill the collector."""
_CUT = 499
"""Shown for a request whose client went away before the answer began."""


class Tracing:
    """Gives each request its id, which comes back in the answer and stands on every log line about it."""

    def __init__(self, app: ASGIApp, *, metrics: GatewayMetrics, spans: Spans = NO_SPANS) -> None:
        self._app = app
        self._metrics = metrics
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id_of(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = _CUT

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        began = time.monotonic()
        with structlog.contextvars.bound_contextvars(request_id=request_id), self._span_of(scope) as span:
            state["traceparent"] = span.traceparent
            try:
                await self._app(scope, receive, send_marked)
            finally:
                self._finish(scope, status, time.monotonic() - began, span)

    def _span_of(self, scope: Scope) -> AbstractContextManager[Span]:
        spans = self._spans if scope["path"].startswith(_TRACED) else NO_SPANS
        return spans.span(_method_of(scope), kind="server", parent=Headers(scope=scope).get("traceparent"))

    def _finish(self, scope: Scope, status: int, duration_s: float, span: Span) -> None:
        route = _route_of(scope)
        method = _method_of(scope)
        self._metrics.request_finished(route=route, method=method, status=status, duration_s=duration_s)
        facts = {"document_id": str(found)} if (found := _document_of(scope)) else {}
        span.rename(f"{method} {route}")
        span.note(request_id=scope["state"]["request_id"], status=status, **facts)
        log.info(
            "request_finished", method=method, route=route, status=status, duration_s=round(duration_s, 4), **facts
        )


def _request_id_of(scope: Scope) -> str:
    sent = Headers(scope=scope).get("x-request-id", "")
    return sent if _ACCEPTABLE_ID.fullmatch(sent) else f"req_{uuid4().hex}"


def _method_of(scope: Scope) -> str:
    return str(scope["method"]) if scope["method"] in _METHODS else "OTHER"


def _route_of(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", UNMATCHED))


def _document_of(scope: Scope) -> UUID | None:
    known: UUID | None = scope["state"].get("document_id")
    named = scope.get("path_params", {}).get("document_id")
    if known is None and isinstance(named, str):
        try:
            return ids.parse("doc", named)
        except ids.MalformedId:
            return None
    return known
