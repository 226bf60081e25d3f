"""Hints are sent when they can be, and nobody waits for them."""

import threading

import pytest

from sluice_common.contract import EmbedBatch
from sluice_common.errors import QueueUnavailable
from sluice_common.hints import BackgroundHints, Hints

TASKS = [EmbedBatch(run_id=1, batch_no=number) for number in range(3)]


class Queue:
    """A queue that can be away, hold enough already, or hang until it is let go."""

    def __init__(self, *, is_away: bool = False, most: int = 10_000) -> None:
        self.sent: list[EmbedBatch] = []
        self.is_away = is_away
        self.most = most
        self.let_go = threading.Event()
        self.let_go.set()

    def has_room(self, _queue: str) -> bool:
        return len(self.sent) < self.most

    def send(self, task: EmbedBatch) -> None:
        self.let_go.wait(10)
        if self.is_away:
            raise QueueUnavailable("away")
        self.sent.append(task)


def test_every_task_is_sent_in_order():
    queue = Queue()

    assert Hints(queue).send(TASKS) == 3
    assert queue.sent == TASKS


def test_a_queue_that_is_away_is_no_error_and_is_asked_once():
    assert Hints(Queue(is_away=True)).send(TASKS) == 0


def test_a_queue_that_has_enough_gets_no_more():
    queue = Queue(most=2)

    assert Hints(queue).send(TASKS) == 2
    assert queue.sent == TASKS[:2]


def test_nobody_waits_for_a_queue_that_hangs():
    queue = Queue()
    queue.let_go.clear()
    hints = BackgroundHints(queue)

    assert hints.send(TASKS) == 3  # returns although nothing was sent
    assert queue.sent == []

    queue.let_go.set()
    hints.close()
    assert queue.sent == TASKS


@pytest.mark.timeout(30)
def test_a_queue_that_hangs_for_long_costs_hints_and_nothing_else():
    queue = Queue()
    queue.let_go.clear()
    hints = BackgroundHints(queue)

    handed = [hints.send(TASKS[:1]) for _ in range(1100)]

    assert 0 in handed
    hints.close()  # returns although the queue still hangs
    queue.let_go.set()
