"""The moves of the reconciler; the statements are in reconciling.py, their order in the gateway's loops.py."""

from collections.abc import Iterator

from model.embedding import failed_with, is_dead
from model.protections import Protection
from model.rules import Cause, Rules, Step
from model.world import Due, Kind, Point, Run, Worker, World

from sluice_common.status import UNFINISHED, BatchState, Lifecycle, State


def reap_document(world: World, rules: Rules) -> Iterator[Step]:
    """`_REAP_DOCUMENTS`: a lease may run out at any time, its worker alive or not."""
    document = world.document
    if document.state is not State.EXTRACTING:
        return
    is_held = any(w.kind is Kind.EXTRACTOR and w.run_id == document.active_run for w in world.workers)
    if is_held and "expire" not in rules.faults:
        return
    losses = document.losses + 1
    cost = 1 if rules.keep(Protection.LOSS_IS_NO_TRY) else 0
    state = State.FAILED if losses >= rules.max_losses else State.QUEUED
    reaped = world.with_document(state=state, losses=losses, tries=document.tries - cost, active_run=None)
    if rules.keep(Protection.REAP_ABANDONS):
        reaped = reaped.abandon(document.active_run)
    yield Step(f"reap run {document.active_run}", reaped, Cause.FAULT if is_held else Cause.WORK)


def reap_batches(world: World, rules: Rules) -> Iterator[Step]:
    """`_REAP_BATCHES`, whatever has become of the run."""
    for run_id, run in enumerate(world.runs, 1):
        for number, batch in enumerate(run.batches):
            if batch.state is not BatchState.RUNNING:
                continue
            is_held = any(_claim_of(worker) == (run_id, number, batch.fence) for worker in world.workers)
            if is_held and "expire" not in rules.faults:
                continue
            cost = 1 if rules.keep(Protection.LOSS_IS_NO_TRY) else 0
            values = {"losses": batch.losses + 1, "tries": batch.tries - cost}
            reaped = world.with_batch(run_id, number, state=BatchState.PENDING, **values)
            cause = Cause.FAULT if is_held else Cause.WORK
            yield Step(f"reap batch {number} of run {run_id}", reaped, cause)


def fail_exhausted(world: World, rules: Rules) -> Iterator[Step]:
    """`_EXHAUSTED_BATCHES` and `_FAIL_DOCUMENT`; in between nothing can happen that `fail_overdue` would not cover."""
    run_id = world.document.active_run
    if run_id is None or not rules.keep(Protection.EXHAUSTED_FAILS):
        return
    for batch in world.run(run_id).batches:
        is_out = batch.tries >= rules.max_tries or batch.losses >= rules.max_losses
        if batch.state is BatchState.FAILED or (batch.state is BatchState.PENDING and is_out):
            yield Step(f"fail the document of run {run_id}: exhausted", failed_with(world, run_id))
            return


def postpone_repairs(world: World, rules: Rules) -> Iterator[Step]:
    """`_POSTPONE_REPAIRS`: a repair never fails its document."""
    run_id = world.document.published_run
    if run_id is None:
        return
    for number, batch in enumerate(world.run(run_id).batches):
        if batch.state is BatchState.PENDING and batch.tries >= rules.max_tries:
            afresh = world.with_batch(run_id, number, tries=0, own_faults=0)
            yield Step(f"postpone the repair of batch {number} of run {run_id}", afresh)


def fail_overdue(world: World, rules: Rules) -> Iterator[Step]:
    """`_FAIL_QUEUED` and `_FAIL_DOCUMENT`: a deadline may pass at any time."""
    document = world.document
    if "deadline" not in rules.faults or document.lifecycle is not Lifecycle.ACTIVE or document.state not in UNFINISHED:
        return
    is_queued = document.state is State.QUEUED
    failed = world.with_document(state=State.FAILED) if is_queued else failed_with(world, document.active_run)
    yield Step("the deadline passes", failed, Cause.FAULT)


def look_for_orphans(world: World, rules: Rules) -> Iterator[Step]:
    """A page of points: the first half of `_remove_orphans`; here a page has every point there is."""
    if not rules.keep(Protection.AUDIT_OF_ORPHANS) or len(world.workers) >= rules.max_workers:
        return
    if _at_work(world, Kind.ORPHAN_REMOVER):
        return
    live = world.live_runs()
    is_work = any(run_id not in live for run_id, _ in world.points)
    if not is_work and not rules.has_noise:
        return
    cause = Cause.WORK if is_work else Cause.NOISE
    if rules.keep(Protection.PAGE_BEFORE_LIVE_RUNS):
        remover = Worker(Kind.ORPHAN_REMOVER, page=tuple(sorted(world.points)))
        yield Step("audit the store: read a page of points", world.joined_by(remover), cause)
    else:
        yield Step(
            "audit the store: read the live runs", world.joined_by(Worker(Kind.ORPHAN_REMOVER, live=live)), cause
        )


def remove_orphans(world: World, rules: Rules) -> Iterator[Step]:
    """`_LIVE_RUNS`, then the orphans of the page are deleted by their ids; a run that is not live never will be."""
    for worker in _at_work(world, Kind.ORPHAN_REMOVER):
        page: set[Point] = set(worker.page)
        live = world.live_runs()
        if not rules.keep(Protection.PAGE_BEFORE_LIVE_RUNS):
            page, live = set(world.points), worker.live
        orphans = {point for point in page if point[0] not in live}
        cleared = world.left_by(worker)._replace(points=world.points - orphans)
        yield Step("audit the store: remove orphans", cleared)


