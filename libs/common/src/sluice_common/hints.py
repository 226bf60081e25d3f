"""Decides whether a hint goes out now; the gateway, the workers and the dispatch loop all ask here."""

from collections.abc import Iterable

import structlog

from sluice_common.contract import Task
from sluice_common.errors import QueueUnavailable
from sluice_common.ports import TaskQueue

log = structlog.get_logger(__name__)


class Hints:
    """Sends hints after a commit; a failure is harmless, because the row has its dispatch time."""

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue

    def send(self, tasks: Iterable[Task]) -> int:
        """Send each task; returns how many went out. Never raises."""
        sent = 0
        for task in tasks:
            try:
                self._queue.send(task)
            except QueueUnavailable:
                log.warning("hint_not_sent", actor=task.actor)
                return sent  # the dispatch loop sends them all; asking a dead broker for each would cost seconds
            sent += 1
        return sent
