"""A small HTTP server with fixed answers, which remembers what it was asked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Gateway:
    """`with Gateway({"GET /path": (status, body)}) as gateway: gateway.url`; a body may be a function."""

    def __init__(self, answers):
        self.requests = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(answers))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()

    def _handler(self, answers):
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer()

            def do_POST(self):
                self.answer()

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = f"{self.command} {self.path}"
                requests.append((asked, dict(self.headers), body))
                status, answer = answers.get(asked, (404, {"code": "not_found"}))
                answer = answer(body) if callable(answer) else answer
                sent = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *arguments):
                pass

        return Handler
