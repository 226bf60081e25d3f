"""The moves of batches; the statements are in batches.py."""

from collections.abc import Iterator

from model.extraction import is_open
from model.protections import Protection
from model.rules import Cause, Rules, Step
from model.world import Batch, Kind, Stage, Worker, World

from sluice_common.status import WORKING, BatchState, Lifecycle, RunState, State


def claim_batch(world: World, rules: Rules) -> Iterator[Step]:
    """`_CLAIM`: a hint may come at any time."""
    if len(world.workers) >= rules.max_workers:
        return
    live = world.live_runs() if world.document.lifecycle is Lifecycle.ACTIVE else ()
    for run_id, run in enumerate(world.runs, 1):
        if run_id not in live and rules.keep(Protection.CLAIM_SEES_DOCUMENT):
            continue
        for number, batch in enumerate(run.batches):
            if batch.state is BatchState.PENDING and batch.tries < rules.max_tries:
                yield Step(f"claim {_name(run_id, number)}", _claimed(world, run_id, number, batch))


def store_points(world: World, rules: Rules) -> Iterator[Step]:
    """The upsert, which nobody checks: a zombie writes too, and the same ids with the same content."""
    for worker in _embedders(world, Stage.CLAIMED):
        point = (worker.run_id, worker.batch_no)
        points = world.points
        if not rules.keep(Protection.RUN_SCOPED_IDS):
            points = frozenset(other for other in points if other[1] != worker.batch_no)
        excused = world.run(worker.run_id).excused - {worker.batch_no}
        stored = world.with_run(worker.run_id, excused=excused)._replace(points=points | {point})
        yield Step(
            f"store the points of {_name(*point)}",
            stored.left_by(worker).joined_by(worker._replace(stage=Stage.STORED)),
        )


def finish_batch(world: World, rules: Rules) -> Iterator[Step]:
    """`_LOCK_DOCUMENT`, `_FINISH`, `_COUNT_DONE` and, for the last one, `_TO_VERIFYING`: one transaction."""
    for worker in _embedders(world, Stage.STORED):
        name = f"finish {_name(worker.run_id, worker.batch_no)}"
        batch = world.batch(worker.run_id, worker.batch_no)
        if batch is None or (not _is_mine(batch, worker) and rules.keep(Protection.FINISH_BATCH_FENCE)):
            yield Step(f"{name}: not ours any more", world.left_by(worker))
        elif rules.keep(Protection.COUNT_UNDER_LOCK):
            yield Step(name, _counted(world.left_by(worker), worker, rules))
        else:
            yield Step(f"{name}: begin, and look for others", _looked_for_others(world, worker))


def finish_batch_after_looking(world: World, rules: Rules) -> Iterator[Step]:
    """The second half, where counting is not under the lock: what was seen may be old by now."""
    if rules.keep(Protection.COUNT_UNDER_LOCK):
        return
    for stage in (Stage.SAW_NONE_OPEN, Stage.SAW_OTHERS):
        for worker in _embedders(world, stage):
            if world.batch(worker.run_id, worker.batch_no) is None:
                yield Step(f"finish {_name(worker.run_id, worker.batch_no)}: it is gone", world.left_by(worker))
                continue
            done = _marked_done(world.left_by(worker), worker)
            if stage is Stage.SAW_NONE_OPEN:
                done = _to_verifying(done, worker.run_id, rules)
            yield Step(f"finish {_name(worker.run_id, worker.batch_no)}: commit", done)


def give_batch_back(world: World, rules: Rules) -> Iterator[Step]:
    """`_DEFER`: the provider is away, or this worker is told to stop; or a mistake of ours, which costs the try."""
    if "defer" not in rules.faults:
        return
    for worker, batch in _held(world):
        name = _name(worker.run_id, worker.batch_no)
        cost = 1 if rules.keep(Protection.DEFER_IS_FREE) else 0
        yield Step(f"defer {name}", _pending_again(world, worker, tries=batch.tries - cost), Cause.FAULT)
        costly = _pending_again(world, worker, own_faults=batch.own_faults + 1)
        yield Step(f"defer {name} at the cost of a try", costly, Cause.FAULT)


