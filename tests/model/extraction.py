"""The moves of a run while its document is being read; the statements are in documents.py and batches.py."""

from collections.abc import Iterator

from model.protections import Protection
from model.rules import Cause, Rules, Step
from model.world import Batch, Document, Kind, Run, Worker, World

from sluice_common.status import BatchState, Lifecycle, RunState, State


def claim_extraction(world: World, rules: Rules) -> Iterator[Step]:
    """`_CLAIM` in documents.py: a hint may come at any time; `not_before` decides when, never whether."""
    document = world.document
    if document.lifecycle is not Lifecycle.ACTIVE or document.state is not State.QUEUED:
        return
    if document.tries >= rules.max_tries or len(world.workers) >= rules.max_workers:
        return
    if len(world.runs) >= rules.max_runs:
        return
    run_id = len(world.runs) + 1
    run = Run(RunState.EXTRACTING, content=document.content)
    claimed = world._replace(runs=(*world.runs, run)).with_document(
        state=State.EXTRACTING, active_run=run_id, tries=document.tries + 1
    )
    yield Step(f"claim extraction: run {run_id}", claimed.joined_by(Worker(Kind.EXTRACTOR, run_id)))


def forward(world: World, rules: Rules) -> Iterator[Step]:
    """`_LOCK_EXTRACTING` and `_ADD_BATCHES` in batches.py."""
    for worker in _extractors(world):
        run_id = worker.run_id
        if len(world.run(run_id).batches) >= rules.max_batches:
            continue
        if not _is_extracting(world.document, run_id) and rules.keep(Protection.FORWARD_FENCE):
            yield Step(f"forward a batch of run {run_id}: not ours any more", world.left_by(worker))
            continue
        forwarded = _with_more_batches(world, run_id, 1)
        if not rules.keep(Protection.LATE_N_BATCHES) and world.run(run_id).n_batches is None:
            forwarded = forwarded.with_run(run_id, n_batches=1)
        yield Step(f"forward batch {len(world.run(run_id).batches)} of run {run_id}", forwarded)


def finish_extraction(world: World, rules: Rules) -> Iterator[Step]:
    """`_FINISH_EXTRACTION`, `_CLOSE_RUN` and `_TO_VERIFYING` in batches.py, with or without a last batch."""
    for worker in _extractors(world):
        run_id = worker.run_id
        gone = world.left_by(worker)
        if not _may_finish(world.document, run_id, rules):
            yield Step(f"finish extraction of run {run_id}: not ours any more", gone)
            continue
        for n_last in (0, 1):
            n_batches = len(world.run(run_id).batches) + n_last
            if 1 <= n_batches <= rules.max_batches:
                closed = _closed(gone, run_id, n_last, rules)
                yield Step(f"finish extraction of run {run_id} with {n_last} last batch", closed)


def fail_extraction(world: World, rules: Rules) -> Iterator[Step]:
    """`_FAIL` in documents.py: for good, as the document's own doing, or handed back (SIGTERM, a store away)."""
    for worker in _extractors(world):
        document, run_id = world.document, worker.run_id
        if document.active_run != run_id or document.state is not State.EXTRACTING:
            continue  # fenced: the worker leaves, as in finish_extraction
        failed = world.left_by(worker).with_document(active_run=None).abandon(run_id)
        if "setback" in rules.faults:
            for_good = failed.with_document(state=State.FAILED)
            yield Step(f"fail extraction of run {run_id} for good", for_good, Cause.FAULT)
            yield Step(f"fail extraction of run {run_id}", _own_doing(failed, rules), Cause.FAULT)
        if "release" in rules.faults:
            cost = 1 if rules.keep(Protection.RELEASE_IS_FREE) else 0
            released = failed.with_document(state=State.QUEUED, tries=document.tries - cost)
            yield Step(f"release extraction of run {run_id}", released, Cause.FAULT)


def _own_doing(failed: World, rules: Rules) -> World:
    document = failed.document
    state = State.FAILED if document.tries >= rules.max_tries else State.QUEUED
    return failed.with_document(state=state, own_faults=document.own_faults + 1)


def _extractors(world: World) -> list[Worker]:
    return [worker for worker in world.workers if worker.kind is Kind.EXTRACTOR]


def _is_extracting(document: Document, run_id: int) -> bool:
    is_here = document.lifecycle is Lifecycle.ACTIVE and document.state is State.EXTRACTING
    return is_here and document.active_run == run_id


def _may_finish(document: Document, run_id: int, rules: Rules) -> bool:
    if rules.keep(Protection.FINISH_EXTRACTION_FENCE):
        return _is_extracting(document, run_id)
    return document.lifecycle is Lifecycle.ACTIVE and document.state is State.EXTRACTING


def _with_more_batches(world: World, run_id: int, number: int) -> World:
    return world.with_run(run_id, batches=world.run(run_id).batches + (Batch(),) * number)


def _closed(world: World, run_id: int, n_last: int, rules: Rules) -> World:
    world = _with_more_batches(world, run_id, n_last)
    run = world.run(run_id)
    n_batches = len(run.batches) if rules.keep(Protection.LATE_N_BATCHES) else run.n_batches
    closed = world.with_run(run_id, state=RunState.EMBEDDING, n_batches=n_batches)
    is_whole = n_batches is not None and run.n_done >= n_batches and rules.keep(Protection.STRAIGHT_TO_VERIFYING)
    return closed.with_document(state=State.VERIFYING if is_whole else State.EMBEDDING)


def is_open(batch: Batch) -> bool:
    """Somebody has still to embed it."""
    return batch.state in (BatchState.PENDING, BatchState.RUNNING)
