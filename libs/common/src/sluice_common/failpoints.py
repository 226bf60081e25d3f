"""Named places where a test may stop, break or kill a process; nothing happens there unless a trap is set."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from sluice_common.errors import TransientError

P = ParamSpec("P")
T = TypeVar("T")

Trap = Callable[[str], None]
"""Called with the name of each point that is reached; may wait, raise, or not return."""

_MOVES = (
    "accept", "claim_extraction", "heartbeat", "forward", "finish_extraction", "fail_extraction", "cancel", "delete",
    "begin_request", "complete_request", "release_request", "delete_collection",
    "reprocess", "claim_batch", "finish_batch", "defer_batch", "fail_batch", "publish", "repair",
    "embed_again", "dispatch", "notice_epoch", "reap", "fail_exhausted", "fail_overdue", "collect", "purge", "trim",
)  # fmt: skip
_STORE_CALLS = (
    "vectors.upsert", "vectors.count_of_run", "vectors.ids_of_run", "vectors.page_of_points", "vectors.delete_runs",
    "vectors.delete_document", "vectors.count_of_document", "vectors.delete_points", "vectors.search",
    "vectors.ensure_index",
    "objects.create", "objects.commit", "objects.read", "objects.local_copy", "objects.delete", "objects.entries",
    "objects.discard_unfinished", "provider.embed", "queue.send", "queue.has_room", "queue.epoch",
)  # fmt: skip
_STEPS = (
    "extractor.child_started", "extractor.page_read",
    "finish_extraction.document_moved", "finish_extraction.batches_added", "finish_extraction.run_closed",
    "forward.locked", "fail_extraction.document_moved", "cancel.document_moved", "delete.document_moved",
    "replace.document_moved", "accept.duplicate_found", "resolve.key_held",
    "delete_collection.collection_moved", "delete_collection.documents_moved",
    "finish_batch.locked", "finish_batch.batch_done", "finish_batch.counted", "fail_batch.batch_failed",
    "publish.locked", "publish.document_moved", "publish.run_published", "repair.locked",
    "embed_again.document_moved", "objects.synced", "objects.renamed",
    "dispatch.documents_given_out", "notice_epoch.counter_set", "reap.documents_taken_back",
    "fail_exhausted.document_failed", "fail_overdue.document_failed",
    "collect.points_dropped", "purge.bytes_dropped", "purge.document_moved",
)  # fmt: skip

POINTS: frozenset[str] = frozenset(
    [f"{name}.{side}" for name in (*_MOVES, *_STORE_CALLS) for side in ("before", "after")] + list(_STEPS)
)
"""Every point there is: both sides of each move and of each call to a store, and the steps between."""

_trap: Trap | None = None

_HOLD_POLL_S = 0.01


class FailPointRaised(Exception):
    """What an armed point raises with `raise`: a mistake of ours, as far as the code around it can tell."""


def set_trap(trap: Trap | None) -> None:
    """Let *trap* decide what happens at each point of this process; None: nothing."""
    global _trap  # noqa: PLW0603 - one process has one trap, and a point must cost no more than looking at it
    _trap = trap


def reach(name: str) -> None:
    """Mark a point; costs one comparison when no trap is set."""
    if _trap is not None:
        _trap(name)


@contextmanager
def around(name: str) -> Iterator[None]:
    """Mark the points before and after what the `with` does; the second one only when it did not raise."""
    reach(f"{name}.before")
    yield
    reach(f"{name}.after")


def marked(name: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Mark the points before and after each call of a function, as `around` does."""

    def mark(act: Callable[P, T]) -> Callable[P, T]:
        @wraps(act)
        def marked_act(*args: P.args, **kwargs: P.kwargs) -> T:
            if _trap is None:
                return act(*args, **kwargs)
            with around(name):
                return act(*args, **kwargs)

        return marked_act

    return mark


@dataclass
class _Arming:
    """One line of the file: what happens at a point, how often and how many times still."""

    action: str
    argument: str
    probability: float
    times: int | None

    def is_due(self) -> bool:
        if self.times == 0 or random.random() >= self.probability:  # noqa: S311 - chooses faults and guards nothing
            return False
        if self.times is not None:
            self.times -= 1
        return True


class FolderTrap:
    """Does what the lines of `armed` in a folder say, and writes each hit to `hits`; both may change at any time.

    A line is `name=action`, with `@probability` and `*times` behind it where wanted. The actions are `pause:SECONDS`,
    `hold` (until the line is gone), `kill` (this process, by SIGKILL), `raise` (a mistake of ours) and
    `raise:transient` (something is away, after the call has been done).
    """

    def __init__(self, folder: Path) -> None:
        self._armed = folder / "armed"
        self._hits = folder / "hits"
        self._lock = threading.Lock()
        self._read_at_ns = -1
        self._armings: dict[str, _Arming] = {}

    def __call__(self, name: str) -> None:
        with self._lock:
            self._read_again_if_changed()
            arming = self._armings.get(name)
            if arming is None or not arming.is_due():
                return
            self._note(name, arming.action)
        self._act(name, arming)

    def _read_again_if_changed(self) -> None:
        try:
            changed_at_ns = self._armed.stat().st_mtime_ns
            if changed_at_ns != self._read_at_ns:
                self._armings = _parsed(self._armed.read_text(encoding="utf-8"))
                self._read_at_ns = changed_at_ns
        except FileNotFoundError:
            self._armings, self._read_at_ns = {}, -1

    def _note(self, name: str, action: str) -> None:
        with self._hits.open("a", encoding="utf-8") as hits:  # one short write: lines of several processes stay whole
            hits.write(f"{name} {action} {os.getpid()}\n")

    def _act(self, name: str, arming: _Arming) -> None:
        if arming.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif arming.action == "pause":
            time.sleep(float(arming.argument))
        elif arming.action == "hold":
            self._hold(name)
        elif arming.argument == "transient":
            raise TransientError("an armed fail point")
        else:
            raise FailPointRaised(name)

    def _hold(self, name: str) -> None:
        while True:
            with self._lock:
                self._read_again_if_changed()
                if name not in self._armings:
                    return
            time.sleep(_HOLD_POLL_S)


def _parsed(text: str) -> dict[str, _Arming]:
    return dict(_parsed_line(line) for line in text.splitlines() if line.strip())


def _parsed_line(line: str) -> tuple[str, _Arming]:
    name, _, rest = line.strip().partition("=")
    rest, _, times = rest.partition("*")
    rest, _, probability = rest.partition("@")
    action, _, argument = rest.partition(":")
    if name not in POINTS or action not in {"kill", "pause", "hold", "raise"}:
        raise ValueError(f"there is no such fail point or action: {line}")
    return name, _Arming(action, argument, float(probability or 1), int(times) if times else None)
