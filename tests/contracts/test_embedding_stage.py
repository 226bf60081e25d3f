"""The embedder's stage over real PostgreSQL and the real vector store: what it does when others misbehave."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog
from builders import Protocol
from clocks import SteadyClock
from contracts import vector_fixtures
from prometheus_client import CollectorRegistry

from sluice_common.contract import EmbedBatch, VerifyRun
from sluice_common.errors import (
    DimensionMismatch,
    EmbeddingProviderUnavailable,
    EmbeddingRejected,
    RateLimited,
    VectorStoreUnavailable,
)
from sluice_common.jobs import Pings
from sluice_common.status import State
from sluice_common.testing import FakeEmbeddings
from sluice_embedder.batching import Coalescer
from sluice_embedder.claims import Claims
from sluice_embedder.deps import EmbedderDeps
from sluice_embedder.handlers import embed_batch, verify_run
from sluice_embedder.metrics import EmbeddingMetrics
from sluice_embedder.store_gate import StoreGate

embedded_vector_server = vector_fixtures.embedded_vector_server
vector_client = vector_fixtures.vector_client
vector_store = vector_fixtures.vector_store


class Sent:
    """Hints that were sent."""

    def __init__(self) -> None:
        self.tasks: list[object] = []

    def send(self, tasks) -> int:
        self.tasks += tasks
        return len(self.tasks)


class Stage:
    """The embedder with a provider whose faults can be switched."""

    def __init__(self, protocol: Protocol, vectors) -> None:
        self.protocol = protocol
        self.provider = FakeEmbeddings(dimensions=vector_fixtures.DIMENSIONS)
        self.coalescer = Coalescer(self.provider, batch_size=4, max_in_flight=2, linger_s=0)
        self.hints = Sent()
        self.vectors = vectors
        self.deps = EmbedderDeps(
            batches=protocol.batches,
            vectors=vectors,
            store_gate=StoreGate(vectors, probe_interval=protocol.times.lease / 6),
            provider=self.provider,
            coalescer=self.coalescer,
            claims=Claims(protocol.batches),
            hints=self.hints,
            pings=Pings(protocol.database),
            times=protocol.times,
            metrics=EmbeddingMetrics(CollectorRegistry()),
            owner="embedder",
        )

    def embed(self, run_id: int, batch_no: int = 0) -> str:
        return embed_batch(EmbedBatch(run_id=run_id, batch_no=batch_no), self.deps)


@pytest.fixture
def stage(database, vector_store) -> Iterator[Stage]:
    stage = Stage(Protocol(database), vector_store)
    yield stage
    stage.coalescer.close()


def test_the_last_batch_publishes_its_run(stage):
    claim = stage.protocol.extracted([3, 2])

    assert [stage.embed(claim.run_id, 0), stage.embed(claim.run_id, 1)] == ["ok", "ok"]

    view = stage.protocol.view(claim.document_id)
    assert (view.state, view.published_run, view.embed_model) == (State.COMPLETED, claim.run_id, "fake")
    assert stage.vectors.count_of_run(claim.run_id) == 5


def test_a_hint_that_comes_twice_is_skipped(stage):
    claim = stage.protocol.extracted([1, 1])

    assert [stage.embed(claim.run_id), stage.embed(claim.run_id)] == ["ok", "skipped"]


@pytest.mark.parametrize(
    ("fault", "waiting"),
    [
        (RateLimited("slow down", retry_after_s=30), "provider_unavailable:rate_limited"),
        (EmbeddingProviderUnavailable("away", detail_code="provider_timeout"), "provider_unavailable:provider_timeout"),
    ],
)
def test_a_provider_that_is_busy_or_away_delays_the_batch_and_costs_no_try(stage, fault, waiting):
    claim = stage.protocol.extracted([2])
    stage.provider.fault = fault

    stage.embed(claim.run_id)

    view = stage.protocol.view(claim.document_id)
    assert (view.state, view.waiting_code) == (State.EMBEDDING, waiting)
    assert stage.protocol.value("SELECT tries FROM batches") == 0
    assert stage.vectors.count_of_run(claim.run_id) == 0


def test_the_wait_that_the_provider_asks_for_is_kept(stage):
    claim = stage.protocol.extracted([1])
    stage.provider.fault = RateLimited("slow down", retry_after_s=120)

    stage.embed(claim.run_id)

    waits = stage.protocol.value("SELECT not_before - now() FROM batches")
    assert timedelta(seconds=110) < waits <= timedelta(seconds=120)


def test_a_text_that_the_provider_refuses_fails_its_document_and_no_other(stage):
    bad, good = stage.protocol.extracted([5]), stage.protocol.extracted([5])
    stage.protocol.query("UPDATE chunks SET text = 'poison' WHERE run_id = :id AND chunk_no = 3", id=bad.run_id)
    stage.provider.fault = refuse_poison

    assert stage.embed(bad.run_id) == "embedding_rejected"
    assert stage.embed(good.run_id) == "ok"

    assert stage.protocol.view(bad.document_id).error_code == "embedding_rejected"
    assert stage.protocol.view(good.document_id).state is State.COMPLETED


def refuse_poison(texts) -> None:
    if "poison" in texts:
        raise EmbeddingRejected("too long")


def make_a_mistake(_texts) -> None:
    raise ValueError("a mistake")


def test_a_mistake_of_ours_costs_a_try_and_ends_after_the_last_one(stage):
    claim = stage.protocol.extracted([1])
    stage.provider.fault = make_a_mistake
    for _ in range(8):
        stage.protocol.let_timers_pass()
        stage.embed(claim.run_id)

    stage.protocol.reconciling.fail_exhausted()

    view = stage.protocol.view(claim.document_id)
    assert (view.state, view.error_code) == (State.FAILED, "internal")


def test_a_store_that_lost_points_before_the_publication_gets_them_again(stage):
    claim = stage.protocol.extracted([2, 2])
    stage.embed(claim.run_id, 0)
    stage.vectors.delete_runs([claim.run_id])

    stage.embed(claim.run_id, 1)

    assert stage.protocol.view(claim.document_id).state is State.EMBEDDING
    assert stage.hints.tasks == [EmbedBatch(run_id=claim.run_id, batch_no=0)]
    assert stage.embed(claim.run_id, 0) == "ok"
    assert stage.protocol.view(claim.document_id).state is State.COMPLETED
    assert stage.vectors.count_of_run(claim.run_id) == 4


def test_a_store_that_is_away_delays_the_batches_and_buys_nothing_for_them(stage, monkeypatch):
    claim = stage.protocol.extracted([3, 2])
    monkeypatch.setattr(stage.vectors, "upsert", away)
    monkeypatch.setattr(stage.vectors, "ping", away)

    for _ in range(5):
        assert [stage.embed(claim.run_id, 0), stage.embed(claim.run_id, 1)] == ["store_unavailable"] * 2
        stage.protocol.let_timers_pass()

    assert stage.provider.texts == 3
    assert stage.protocol.view(claim.document_id).waiting_code == "store_unavailable:"
    assert stage.protocol.value("SELECT max(tries) FROM batches") == 0


def away(*_: object) -> None:
    raise VectorStoreUnavailable("away")


def test_a_store_that_came_back_is_found_out_by_the_next_batch(stage, monkeypatch):
    claim = stage.protocol.extracted([3])
    with monkeypatch.context() as outage:
        outage.setattr(stage.vectors, "upsert", away)
        stage.embed(claim.run_id)
    stage.protocol.let_timers_pass()

    assert stage.embed(claim.run_id) == "ok"

    assert stage.protocol.view(claim.document_id).state is State.COMPLETED


def test_an_index_of_another_size_delays_the_batches_and_one_probe_is_bought_for_all_of_them(stage, monkeypatch):
    claim = stage.protocol.extracted([4, 2, 1, 1])

    def mismatch(*_: object) -> None:
        raise DimensionMismatch("another size")

    monkeypatch.setattr(stage.vectors, "upsert", mismatch)

    assert [stage.embed(claim.run_id, number) for number in range(4)] == ["dimension_mismatch"] * 4

    assert stage.provider.texts == 4 + 2
    assert stage.protocol.value("SELECT max(tries) FROM batches") == 0


def test_a_batch_that_comes_late_to_the_store_is_put_back_and_writes_nothing_there(stage):
    claim = stage.protocol.extracted([1])
    late = replace(stage.deps, times=replace(stage.deps.times, lease=timedelta(0)))

    embed_batch(EmbedBatch(run_id=claim.run_id, batch_no=0), late)

    assert stage.provider.texts == 1
    assert stage.vectors.count_of_run(claim.run_id) == 0
    assert stage.protocol.query("SELECT state, tries, error_detail_code FROM batches") == [("pending", 0, "too_slow")]


def test_a_batch_that_took_four_fifths_of_its_lease_is_handed_back_and_never_finished_late(stage, monkeypatch):
    claim = stage.protocol.extracted([2])
    clock = SteadyClock()
    monkeypatch.setattr("sluice_embedder.handlers.time", clock)

    def be_slow(_texts) -> None:
        clock.ahead_s += stage.protocol.times.give_up.total_seconds()

    stage.provider.fault = be_slow
    stage.embed(claim.run_id)

    assert stage.protocol.query("SELECT state, tries, error_detail_code FROM batches") == [("pending", 0, "too_slow")]
    assert stage.protocol.view(claim.document_id).state is State.EMBEDDING


def test_a_batch_that_was_cancelled_meanwhile_publishes_nothing(stage):
    claim = stage.protocol.extracted([1])

    def cancel(_texts) -> None:
        stage.protocol.documents.cancel(stage.protocol.tenant_id, claim.document_id)

    stage.provider.fault = cancel

    stage.embed(claim.run_id)

    assert stage.protocol.view(claim.document_id).state is State.CANCELLED
    assert stage.protocol.view(claim.document_id).published_run is None


def test_a_worker_that_refuses_a_batch_too_late_is_fenced_and_fails_nothing(stage):
    claim = stage.protocol.extracted([1])

    def taken_over_meanwhile(_texts) -> None:
        stage.protocol.let_leases_expire()
        stage.protocol.reconciling.reap()
        raise EmbeddingRejected("too long")

    stage.provider.fault = taken_over_meanwhile

    with structlog.testing.capture_logs() as lines:
        outcome = stage.embed(claim.run_id)

    assert outcome == "fenced"
    assert "batch_refused" not in [line["event"] for line in lines]
    assert stage.protocol.view(claim.document_id).state is State.EMBEDDING


def test_a_verification_that_comes_late_or_twice_is_skipped(stage):
    claim = stage.protocol.extracted([1])
    stage.embed(claim.run_id)

    outcome = verify_run(VerifyRun(document_id=claim.document_id, run_id=claim.run_id), stage.deps)

    assert outcome == "skipped"


def test_a_worker_that_is_stopping_claims_nothing_new_and_hands_back_what_it_holds(stage):
    claim = stage.protocol.extracted([1])
    batch = stage.protocol.claim_batch(claim.run_id)
    with stage.deps.claims.hold(batch):
        stage.deps.claims.release_all()
        assert stage.embed(claim.run_id) == "skipped"
        vector_fixtures.wait_until(
            lambda: stage.protocol.value("SELECT state FROM batches") == "pending", seconds=10, what="handed back"
        )

    assert stage.protocol.value("SELECT tries FROM batches") == 0
