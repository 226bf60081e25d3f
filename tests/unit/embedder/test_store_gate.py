"""The breaker before the vector store: it costs nothing while all is well, and lets little through while it is open."""

from datetime import timedelta

import numpy as np
import pytest
from clocks import Clock

from sluice_common.errors import DimensionMismatch, PipelineError, VectorStoreUnavailable
from sluice_embedder.store_gate import StoreGate

PROBE_INTERVAL = timedelta(seconds=10)
NO_VECTORS = np.empty((0, 4), dtype=np.float32)


class Store:
    """As much of a vector store as the gate uses."""

    def __init__(self) -> None:
        self.pings = 0
        self.upserts = 0
        self.answers = True
        self.fault: PipelineError | None = None

    def ping(self) -> None:
        self.pings += 1
        if not self.answers:
            raise VectorStoreUnavailable("does not answer")

    def upsert(self, _points, _dense) -> None:
        self.upserts += 1
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def gate(store: Store, clock: Clock) -> StoreGate:
    return StoreGate(store, probe_interval=PROBE_INTERVAL, clock=clock)


def is_let_through(gate: StoreGate) -> bool:
    try:
        gate.admit()
    except VectorStoreUnavailable:
        return False
    return True


def write(gate: StoreGate) -> None:
    gate.upsert([], NO_VECTORS)


def fail_to_write(gate: StoreGate, store: Store, fault: PipelineError) -> None:
    store.fault = fault
    with pytest.raises(type(fault)):
        write(gate)


def go_away(gate: StoreGate, store: Store) -> None:
    store.answers = False
    fail_to_write(gate, store, VectorStoreUnavailable("away"))


def come_back(store: Store) -> None:
    store.answers, store.fault = True, None


def test_while_all_is_well_the_store_is_asked_for_nothing_but_the_writing(gate, store):
    for _ in range(10):
        gate.admit()
        write(gate)

    assert (store.upserts, store.pings) == (10, 0)


def test_one_write_that_failed_is_enough_that_no_batch_goes_on_to_a_store_that_does_not_answer(gate, store):
    go_away(gate, store)

    assert not any(is_let_through(gate) for _ in range(10))


def test_a_store_that_is_away_is_pinged_at_once_and_then_once_each_interval(gate, store, clock):
    go_away(gate, store)

    pings = []
    for _ in range(4):
        for _ in range(10):
            assert not is_let_through(gate)
        pings.append(store.pings)
        clock.advance(10)

    assert pings == [1, 2, 3, 4]


def test_writes_that_were_under_way_and_fail_later_bring_no_more_pings(gate, store, clock):
    go_away(gate, store)
    is_let_through(gate)

    clock.advance(5)
    go_away(gate, store)
    is_let_through(gate)

    assert store.pings == 1


def test_a_store_that_answers_again_gets_one_batch_first_and_all_once_that_is_written(gate, store, clock):
    go_away(gate, store)
    is_let_through(gate)
    come_back(store)
    clock.advance(10)

    assert [is_let_through(gate) for _ in range(4)] == [True, False, False, False]
    write(gate)
    assert all(is_let_through(gate) for _ in range(4))
    assert store.pings == 2


def test_a_store_that_answers_and_takes_nothing_costs_one_batch_each_interval(gate, store, clock):
    fault = VectorStoreUnavailable("no room")
    fail_to_write(gate, store, fault)

    let_through = 0
    for _ in range(30):
        if is_let_through(gate):
            let_through += 1
            fail_to_write(gate, store, fault)
        clock.advance(1)

    assert let_through == 3


def test_a_batch_that_was_let_through_and_never_came_to_the_store_does_not_stop_the_next_one(gate, store, clock):
    fail_to_write(gate, store, VectorStoreUnavailable("a lost connection"))
    come_back(store)
    assert is_let_through(gate)

    clock.advance(10)

    assert is_let_through(gate)


def test_a_write_that_was_under_way_and_succeeds_closes_the_gate_too(gate, store):
    fail_to_write(gate, store, VectorStoreUnavailable("a lost connection"))
    come_back(store)

    write(gate)

    assert is_let_through(gate)
    assert store.pings == 0


@pytest.mark.parametrize(
    ("fault", "detail_code"),
    [
        (VectorStoreUnavailable("gone", detail_code="index_missing"), "index_missing"),
        (DimensionMismatch("another size"), "dimension_mismatch"),
    ],
)
def test_who_is_refused_is_told_what_opened_the_gate(gate, store, fault, detail_code):
    fail_to_write(gate, store, fault)
    assert is_let_through(gate)

    with pytest.raises(VectorStoreUnavailable) as refused:
        gate.admit()

    assert refused.value.detail_code == detail_code