def collect_points(world: World, rules: Rules) -> Iterator[Step]:
    """`_COLLECTABLE` and the store's answer, or the other way round where points do not come first."""
    if len(world.workers) >= rules.max_workers:
        return
    for run_id, run in enumerate(world.runs, 1):
        at_it = [worker for worker in _at_work(world, Kind.COLLECTOR) if worker.run_id == run_id]
        if not _is_collectable(world, run_id, run, rules) or len(at_it) >= rules.reconcilers:
            continue
        began = world.joined_by(Worker(Kind.COLLECTOR, run_id, passes=run.gc_pass))
        if rules.keep(Protection.POINTS_BEFORE_ROWS):
            yield Step(f"collect run {run_id}: points", _without_points_of(began, run_id))
        else:
            yield Step(f"collect run {run_id}: rows", _without_rows_of(began, run_id, rules))


def collect_rows(world: World, rules: Rules) -> Iterator[Step]:
    """`_DROP_BATCHES` (the chunks go with them) and `_COLLECTED`: one transaction."""
    for worker in _at_work(world, Kind.COLLECTOR):
        run_id, gone = worker.run_id, world.left_by(worker)
        if not rules.keep(Protection.POINTS_BEFORE_ROWS):
            yield Step(f"collect run {run_id}: points", _without_points_of(gone, run_id))
        elif not _counts_as_collected(world, worker, rules):
            yield Step(f"collect run {run_id}: not due any more", gone)
        else:
            yield Step(f"collect run {run_id}: rows", _without_rows_of(gone, run_id, rules))


def purge_points(world: World, rules: Rules) -> Iterator[Step]:
    """`_PURGEABLE` and the store's answer, by document."""
    document = world.document
    if document.lifecycle is not Lifecycle.DELETING or len(world.workers) >= rules.max_workers:
        return
    if len(_at_work(world, Kind.PURGER)) >= rules.reconcilers:
        return
    if document.purge_pass and _must_pause(world, rules):
        return
    purger = Worker(Kind.PURGER, passes=document.purge_pass)
    yield Step("purge the document: points", world._replace(points=frozenset()).joined_by(purger))


def purge_rows(world: World, rules: Rules) -> Iterator[Step]:
    """`_DROP_BATCHES_OF_DOCUMENT` and `_PURGED`: one transaction."""
    for worker in _at_work(world, Kind.PURGER):
        gone, document = world.left_by(worker), world.document
        if document.lifecycle is not Lifecycle.DELETING or not _counts_as_purged(world, worker, rules):
            yield Step("purge the document: not due any more", gone)
            continue
        is_last = document.purge_pass > 0 or not rules.keep(Protection.SECOND_PURGE)
        lifecycle = Lifecycle.DELETED if is_last else Lifecycle.DELETING
        runs = tuple(run._replace(batches=()) for run in world.runs)
        purged = gone._replace(runs=runs).with_document(lifecycle=lifecycle, purge_pass=document.purge_pass + 1)
        yield Step("purge the document: rows", purged)


def _claim_of(worker: Worker) -> tuple[int, int, int]:
    return (worker.run_id, worker.batch_no, worker.fence) if worker.kind is Kind.EMBEDDER else (0, 0, 0)


def _at_work(world: World, kind: Kind) -> list[Worker]:
    return [worker for worker in world.workers if worker.kind is kind]


def _is_collectable(world: World, run_id: int, run: Run, rules: Rules) -> bool:
    return is_dead(world, run_id) and _is_time(world, run_id, run, rules)


def _is_time(world: World, run_id: int, run: Run, rules: Rules) -> bool:
    """`gc_at` has come."""
    return run.due is Due.NOW or (run.due is Due.LATER and not _must_pause(world, rules, run_id))


def _counts_as_collected(world: World, worker: Worker, rules: Rules) -> bool:
    run = world.run(worker.run_id)
    is_first = run.gc_pass == worker.passes or not rules.keep(Protection.COLLECTED_AS_FOUND)
    return is_first and _is_time(world, worker.run_id, run, rules)


def _counts_as_purged(world: World, worker: Worker, rules: Rules) -> bool:
    document = world.document
    is_first = document.purge_pass == worker.passes or not rules.keep(Protection.PURGED_AS_FOUND)
    return is_first and not (document.purge_pass and _must_pause(world, rules))


def _must_pause(world: World, rules: Rules, run_id: int | None = None) -> bool:
    """Between the two passes lie ten leases: long enough for every zombie, if the rules say so."""
    writers = _at_work(world, Kind.EMBEDDER)
    return rules.pause_outlasts_zombies and any(run_id in (None, worker.run_id) for worker in writers)


def _without_points_of(world: World, run_id: int) -> World:
    return world._replace(points=frozenset(point for point in world.points if point[0] != run_id))


def _without_rows_of(world: World, run_id: int, rules: Rules) -> World:
    gc_pass = world.run(run_id).gc_pass
    due = Due.LATER if gc_pass == 0 and rules.keep(Protection.SECOND_COLLECTION) else Due.NEVER
    return world.with_run(run_id, batches=(), gc_pass=gc_pass + 1, due=due)
