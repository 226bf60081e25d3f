"""A real HTTP server on loopback that answers what a test has written down."""

import json
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sluice_client import SluiceClient


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: object = None
    headers: dict = field(default_factory=dict)
    raw: bytes | None = None
    cut: bool = False
    """Break the connection off instead of answering, or behind the raw body."""


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict
    body: bytes


class Script:
    """The answers for each method and path, in order; the last one is given again and again."""

    def __init__(self):
        self.answers = defaultdict(list)
        self.asked = []
        self._lock = threading.Lock()

    def on(self, request, *answers):
        self.answers[request].extend(answers)
        return self

    def next_for(self, asked):
        with self._lock:
            self.asked.append(asked)
            left = self.answers[f"{asked.method} {asked.path.partition('?')[0]}"]
            if not left:
                return Answer(404, {"code": "not_found", "detail": f"no answer for {asked.method} {asked.path}"})
            return left.pop(0) if len(left) > 1 else left[0]

    def requests(self, request):
        return [one for one in self.asked if f"{one.method} {one.path.partition('?')[0]}" == request]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.read_body()
        asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        answer = self.server.script.next_for(asked)
        if answer.cut and answer.raw is None:
            self.close_connection = True
            return
        kind = "application/problem+json" if answer.status >= 400 else "application/json"
        content = answer.raw if answer.raw is not None else json.dumps(answer.body or {}).encode()
        self.send_response(answer.status)
        for name, value in ({"Content-Type": kind} | answer.headers).items():
            self.send_header(name, value)
        # A length that is never reached is how a stream looks that breaks off.
        self.send_header("Content-Length", str(len(content) + (1 if answer.cut else 0)))
        self.end_headers()
        if answer.status != 304:
            self.wfile.write(content)
        self.close_connection = answer.cut

    def read_body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline().strip() or b"0", 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_):
        pass


@pytest.fixture
def script():
    return Script()


@pytest.fixture
def url(script):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.script = script
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr("sluice_client.transport.FIRST_WAIT_S", 0.001)
    monkeypatch.setattr("sluice_client.watching.FIRST_RECONNECT_S", 0.001)
    monkeypatch.setattr("sluice_client.watching.POLL_S", 0.01)


@pytest.fixture
def client(url):
    with SluiceClient(url, "sk_test", timeout_s=10) as one:
        yield one


@pytest.fixture
def answered():
    return Answer


def document(status="ready", **changes):
    return {
        "id": "doc_1",
        "object": "document",
        "collection": "default",
        "name": "보고서.pdf",
        "status": status,
        "stage": {"ready": "done", "failed": "done", "queued": "received"}.get(status, "extracting"),
        "message": "",
        "progress": {"percent": 100 if status == "ready" else 10, "pages": {"done": 1, "total": 2, "failed": [7]}},
        "total_chunks": 3,
        "error": None,
        "a_field_of_tomorrow": {"is": "ignored"},
        **changes,
    }


@pytest.fixture
def make_document():
    return document
