"""One document with everything that belongs to it, as a value: rows, points, and who is working on them."""

from enum import StrEnum
from typing import NamedTuple

from sluice_common.status import BatchState, Lifecycle, RunState, State

Point = tuple[int, int]
"""Run and number of the batch. All chunks of a batch share one fate, so the model gives each batch one point."""


class Document(NamedTuple):
    """The row of `documents`, as far as a statement asks for it."""

    lifecycle: Lifecycle = Lifecycle.ACTIVE
    state: State = State.QUEUED
    active_run: int | None = None
    published_run: int | None = None
    tries: int = 0
    losses: int = 0
    own_faults: int = 0
    """No column: how often it was really the document's own doing, to compare with `tries`."""
    purge_pass: int = 0
    content: int = 1
    """Number of the newest original."""


class Batch(NamedTuple):
    """The row of `batches`."""

    state: BatchState = BatchState.PENDING
    fence: int = 0
    tries: int = 0
    losses: int = 0
    own_faults: int = 0


class Due(StrEnum):
    """When a run is to be collected: `gc_at`."""

    NEVER = "never"
    NOW = "now"
    LATER = "later"
    """After the pause between two collections."""


class Run(NamedTuple):
    """The row of `runs` with its batches; the id of a run is its place in the world, from 1."""

    state: RunState
    content: int
    """The original whose chunks these are, found by the run's `request_no`."""
    n_batches: int | None = None
    n_done: int = 0
    gc_pass: int = 0
    due: Due = Due.NEVER
    batches: tuple[Batch, ...] = ()
    excused: frozenset[int] = frozenset()
    """No column: batches whose points the store lost after they had been seen there, or while they were published."""


class Kind(StrEnum):
    EXTRACTOR = "extractor"
    EMBEDDER = "embedder"
    VERIFIER = "verifier"
    REPAIRER = "repairer"
    ORPHAN_REMOVER = "orphan remover"
    COLLECTOR = "collector"
    PURGER = "purger"


class Stage(StrEnum):
    """How far the work on a batch is; the last two exist only where counting is not under the lock."""

    CLAIMED = "claimed"
    STORED = "stored"
    SAW_NONE_OPEN = "saw none open"
    SAW_OTHERS = "saw others"


class Worker(NamedTuple):
    """Somebody between two of its steps, with what it knows."""

    kind: Kind
    run_id: int = 0
    batch_no: int = 0
    fence: int = 0
    stage: Stage = Stage.CLAIMED
    passes: int = 0
    """`gc_pass` or `purge_pass`, as a collector or purger found it."""
    present: tuple[int, ...] = ()
    """Batches whose points a verifier or a repairer saw."""
    page: tuple[Point, ...] = ()
    """Points that an orphan remover saw."""
    live: tuple[int, ...] = ()
    """Runs that an orphan remover believes live; only where it reads them before the page."""


class Budget(NamedTuple):
    """How often the outside may still interfere."""

    wishes: int = 0
    """Cancel, delete, reprocess, replace, embed again."""
    faults: int = 0
    """Crashes, leases that run out under a living worker, setbacks, deadlines."""
    losses: int = 0
    """Points lost by the store."""


class World(NamedTuple):
    document: Document = Document()
    runs: tuple[Run, ...] = ()
    points: frozenset[Point] = frozenset()
    workers: tuple[Worker, ...] = ()
    budget: Budget = Budget()

    def run(self, run_id: int) -> Run:
        return self.runs[run_id - 1]

    def batch(self, run_id: int, batch_no: int) -> Batch | None:
        """The row, None when it was dropped."""
        batches = self.runs[run_id - 1].batches
        return batches[batch_no] if batch_no < len(batches) else None

    def live_runs(self) -> tuple[int, ...]:
        """Every active and every published run."""
        return tuple(run_id for run_id in (self.document.active_run, self.document.published_run) if run_id)

    def wanted_points(self) -> frozenset[Point]:
        """The points that the published run should have."""
        run_id = self.document.published_run
        return frozenset((run_id, number) for number in range(len(self.run(run_id).batches))) if run_id else frozenset()

    def with_document(self, **values: object) -> "World":
        return self._replace(document=self.document._replace(**values))

    def with_run(self, run_id: int, **values: object) -> "World":
        runs = list(self.runs)
        runs[run_id - 1] = runs[run_id - 1]._replace(**values)
        return self._replace(runs=tuple(runs))

    def with_batch(self, run_id: int, batch_no: int, **values: object) -> "World":
        batches = list(self.runs[run_id - 1].batches)
        batches[batch_no] = batches[batch_no]._replace(**values)
        return self.with_run(run_id, batches=tuple(batches))

    def joined_by(self, worker: Worker) -> "World":
        return self._replace(workers=(*self.workers, worker))

    def left_by(self, worker: Worker) -> "World":
        workers = list(self.workers)
        workers.remove(worker)
        return self._replace(workers=tuple(workers))

    def abandon(self, run_id: int | None) -> "World":
        """`_ABANDON_RUN` in documents.py, batches.py and reconciling.py."""
        return self.with_run(run_id, state=RunState.ABANDONED, due=Due.NOW) if run_id else self
