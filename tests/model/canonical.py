"""One world for all that behave alike: what no statement can ever ask for again is forgotten.

Each rule here is sound because of a guard, and is not applied where that guard is left out:

- a worker whose every further step would be refused is gone;
- a fence matters only while its batch is running, since fences only grow: 1 is the present claim, 0 any earlier one;
- counters are forgotten where the next statement that reads them is behind one that sets them;
- a run that is collected, and that nobody and nothing refers to, is gone, and the others move up: ids are only
  ever compared for being the same.
"""

from functools import cache

from model.protections import Protection
from model.rules import Rules
from model.world import Batch, Document, Kind, Run, Stage, Worker, World

from sluice_common.status import BatchState, Lifecycle, RunState, State

_COLLECTED = {
    Run(state, content=0, gc_pass=gc_pass) for state in (RunState.ABANDONED, RunState.SUPERSEDED) for gc_pass in (1, 2)
}
"""Runs of which nothing is left and that are not due again."""


def canonical(world: World, rules: Rules) -> World:
    """The one world that stands for *world* and all that behave like it."""
    published = world.document.published_run
    plain = World(
        _plain_document(world.document),
        tuple(
            _plain_run(run, run_id == published, rules.max_losses) if run.batches or run.gc_pass else run
            for run_id, run in enumerate(world.runs, 1)
        ),
        world.points,
        _plain_workers(world, rules) if world.workers else (),
        world.budget,
    )
    gone = [run_id for run_id, run in enumerate(plain.runs, 1) if run in _COLLECTED and not _is_known(plain, run_id)]
    return _without(plain, gone) if gone else plain


def _plain_workers(world: World, rules: Rules) -> tuple[Worker, ...]:
    return tuple(sorted(_with_plain_fence(world, worker) for worker in world.workers if _can_act(world, worker, rules)))


def _can_act(world: World, worker: Worker, rules: Rules) -> bool:
    return _CAN_ACT[worker.kind](world, worker, rules)


def _extractor_can(world: World, worker: Worker, rules: Rules) -> bool:
    if not (rules.keep(Protection.FORWARD_FENCE) and rules.keep(Protection.FINISH_EXTRACTION_FENCE)):
        return True
    return world.document.active_run == worker.run_id and world.document.state is State.EXTRACTING


def _embedder_can(world: World, worker: Worker, rules: Rules) -> bool:
    if worker.stage is not Stage.STORED or not rules.keep(Protection.FINISH_BATCH_FENCE):
        return True  # a zombie still writes to the store
    return _is_present_claim(world, worker)


def _verifier_can(world: World, worker: Worker, rules: Rules) -> bool:
    return world.document.active_run == worker.run_id or not rules.keep(Protection.PUBLISH_GUARD)


def _repairer_can(world: World, worker: Worker, _rules: Rules) -> bool:
    return world.document.published_run == worker.run_id


def _collector_can(world: World, worker: Worker, rules: Rules) -> bool:
    is_due = world.run(worker.run_id).gc_pass == worker.passes
    return is_due or not (rules.keep(Protection.COLLECTED_AS_FOUND) and rules.keep(Protection.POINTS_BEFORE_ROWS))


def _purger_can(world: World, worker: Worker, rules: Rules) -> bool:
    is_due = world.document.purge_pass == worker.passes or not rules.keep(Protection.PURGED_AS_FOUND)
    return is_due and world.document.lifecycle is Lifecycle.DELETING


_CAN_ACT = {
    Kind.EXTRACTOR: _extractor_can,
    Kind.EMBEDDER: _embedder_can,
    Kind.VERIFIER: _verifier_can,
    Kind.REPAIRER: _repairer_can,
    Kind.ORPHAN_REMOVER: lambda _world, _worker, _rules: True,
    Kind.COLLECTOR: _collector_can,
    Kind.PURGER: _purger_can,
}


def _is_present_claim(world: World, worker: Worker) -> bool:
    batch = world.batch(worker.run_id, worker.batch_no)
    return batch is not None and batch.state is BatchState.RUNNING and batch.fence == worker.fence


def _with_plain_fence(world: World, worker: Worker) -> Worker:
    if worker.kind is not Kind.EMBEDDER:
        return worker
    fence = int(_is_present_claim(world, worker))
    return worker if worker.fence == fence else worker._replace(fence=fence)


def _plain_document(document: Document) -> Document:
    if document.state in (State.QUEUED, State.EXTRACTING) or not (document.tries or document.losses):
        return document
    return document._replace(tries=0, losses=0, own_faults=0)


@cache
def _plain_run(run: Run, is_published: bool, max_losses: int) -> Run:  # noqa: FBT001 - cached by position
    is_dead = run.state in (RunState.ABANDONED, RunState.SUPERSEDED)
    if is_dead and not run.batches and run.gc_pass:
        return Run(run.state, content=0, gc_pass=min(run.gc_pass, 2), due=run.due)
    if is_dead:
        batches = tuple(Batch(batch.state, int(batch.state is BatchState.RUNNING)) for batch in run.batches)
        return run._replace(batches=batches, excused=frozenset())
    return run._replace(batches=tuple(_plain_batch(batch, is_published, max_losses) for batch in run.batches))


def _plain_batch(batch: Batch, is_published: bool, max_losses: int) -> Batch:  # noqa: FBT001 - as above
    losses = 0 if is_published else min(batch.losses, max_losses)
    if batch.state is BatchState.FAILED:
        return Batch(batch.state)
    if batch.state is BatchState.DONE:
        return Batch(batch.state, losses=losses)
    return Batch(batch.state, int(batch.state is BatchState.RUNNING), batch.tries, losses, batch.own_faults)


def _is_known(world: World, run_id: int) -> bool:
    if any(owner == run_id for owner, _ in world.points):
        return True
    return any(_refers_to(worker, run_id) for worker in world.workers)


def _refers_to(worker: Worker, run_id: int) -> bool:
    return worker.run_id == run_id or any(owner == run_id for owner, _ in worker.page) or run_id in worker.live


def _without(world: World, gone: list[int]) -> World:
    kept = [run_id for run_id in range(1, len(world.runs) + 1) if run_id not in gone]
    new_id = {old: new for new, old in enumerate(kept, 1)}
    document = world.document
    return world._replace(
        document=document._replace(
            active_run=new_id.get(document.active_run or 0), published_run=new_id.get(document.published_run or 0)
        ),
        runs=tuple(world.runs[old - 1] for old in kept),
        points=frozenset((new_id[owner], number) for owner, number in world.points),
        workers=tuple(sorted(_renumbered_worker(worker, new_id) for worker in world.workers)),
    )


def _renumbered_worker(worker: Worker, new_id: dict[int, int]) -> Worker:
    return worker._replace(
        run_id=new_id[worker.run_id] if worker.run_id else 0,
        page=tuple(sorted((new_id[owner], number) for owner, number in worker.page)),
        live=tuple(new_id[run_id] for run_id in worker.live),
    )
