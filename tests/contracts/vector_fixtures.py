"""Vector stores to run the contract on: the embedded server as a real process, and a real Qdrant where one is given."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest
from numpy.typing import NDArray
from qdrant_client import QdrantClient

from sluice_common.adapters.qdrant import QdrantVectorStore, open_qdrant
from sluice_common.lexical import lexical_vector
from sluice_common.ports import Point
from sluice_common.settings import QdrantSettings

DIMENSIONS = 8
REAL_QDRANT = os.environ.get("SLUICE_TEST_QDRANT_URL")


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class VectorServer:
    """The embedded server over one folder, which may be started again and again."""

    root: Path
    key_file: Path | None = None
    port: int = field(default_factory=free_port)
    running: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self, port: int | None = None) -> list[str]:
        command = [sys.executable, "-m", "sluice_local.vector_server", "--host", "127.0.0.1"]
        command += ["--port", str(port or self.port), "--root", str(self.root)]
        return command + (["--api-key-file", str(self.key_file)] if self.key_file else [])

    def start(self) -> "VectorServer":
        self.running = subprocess.Popen(self.command())
        wait_until(self._answers, seconds=30, what="the vector server answers")
        return self

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def client(self, key: str | None = None) -> QdrantClient:
        return open_qdrant(QdrantSettings(url=self.url, api_key=key))

    def _answers(self) -> bool:
        assert self.running is not None
        assert self.running.poll() is None, f"the vector server ended with {self.running.returncode}"
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _end(self, number: int) -> None:
        if self.running is not None:
            self.running.send_signal(number)
            self.running.wait(timeout=20)
            self.running = None


@pytest.fixture(scope="session")
def embedded_vector_server(tmp_path_factory) -> Iterator[VectorServer]:
    server = VectorServer(tmp_path_factory.mktemp("vectors")).start()
    yield server
    server.stop()


@pytest.fixture
def own_vector_server(tmp_path) -> Iterator[VectorServer]:
    """A server that a test may kill."""
    server = VectorServer(tmp_path / "vectors").start()
    yield server
    server.kill()


@pytest.fixture(params=["embedded", "qdrant"] if REAL_QDRANT else ["embedded"])
def vector_client(request) -> Iterator[QdrantClient]:
    url = REAL_QDRANT if request.param == "qdrant" else request.getfixturevalue("embedded_vector_server").url
    opened = open_qdrant(QdrantSettings(url=url))
    yield opened
    opened.close()


@pytest.fixture
def vector_store(vector_client) -> Iterator[QdrantVectorStore]:
    """An empty index of its own."""
    index = f"test_{uuid4().hex}"
    made = QdrantVectorStore(vector_client, index=index, dimensions=DIMENSIONS)
    made.ensure_index()
    yield made
    vector_client.delete_collection(index)


def make_point(**changes) -> Point:
    text = changes.pop("text", "a chunk about nothing")
    values = {
        "id": uuid4(),
        "tenant_id": UUID(int=1),
        "collection_id": UUID(int=2),
        "document_id": UUID(int=3),
        "run_id": 1,
        "chunk_no": 0,
        "page": 1,
        "lexical": lexical_vector(text),
    }
    return Point(**{**values, **changes})


def unit_vectors(count: int, *, seed: int = 0, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
