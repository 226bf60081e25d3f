"""Decides whether a hint goes out now; the gateway, the workers and the dispatch loop all ask here."""

import contextlib
import queue
import threading
from collections.abc import Iterable

import structlog

from sluice_common.contract import Task
from sluice_common.errors import QueueUnavailable
from sluice_common.ports import TaskQueue

log = structlog.get_logger(__name__)

_MOST_WAITING = 1000
_CLOSING_S = 2


class Hints:
    """Sends hints after a commit; a failure is harmless, because the row has its dispatch time."""

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue

    def send(self, tasks: Iterable[Task]) -> int:
        """Send each task, in order; returns how many went out. Never raises.

        The rest waits for the dispatch loop: after a failure, because asking a dead broker for each would cost
        seconds, and when a queue is full, because its workers have enough to do.
        """
        sent = 0
        for task in tasks:
            try:
                if not self._queue.has_room(task.queue):
                    return sent
                self._queue.send(task)
            except QueueUnavailable:
                log.warning("hint_not_sent", actor=task.actor)
                return sent
            sent += 1
        return sent


class BackgroundHints(Hints):
    """Sends hints from a thread of its own: a Redis that hangs must not hold up a client's answer."""

    def __init__(self, queue_: TaskQueue) -> None:
        super().__init__(queue_)
        self._waiting: queue.Queue[list[Task] | None] = queue.Queue(maxsize=_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
        self._thread.start()

    def send(self, tasks: Iterable[Task]) -> int:
        """Hand the tasks to the thread; returns how many. Never raises and never waits."""
        handed = list(tasks)
        try:
            self._waiting.put_nowait(handed)
        except queue.Full:
            log.warning("hints_dropped", tasks=len(handed))  # each row has its dispatch time
            return 0
        return len(handed)

    def close(self) -> None:
        """Send what is waiting, within a moment."""
        with contextlib.suppress(queue.Full):  # Redis hangs: the thread ends with the process
            self._waiting.put(None, timeout=_CLOSING_S)
        self._thread.join(timeout=_CLOSING_S)

    def _run(self) -> None:
        while (tasks := self._waiting.get()) is not None:
            super().send(tasks)
