"""The real nginx, as a process, with the configuration that is deployed; only its addresses are others."""

import contextlib
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from debian import require_programs
from oracle import wait_until
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx"


@dataclass(frozen=True)
class Proxy:
    """A running nginx."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "tls.crt"))

    def connect(self) -> ssl.SSLSocket:
        """A connection that speaks HTTP/1.1 byte by byte."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        return self.tls.wrap_socket(plain, server_hostname="127.0.0.1")

    def log(self) -> str:
        return (self.folder / "nginx.log").read_text(encoding="utf-8")


@contextlib.contextmanager
def open_mirror() -> Iterator[str]:
    """Start what answers with the head of each request, and echoes what comes through a WebSocket; its address."""

    def reflect(connection: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            return None
        return connection.respond(HTTPStatus.OK, _head_of(request))

    def echo(connection: ServerConnection) -> None:
        connection.send(_head_of(connection.request))
        for message in connection:
            connection.send(message)

    with serve(
        echo, "127.0.0.1", 0, process_request=reflect, select_subprotocol=lambda _, asked: next(iter(asked), None)
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def _head_of(request: Request) -> str:
    headers = {name.lower(): value for name, value in request.headers.raw_items()}
    return json.dumps({"path": request.path, "headers": headers})


@contextlib.contextmanager
def open_proxy(folder: Path, gateway: str) -> Iterator[Proxy]:
    """Start nginx in front of *gateway*, an address without a path."""
    require_programs({"nginx": "nginx-light", "openssl": "openssl"})
    port, health = _free_port(), _free_port()
    _configure(folder, gateway, port, health)
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    proxy = Proxy(port, folder)
    try:
        wait_until(lambda: process.poll() is not None or _listens(port), seconds=20, message=proxy.log)
        assert process.poll() is None, proxy.log()
        yield proxy
    finally:
        process.terminate()
        process.wait(timeout=20)


def _configure(folder: Path, gateway: str, port: int, health: int) -> None:
    for source in CONFIGURATION.glob("*.conf"):
        text = (
            source.read_text(encoding="utf-8")
            .replace("/tmp/", f"{folder}/")
            .replace("127.0.0.1:8081", f"127.0.0.1:{health}")
        )
        text = text.replace("/dev/stderr", "stderr").replace("/dev/stdout", str(folder / "access.log"))
        (folder / source.name).write_text(text, encoding="utf-8")
    listen = (folder / "listen.conf").read_text(encoding="utf-8")
    listen = listen.replace("listen 8443", f"listen 127.0.0.1:{port}").replace("/run/secrets", str(folder))
    (folder / "listen.conf").write_text(listen, encoding="utf-8")
    (folder / "gateway.conf").write_text(f"set $gateway {gateway};\n", encoding="utf-8")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*new, *names, *files], check=True, capture_output=True)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
