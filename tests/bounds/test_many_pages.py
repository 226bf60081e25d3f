"""Promise 13: a document of 5,000 pages is read within 1 GiB, and what is too much is refused by a limit."""

import io
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Self

import httpx
import pytest
from bounds.conftest import Say, StartStack
from bounds.memory import FORK_SERVER, READERS, MemoryWatch
from bounds.originals import mark_of, pdf_of, text_of
from bounds.sending import open_client
from bounds.sizes import sized
from conftest import Figures
from oracle import Oracle, wait_until

from sluice_client import Document, SluiceClient
from sluice_client.errors import SluiceError
from sluice_local.stack import LocalStack

MEBIBYTES_OF_A_CHILD = 1024
PAGES = sized(300, 5_000)
PATIENCE_S = sized(120, 2400)
WATCHED = ("api", "extractor", FORK_SERVER, READERS, "embedder", "reconciler", "postgres", "qdrant")


@pytest.fixture
def stack(start_stack: StartStack) -> LocalStack:
    return start_stack(SLUICE_EXTRACTION__MEMORY_BYTES=str(MEBIBYTES_OF_A_CHILD * 2**20))


@pytest.fixture
def client(stack) -> Iterator[SluiceClient]:
    with SluiceClient(stack.url, stack.api_key) as client:
        yield client


@pytest.mark.timeout(PATIENCE_S + 300)
@pytest.mark.parametrize("lines", [pytest.param(20, id="usual pages"), pytest.param(60, id="dense pages")])
def test_a_document_of_very_many_pages_is_read_within_one_gibibyte(stack, client, figures, say, lines):
    content = pdf_of(PAGES, lines=lines)
    with MemoryWatch(stack) as memory, Seen(stack) as seen:
        document = ended(client, client.upload(content, name="long.pdf"), say)

    assert document.status == "ready", document.message
    assert memory.peak(READERS) < MEBIBYTES_OF_A_CHILD
    assert memory.growth("extractor") < 64, "the extractor keeps no more of a document than a few pages"
    chunks = published_chunks(stack)
    assert not seen.too_early, "chunks were found before the document was published"
    for page in (0, PAGES // 2, PAGES - 1):
        assert mark_of(page) in client.search(mark_of(page), mode="lexical", top_k=1)[0].text
    note_peaks(figures, memory, f"PDF of {PAGES} pages, {len(content) / 2**20:.1f} MiB, {chunks} chunks")
    assert seen.forwarded > 0, "no batch was forwarded while the document was still being read"


@pytest.mark.timeout(PATIENCE_S + 300)
def test_the_longest_text_is_read_and_what_is_longer_or_makes_too_many_chunks_is_refused(start_stack, figures, say):
    most_chunks = sized(1_500, 50_000)
    most_chars = most_chunks * 1000
    stack = start_stack(SLUICE_LIMITS__MAX_CHUNKS=str(most_chunks), SLUICE_LIMITS__MAX_TEXT_CHARS=str(most_chars))
    with SluiceClient(stack.url, stack.api_key) as client, MemoryWatch(stack) as memory:
        longest = upload_text(client, most_chars, seed=1, chunking={"max_chars": 2000, "overlap_chars": 200})
        too_many = upload_text(client, most_chars - 1, seed=2)
        too_long = upload_text(client, most_chars + 1, seed=3)
        longest, too_many, too_long = (ended(client, one, say) for one in (longest, too_many, too_long))

    assert longest.status == "ready", longest.message
    for refused, why in ((too_many, "too_many_chunks"), (too_long, None)):
        assert refused.error is not None
        assert (refused.error.code, refused.error.detail_code) == ("too_large", why)
    assert memory.peak(READERS) < 2 * MEBIBYTES_OF_A_CHILD, "two are read at once"
    assert memory.growth("extractor") < 64
    chunks = published_chunks(stack)
    note_peaks(figures, memory, f"text of {most_chars / 1e6:g} million characters, {chunks} chunks, beside two refused")


class Seen:
    """What a search and the table show while a document is being processed; a context manager."""

    def __init__(self, stack: LocalStack) -> None:
        self.forwarded = 0
        """Most batches that were seen of a document that was still being read."""
        self.too_early: list[str] = []
        self._oracle = Oracle(stack)
        self._client = open_client(stack)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(timeout=30)
        self._client.close()

    def _run(self) -> None:
        while not self._stopping.wait(0.2):
            with suppress(httpx.TransportError):
                self._look()

    def _look(self) -> None:
        found = self._client.post("/v1/search", json={"query": mark_of(0), "mode": "lexical"}).json()
        (state,) = self._oracle.query("SELECT state FROM documents UNION ALL SELECT 'none' LIMIT 1")[0]
        if found.get("results") and state != "completed":
            self.too_early.append(state)
        if state == "extracting":
            batches = self._oracle.query("SELECT count(*) FROM batches")[0][0]
            self.forwarded = max(self.forwarded, batches)


def upload_text(client: SluiceClient, chars: int, *, seed: int, chunking: Mapping[str, int] | None = None) -> Document:
    content = b"".join(text_of(chars, seed=seed))
    return client.upload(io.BytesIO(content), name="long.txt", chunking=chunking)


def published_chunks(stack: LocalStack) -> int:
    return Oracle(stack).query("SELECT count(*) FROM chunks k JOIN documents d ON d.published_run = k.run_id")[0][0]


def ended(client: SluiceClient, document: Document, say: Say) -> Document:
    """The document when it has ended, with a line now and then."""

    def is_over() -> bool:
        with suppress(SluiceError):
            status = client.status(document.id)
            say(f"{status.status}, {status.percent} %")
            return status.ended
        return False

    wait_until(is_over, seconds=PATIENCE_S, message="the document has not ended")
    return client.get(document.id)


def note_peaks(figures: Figures, memory: MemoryWatch, what: str) -> None:
    peaks = ", ".join(f"{name} {memory.peak(name):.0f}" for name in WATCHED)
    figures.note(13, f"{what}: most own memory in MiB: {peaks}; extractor grew by {memory.growth('extractor'):.0f}")
