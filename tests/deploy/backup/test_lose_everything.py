"""The whole local stack: a backup while uploads go on, everything lost, a restore, and the same answers again."""

import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import system
from oracle import CLEAN, Oracle

import sluice_local
from sluice_client import SluiceClient
from sluice_local.postgres import VOLATILE
from sluice_local.stack import LocalStack

NOTHING_ELSE = {"SLUICE_ENV_FILE": "/dev/null"}
AS_LONG_AS_IT_TAKES_S = 120


def run(home: Path, *program: str, parts: bool = False) -> str:
    """A program with the settings of the stack in *home*, as the make targets run it."""
    stack = [sys.executable, "-m", "sluice_local.main", "--home", str(home), "exec", *(["--parts"] if parts else [])]
    command = [*stack, sys.executable, "-m", *program]
    settings = system(**NOTHING_ELSE)
    done = subprocess.run(
        command, env=settings, capture_output=True, text=True, timeout=AS_LONG_AS_IT_TAKES_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Uploads:
    """Somebody who uploads all the time, and remembers what was acknowledged."""

    client: SluiceClient
    samples: list[tuple[str, bytes]]
    acknowledged: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """By the id of the document, its name and its bytes."""

    def one(self, number: int) -> None:
        name, content = self.samples[number % len(self.samples)]
        content = content if number < len(self.samples) else f"Note {number} of an upload that goes on.".encode()
        document = self.client.upload(content, name=name, on_duplicate="return")
        self.acknowledged.setdefault(document.id, (name, content))

    def until(self, stopping: threading.Event) -> None:
        number = len(self.samples)
        while not stopping.wait(0.1):
            self.one(number)
            number += 1


@pytest.fixture
def samples() -> list[tuple[str, bytes]]:
    """Small documents of the corpus where there is one, and always the demo's."""
    folder = Path(sluice_local.__file__).parent / "demo_documents"
    found = [(path.name, path.read_bytes()) for path in sorted(folder.iterdir()) if path.suffix]
    return found + corpus_samples()


def corpus_samples() -> list[tuple[str, bytes]]:
    folder = system_corpus()
    if folder is None:
        return []
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in {".pdf", ".md", ".html", ".txt"}]
    wanted = 40 if os.environ.get("LONG") else 5
    small = [path for path in paths if path.is_file() and path.stat().st_size < 40_000]
    return [(path.name, path.read_bytes()) for path in small[:: len(small) // wanted or 1][:wanted]]


def system_corpus() -> Path | None:
    folder = os.environ.get("SLUICE_CORPUS")
    return Path(folder) if folder else None


def back_up_while_uploads_go_on(stack: LocalStack, uploads: Uploads, folder: Path) -> dict[str, tuple[str, bytes]]:
    """Returns what was acknowledged before the backup began."""
    stopping = threading.Event()
    thread = threading.Thread(target=uploads.until, args=(stopping,))
    thread.start()
    try:
        before = dict(uploads.acknowledged)
        run(stack.home, "sluice_api.backup", "all", str(folder))
    finally:
        stopping.set()
        thread.join()
    return before


@pytest.fixture
def restored(tmp_path, samples) -> Iterator[tuple[LocalStack, dict[str, tuple[str, bytes]]]]:
    """An installation that was lost whole and restored into an empty one, with what was acknowledged before."""
    folder = tmp_path / "backup"
    with LocalStack(
        tmp_path / "first", environment=system(SLUICE_TIMES__LEASE_S="15"), postgres_settings=VOLATILE
    ) as first:
        first.wait_until_ready()
        with SluiceClient(first.url, first.api_key) as client:
            uploads = Uploads(client, samples)
            for number in range(len(samples)):
                uploads.one(number)
            before = back_up_while_uploads_go_on(first, uploads, folder)
    shutil.rmtree(tmp_path / "first")
    run(tmp_path / "second", "sluice_api.restore", "all", str(folder), parts=True)
    with LocalStack(
        tmp_path / "second", environment=system(SLUICE_TIMES__LEASE_S="15"), postgres_settings=VOLATILE
    ) as second:
        second.wait_until_ready()
        yield second, before


def test_what_was_acknowledged_before_a_backup_is_downloaded_byte_for_byte_and_found_after_everything_was_lost(
    restored,
):
    stack, before = restored
    with SluiceClient(stack.url, stack.api_key) as client:
        ended = {document_id: client.wait(document_id) for document_id in before}
    run(stack.home, "sluice_api.rebuild_index")

    assert Oracle(stack).settle(seconds=30) == CLEAN
    with SluiceClient(stack.url, stack.api_key) as client:
        assert {document_id: downloaded(client, document_id) for document_id in before} == {
            document_id: content for document_id, (_, content) in before.items()
        }
        ready = [document for document in ended.values() if document.status == "ready" and document.total_chunks]
        assert len(ready) >= 6
        assert all(is_found(client, document.id) for document in ready)


def downloaded(client: SluiceClient, document_id: str) -> bytes:
    target = io.BytesIO()
    client.download(document_id, target)
    return target.getvalue()


def is_found(client: SluiceClient, document_id: str) -> bool:
    """Whether the words of the document's own first chunk find it."""
    question = next(iter(client.chunks(document_id))).text[:300]
    return any(hit.document_id == document_id for hit in client.search(question, top_k=10))
