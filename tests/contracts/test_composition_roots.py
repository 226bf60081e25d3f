"""The services as their composition roots put them together, run in this process over real PostgreSQL and Redis."""

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol as Port
from uuid import UUID, uuid4

import psycopg
import pytest
from builders import Protocol, make_original
from oracle import wait_until
from redis import Redis

from sluice_api import reconciler
from sluice_api.reconciler import ReconcilerServiceSettings
from sluice_common import failpoints
from sluice_common.adapters.filesystem import FilesystemObjectStore
from sluice_common.contract import EXTRACT_QUEUE, EmbedBatch, ExtractDocument, Task
from sluice_common.documents import NewDocument
from sluice_common.settings import BrokerSettings
from sluice_common.tasks import OnShutdown, open_queue
from sluice_embedder import main as embedder
from sluice_embedder.settings import EmbedderSettings
from sluice_extractor import main as extractor
from sluice_extractor.settings import ExtractorSettings
from sluice_local.redis import LocalRedis

pytestmark = pytest.mark.timeout(300)

NOWHERE = "http://127.0.0.1:1"
LONG = "\n\n".join(f"Paragraph {n} tells of weir number {n} and its keeper." for n in range(60)).encode()
BLOCKED_AT_MOST = 5
"""Waits for a lock, each of which PostgreSQL ends after some seconds, in which one heartbeat must be seen."""


class Service(Port):
    """What a composition root returns."""

    def run(self) -> None: ...


@dataclass
class Surroundings:
    """What a service needs from outside, and what a test does to it there."""

    database_url: str
    redis_url: str
    originals: Path
    protocol: Protocol
    stack: ExitStack = field(default_factory=ExitStack)

    def settings(self, *, lease_s: float, pool_size: int = 10) -> dict[str, object]:
        """The sections that all services have."""
        return {
            "database": {"url": self.database_url, "pool_size": pool_size},
            "broker": {"url": self.redis_url},
            "metrics": {"host": "127.0.0.1", "port": 0},
            "times": {"lease_s": lease_s},
        }

    def accept(self) -> UUID:
        """A queued document whose original is there."""
        content = LONG + uuid4().hex.encode()
        original = make_original(content)
        writer = FilesystemObjectStore(self.originals).create(original.storage_key)
        writer.write(content)
        writer.commit()
        new = NewDocument(self.protocol.tenant_id, self.protocol.collection_id, original)
        return self.protocol.documents.accept(new).document_id

    def send(self, task: Task) -> None:
        queue = open_queue(BrokerSettings(url=self.redis_url))
        queue.send(task)
        queue.close()

    def facts_of(self, document_id: UUID, columns: str) -> tuple[object, ...]:
        return self.protocol.query(f"SELECT {columns} FROM documents WHERE id = :id", id=document_id)[0]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory) -> Iterator[str]:
    with LocalRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def around(database_url, database, redis_url, tmp_path) -> Iterator[Surroundings]:
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    (tmp_path / "originals").mkdir()
    made = Surroundings(database_url, redis_url, tmp_path / "originals", Protocol(database))
    yield made
    made.stack.close()


@dataclass
class Place:
    """A fail point of this process: whoever comes there waits until all are let go."""

    name: str
    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, name: str) -> None:
        if name == self.name:
            self.reached.set()
            self.go.wait(120)


@pytest.fixture
def held_at() -> Iterator[Callable[[str], Place]]:
    places: list[Place] = []

    def hold(name: str) -> Place:
        places.append(Place(name))
        failpoints.set_trap(places[-1])
        return places[-1]

    yield hold
    failpoints.set_trap(None)
    for place in places:
        place.go.set()


def stop() -> None:
    """Tell the service of this process to stop, as an orchestrator does."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)


def run_beside(service: Service, watch: Callable[[], None]) -> None:
    """Run a service here, where signals arrive, until *watch* has ended in another thread; raises what that raised."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        with ThreadPoolExecutor(1) as elsewhere:
            watching = elsewhere.submit(watch)
            watching.add_done_callback(lambda _: stop())
            service.run()
            watching.result()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# The reconciler


