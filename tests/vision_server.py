"""A small server that speaks OpenAI's protocol of chats with images, well or in one of many wrong ways."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SEEN = "A bar chart of the coffee machine: 12 litres on Monday."


def chat(content: object, **others: object) -> dict[str, Any]:
    """An answer with that content."""
    message = {"role": "assistant", "content": content, "refusal": None} | others.pop("message", {})  # type: ignore[operator]
    return {"id": "chat-1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"} | others]}


@dataclass
class Seeing:
    """What the server does next, and what it was shown."""

    url: str
    answer: dict[str, Any] | bytes | Callable[[bytes], dict[str, Any]] = field(default_factory=lambda: chat(SEEN))
    status: int = 200
    statuses: list[int] = field(default_factory=list)
    """Of the next answers, before `status` holds."""
    headers: dict[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None
    """Until it is set nothing is answered."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def pictures(self) -> list[bytes]:
        """The PNG files that it was shown."""
        return [png_in(request) for request in self.asked]


def png_in(request: dict[str, Any]) -> bytes:
    (url,) = (part["image_url"]["url"] for part in request["messages"][-1]["content"] if part["type"] == "image_url")
    head, _, encoded = url.partition(",")
    assert head == "data:image/png;base64"
    return base64.b64decode(encoded, validate=True)


class _Handler(BaseHTTPRequestHandler):
    seeing: Seeing

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        seeing = self.seeing
        seeing.asked.append(request)
        seeing.authorizations.append(self.headers["Authorization"] or "")
        seeing.paths.append(self.path)
        if seeing.hold is not None:
            seeing.hold.wait(30)
        status = seeing.statuses.pop(0) if seeing.statuses else seeing.status
        answer = seeing.answer(png_in(request)) if callable(seeing.answer) else seeing.answer
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in seeing.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Nothing to log."""


@contextmanager
def vision_server() -> Iterator[Seeing]:
    """The server, on a port of its own."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.seeing = Seeing(f"http://127.0.0.1:{server.server_port}/v1")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield handler.seeing
    finally:
        if handler.seeing.hold is not None:
            handler.seeing.hold.set()
        server.shutdown()
        server.server_close()
