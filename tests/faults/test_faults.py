"""Kill, stop and wipe every part while documents go through: everything ends, nothing twice, nothing left over."""

import os
import random
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Self

import httpx
import psutil
import pytest
import redis
from conftest import system
from oracle import CLEAN, Oracle, wait_until

from sluice_client import GatewayUnreachable, RequestRefused, SluiceClient
from sluice_local.stack import LocalStack

SEED = int(os.environ.get("SEED", "20261120"))
LEASE_S = 5
PAUSE_S = 0.1
"""Between two uploads of a client: the faults are what is tried here, and not how long a backlog takes."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[LocalStack]:
    """A stack of its own with short leases, so that what is lost comes back within seconds."""
    environment = system(
        SLUICE_TIMES__LEASE_S=str(LEASE_S), SLUICE_TIMES__MAX_LOSSES="100", SLUICE_RECONCILER__AUDIT_INTERVAL_S="5"
    )
    with LocalStack(tmp_path_factory.mktemp("faults"), environment=environment) as running:
        running.wait_until_ready()
        yield running


class Uploader:
    """Clients that keep on uploading, each document with something of its own in it."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._upload, args=(n,), daemon=True) for n in range(3)]
        self.accepted: dict[str, str] = {}
        """What was answered 202, by document, with a sentence of it."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def _upload(self, number: int) -> None:
        numbers = random.Random(SEED + number)
        with SluiceClient(self._stack.url, self._stack.api_key, retries=20) as client:
            count = 0
            while not self._stop.is_set():
                count += 1
                word = f"zq{number}x{count}"
                lines = "\n\n".join(f"{word} says line {n}: {numbers.random()}" for n in range(numbers.randint(1, 120)))
                try:
                    document = client.upload(lines.encode(), name=f"{word}.txt")
                except (GatewayUnreachable, RequestRefused):
                    continue  # never answered 202: it may or may not exist
                self.accepted[document.id] = word
                time.sleep(PAUSE_S)


def test_every_part_may_die_while_it_works_and_everything_still_ends(stack):
    oracle = Oracle(stack)
    faults = _faults(stack)
    struck = []

    with Uploader(stack) as uploader:
        wait_until(lambda: len(uploader.accepted) > 5, seconds=60, message="no upload was accepted")
        for name, strike in faults:
            strike()
            struck.append(name)
            time.sleep(1.5)

    assert len(struck) == len(faults)
    wait_until(lambda: _is_up(stack), seconds=60, message="the gateway does not come back")
    wait_until(lambda: not oracle.unfinished(), seconds=120, message=lambda: f"seed {SEED}: {oracle.unfinished()[:5]}")
    assert oracle.settle(seconds=60) == CLEAN
    with SluiceClient(stack.url, stack.api_key) as client:
        outcomes = {document.id: document.status for document in client.list()}
        lost = [document_id for document_id in uploader.accepted if document_id not in outcomes]
        failed = [document_id for document_id in uploader.accepted if outcomes.get(document_id) == "failed"]
        assert (lost, failed) == ([], []), f"seed {SEED}"
        for document_id, word in random.Random(SEED).sample(sorted(uploader.accepted.items()), 10):
            hits = client.search(word, mode="lexical", top_k=3)
            assert document_id in {hit.document_id for hit in hits}, f"{word} is ready but not found"


def test_a_document_that_crashes_its_reader_costs_its_own_tries_and_nobody_elses(stack):
    oracle = Oracle(stack)
    extractor = stack.pid_of("extractor")
    with SluiceClient(stack.url, stack.api_key) as client:
        good = [client.upload(f"Good neighbour {n}.".encode(), name=f"good{n}.txt").id for n in range(20)]
        bomb = client.upload(inflating_pdf(), name="bomb.pdf").id
        good += [client.upload(f"Good neighbour {n}.".encode(), name=f"good{n}.txt").id for n in range(20, 40)]
        wait_until(lambda: not oracle.unfinished(), seconds=120, message="the bomb keeps something unfinished")

        assert {client.get(document_id).status for document_id in good} == {"ready"}
        error = client.get(bomb).error
    assert error.code in ("archive_bomb", "extractor_out_of_memory", "extraction_timeout", "extractor_crashed")
    assert stack.pid_of("extractor") == extractor, "the worker was restarted"


def test_a_worker_that_is_told_to_stop_hands_its_work_back_without_a_try_or_a_loss(stack):
    oracle = Oracle(stack)
    with Uploader(stack) as uploader:
        wait_until(lambda: len(uploader.accepted) > 10, seconds=60, message="no upload was accepted")
        for name in ("extractor", "embedder", "reconciler"):
            stack.kill(name, signal.SIGTERM)
            time.sleep(2)
    wait_until(lambda: not oracle.unfinished(), seconds=60, message="something is still unfinished")

    # of these documents only: a child that another test killed has rightly cost its document a try
    ids = ", ".join(f"'{document_id.removeprefix('doc_')}'" for document_id in uploader.accepted)
    tries, losses = oracle.query(f"SELECT max(tries), sum(losses) FROM documents WHERE id IN ({ids})")[0]
    assert (tries, losses) == (1, 0)


def _faults(stack: LocalStack) -> list[tuple[str, Callable[[], None]]]:
    """Each kind of fault twice, in an order that the seed decides."""

    def kill(name: str) -> Callable[[], None]:
        return lambda: stack.kill(name, signal.SIGKILL)

    def freeze(name: str) -> Callable[[], None]:
        def strike() -> None:
            process = psutil.Process(stack.pid_of(name))
            process.suspend()
            time.sleep(LEASE_S * 1.5)  # longer than a lease: it wakes up as a zombie
            if process.is_running():
                process.resume()

        return strike

    def kill_child() -> None:
        children = psutil.Process(stack.pid_of("extractor")).children(recursive=True)
        if children:
            children[-1].kill()

    kinds: list[tuple[str, Callable[[], None]]] = [
        ("kill api", kill("api")),
        ("kill extractor", kill("extractor")),
        ("kill embedder", kill("embedder")),
        ("kill reconciler", kill("reconciler")),
        ("kill redis", kill("redis")),
        ("kill qdrant", kill("qdrant")),
        ("kill embeddings", kill("embeddings")),
        ("kill postgres", kill("postgres")),
        ("wipe redis", lambda: _wipe_redis(stack)),
        ("kill a child", kill_child),
        ("freeze extractor", freeze("extractor")),
        ("freeze embedder", freeze("embedder")),
        ("lose points", lambda: _lose_points(stack)),
    ]
    both = kinds * 2
    random.Random(SEED).shuffle(both)
    return both


def _is_up(stack: LocalStack) -> bool:
    try:
        return httpx.get(f"{stack.url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _wipe_redis(stack: LocalStack) -> None:
    redis.Redis.from_url(stack.environment_of("extractor")["SLUICE_BROKER__URL"]).flushall()


def _lose_points(stack: LocalStack) -> None:
    """Remove points of a published run behind everybody's back."""
    settings = stack.environment_of("reconciler")
    found = Oracle(stack).query(
        "SELECT k.point_id FROM chunks k JOIN documents d ON d.published_run = k.run_id ORDER BY random() LIMIT 5"
    )
    with httpx.Client(
        base_url=settings["SLUICE_QDRANT__URL"], headers={"api-key": settings.get("SLUICE_QDRANT__API_KEY", "")}
    ) as store:
        for collection in store.get("/collections").json()["result"]["collections"]:
            body = {"points": [str(row[0]) for row in found]}
            store.post(f"/collections/{collection['name']}/points/delete?wait=true", json=body)


def inflating_pdf() -> bytes:
    """One page whose content inflates to a gibibyte."""
    packer = zlib.compressobj(9)
    block = b"BT /F1 12 Tf (x) Tj ET\n" * 45_000
    stream = b"".join(packer.compress(block) for _ in range(1024)) + packer.flush()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, offsets = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(body)
    return body + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer
