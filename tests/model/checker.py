"""Explores every world that can be reached, breadth first, so that a broken promise is told by a shortest trace.

A move is one transaction or one call to the store. Row locks make each transaction look as if it were alone, because
whoever moves a document or counts its batches holds the lock of its row; so a move here happens at once and whole.
How transactions wait for each other, and the order in which they take their locks, is outside the model.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from time import process_time

from model import embedding, extraction, outside, publication, reconciliation
from model.canonical import canonical
from model.promises import broken_promise, unsettled
from model.rules import Cause, Move, Rules, Step
from model.world import World

Progress = Callable[[int, int, int], None]
"""Gets the number of worlds found, how many of them wait to be explored, and the depth."""

SERVICES: tuple[Move, ...] = (
    extraction.claim_extraction,
    extraction.forward,
    extraction.finish_extraction,
    embedding.claim_batch,
    embedding.store_points,
    embedding.finish_batch,
    embedding.finish_batch_after_looking,
    publication.look_before_publishing,
    publication.publish,
    publication.look_for_lost_points,
    publication.repair,
    reconciliation.reap_document,
    reconciliation.reap_batches,
    reconciliation.fail_exhausted,
    reconciliation.postpone_repairs,
    reconciliation.look_for_orphans,
    reconciliation.remove_orphans,
    reconciliation.collect_points,
    reconciliation.collect_rows,
    reconciliation.purge_points,
    reconciliation.purge_rows,
)
OUTSIDE: dict[Cause, tuple[Move, ...]] = {
    Cause.FAULT: (
        extraction.fail_extraction,
        embedding.give_batch_back,
        embedding.refuse_batch,
        reconciliation.fail_overdue,
        outside.crash,
    ),
    Cause.WISH: (outside.ask,),
    Cause.LOSS: (outside.lose_points,),
}


@dataclass
class Exploration:
    """What was found."""

    rules: Rules
    worlds: int = 0
    depth: int = 0
    seconds: float = 0.0
    broken: str | None = None
    trace: Sequence[str] = ()
    last: World | None = None
    moves: dict[str, set[tuple[str, str]]] = field(
        default_factory=lambda: {"document": set(), "run": set(), "batch": set()}
    )
    """Every change of a state that was made, as old and new."""

    def story(self) -> str:
        """The trace to the broken promise, one move a line."""
        if self.broken is None:
            return f"{self.rules.name}: {self.worlds} worlds, {self.depth} moves deep, no promise broken"
        lines = [f"{number:3}. {name}" for number, name in enumerate(self.trace, 1)]
        left_out = [f"without: {protection.value}" for protection in sorted(self.rules.without)]
        return "\n".join([f"BROKEN: {self.broken}", *left_out, *lines, _shown(self.last)])


def explore(rules: Rules, progress: Progress | None = None) -> Exploration:
    """Look at every world that these rules allow, until a promise breaks or there are no more."""
    return _Explorer(rules, progress).run()


class _Explorer:
    def __init__(self, rules: Rules, progress: Progress | None) -> None:
        self._rules = rules
        self._progress = progress
        self._found = Exploration(rules)
        start = World(budget=rules.budget)
        self._number: dict[World, int] = {start: 0}
        self._worlds = [start]
        self._parent = array("l", [-1])
        self._work_ends = array("l")  # for each explored world, where its edges end in _work
        self._work = array("l")  # where the services can go on to, world after world

    def run(self) -> Exploration:
        began = process_time()
        self._search()
        self._found.worlds, self._found.seconds = len(self._worlds), process_time() - began
        return self._found

    def _search(self) -> None:
        here, level_end = 0, 1
        while here < len(self._worlds):
            if here == level_end:
                self._found.depth += 1
                level_end = len(self._worlds)
                if self._progress:
                    self._progress(len(self._worlds), level_end - here, self._found.depth)
            broken = self._expand(here)
            if broken:
                self._blame(here, broken)
                return
            here += 1
        self._check_that_work_ends()

    def _expand(self, here: int) -> str | None:
        world = self._worlds[here]
        broken = broken_promise(world, self._rules)
        if broken:
            return broken
        goes_on = False
        for step in steps(world, self._rules):
            self._note_moves(world, step.world)
            there = self._number_of(canonical(step.world, self._rules), here)
            if step.cause is Cause.WORK and there != here:
                goes_on = True
                self._work.append(there)
        self._work_ends.append(len(self._work))
        return None if goes_on else unsettled(world)

    def _number_of(self, world: World, parent: int) -> int:
        number = self._number.setdefault(world, len(self._worlds))
        if number == len(self._worlds):
            self._worlds.append(world)
            self._parent.append(parent)
        return number

    def _check_that_work_ends(self) -> None:
        """Without a circle, everything that the services do by themselves comes to one of the ends seen above."""
        pending = array("l", bytes(self._parent.itemsize * len(self._worlds)))
        for there in self._work:
            pending[there] += 1
        free = [number for number, ways in enumerate(pending) if ways == 0]
        n_free = 0
        while free:
            here = free.pop()
            n_free += 1
            for there in self._work[self._work_ends[here - 1] if here else 0 : self._work_ends[here]]:
                pending[there] -= 1
                if pending[there] == 0:
                    free.append(there)
        if n_free < len(self._worlds):
            self._blame(next(number for number, ways in enumerate(pending) if ways), "the work goes round for ever")

    def _note_moves(self, old: World, new: World) -> None:
        if old.document.state is not new.document.state:
            self._found.moves["document"].add((old.document.state, new.document.state))
        if old.runs is new.runs:
            return
        for before, after in zip(old.runs, new.runs, strict=False):
            if before.state is not after.state:
                self._found.moves["run"].add((before.state, after.state))
            for batch_before, batch_after in zip(before.batches, after.batches, strict=False):
                if batch_before.state is not batch_after.state:
                    self._found.moves["batch"].add((batch_before.state, batch_after.state))

    def _blame(self, number: int, broken: str) -> None:
        path = [number]
        while self._parent[path[-1]] >= 0:
            path.append(self._parent[path[-1]])
        path.reverse()
        self._found.broken, self._found.last = broken, self._worlds[number]
        self._found.trace = [self._name_of(*pair) for pair in pairwise(path)]

    def _name_of(self, here: int, there: int) -> str:
        taken = self._worlds[there]
        found = steps(self._worlds[here], self._rules)
        return next(step.name for step in found if canonical(step.world, self._rules) == taken)


def steps(world: World, rules: Rules) -> Iterator[Step]:
    """Everything that can happen next."""
    for move in SERVICES:
        yield from _affordable(move(world, rules))
    for cause, moves in OUTSIDE.items():
        if getattr(world.budget, cause):
            for move in moves:
                yield from _affordable(move(world, rules))


def _affordable(found: Iterator[Step]) -> Iterator[Step]:
    for step in found:
        if step.cause in OUTSIDE:
            budget = step.world.budget
            left = getattr(budget, step.cause) - 1
            if left >= 0:
                yield step._replace(world=step.world._replace(budget=budget._replace(**{step.cause: left})))
        else:
            yield step


def _shown(world: World | None) -> str:
    if world is None:
        return ""
    lines = [f"then: {world.document}", *(f"      {run_id}: {run}" for run_id, run in enumerate(world.runs, 1))]
    return "\n".join([*lines, f"      store: {sorted(world.points)}", *(f"      {worker}" for worker in world.workers)])