def refuse_batch(world: World, rules: Rules) -> Iterator[Step]:
    """`_FAIL_BATCH` and `_FAIL_DOCUMENT`; a repair is put off by `_POSTPONE_REPAIR` instead."""
    if "refuse" not in rules.faults:
        return
    for worker, _ in _held(world):
        name = f"refuse {_name(worker.run_id, worker.batch_no)}"
        if world.document.published_run == worker.run_id:
            postponed = _pending_again(world, worker, tries=0, own_faults=0)
            yield Step(f"{name}: its repair is put off", postponed, Cause.FAULT)
            continue
        failed = world.left_by(worker).with_batch(worker.run_id, worker.batch_no, state=BatchState.FAILED)
        yield Step(name, failed_with(failed, worker.run_id), Cause.FAULT)


def failed_with(world: World, run_id: int | None) -> World:
    """`_FAIL_DOCUMENT` in batches.py: the document fails if this is its active run."""
    document = world.document
    if run_id is None or document.active_run != run_id or document.state not in WORKING:
        return world
    return world.with_document(state=State.FAILED, active_run=None).abandon(run_id)


def _name(run_id: int, number: int) -> str:
    return f"batch {number} of run {run_id}"


def _embedders(world: World, stage: Stage) -> list[Worker]:
    return [worker for worker in world.workers if worker.kind is Kind.EMBEDDER and worker.stage is stage]


def _held(world: World) -> list[tuple[Worker, Batch]]:
    """The embedders whose claim is still the present one."""
    embedders = [worker for worker in world.workers if worker.kind is Kind.EMBEDDER]
    found = [(worker, world.batch(worker.run_id, worker.batch_no)) for worker in embedders]
    return [(worker, batch) for worker, batch in found if batch is not None and _is_mine(batch, worker)]


def _is_mine(batch: Batch, worker: Worker) -> bool:
    return batch.state is BatchState.RUNNING and batch.fence == worker.fence


def _claimed(world: World, run_id: int, number: int, batch: Batch) -> World:
    fence = batch.fence + 1
    claimed = world.with_batch(run_id, number, state=BatchState.RUNNING, fence=fence, tries=batch.tries + 1)
    return claimed.joined_by(Worker(Kind.EMBEDDER, run_id, number, fence))


def _marked_done(world: World, worker: Worker) -> World:
    n_done = world.run(worker.run_id).n_done + 1
    done = world.with_batch(worker.run_id, worker.batch_no, state=BatchState.DONE)
    return done.with_run(worker.run_id, n_done=n_done)


def _counted(world: World, worker: Worker, rules: Rules) -> World:
    done = _marked_done(world, worker)
    run = done.run(worker.run_id)
    is_last = run.n_done == run.n_batches
    if not rules.keep(Protection.CLOSED_BEFORE_LAST):
        is_last = not any(is_open(batch) for batch in run.batches)
    return _to_verifying(done, worker.run_id, rules) if is_last else done


def _to_verifying(world: World, run_id: int, rules: Rules) -> World:
    document = world.document
    states = {State.EMBEDDING} if rules.keep(Protection.CLOSED_BEFORE_LAST) else {State.EXTRACTING, State.EMBEDDING}
    if document.active_run != run_id or document.state not in states or document.lifecycle is not Lifecycle.ACTIVE:
        return world
    return world.with_document(state=State.VERIFYING)


def _looked_for_others(world: World, worker: Worker) -> World:
    run = world.run(worker.run_id)
    others = [batch for number, batch in enumerate(run.batches) if number != worker.batch_no]
    is_last = run.n_batches is not None and not any(is_open(batch) for batch in others)
    stage = Stage.SAW_NONE_OPEN if is_last else Stage.SAW_OTHERS
    return world.left_by(worker).joined_by(worker._replace(stage=stage))


def _pending_again(world: World, worker: Worker, **values: int) -> World:
    gone = world.left_by(worker)
    return gone.with_batch(worker.run_id, worker.batch_no, state=BatchState.PENDING, **values)


def is_dead(world: World, run_id: int) -> bool:
    """It will be collected, and never comes back."""
    return world.run(run_id).state in (RunState.ABANDONED, RunState.SUPERSEDED)
