"""Remembers which originals had no row, until a second look finds them without one still."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta

REMEMBERED = 10_000
"""Keys that are remembered at most: some three megabytes. Those for which there is no room wait for a later sweep."""


class SecondLook:
    """When this process first saw each original without a row.

    The age of an original is the difference of two clocks, this machine's and its store's, and either may be wrong.
    The time between two looks is measured by a clock that nobody can set. Nothing is kept over a restart: that costs
    time and no original.

    Args:
        at_most: keys that are remembered.
        clock: monotonic seconds.
    """

    def __init__(self, *, at_most: int = REMEMBERED, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_most = at_most
        self._clock = clock
        self._first_s: dict[str, float] = {}
        self._seen: set[str] = set()

    def __len__(self) -> int:
        return len(self._first_s)

    @contextmanager
    def sweep(self) -> Iterator[None]:
        """One pass over all originals; at its end, what it did not see without a row is forgotten."""
        self._seen.clear()
        yield
        for key in self._first_s.keys() - self._seen:
            del self._first_s[key]

    def confirmed(
        self, keys: Collection[str], without_row: Callable[[Collection[str]], set[str]], *, apart: timedelta
    ) -> set[str]:
        """Those of *keys* that have no row now and had none *apart* ago; others without a row are remembered.

        Args:
            keys: a page of originals that are in the store.
            without_row: asks the table which of them no row names.
            apart: least time between the answer that began it and the question that confirms it.
        """
        asked_s = self._clock()
        due = {key for key in keys if self._waited_s(key, asked_s) >= apart.total_seconds()}
        unknown = without_row(keys)
        self._remember(unknown)
        return unknown & due

    def forget(self, key: str) -> None:
        """Make room: the original is gone."""
        self._first_s.pop(key, None)

    def _waited_s(self, key: str, now_s: float) -> float:
        return now_s - self._first_s[key] if key in self._first_s else float("-inf")

    def _remember(self, unknown: Collection[str]) -> None:
        answered_s = self._clock()
        for key in unknown:
            # The oldest never make room for new ones: with more keys than room, none would live to its second look.
            if key in self._first_s or len(self._first_s) < self._at_most:
                self._first_s.setdefault(key, answered_s)
                self._seen.add(key)
