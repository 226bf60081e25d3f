"""Every alert can be provoked in a running stack, and is over when what provoked it is (`make test-alerts`)."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from deploy.monitoring.configurations import alerts
from deploy.monitoring.watching import Watched
from faults.provider import Limit, Mode
from redis import Redis

from sluice_client import RequestRefused, SluiceError

Provocation = Callable[[Watched], Iterator[None]]
PROVOCATIONS: dict[str, Provocation] = {}
SECONDS = 240
DISK_MEGABYTES = 32


def provokes(*names: str) -> Callable[[Provocation], Provocation]:
    """Marks what makes these alerts fire: a generator that breaks something, waits, and puts it right."""

    def remember(provocation: Provocation) -> Provocation:
        PROVOCATIONS.update(dict.fromkeys(names, provocation))
        return provocation

    return remember


@contextmanager
def repeated(act: Callable[[], object], *, threads: int = 1, pause_s: float = 0.1) -> Iterator[None]:
    """Do something again and again meanwhile; what is refused is part of it."""
    stopping = threading.Event()

    def repeat() -> None:
        while not stopping.wait(pause_s):
            with suppress(SluiceError, httpx.HTTPError):
                act()

    with ThreadPoolExecutor(threads) as pool:
        tasks = [pool.submit(repeat) for _ in range(threads)]
        try:
            yield
        finally:
            stopping.set()
    for task in tasks:
        task.result()


@contextmanager
def halted(watched: Watched, name: str) -> Iterator[None]:
    watched.stack.kill(name, signal.SIGSTOP)
    try:
        yield
    finally:
        watched.stack.kill(name, signal.SIGCONT)


@contextmanager
def failing(watched: Watched, mode: Mode) -> Iterator[None]:
    watched.provider.fail(mode)
    try:
        yield
    finally:
        watched.provider.behave()


def write(watched: Watched, statement: str) -> None:
    """Change the tables by hand, which nobody should do."""
    with psycopg.connect(watched.stack.environment_of("api")["SLUICE_DATABASE__URL"], autocommit=True) as connection:
        connection.execute(statement)


@contextmanager
def vectors(watched: Watched) -> Iterator[tuple[httpx.Client, str]]:
    """The vector store behind the stack, and the path of its index."""
    settings = watched.stack.environment_of("embedder")
    headers = {"api-key": settings["SLUICE_QDRANT__API_KEY"]}
    with httpx.Client(base_url=settings["SLUICE_QDRANT__URL"], headers=headers, timeout=30) as store:
        (index,) = store.get("/collections").json()["result"]["collections"]
        yield store, f"/collections/{index['name']}/points"


@provokes("SluiceServiceAbsent", "SluiceReplicaAbsent", "SluiceNothingMoves")
def an_extractor_that_hangs(watched: Watched) -> Iterator[None]:
    with halted(watched, "extractor"):
        watched.upload("waits")
        yield


@provokes("SluiceDocumentsLate", "SluiceProviderAway")
def a_provider_that_is_away(watched: Watched) -> Iterator[None]:
    with failing(watched, Mode.REFUSE):
        watched.upload("late")
        yield


@provokes("SluiceDocumentsStuck")
def a_row_that_somebody_changed_by_hand(watched: Watched) -> Iterator[None]:
    with halted(watched, "extractor"):
        watched.upload("stuck")
        write(watched, "UPDATE documents SET dispatch_after = NULL WHERE state = 'queued'")
        yield
        write(watched, "UPDATE documents SET dispatch_after = now() WHERE state = 'queued' AND dispatch_after IS NULL")


@provokes("SluiceDocumentsGivenUp")
def a_deadline_that_passes(watched: Watched) -> Iterator[None]:
    with failing(watched, Mode.UNAVAILABLE):
        watched.upload("too late")
        write(watched, "UPDATE documents SET deadline = now() WHERE state IN ('queued', 'extracting', 'embedding')")
        yield


@provokes("SluiceSubmissionsRefused")
def a_queue_that_is_full(watched: Watched) -> Iterator[None]:
    with halted(watched, "extractor"), repeated(lambda: watched.upload(uuid4().hex)):
        yield


@provokes("SluiceStageFailing")
def a_provider_of_another_dimension(watched: Watched) -> Iterator[None]:
    with failing(watched, Mode.WRONG_DIMENSIONS), repeated(lambda: watched.upload(uuid4().hex), pause_s=1):
        yield


@provokes("SluiceDocumentsUnreadable")
def a_folder_of_broken_documents(watched: Watched) -> Iterator[None]:
    def upload_broken() -> None:
        watched.client.upload(b"%PDF-1.7 broken " + uuid4().bytes, name="broken.pdf")

    with repeated(upload_broken, pause_s=0.5):
        yield


@provokes("SluiceBacklogGrowing")
def more_than_the_provider_can_do(watched: Watched) -> Iterator[None]:
    watched.provider.slow_down(3)
    try:
        with repeated(lambda: watched.upload(uuid4().hex, lines=400), pause_s=1):
            yield
    finally:
        watched.provider.behave()


@provokes("SluiceLeasesExpiring")
def an_embedder_that_dies_again_and_again(watched: Watched) -> Iterator[None]:
    watched.provider.slow_down(2)
    try:
        with (
            repeated(lambda: watched.upload(uuid4().hex, lines=20), pause_s=0.5),
            repeated(lambda: watched.stack.kill("embedder"), pause_s=5),
        ):
            yield
    finally:
        watched.provider.behave()


@provokes("SluiceProviderLimiting")
def a_provider_that_limits(watched: Watched) -> Iterator[None]:
    watched.provider.limit(Limit(requests_per_s=0.1, burst_s=10))
    try:
        with repeated(lambda: watched.upload(uuid4().hex, lines=20), pause_s=0.5):
            yield
    finally:
        watched.provider.behave()


@provokes("SluiceReconcilerIdle", "SluiceTableUnreadable")
def a_database_that_is_gone(watched: Watched) -> Iterator[None]:
    with repeated(lambda: watched.stack.kill("postgres"), pause_s=0.3):
        yield
    watched.stack.wait_until_ready()


@provokes("SluiceRequestsFailing")
def a_vector_store_that_hangs(watched: Watched) -> Iterator[None]:
    with halted(watched, "qdrant"), repeated(lambda: watched.client.search("sluice"), threads=8):
        yield


@provokes("SluiceSearchSlow")
def a_provider_that_is_slow(watched: Watched) -> Iterator[None]:
    watched.provider.slow_down(2.5)
    try:
        with repeated(lambda: watched.client.search(uuid4().hex), threads=40, pause_s=0.01):
            yield
    finally:
        watched.provider.behave()


@provokes("SluicePointsLost")
def a_store_that_loses_points(watched: Watched) -> Iterator[None]:
    watched.client.wait(watched.upload("kept"))
    with vectors(watched) as (store, path):
        (lost,) = store.post(f"{path}/scroll", json={"limit": 1}).json()["result"]["points"]
        store.post(f"{path}/delete?wait=true", json={"points": [lost["id"]]}).raise_for_status()
    yield


@provokes("SluiceOrphansFound")
def somebody_else_who_writes_into_the_index(watched: Watched) -> Iterator[None]:
    watched.client.wait(watched.upload("kept as well"))
    with vectors(watched) as (store, path):
        asked = {"limit": 1, "with_vector": True, "with_payload": True}
        (point,) = store.post(f"{path}/scroll", json=asked).json()["result"]["points"]
        point |= {"id": str(uuid4()), "payload": point["payload"] | {"run": 2**40}}
        store.put(f"{path}?wait=true", json={"points": [point]}).raise_for_status()
    yield


@provokes("SluiceRedisAway")
def a_redis_that_hangs(watched: Watched) -> Iterator[None]:
    with halted(watched, "redis"):
        yield


@provokes("SluiceRedisMemory")
def a_redis_with_little_room(watched: Watched) -> Iterator[None]:
    with Redis.from_url(watched.stack.environment_of("api")["SLUICE_BROKER__URL"]) as redis:
        redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] * 1.1))
        try:
            yield
        finally:
            redis.config_set("maxmemory", 0)


@provokes("SluiceDiskFilling", "SluiceDiskFull")
def a_disk_that_is_full(watched: Watched) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    image, folder = (Path(watched.stack.home) / name for name in ("disk.img", "disk"))
    folder.mkdir(exist_ok=True)
    subprocess.run(["truncate", "--size", f"{DISK_MEGABYTES}M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        fill(folder / "ballast")
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(2**16))


@pytest.fixture
def calm(watched) -> Iterator[Watched]:
    """A stack in which nothing is wrong, before and after."""
    yield watched
    watched.provider.behave()
    write(watched, "DELETE FROM provider_paces")
    watched.stack.wait_until_ready()
    for document in watched.client.list():
        if document.status not in {"ready", "failed", "cancelled"}:
            with suppress(RequestRefused):
                watched.client.cancel(document.id)
    watched.wait_until_quiet(seconds=SECONDS)


def test_each_alert_has_something_that_provokes_it():
    assert set(PROVOCATIONS) == {alert["alert"] for alert in alerts()}


@pytest.mark.parametrize("provocation", dict.fromkeys(PROVOCATIONS.values()), ids=lambda one: one.__name__)
def test_what_goes_wrong_fires_its_alerts_and_they_end_with_it(calm, provocation, record_property):
    expected = [name for name, provoking in PROVOCATIONS.items() if provoking is provocation]
    began = time.monotonic()

    with contextmanager(provocation)(calm):
        for name in expected:
            calm.wait_until_firing(name, seconds=SECONDS)
    record_property("fired_s", round(time.monotonic() - began))

    calm.wait_until_quiet(*expected, seconds=SECONDS)
