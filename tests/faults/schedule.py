"""When which fault strikes: single ones, pairs and triples at random, all of it decided by the seed."""

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from faults.history import History, Strike
from faults.kinds import Kind

MOST_AT_ONCE = 3
"""A fault that takes long goes on while others strike, but never more than these together."""


@dataclass(frozen=True)
class Group:
    """Faults that begin at the same time, after a pause."""

    pause_s: float
    kinds: tuple[Kind, ...]


def schedule(kinds: Sequence[Kind], rng: random.Random, *, is_wanted_again: Callable[[Kind], bool]) -> Iterator[Group]:
    """Every kind once in random order, then those that are wanted again, then at random by weight, without end.

    10 % are pairs and 5 % triples.
    """
    waiting = list(kinds)
    rng.shuffle(waiting)

    def take() -> Kind:
        if not waiting:
            waiting.extend(filter(is_wanted_again, kinds))
        return waiting.pop() if waiting else rng.choices(kinds, [kind.weight for kind in kinds])[0]

    while True:
        size = rng.choices([1, 2, 3], [85, 10, 5])[0]
        yield Group(rng.uniform(0.5, 2), tuple(take() for _ in range(size)))


class Strikes:
    """Lets groups of faults strike; a context manager that ends when the last one is over."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE)
        self._running: set[Future[None]] = set()

    def begin(self, group: Group) -> None:
        """Let all of *group* begin, as soon as there is room; raises what an earlier fault raised."""
        while len(self._running) + len(group.kinds) > MOST_AT_ONCE:
            self._forget(wait(self._running, return_when=FIRST_COMPLETED).done)
        self._running |= {self._threads.submit(self._strike, kind) for kind in group.kinds}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown()
        if error is None:
            self._forget(set(self._running))

    def _forget(self, done: set[Future[None]]) -> None:
        self._running -= done
        for one in done:
            one.result()

    def _strike(self, kind: Kind) -> None:
        began = datetime.now(UTC)
        is_hit = kind.strike()
        self._history.strikes.append(Strike(kind.name, began, datetime.now(UTC), is_hit=is_hit))
