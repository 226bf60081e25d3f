"""A small server that speaks OpenAI's protocol of transcription, well or in one of many wrong ways."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SAID = "The notice period is three months. The coffee machine is descaled on Mondays."
SEGMENTS = [
    {"id": 0, "start": 0.0, "end": 4.2, "text": " The notice period is three months."},
    {"id": 1, "start": 4.2, "end": 9.5, "text": " The coffee machine is descaled on Mondays."},
]


@dataclass
class Speaking:
    """What the server does next, and what it heard."""

    url: str
    answer: dict[str, Any] | bytes = field(
        default_factory=lambda: {"text": SAID, "language": "english", "segments": SEGMENTS}
    )
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    knows_times: bool = True
    """Refuses `verbose_json` when not, as some models do."""
    cuts_off: bool = False
    hold: threading.Event | None = None
    """Until it is set nothing is answered."""
    heard: list[dict[str, bytes | str]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    speaking: Speaking

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = _parts_of(self.headers["Content-Type"], body)
        heard = {"path": self.path, "authorization": self.headers["Authorization"] or "", **parts}
        speaking = self.speaking
        speaking.heard.append(heard)
        if speaking.hold is not None:
            speaking.hold.wait(30)
        if speaking.status != 200:
            self._send(speaking.status, {"error": {"message": "no"}}, speaking.headers)
        elif parts["response_format"] == "verbose_json" and not speaking.knows_times:
            self._send(400, {"error": {"message": "response_format 'verbose_json' is not compatible"}}, {})
        elif parts["response_format"] == "json":
            self._send(200, {"text": SAID}, {})
        else:
            self._send(200, speaking.answer, speaking.headers)

    def _send(self, status: int, answer: dict[str, Any] | bytes, headers: dict[str, str]) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.speaking.cuts_off else body)

    def log_message(self, *_arguments: object) -> None:
        """Nothing to log."""


def _parts_of(content_type: str, body: bytes) -> dict[str, bytes | str]:
    message = BytesParser().parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts: dict[str, bytes | str] = {}
    for part in message.get_payload():
        name = re.search(r'name="([^"]*)"', part["Content-Disposition"])[1]
        content = part.get_payload(decode=True)
        parts[name] = content if name == "file" else content.decode()
    return parts


@contextmanager
def transcription_server() -> Iterator[Speaking]:
    """The server, on a port of its own."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.speaking = Speaking(f"http://127.0.0.1:{server.server_port}/v1")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield handler.speaking
    finally:
        if handler.speaking.hold is not None:
            handler.speaking.hold.set()
        server.shutdown()
        server.server_close()
