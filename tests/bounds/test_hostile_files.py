"""Promise 13: when every hostile file has had its turn, the worker is the same process and as small as it was."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from bounds.conftest import Say, StartStack
from bounds.memory import FORK_SERVER, READERS, MemoryWatch
from bounds.sizes import sized
from oracle import CLEAN, Oracle, wait_until
from unit.extractor import test_audio, test_images, test_office, test_sandbox

from sluice_client import Document, SluiceClient
from sluice_local.stack import LocalStack

ROUNDS = sized(1, 4)
"""Behind a first one, after which every library is loaded and every cache is there."""
MOST_MEBIBYTES_PER_ROUND = 4.0
FILE_S = 300
WALL_CLOCK_S = 15


@dataclass(frozen=True)
class Hostile:
    """A file that attacks, and the name that it is uploaded by."""

    what: str
    name: str
    make: Callable[[], bytes]


FILES = tuple(
    Hostile(what, name, case[0])
    for table, name in (
        (test_sandbox.HOSTILE, "hostile.pdf"),
        (test_office.HOSTILE, "hostile.docx"),
        (test_images.HOSTILE, "hostile.png"),
        (test_audio.HOSTILE, "hostile.mp3"),
    )
    for what, case in table.items()
)


@pytest.mark.timeout(ROUNDS * 1800)
def test_hostile_files_leave_the_worker_as_it_was(start_stack: StartStack, figures, say: Say):
    stack = start_stack(
        SLUICE_TIMES__LEASE_S="4",
        SLUICE_LIMITS__MAX_TEXT_CHARS="3000000",
        SLUICE_LIMITS__MAX_AUDIO_S="60",
        SLUICE_EXTRACTION__WALL_CLOCK_S=str(WALL_CLOCK_S),
        SLUICE_EXTRACTION__WALL_CLOCK_MAX_S=str(WALL_CLOCK_S),
    )
    worker = stack.pid_of("extractor")
    with SluiceClient(stack.url, stack.api_key) as client:
        ended = dict(one_round(client, say))
        memory = MemoryWatch(stack)
        settled(stack, memory)
        for _ in range(ROUNDS):
            ended |= dict(one_round(client, say))
            settled(stack, memory)
        still_reads(client)

    grown = {name: memory.samples(name)[-1].own - memory.first(name) for name in ("extractor", FORK_SERVER)}
    slowest = max(ended, key=lambda what: seconds_of(ended[what]) / (ended[what].tries or 1))
    figures.note(
        13,
        f"{len(FILES)} hostile files, {1 + ROUNDS} times each: all ended with a code, the worker never restarted; "
        f"MiB more after {ROUNDS} rounds: "
        + ", ".join(f"{name} {more:+.1f} (of {memory.first(name):.0f})" for name, more in grown.items())
        + f"; the slowest, {slowest}: {seconds_of(ended[slowest]):.1f} s in {ended[slowest].tries} tries",
    )
    assert {what: one.status for what, one in ended.items() if one.error is None or one.status != "failed"} == {}
    assert stack.pid_of("extractor") == worker, "the worker was restarted"
    assert {name: more for name, more in grown.items() if more > MOST_MEBIBYTES_PER_ROUND * ROUNDS} == {}
    assert Oracle(stack).settle(seconds=60) == CLEAN


def one_round(client: SluiceClient, say: Say) -> Iterator[tuple[str, Document]]:
    """Upload each file and wait until it has ended."""
    for number, file in enumerate(FILES, start=1):
        say(f"{number} of {len(FILES)}: {file.what}")
        sent = client.upload(file.make(), name=file.name, on_duplicate="allow", multimodal=True)
        yield f"{file.name}: {file.what}", client.wait(sent.id, timeout_s=FILE_S)


def settled(stack: LocalStack, memory: MemoryWatch) -> None:
    """Look at the memory when no child lives any more."""
    oracle = Oracle(stack)
    wait_until(lambda: not oracle.unfinished(), seconds=60, message="something is still unfinished")

    def has_no_reader() -> bool:
        seen = len(memory.samples(READERS))
        memory.look()
        return len(memory.samples(READERS)) == seen

    wait_until(has_no_reader, seconds=60, message="a child lives on")


def still_reads(client: SluiceClient) -> None:
    sent = client.upload(b"The barge waits at the weir.", name="good.txt")
    assert client.wait(sent.id, timeout_s=60).status == "ready"


def seconds_of(document: Document) -> float:
    assert document.finished_at is not None
    return (document.finished_at - document.created_at).total_seconds()
