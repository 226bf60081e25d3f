"""Who is let in, decided on a table that stands still."""

import asyncio
import threading
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from anyio import to_thread
from prometheus_client import CollectorRegistry

from sluice_api import backpressure
from sluice_api.backpressure import LONGEST_RETRY_S, UNKNOWN_RETRY_S, Backpressure, Bound, queue_full
from sluice_api.metrics import GatewayMetrics
from sluice_api.problems import Problem, body_of
from sluice_api.settings import ApiSettings
from sluice_common.errors import DatabaseUnavailable
from sluice_common.idempotency import Idempotency
from sluice_common.queueing import Queueing, Queues, Waiting

TENANT = uuid4()


class FakeQueueing(Queueing):
    """A table that holds what a test says, and counts who asks."""

    def __init__(self, waiting: dict[UUID, Waiting] | None = None) -> None:
        self.waiting = waiting or {}
        self.looks = 0
        self.at_once = 0
        self.most_at_once = 0
        self.is_away = False
        self.takes_s = 0.0

    def look(self) -> Queues:
        self.looks += 1
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        threading.Event().wait(self.takes_s)
        self.at_once -= 1
        if self.is_away:
            raise DatabaseUnavailable("gone")
        return Queues(dict(self.waiting))


class FakeIdempotency(Idempotency):
    """Knows of one request that was done, and has no table."""

    def __init__(self) -> None: ...

    def is_done(self, tenant_id: UUID, key: str) -> bool:
        return (tenant_id, key) == (TENANT, "done")


def backpressure_over(queueing: Queueing, **limits: int) -> Backpressure:
    settings = ApiSettings(
        database={"url": "postgresql://unused"},
        broker={"url": "redis://unused"},
        qdrant={"url": "http://unused"},
        embeddings={"base_url": "http://unused", "model": "fake"},
        objects={"root": "."},
        limits={"min_free_percent": 0, "min_free_bytes": 0, **limits},
    )
    return Backpressure(settings, queueing, FakeIdempotency(), GatewayMetrics(CollectorRegistry()))


def let_in(door: Backpressure, uploads: int, *, tenant_id: UUID = TENANT, key: str | None = None) -> int:
    """How many of so many uploads at once are let in."""

    async def try_all() -> int:
        tries = (door.check_upload(tenant_id, key) for _ in range(uploads))
        answers = await asyncio.gather(*tries, return_exceptions=True)
        assert all(answer is None or isinstance(answer, Problem | DatabaseUnavailable) for answer in answers), answers
        return answers.count(None)

    return asyncio.run(try_all())


def test_many_uploads_at_once_ask_the_table_once():
    queueing = FakeQueueing()
    queueing.takes_s = 0.05

    assert let_in(backpressure_over(queueing), 200) == 200
    assert queueing.looks == 1


def test_a_look_is_believed_for_a_moment_and_no_longer(monkeypatch):
    queueing = FakeQueueing()
    door = backpressure_over(queueing)
    now = 0.0
    monkeypatch.setattr(backpressure, "time", SimpleNamespace(monotonic=lambda: now))

    let_in(door, 10), let_in(door, 10)
    assert queueing.looks == 1

    now += backpressure.KEPT_S + 0.01
    let_in(door, 10), let_in(door, 10)
    assert queueing.looks == 2


@pytest.mark.parametrize("took_s", [0.1, 3.0])
def test_a_look_that_took_long_is_believed_for_longer_within_reason(monkeypatch, took_s):
    queueing = FakeQueueing()
    door = backpressure_over(queueing)
    kept_s = min(backpressure.LONGEST_KEPT_S, 20 * took_s)
    later = [took_s + kept_s - 0.1, took_s + kept_s]  # who asks then
    clock = iter([0.0, took_s, *later, 20.0, 20.0])
    monkeypatch.setattr(backpressure, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    let_in(door, 1), let_in(door, 1)
    assert queueing.looks == 1

    let_in(door, 1)
    assert queueing.looks == 2


def test_a_table_that_does_not_answer_is_asked_again_by_the_next_one():
    queueing = FakeQueueing()
    queueing.is_away = True
    door = backpressure_over(queueing)

    assert let_in(door, 5) == 0
    queueing.is_away = False
    assert let_in(door, 5) == 5
    assert (queueing.looks, queueing.most_at_once) == (2, 1)


def test_routes_that_hold_every_thread_still_get_their_look():
    door = backpressure_over(FakeQueueing())

    async def ask_from_the_only_thread() -> None:
        to_thread.current_default_thread_limiter().total_tokens = 1
        async with asyncio.timeout(20):
            await to_thread.run_sync(door.check_work_in_thread, TENANT, abandon_on_cancel=True)

    asyncio.run(ask_from_the_only_thread())


def test_what_was_let_in_since_the_look_counts():
    door = backpressure_over(FakeQueueing({TENANT: Waiting(documents=3)}), max_waiting_documents_of_tenant=5)

    assert let_in(door, 10) == 2
    assert let_in(door, 10) == 0


def test_the_bound_of_all_counts_what_every_tenant_was_let_in_with():
    door = backpressure_over(FakeQueueing({uuid4(): Waiting(documents=3)}), max_waiting_documents=6)

    assert let_in(door, 2) == 2
    assert let_in(door, 5, tenant_id=uuid4()) == 1


def test_a_repeat_of_what_was_done_passes_a_full_queue():
    door = backpressure_over(FakeQueueing({TENANT: Waiting(chunks=9)}), max_waiting_chunks=9)

    assert let_in(door, 3, key="done") == 3
    assert let_in(door, 3, key="new") == 0
    assert let_in(door, 3, key="done", tenant_id=uuid4()) == 0


@pytest.mark.parametrize(
    ("waiting", "limit", "drained_per_s", "expected"),
    [
        (100_000, 100_000, 10, 10),  # a thousandth of the bound, at ten a second
        (100_500, 100_000, 10, 60),  # and what is above the bound
        (3, 3, 0.5, 2),
        (3, 3, 100, 1),
        (3, 3, 0.0001, LONGEST_RETRY_S),
        (3, 3, 0, UNKNOWN_RETRY_S),
    ],
)
def test_a_refused_client_comes_back_when_a_little_of_the_bound_is_free(waiting, limit, drained_per_s, expected):
    bound = Bound("waiting_documents", "documents wait", waiting, limit, drained_per_s)

    assert bound.retry_after_s == expected
    assert queue_full(bound).headers == {"Retry-After": str(expected)}


def test_the_numbers_are_said_to_people_and_to_programs():
    problem = queue_full(Bound("waiting_chunks", "chunks wait", 12, 10, 1))

    body = body_of(problem, "req_1")

    assert body["detail"] == "12 chunks wait; the limit is 10. Try again in 3 s."
    assert (body["bound"], body["waiting"], body["limit"], body["code"]) == ("waiting_chunks", 12, 10, "queue_full")