def test_the_reconciler_sends_the_hints_of_what_waits_and_takes_back_what_lost_its_worker(around):
    waiting, lost = around.protocol.accept().document_id, around.protocol.claimed().document_id
    around.protocol.let_timers_pass()
    around.protocol.let_leases_expire()
    qdrant, embeddings = {"url": NOWHERE}, {"base_url": NOWHERE, "model": "none", "dimensions": 8}
    settings = ReconcilerServiceSettings(
        **around.settings(lease_s=6), qdrant=qdrant, embeddings=embeddings, objects={"root": around.originals}
    )

    def watch() -> None:
        with Redis.from_url(around.redis_url) as redis:
            for document_id in (waiting, lost):
                wait_until(
                    lambda document_id=document_id: str(document_id).encode() in hints_in(redis),
                    seconds=20,
                    message=f"no hint for {document_id}: {around.facts_of(document_id, 'state, dispatch_after')}",
                )

    run_beside(reconciler.build(settings, around.stack), watch)

    assert around.facts_of(lost, "state, losses") == ("queued", 1)


def hints_in(redis: Redis) -> bytes:
    return b"".join(redis.hvals(f"{BrokerSettings(url='redis://any').namespace}:{EXTRACT_QUEUE}.msgs"))


# The extractor


def extractor_settings(around: Surroundings, **shared: float) -> ExtractorSettings:
    extraction = {"workers": 2, "children": 2, "batch_chunks": 4}
    return ExtractorSettings(
        **around.settings(**shared),
        objects={"root": around.originals},
        extraction=extraction,
        chunking={"max_chars": 200, "overlap_chars": 0},
        ocr={"enabled": "off"},
    )


def test_a_heartbeat_comes_while_the_work_has_every_connection_of_its_pool(around, held_at):
    place = held_at("extractor.page_read")
    read, other = around.accept(), around.accept()
    around.send(ExtractDocument(document_id=read))

    def watch() -> None:
        assert place.reached.wait(60), "nothing is read"
        with psycopg.connect(around.database_url.replace("+psycopg", "")) as locking:
            locking.execute("SELECT 1 FROM documents WHERE id = %s FOR UPDATE", (other,))
            assert any(beats_while_blocked(around, read, other) for _ in range(BLOCKED_AT_MOST))
        place.go.set()

    service = extractor.build(extractor_settings(around, lease_s=3, pool_size=1), around.stack)
    try:
        run_beside(service, watch)
    finally:
        place.go.set()


def beats_while_blocked(around: Surroundings, read: UUID, other: UUID) -> bool:
    """Whether the lease of *read* is prolonged while the claim of *other* waits for its row, on the one connection."""
    around.send(ExtractDocument(document_id=other))
    wait_until(lambda: blocked_since(around) is not None, seconds=30, message="the claim does not wait")
    since, lease = blocked_since(around), around.facts_of(read, "lease_until")
    wait_until(
        lambda: around.facts_of(read, "lease_until") > lease or blocked_since(around) != since,
        seconds=60,
        message="the claim waits for ever",
    )
    return around.facts_of(read, "lease_until") > lease and blocked_since(around) == since


def blocked_since(around: Surroundings) -> object:
    statement = (
        "SELECT max(query_start) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'sluice-extractor' AND wait_event_type = 'Lock'"
    )
    return around.protocol.value(statement)


def test_an_extractor_that_is_told_to_stop_ends_its_reading_and_hands_the_document_back(around, held_at):
    place = held_at("extractor.page_read")
    document_id = around.accept()
    around.send(ExtractDocument(document_id=document_id))
    service = extractor.build(extractor_settings(around, lease_s=600), around.stack)
    told = threading.Event()
    service.broker.add_middleware(OnShutdown(told.set))  # after the extractor's own: that one has been told too

    def watch() -> None:
        assert place.reached.wait(60), "nothing is read"
        stop()
        assert told.wait(60), "nobody is told"
        place.go.set()

    run_beside(service, watch)

    assert around.facts_of(document_id, "state, tries, losses") == ("queued", 0, 0)


# The embedder


def test_an_embedder_that_is_told_to_stop_hands_its_batch_back_while_the_provider_is_still_silent(around, held_at):
    place = held_at("provider.embed.before")
    run_id = around.protocol.extracted([2]).run_id
    around.send(EmbedBatch(run_id=run_id, batch_no=0))
    qdrant, embeddings = {"url": NOWHERE}, {"base_url": NOWHERE, "model": "none", "dimensions": 8}
    settings = EmbedderSettings(**around.settings(lease_s=600), qdrant=qdrant, embeddings=embeddings)

    def watch() -> None:
        try:
            assert place.reached.wait(60), "nothing is embedded"
            stop()
            wait_until(
                lambda: around.protocol.value("SELECT state FROM batches") == "pending",
                seconds=20,
                message="the batch is still held",
            )
        finally:
            place.go.set()

    run_beside(embedder.build(settings, around.stack), watch)

    assert around.protocol.query("SELECT state, tries, losses FROM batches") == [("pending", 0, 0)]
