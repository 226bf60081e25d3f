"""Promise 13: an upload of any size passes through the services piece by piece, and takes the disk once."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from bounds.conftest import Say, StartStack
from bounds.folders import Originals
from bounds.memory import MemoryWatch
from bounds.originals import text_of
from bounds.sending import Answer, download, open_client, upload
from bounds.sizes import is_full, sized
from oracle import Oracle, wait_until

from sluice_local.stack import LocalStack

SIZE_BYTES = sized(96 * 2**20, 2 * 2**30)
MOST_GROWTH_MEBIBYTES = 64
SLACK_BYTES = 2**20
PATIENCE_S = sized(120, 900)


@pytest.fixture
def stack(start_stack: StartStack) -> LocalStack:
    """With room for such documents, and readers that are not given as much memory as one of them has bytes."""
    return start_stack(
        SLUICE_LIMITS__MAX_DOCUMENT_BYTES=str(3 * 2**30),
        SLUICE_HTTP__UPLOAD_GAP_S="120",  # a crowded machine lets a client wait
        SLUICE_LIMITS__MAX_TEXT_CHARS=str(2**20),
        SLUICE_EXTRACTION__MEMORY_BYTES=str(sized(128 * 2**20, 2**30)),
        SLUICE_TIMES__LEASE_S="5",
    )


@pytest.mark.timeout(4 * PATIENCE_S)
def test_very_large_uploads_one_and_three_at_once_add_little_memory(stack, figures, say):
    originals = Originals.of(stack)
    with open_client(stack) as client:
        warm_up(client)
        before = originals.size_bytes()
        with MemoryWatch(stack, pause_s=0.5) as memory:
            alone = large_upload(stack, 1, say)
            assert originals.size_bytes() - before < SIZE_BYTES + SLACK_BYTES, "the bytes are on the disk once"
            with ThreadPoolExecutor(3) as clients:
                answers = [alone, *clients.map(lambda seed: large_upload(stack, seed, say), (2, 3, 4))]
            assert originals.size_bytes() - before < 4 * SIZE_BYTES + SLACK_BYTES
            failures = [failure_of(client, answer, say) for answer in answers]
            whole = download(client, alone.document_id)
            part = download(client, alone.document_id, span=f"{SIZE_BYTES // 2}-{SIZE_BYTES // 2 + 1_000_000 - 1}")

    figures.note(
        13,
        f"{SIZE_BYTES / 2**20:.0f} MiB uploaded once and then three times at once, and downloaded: "
        f"the gateway grew by {memory.growth('api'):.0f} MiB, the extractor by {memory.growth('extractor'):.0f}, "
        f"the embedder by {memory.growth('embedder'):.0f}; they ended as {', '.join(sorted(set(failures)))}",
    )
    assert (whole, part) == ((200, SIZE_BYTES), (206, 1_000_000))
    assert set(failures) == {"too_large"}, "nobody may try in vain what cannot be read"
    assert memory.growth("api") < MOST_GROWTH_MEBIBYTES
    assert memory.growth("extractor") < MOST_GROWTH_MEBIBYTES
    assert originals.unfinished() == []


@pytest.mark.timeout(4 * PATIENCE_S)
def test_a_large_original_is_off_the_disk_soon_after_its_document_was_deleted(stack, figures, say):
    originals, oracle = Originals.of(stack), Oracle(stack)
    with open_client(stack) as client:
        answer = large_upload(stack, 1, say)
        held = originals.size_bytes()
        client.delete(f"/v1/documents/{answer.document_id}").raise_for_status()
        wait_until(lambda: originals.size_bytes() == 0, seconds=60, message="the bytes are still there")
        if is_full():  # the second purge comes a minute later, and is waited for in many other tests
            wait_until(lambda: oracle.being_purged() == 0, seconds=120, message="the second purge has not come")
    assert originals.kept() == set()
    figures.note(13, f"{held / 2**20:.0f} MiB on the disk before a delete, {originals.size_bytes()} bytes after it")


def large_upload(stack: LocalStack, seed: int, say: Say) -> Answer:
    with open_client(stack) as client:
        sent = 0

        def pieces():
            nonlocal sent
            for piece in text_of(SIZE_BYTES, seed=seed):
                sent += len(piece)
                say(f"upload {seed}: {sent / 2**20:.0f} MiB")
                yield piece

        answer = upload(client, f"large-{seed}.txt", pieces(), size_bytes=SIZE_BYTES if seed % 2 else None)
    assert answer.status == 202, answer
    return answer


def failure_of(client: httpx.Client, answer: Answer, say: Say) -> str:
    """The code with which it ended."""

    def document() -> dict:
        return client.get(f"/v1/documents/{answer.document_id}").json()

    def is_over() -> bool:
        say(f"the document is {document()['status']}")
        return document()["status"] == "failed"

    wait_until(is_over, seconds=PATIENCE_S, message="the document has not ended")
    return document()["error"]["code"]


def warm_up(client: httpx.Client) -> None:
    """Have every thread that there will be, and its first allocations."""
    with ThreadPoolExecutor(8) as clients:
        for number in range(32):
            clients.submit(upload, client, f"small-{number}.txt", text_of(2**20, seed=1000 + number))
