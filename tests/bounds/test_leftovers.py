"""Promise 13: whatever a crash leaves on the disk is gone soon: nothing unfinished, and as many originals as rows."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psutil
import pytest
from bounds.conftest import StartStack
from bounds.folders import Originals, keys_in_table
from bounds.originals import pdf_of, text_of
from bounds.sending import Answer, open_client, upload
from bounds.sizes import sized
from faults.tools import processes
from oracle import CLEAN, Oracle, wait_until

from sluice_local.stack import LocalStack

UPLOADS = 20
SIZE_BYTES = sized(4, 20) * 10**6
ROUNDS = sized(2, 10)
PAGES = 4_000
LINES = 10
"""Few on a page: the kills must fall into reading, and embedding what was read is of no matter here."""
GRACE_S = 20
"""Longer than any upload here takes: only what is older may be swept up."""
SEED = 20261120


SWEPT_SOON = {
    "SLUICE_RECONCILER__ORIGINALS_GRACE_S": str(GRACE_S),
    "SLUICE_RECONCILER__JANITOR_INTERVAL_S": "1",
    "SLUICE_TIMES__LEASE_S": "5",
    "SLUICE_TIMES__MAX_LOSSES": "100",
}


@pytest.mark.timeout(1200)
def test_a_gateway_killed_during_twenty_uploads_leaves_nothing_behind(start_stack: StartStack, figures, say):
    rng = random.Random(SEED)
    stack = start_stack(**SWEPT_SOON, SLUICE_LIMITS__MAX_TEXT_CHARS="1000")  # the texts shall not be worth the work
    originals, oracle = Originals.of(stack), Oracle(stack)
    accepted: list[str] = []
    most_unfinished = 0
    for number in range(ROUNDS):
        answers, unfinished = killed_while_uploading(stack, number, rng)
        accepted += [answer.document_id for answer in answers if answer.status == 202]
        most_unfinished = max(most_unfinished, unfinished)
        say(f"round {number + 1} of {ROUNDS}: {len(accepted)} accepted, {unfinished} unfinished")
        stack.wait_until_ready()

    swept_s = seconds_until(lambda: not originals.unfinished(), within_s=GRACE_S + 40)
    seconds_until(lambda: originals.kept() == keys_in_table(oracle), within_s=GRACE_S + 40)
    rows = {f"doc_{row[0].hex}" for row in oracle.query("SELECT id FROM documents")}
    assert set(accepted) <= rows, f"seed {SEED}"
    assert most_unfinished > 0, "no kill met an upload"
    figures.note(
        13,
        f"gateway killed {ROUNDS} times during {UPLOADS} uploads of {SIZE_BYTES / 1e6:g} MB: up to {most_unfinished} "
        f"unfinished files, none {swept_s:.0f} s after the last start (grace {GRACE_S} s); originals = rows",
    )


@pytest.mark.timeout(1200)
def test_an_extractor_killed_while_it_reads_leaves_nothing_behind(start_stack: StartStack, figures, say):
    stack = start_stack(**SWEPT_SOON)
    originals, oracle = Originals.of(stack), Oracle(stack)
    with open_client(stack) as client:
        for number in range(2):
            answer = upload(client, f"{number}.pdf", [pdf_of(PAGES + number, lines=LINES)])
            assert answer.status == 202, answer
    kills, rng = 0, random.Random(SEED)
    while kills < ROUNDS and oracle.unfinished():
        kills += killed_while_reading(stack, rng)
        say(f"killed {kills} times")
    wait_until(lambda: not oracle.unfinished(), seconds=900, message=lambda: str(oracle.unfinished()))
    assert oracle.settle(seconds=120) == CLEAN
    assert originals.unfinished() == []
    assert originals.kept() == keys_in_table(oracle)
    assert kills > 0, "no kill met a reader"
    figures.note(13, f"extractor killed {kills} times while it read: both documents ended, nothing was left behind")


def killed_while_uploading(stack: LocalStack, number: int, rng: random.Random) -> tuple[list[Answer], int]:
    """What came of twenty uploads, and how many new files were unfinished when the gateway was gone."""
    originals = Originals.of(stack)
    before = set(originals.unfinished())

    def begun() -> set[str]:
        return set(originals.unfinished()) - before

    with ThreadPoolExecutor(UPLOADS) as clients:
        sending = [clients.submit(send, stack, UPLOADS * number + one) for one in range(UPLOADS)]
        wait_until(lambda: bool(begun()), seconds=30, message="no upload began")
        time.sleep(rng.uniform(0.0, 0.5))  # the moment is what varies
        processes.kill(stack, "api")
        unfinished = len(begun())
        return [one.result() for one in sending], unfinished


def send(stack: LocalStack, seed: int) -> Answer:
    with open_client(stack) as client:
        return upload(client, f"{seed}.txt", text_of(SIZE_BYTES, piece_bytes=2**16, seed=seed))


def killed_while_reading(stack: LocalStack, rng: random.Random) -> bool:
    """Kill the extractor with its children while a child reads; False when there was none in time."""

    def is_reading() -> bool:
        with suppress(psutil.Error):
            server = processes.fork_server_of(stack, "extractor")
            return server is not None and bool(server.children())
        return False

    try:
        wait_until(is_reading, seconds=30, message="nobody reads")
    except AssertionError:
        return False
    time.sleep(rng.uniform(0.0, 1.0))  # the moment is what varies
    is_killed = is_reading()
    if is_killed:
        processes.kill(stack, "extractor")
    return is_killed


def seconds_until(condition, *, within_s: float) -> float:
    began = time.monotonic()
    wait_until(condition, seconds=within_s, message="the janitor has not come")
    return time.monotonic() - began
