"""Promise 13: after ten thousand documents no service has grown, and its log says little of each and no word of it."""

import itertools
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import psycopg
import pytest
from bounds.conftest import Say, StartStack
from bounds.memory import FORK_SERVER, MemoryWatch
from bounds.originals import words
from bounds.sizes import sized
from oracle import CLEAN, Oracle, wait_until

from sluice_client import SluiceClient
from sluice_local.stack import LocalStack

DOCUMENTS = sized(400, 10_000)
WARM_AFTER = sized(100, 3_000)
"""Documents until every thread, connection and cache is there."""
CLIENTS = 6
MOST_WAITING = 500
SERVICES = ("api", "extractor", "embedder", "reconciler")
MOST_MEBIBYTES_PER_100 = sized(8.0, 0.1)
"""The promise; a short run still warms up."""
MOST_LOG_BYTES_PER_DOCUMENT = 1500
CANARY = "canaryinthetext"
PATIENCE_S = sized(240, 3600)


@pytest.mark.timeout(PATIENCE_S + 300)
def test_ten_thousand_documents_leave_every_service_as_small_as_it_was(start_stack: StartStack, figures, say):
    stack = start_stack()
    with Ended(stack) as ended, MemoryWatch(stack, pause_s=sized(0.5, 2.0), progress=ended.count) as memory:
        upload_all(stack, ended, say)
        wait_until(
            lambda: shown(ended, say) == DOCUMENTS, seconds=PATIENCE_S, message=lambda: f"{ended.count()} have ended"
        )

    grown = {name: 100 * memory.slope(name, after=WARM_AFTER) for name in (*SERVICES, FORK_SERVER)}
    log_bytes = log_bytes_per_document(stack)
    parts = {name: 100 * memory.slope(name, after=WARM_AFTER) for name in ("postgres", "redis", "qdrant")}
    figures.note(
        13,
        f"{DOCUMENTS} documents, MiB for each 100 from {WARM_AFTER} on: {figures_of(grown)}; "
        f"parts: {figures_of(parts)}; largest own memory: "
        + ", ".join(f"{name} {memory.peak(name):.0f}" for name in (*SERVICES, "postgres", "redis", "qdrant")),
    )
    figures.note(13, f"bytes of log for each of {DOCUMENTS} documents: {log_bytes}")
    assert {name: slope for name, slope in grown.items() if slope >= MOST_MEBIBYTES_PER_100} == {}
    assert max(log_bytes.values()) < MOST_LOG_BYTES_PER_DOCUMENT
    assert not any(CANARY in log.read_text(encoding="utf-8", errors="replace") for log in logs_of(stack))
    assert Oracle(stack).settle(seconds=60) == CLEAN


class Ended:
    """How many documents are ready, asked over one connection; a context manager."""

    def __init__(self, stack: LocalStack) -> None:
        self._url = stack.environment_of("api")["SLUICE_DATABASE__URL"]
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._connection = psycopg.connect(self._url, autocommit=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def count(self) -> int:
        with self._lock:
            found = self._connection.execute("SELECT count(*) FROM documents WHERE state = 'completed'").fetchone()
        assert found is not None
        return found[0]


def upload_all(stack: LocalStack, ended: Ended, say: Say) -> None:
    """By several clients, none of which lets more than some hundreds wait."""
    numbers = itertools.count()

    def upload_some() -> None:
        with SluiceClient(stack.url, stack.api_key) as client:
            while (number := next(numbers)) < DOCUMENTS:
                client.upload(content_of(number), name=f"{number}{('.txt', '.md', '.html')[number % 3]}")
                if number % 50 == 0:
                    wait_until(
                        lambda so_far=number: so_far - shown(ended, say) < MOST_WAITING,
                        seconds=PATIENCE_S,
                        message="nothing goes on",
                    )

    with ThreadPoolExecutor(CLIENTS) as clients:
        for client in [clients.submit(upload_some) for _ in range(CLIENTS)]:
            client.result()


def content_of(number: int) -> bytes:
    """A few hundred words, in one of three formats."""
    text = f"{CANARY} of document {number}. " + words(number, 40 + number % 200)
    if number % 3 == 2:
        return f"<!doctype html><html><body><h1>Number {number}</h1><p>{text}</p></body></html>".encode()
    return text.encode()


def shown(ended: Ended, say: Say) -> int:
    count = ended.count()
    say(f"{count} of {DOCUMENTS} documents are ready")
    return count


def logs_of(stack: LocalStack) -> list[Path]:
    return sorted((stack.home / "logs").glob("*.log*"))


def log_bytes_per_document(stack: LocalStack) -> dict[str, int]:
    sizes = {name: sum(log.stat().st_size for log in (stack.home / "logs").glob(f"{name}.log*")) for name in SERVICES}
    return {name: round(size / DOCUMENTS) for name, size in sizes.items()}


def figures_of(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:+.3f}" for name, value in values.items())
