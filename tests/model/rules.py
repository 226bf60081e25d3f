"""What may happen in one exploration, and the shape of a move."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from model.protections import Protection
from model.world import Budget, World


class Cause(StrEnum):
    """Why a move is made; the last three are paid from the budget of that name."""

    WORK = "work"
    """The services, when nothing disturbs them, get work done and mend."""
    NOISE = "noise"
    """A late hint, or an audit that finds nothing."""
    FAULT = "faults"
    WISH = "wishes"
    LOSS = "losses"


class Step(NamedTuple):
    """One move, as it was made."""

    name: str
    world: World
    cause: Cause = Cause.WORK


NOTHING = Budget()


@dataclass(frozen=True)
class Rules:
    """One exploration: how much of everything there may be, and which protections are left out.

    The limits of tries and losses are smaller than the real ones; only that they are used up matters.
    """

    name: str
    wishes: frozenset[str] = frozenset()
    """What users may ask for: cancel, delete, reprocess, replace, embed_again."""
    faults: frozenset[str] = frozenset()
    """What may go wrong: crash, expire, setback, release, defer, refuse, deadline."""
    budget: Budget = NOTHING
    max_batches: int = 2
    max_workers: int = 3
    max_runs: int = 3
    """Runs that have left a trace somewhere at the same time; ids are unbounded, see `canonical`."""
    max_tries: int = 2
    max_losses: int = 2
    has_noise: bool = False
    """Hints and audits also come when there is nothing for them to do."""
    reconcilers: int = 1
    pause_outlasts_zombies: bool = False
    """Nobody who wrote for a run before its first collection writes after the second, ten leases later."""
    wipe: bool = False
    """The store may lose everything at once."""
    without: frozenset[Protection] = frozenset()

    def keep(self, protection: Protection) -> bool:
        return protection not in self.without


Move = Callable[[World, Rules], Iterator[Step]]
"""Yields every way in which the move can happen now; nothing when its guard forbids it."""
