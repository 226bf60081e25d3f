"""The reconciler's loops over real PostgreSQL and the real vector store: what they mend, and what they leave alone."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from builders import Protocol
from contracts import vector_fixtures
from prometheus_client import CollectorRegistry

from sluice_api.loops import LoopMetrics, Loops
from sluice_common import failpoints
from sluice_common.adapters.ensured import EnsuredVectorStore
from sluice_common.adapters.filesystem import FilesystemObjectStore
from sluice_common.contract import EmbedBatch, ExtractDocument
from sluice_common.errors import QueueUnavailable

embedded_vector_server = vector_fixtures.embedded_vector_server
vector_client = vector_fixtures.vector_client
vector_store = vector_fixtures.vector_store


class Queue:
    """Keeps what was sent; may be away, as Redis is when its network is cut."""

    def __init__(self) -> None:
        self.is_away = False
        self.is_full = False
        self.takes: int | None = None
        self.tasks: list[object] = []

    def has_room(self, _queue: str) -> bool:
        if self.is_away:
            raise QueueUnavailable("away")
        return not self.is_full

    def send(self, tasks) -> int:
        """As a broker that takes so many more."""
        taken = tasks[: self.takes]
        self.tasks += taken
        return len(taken)


class Reconciled:
    """The loops, and the steps that tests take."""

    def __init__(self, protocol: Protocol, vectors, folder) -> None:
        self.protocol = protocol
        self.vectors = vectors
        self.folder = folder
        self.queue = Queue()
        self.loops = Loops(
            reconciling=protocol.reconciling,
            batches=protocol.batches,
            queue=self.queue,
            hints=self.queue,
            vectors=EnsuredVectorStore(lambda: vectors),
            objects=FilesystemObjectStore(folder),
            times=protocol.times,
            metrics=LoopMetrics(CollectorRegistry()),
            originals_grace=timedelta(0),
            history_kept=timedelta(days=30),
        )

    def published(self, sizes: list[int]):
        """A published document whose points are in the store."""
        claim = self.protocol.published(sizes)
        for point_id, number in self.protocol.query(
            "SELECT point_id, chunk_no FROM chunks WHERE run_id = :run", run=claim.run_id
        ):
            self.store(claim, point_id, number)
        return claim

    def store(self, claim, point_id, number: int = 0) -> None:
        point = vector_fixtures.make_point(
            id=point_id, document_id=claim.document_id, run_id=claim.run_id, chunk_no=number
        )
        self.vectors.upsert([point], vector_fixtures.unit_vectors(1))


@pytest.fixture
def reconciled(database, vector_store, tmp_path) -> Reconciled:
    return Reconciled(Protocol(database), vector_store, tmp_path)


@pytest.fixture
def reached() -> Iterator[list[str]]:
    """The fail points that were passed."""
    names: list[str] = []
    failpoints.set_trap(names.append)
    yield names
    failpoints.set_trap(None)


def test_the_audit_embeds_again_what_the_store_has_lost_and_nothing_else(reconciled):
    whole, holed = reconciled.published([2]), reconciled.published([2, 3])
    lost = reconciled.protocol.value(
        "SELECT point_id FROM chunks WHERE run_id = :run AND batch_no = 1 LIMIT 1", run=holed.run_id
    )
    reconciled.vectors.delete_points([lost])

    reconciled.loops.audit()

    assert reconciled.queue.tasks == [EmbedBatch(run_id=holed.run_id, batch_no=1)]
    assert reconciled.protocol.pending_batches(holed.run_id) == [1]
    assert reconciled.protocol.pending_batches(whole.run_id) == []


def test_the_audit_removes_points_of_runs_that_are_no_more(reconciled):
    kept, gone = reconciled.published([2]), reconciled.published([2])
    reconciled.protocol.documents.delete(reconciled.protocol.tenant_id, gone.document_id)

    reconciled.loops.audit()

    assert (reconciled.vectors.count_of_run(kept.run_id), reconciled.vectors.count_of_run(gone.run_id)) == (2, 0)


def test_the_audit_asks_the_store_about_single_runs_only_where_the_numbers_differ(reconciled, reached):
    for _ in range(3):
        reconciled.published([2])

    reconciled.loops.audit()

    assert "vectors.page_of_points.before" in reached
    assert "vectors.count_of_run.before" not in reached


def test_while_redis_is_away_no_hint_is_put_off(reconciled):
    document_id = reconciled.protocol.accept().document_id
    reconciled.protocol.let_timers_pass()
    reconciled.queue.is_away = True
    for _ in range(5):
        with pytest.raises(QueueUnavailable):
            reconciled.loops.dispatch()

    reconciled.queue.is_away = False
    reconciled.loops.dispatch()

    assert reconciled.queue.tasks == [ExtractDocument(document_id=document_id)]


def test_while_a_queue_has_enough_its_hints_wait_without_being_put_off(reconciled):
    document_id = reconciled.protocol.accept().document_id
    reconciled.protocol.let_timers_pass()
    reconciled.queue.is_full = True
    reconciled.loops.dispatch()
    assert reconciled.queue.tasks == []

    reconciled.queue.is_full = False
    reconciled.loops.dispatch()

    assert reconciled.queue.tasks == [ExtractDocument(document_id=document_id)]


def test_hints_that_could_not_be_sent_are_due_again_at_once(reconciled):
    for _ in range(3):
        reconciled.protocol.accept()
    claim = reconciled.protocol.extracted([1])
    reconciled.protocol.let_timers_pass()
    reconciled.queue.takes = 1
    reconciled.loops.dispatch()

    reconciled.queue.takes = None
    reconciled.loops.dispatch()

    assert len(reconciled.queue.tasks) == len(set(reconciled.queue.tasks)) == 4
    assert EmbedBatch(run_id=claim.run_id, batch_no=0) in reconciled.queue.tasks


def test_an_original_without_a_row_is_left_alone_until_its_row_can_come_no_more(reconciled):
    young, old = stored(reconciled, "aa/young"), stored(reconciled, "aa/old")
    loops = replace(reconciled.loops, originals_grace=timedelta(hours=1))
    long_ago = (datetime.now(UTC) - timedelta(hours=2)).timestamp()
    os.utime(reconciled.folder / old, (long_ago, long_ago))

    loops.tidy()

    assert {entry.key for entry in loops.objects.entries(older_than=datetime.now(UTC) + timedelta(days=1))} == {young}


def stored(reconciled: Reconciled, key: str) -> str:
    writer = reconciled.loops.objects.create(key)
    writer.write(b"bytes")
    writer.commit()
    return key
