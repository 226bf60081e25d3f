"""Which documents one worker reads beside each other: one that workers were lost with too often is read alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

LOSSES_BEFORE_ALONE = 3
"""So often a document may have been lost with its worker and still be read beside others; `protocol.md`, losses."""


@dataclass
class Isolation:
    """A lock between the threads that read: many hold it beside each other, or one alone.

    Who wants to be alone is let in before those that come later. A document that kills its worker then takes no
    other with it; and none is claimed while it waits, for what is claimed is lost with the worker.
    """

    _changed: threading.Condition = field(default_factory=threading.Condition)
    _readers: int = 0
    _waiting: int = 0
    """Those that want to be alone."""
    _is_taken: bool = False

    @contextmanager
    def reading(self, *, losses: int, patience: timedelta) -> Iterator[None]:
        """Hold the lock inside the `with`: alone after so many losses, else beside others.

        Args:
            losses: how often the document was lost with its worker.
            patience: how long it waits to be alone. After that it is read beside those that still are, which take
                longer than this, for it must come to its end too; none that comes later is read beside it.
        """
        is_alone = losses >= LOSSES_BEFORE_ALONE
        if is_alone:
            self._enter_alone(patience)
        else:
            self._enter_beside_others()
        try:
            yield
        finally:
            self._leave(is_alone=is_alone)

    def _enter_beside_others(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not (self._is_taken or self._waiting))
            self._readers += 1

    def _enter_alone(self, patience: timedelta) -> None:
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: not (self._is_taken or self._readers), timeout=patience.total_seconds())
            self._changed.wait_for(lambda: not self._is_taken)  # one that is as dangerous is waited for in any case
            self._waiting -= 1
            self._is_taken = True

    def _leave(self, *, is_alone: bool) -> None:
        with self._changed:
            if is_alone:
                self._is_taken = False
            else:
                self._readers -= 1
            self._changed.notify_all()
