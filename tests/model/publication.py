"""The moves by which a run becomes visible and stays whole; the statements are in batches.py."""

from collections.abc import Iterator

from model.protections import Protection
from model.rules import Cause, Rules, Step
from model.world import Due, Kind, Worker, World

from sluice_common.status import BatchState, Lifecycle, RunState, State


def look_before_publishing(world: World, rules: Rules) -> Iterator[Step]:
    """`_EXPECTED` and the question to the store; late hints come too, but a run that is not active stays so."""
    run_id = world.document.active_run
    if run_id is None or world.run(run_id).n_batches is None or len(world.workers) >= rules.max_workers:
        return
    is_first = not any(worker.kind is Kind.VERIFIER for worker in world.workers)
    is_work = world.document.state is State.VERIFYING and is_first
    if is_work or rules.has_noise:
        looking = world.joined_by(Worker(Kind.VERIFIER, run_id, present=present_batches(world, run_id)))
        yield Step(f"verify run {run_id}: look", looking, Cause.WORK if is_work else Cause.NOISE)


def publish(world: World, rules: Rules) -> Iterator[Step]:
    """One transaction: `_LOCK_DOCUMENT`, then `_PUBLISH`, `_PUBLISH_RUN` and `_SUPERSEDE_RUN`.

    If points are missing: `_MISSING`, `_REOPEN`, `_COUNT_REOPENED` and `_BACK_TO_EMBEDDING` instead.
    """
    for worker in _workers(world, Kind.VERIFIER):
        run_id, gone = worker.run_id, world.left_by(worker)
        if not _is_verifying(world, run_id) and rules.keep(Protection.PUBLISH_GUARD):
            yield Step(f"verify run {run_id}: not ours any more", gone)
            continue
        missing = _missing(world, worker) if rules.keep(Protection.VERIFICATION) else []
        if missing:
            reopened = _reopened(gone, run_id, missing, rules).with_document(state=State.EMBEDDING)
            yield Step(f"verify run {run_id}: reopen {missing}", reopened)
        else:
            yield Step(f"verify run {run_id}: publish", _published(gone, run_id, rules))


def look_for_lost_points(world: World, rules: Rules) -> Iterator[Step]:
    """`_PUBLISHED_RUNS` and the question to the store: the audit's first half."""
    run_id = world.document.published_run
    if run_id is None or not rules.keep(Protection.AUDIT_OF_PUBLISHED) or len(world.workers) >= rules.max_workers:
        return
    run = world.run(run_id)
    present = present_batches(world, run_id)
    if run.n_done != run.n_batches or len(present) == len(run.batches) or _workers(world, Kind.REPAIRER):
        return
    yield Step(f"audit run {run_id}: look", world.joined_by(Worker(Kind.REPAIRER, run_id, present=present)))


def repair(world: World, rules: Rules) -> Iterator[Step]:
    """`_LOCK_DOCUMENT` and `_REOPEN`: the audit's second half."""
    for worker in _workers(world, Kind.REPAIRER):
        run_id, gone = worker.run_id, world.left_by(worker)
        if world.document.published_run != run_id:
            yield Step(f"audit run {run_id}: not published any more", gone)
            continue
        missing = _missing(world, worker)
        yield Step(f"audit run {run_id}: reopen {missing}", _reopened(gone, run_id, missing, rules))


def present_batches(world: World, run_id: int) -> tuple[int, ...]:
    """The batches of a run whose points the store has."""
    return tuple(sorted(number for owner, number in world.points if owner == run_id))


def _workers(world: World, kind: Kind) -> list[Worker]:
    return [worker for worker in world.workers if worker.kind is kind]


def _is_verifying(world: World, run_id: int) -> bool:
    document = world.document
    is_here = document.lifecycle is Lifecycle.ACTIVE and document.state is State.VERIFYING
    return is_here and document.active_run == run_id


def _missing(world: World, worker: Worker) -> list[int]:
    return [number for number in range(len(world.run(worker.run_id).batches)) if number not in worker.present]


def _reopened(world: World, run_id: int, missing: list[int], rules: Rules) -> World:
    done = [number for number in missing if world.run(run_id).batches[number].state is BatchState.DONE]
    for number in done:
        world = world.with_batch(run_id, number, state=BatchState.PENDING, tries=0, own_faults=0)
    counted = len(done) if rules.keep(Protection.COUNT_REOPENED) else 0
    return world.with_run(run_id, n_done=world.run(run_id).n_done - counted)


def _published(world: World, run_id: int, rules: Rules) -> World:
    before = world.document.published_run
    published = world.with_document(
        state=State.COMPLETED, published_run=world.document.active_run, active_run=None
    ).with_run(run_id, state=RunState.PUBLISHED)
    if before and rules.keep(Protection.SUPERSEDE):
        published = published.with_run(before, state=RunState.SUPERSEDED, due=Due.NOW)
    return published
