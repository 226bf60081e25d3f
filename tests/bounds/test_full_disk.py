"""Promise 13: a disk that fills while clients upload refuses them, keeps nothing half, and the service goes on."""

import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from bounds.conftest import Say, StartStack
from bounds.folders import Originals, keys_in_table
from bounds.originals import text_of
from bounds.sending import open_client, upload
from bounds.sizes import sized
from conftest import missing
from faults.tools import disk
from faults.tools.disk import SmallDisk
from oracle import CLEAN, Oracle, wait_until

from sluice_client import SluiceClient
from sluice_local.stack import LocalStack

MEGABYTES = sized(16, 128)
UPLOADS = sized(120, 1_500)
CLIENTS = 6
LARGEST_BYTES = 400_000
SEED = 20261120
REFUSALS = {503, 507}


@pytest.fixture
def small_disk(tmp_path) -> Iterator[SmallDisk]:
    reason = disk.why_not()
    if reason is not None:
        missing(reason)
    with SmallDisk(tmp_path / "stack" / "objects", megabytes=MEGABYTES) as small:
        yield small


@pytest.fixture
def stack(small_disk, start_stack: StartStack) -> LocalStack:
    """Its originals are on the small disk, of which nothing is kept free: writes really meet the end."""
    return start_stack(
        SLUICE_LIMITS__MIN_FREE_BYTES="0",
        SLUICE_LIMITS__MIN_FREE_PERCENT="0",
        SLUICE_RECONCILER__ORIGINALS_GRACE_S="1",
        SLUICE_RECONCILER__JANITOR_INTERVAL_S="1",
    )


@pytest.mark.timeout(sized(300, 1800))
def test_a_disk_that_fills_refuses_uploads_keeps_nothing_half_and_everything_accepted_gets_ready(
    stack, small_disk, figures, say
):
    answers = upload_until_full(stack, say)
    assert set(answers.values()) - REFUSALS == {202}, answers
    with SluiceClient(stack.url, stack.api_key) as client:
        assert client.is_alive()
    grow(small_disk, root_of(stack))
    after = upload_small(stack)
    accepted = [name for name, status in answers.items() if status == 202]

    oracle, originals = Oracle(stack), Originals.of(stack)
    wait_until(lambda: not oracle.unfinished(), seconds=sized(120, 900), message=lambda: str(oracle.unfinished()[:5]))
    states = oracle.query("SELECT o.name, d.state FROM documents d JOIN originals o ON o.document_id = d.id")
    assert dict(states) == dict.fromkeys([*accepted, after], "completed")
    wait_until(lambda: not originals.unfinished(), seconds=60, message="half originals are left")
    wait_until(lambda: originals.kept() == keys_in_table(oracle), seconds=60, message="objects and rows differ")
    assert oracle.settle(seconds=60) == CLEAN
    counts = Counter(answers.values())
    figures.note(
        13,
        f"{UPLOADS} uploads to a disk of {MEGABYTES} MB that fills: {counts[202]} answered 202 and ready afterwards, "
        f"{counts[507]} refused with 507 and {counts[503]} with 503, nothing half stored",
    )


def upload_until_full(stack: LocalStack, say: Say) -> dict[str, int]:
    """The status of the answer to each upload, by the name of its file; many more than there is room for."""
    rng = random.Random(SEED)
    sizes = [rng.randint(1_000, LARGEST_BYTES) for _ in range(UPLOADS)]

    def send(number: int) -> tuple[str, int]:
        name = f"{number}-{uuid4().hex}.txt"
        with open_client(stack) as client:
            answer = upload(client, name, text_of(sizes[number], piece_bytes=2**16, seed=number))
        say(f"upload {number} of {UPLOADS}: {answer.status} {answer.code}")
        return name, answer.status

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = dict(clients.map(send, range(UPLOADS)))
    refused = Counter(answers.values())
    assert refused[202] > 10, refused
    assert refused[507] + refused[503] > 10, refused
    return answers


def upload_small(stack: LocalStack) -> str:
    name = f"after-{uuid4().hex}.txt"
    with open_client(stack) as client:
        answer = upload(client, name, [b"There is room again."])
    assert answer.status == 202, answer
    return name


def root_of(stack: LocalStack) -> Path:
    return Path(stack.environment_of("api")["SLUICE_OBJECTS__ROOT"])


def grow(small: SmallDisk, folder: Path) -> None:
    """Give the disk a few megabytes more."""
    assert small.free_bytes() < LARGEST_BYTES
    subprocess.run(["mount", "-o", f"remount,size={MEGABYTES + 8}m", folder], check=True)
