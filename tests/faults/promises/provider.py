"""The local embedding server with a recorder before it: who was asked for what, and texts that it refuses."""

import json
import threading
import time
from dataclasses import dataclass
from typing import Any, Self

import uvicorn
from oracle import wait_until
from starlette.types import Receive, Scope, Send

from sluice_local.embedding_server import build_app, load_model

REFUSED = "unembeddable"
"""A word that the provider answers 400 for."""

_REFUSAL = json.dumps({"error": {"message": "This text is refused.", "type": "invalid_request_error"}}).encode()


@dataclass(frozen=True)
class Call:
    """One request for embeddings; `at_s` is by the clock that only counts."""

    at_s: float
    texts: tuple[str, ...]


class Provider:
    """The real server in a thread of the tests; a context manager."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        config = uvicorn.Config(
            self._answer, interface="asgi3", port=0, log_level="error", timeout_graceful_shutdown=2, ws="none"
        )
        self._app = build_app(load_model())
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="provider")

    @property
    def url(self) -> str:
        """Its address up to and with `/v1`."""
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}/v1"

    def calls_about(self, word: str, *, since_s: float = 0) -> int:
        """How many requests since then had a text with that word."""
        return sum(call.at_s >= since_s and any(word in text for text in call.texts) for call in list(self.calls))

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self._server.started, seconds=20, message="the provider does not listen")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=20)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/v1/embeddings":
            await self._app(scope, receive, send)
            return
        body = await _whole(receive)
        asked = json.loads(body)["input"]
        texts = (asked,) if isinstance(asked, str) else tuple(asked)
        self.calls.append(Call(time.monotonic(), texts))
        if any(REFUSED in text for text in texts):
            head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_REFUSAL))]
            await send({"type": "http.response.start", "status": 400, "headers": head})
            await send({"type": "http.response.body", "body": _REFUSAL})
            return
        await self._app(scope, _again(body), send)


async def _whole(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _again(body: bytes) -> Receive:
    """Receives *body* once more."""

    async def receive() -> dict[str, Any]:  # ASGI's messages
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
