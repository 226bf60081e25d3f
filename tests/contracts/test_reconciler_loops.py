"""The reconciler's loops over real PostgreSQL and the real vector store: what they mend, and what they leave alone."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from builders import Protocol, make_original
from contracts import vector_fixtures
from prometheus_client import CollectorRegistry

from sluice_api import loops
from sluice_api.loops import SECOND_LOOK, LoopMetrics, Loops
from sluice_api.second_look import SecondLook
from sluice_common import failpoints
from sluice_common.adapters.ensured import EnsuredVectorStore
from sluice_common.adapters.filesystem import FilesystemObjectStore
from sluice_common.contract import EmbedBatch, ExtractDocument
from sluice_common.documents import NewDocument
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
        self.queue = Queue()
        self.registry = CollectorRegistry()
        self.objects = FilesystemObjectStore(folder)
        self.steady_s = 0.0
        self.loops = Loops(
            reconciling=protocol.reconciling,
            batches=protocol.batches,
            queue=self.queue,
            hints=self.queue,
            vectors=EnsuredVectorStore(lambda: vectors),
            objects=self.objects,
            times=protocol.times,
            metrics=LoopMetrics(self.registry),
            originals_grace=timedelta(days=1),
            history_kept=timedelta(days=30),
        )
        self.restart_janitor()

    def restart_janitor(self) -> None:
        """Begin anew with the settings of an installation, and with the monotonic clock of the test."""
        second_look = SecondLook(clock=lambda: self.steady_s)
        self.loops = replace(self.loops, originals_grace=timedelta(days=1), second_look=second_look)

    def tidy_after(self, pause: timedelta) -> None:
        """A sweep when so much time has passed for everybody, whatever time of day it is."""
        self.steady_s += pause.total_seconds()
        self.loops.tidy()

    def committed(self):
        """An original that is in the store, as the gateway leaves it before it writes the row."""
        original = make_original()
        writer = self.objects.create(original.storage_key)
        writer.write(b"text")
        writer.commit()
        return original

    def write_row(self, original):
        """As the gateway does next; from here on it answers 202."""
        new = NewDocument(self.protocol.tenant_id, self.protocol.collection_id, original)
        return self.protocol.documents.accept(new)

    def originals(self) -> set[str]:
        return {entry.key for entry in self.objects.entries(older_than=datetime.now(UTC) + timedelta(days=3))}

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

    def deleted(self, sizes: list[int]):
        """A document that was published, and is deleted and not yet purged."""
        claim = self.published(sizes)
        self.protocol.documents.delete(self.protocol.tenant_id, claim.document_id)
        return claim

    def collect(self) -> None:
        """A pass over all that is due as soon as the timers have passed."""
        self.protocol.let_timers_pass()
        self.loops.collect()

    def lifecycle_of(self, claim) -> object:
        return self.protocol.value("SELECT lifecycle FROM documents WHERE id = :id", id=claim.document_id)

    def found(self, kind: str) -> float | None:
        return self.registry.get_sample_value("sluice_reconciler_found_total", {"kind": kind})


@pytest.fixture
def reconciled(database, vector_store, tmp_path) -> Reconciled:
    return Reconciled(Protocol(database), vector_store, tmp_path)


@pytest.fixture
def two_days_ahead(monkeypatch) -> None:
    """The wall clock of the reconciler, and of nobody else."""

    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None) -> datetime:
            return datetime.now(tz) + timedelta(days=2)

    monkeypatch.setattr(loops, "datetime", Ahead)


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


class Forgetful:
    """The vector store; while it is told to, it takes removals of one document's points and keeps the points."""

    def __init__(self, vectors, claim) -> None:
        self._vectors = vectors
        self._claim = claim
        self.is_forgetful = True

    def __getattr__(self, name: str):
        return getattr(self._vectors, name)

    def delete_document(self, document_id) -> None:
        if not (self.is_forgetful and document_id == self._claim.document_id):
            self._vectors.delete_document(document_id)

    def delete_runs(self, run_ids) -> None:
        self._vectors.delete_runs([run for run in run_ids if not (self.is_forgetful and run == self._claim.run_id)])


def test_a_document_is_purged_only_when_the_store_has_none_of_its_points(reconciled):
    claim = reconciled.deleted([2])
    store = Forgetful(reconciled.vectors, claim)
    reconciled.loops = replace(reconciled.loops, vectors=store)
    for _ in range(3):  # the first pass, and the second one twice
        reconciled.collect()
    assert (reconciled.lifecycle_of(claim), reconciled.vectors.count_of_document(claim.document_id)) == ("deleting", 2)
    assert reconciled.found("orphans") == 2 + 2

    store.is_forgetful = False
    reconciled.collect()

    assert (reconciled.lifecycle_of(claim), reconciled.vectors.count_of_document(claim.document_id)) == ("deleted", 0)
    assert reconciled.found("orphans") == 2 + 2
    assert reconciled.found("documents_purged") == 1 + 1


def test_a_document_whose_points_stay_is_put_off_and_holds_up_no_other(reconciled):
    stays, goes = reconciled.deleted([1]), reconciled.deleted([1])
    reconciled.loops = replace(reconciled.loops, vectors=Forgetful(reconciled.vectors, stays))
    for _ in range(2):
        reconciled.collect()

    reconciled.loops.collect()

    assert [reconciled.lifecycle_of(claim) for claim in (stays, goes)] == ["deleting", "deleted"]
    assert reconciled.found("orphans") == 1


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


MOMENT = timedelta(seconds=1)


@pytest.mark.usefixtures("two_days_ahead")
def test_a_janitor_whose_clock_is_wrong_keeps_the_original_of_an_upload_that_is_under_way(reconciled):
    original = reconciled.committed()
    reconciled.loops.tidy()
    reconciled.tidy_after(SECOND_LOOK - MOMENT)

    reconciled.write_row(original)
    reconciled.tidy_after(SECOND_LOOK)
    reconciled.tidy_after(SECOND_LOOK)

    assert reconciled.originals() == {original.storage_key}
    assert reconciled.found("objects_without_row") == 0


@pytest.mark.usefixtures("two_days_ahead")
def test_an_original_that_has_no_row_at_the_second_look_is_removed_and_counted_once(reconciled):
    kept = reconciled.committed()
    reconciled.write_row(kept)
    reconciled.committed()
    reconciled.loops.tidy()
    assert len(reconciled.originals()) == 2

    reconciled.tidy_after(SECOND_LOOK)
    reconciled.tidy_after(SECOND_LOOK)

    assert reconciled.originals() == {kept.storage_key}
    assert reconciled.found("objects_without_row") == 1


@pytest.mark.usefixtures("two_days_ahead")
def test_a_janitor_that_was_started_again_looks_twice_again(reconciled):
    original = reconciled.committed()
    reconciled.loops.tidy()

    reconciled.restart_janitor()
    reconciled.tidy_after(SECOND_LOOK)

    assert reconciled.originals() == {original.storage_key}


def test_a_young_original_without_a_row_is_kept_however_often_it_is_looked_at(reconciled):
    original = reconciled.committed()

    for _ in range(3):
        reconciled.tidy_after(SECOND_LOOK)

    assert reconciled.originals() == {original.storage_key}


@pytest.mark.usefixtures("two_days_ahead")
def test_who_allows_originals_a_shorter_age_than_the_pause_waits_no_longer_than_that(reconciled):
    reconciled.loops = replace(reconciled.loops, originals_grace=MOMENT)
    reconciled.committed()
    reconciled.loops.tidy()

    reconciled.tidy_after(MOMENT)

    assert reconciled.originals() == set()
