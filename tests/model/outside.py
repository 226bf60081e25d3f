"""What users ask for, and what the world does to workers and to the store."""

from collections.abc import Iterator

from model.protections import Protection
from model.rules import Cause, Rules, Step
from model.world import Batch, Kind, Run, World

from sluice_common.status import ENDED, UNFINISHED, Lifecycle, RunState, State


def ask(world: World, rules: Rules) -> Iterator[Step]:
    """Every wish that the rules allow and the statements accept."""
    if world.document.lifecycle is not Lifecycle.ACTIVE:
        return
    for wish, move in _WISHES.items():
        if wish in rules.wishes:
            yield from move(world, rules)


def crash(world: World, rules: Rules) -> Iterator[Step]:
    """Any worker, between any two steps; a heartbeat that finds its run fenced ends a reading just so."""
    if "crash" in rules.faults:
        for worker in dict.fromkeys(world.workers):
            yield Step(f"the {worker.kind} crashes", world.left_by(worker), Cause.FAULT)


def lose_points(world: World, rules: Rules) -> Iterator[Step]:
    """The store forgets one batch's points, or everything."""
    for point in world.points:
        yield Step(
            f"the store loses the points of batch {point[1]} of run {point[0]}",
            _without_points(world, frozenset({point})),
            Cause.LOSS,
        )
    if rules.wipe and len(world.points) > 1:
        yield Step("the store loses everything", _without_points(world, world.points), Cause.LOSS)


def _cancel(world: World, rules: Rules) -> Iterator[Step]:
    """`_CANCEL` in documents.py."""
    document = world.document
    if document.state in UNFINISHED:
        active_run = None if rules.keep(Protection.CANCEL_ENDS_RUN) else document.active_run
        cancelled = world.with_document(state=State.CANCELLED, active_run=active_run).abandon(document.active_run)
        yield Step("cancel", cancelled, Cause.WISH)


def _delete(world: World, rules: Rules) -> Iterator[Step]:
    """`_DELETE` and `_ABANDON_RUNS` in documents.py; `_DELETE_DOCUMENTS` in collections.py does the same to many."""
    document = world.document
    deleted = world.with_document(
        lifecycle=Lifecycle.DELETING,
        published_run=None if rules.keep(Protection.DELETE_HIDES) else document.published_run,
        active_run=None,
        state=document.state if document.state in ENDED else State.CANCELLED,
        purge_pass=0,
    )
    for run_id in range(1, len(world.runs) + 1):
        deleted = deleted.abandon(run_id)
    yield Step("delete", deleted, Cause.WISH)


def _reprocess(world: World, rules: Rules) -> Iterator[Step]:
    """`_REQUEST_AGAIN` in documents.py, for an ended document."""
    if world.document.state in ENDED:
        yield Step("reprocess", _requested_again(world), Cause.WISH)


def _replace(world: World, rules: Rules) -> Iterator[Step]:
    """`_REQUEST_AGAIN` with `:replace` and `_ADD_ORIGINAL`: new content, in whatever state the document is."""
    replaced = _requested_again(world).with_document(content=world.document.content + 1)
    yield Step("replace the content", replaced, Cause.WISH)


def _embed_again(world: World, rules: Rules) -> Iterator[Step]:
    """`_LOCK_PUBLISHED`, `_EMBED_AGAIN`, `_COPY_RUN`, `_COPY_BATCHES` and `_COPY_RUN_CHUNKS` in batches.py."""
    document = world.document
    if document.published_run is None or document.state not in ENDED or len(world.runs) >= rules.max_runs:
        return
    old, run_id = world.run(document.published_run), len(world.runs) + 1
    if rules.keep(Protection.NEWEST_CONTENT) and old.content != document.content:
        return
    new = Run(
        RunState.EMBEDDING,
        content=old.content,
        n_batches=old.n_batches,
        batches=(Batch(),) * len(old.batches),
    )
    again = world._replace(runs=(*world.runs, new)).with_document(
        state=State.EMBEDDING, active_run=run_id, tries=0, losses=0, own_faults=0
    )
    yield Step(f"embed again: run {run_id}", again, Cause.WISH)


def _requested_again(world: World) -> World:
    active_run = world.document.active_run
    values = {"tries": 0, "losses": 0, "own_faults": 0}
    return world.with_document(state=State.QUEUED, active_run=None, **values).abandon(active_run)


def _without_points(world: World, lost: frozenset[tuple[int, int]]) -> World:
    """A loss is excused when no look before the publication can have told: it came after."""
    seen = {(w.run_id, number) for w in world.workers if w.kind is Kind.VERIFIER for number in w.present}
    for run_id, number in lost:
        if run_id == world.document.published_run or (run_id, number) in seen:
            world = world.with_run(run_id, excused=world.run(run_id).excused | {number})
    return world._replace(points=world.points - lost)


_WISHES = {
    "cancel": _cancel,
    "delete": _delete,
    "reprocess": _reprocess,
    "replace": _replace,
    "embed_again": _embed_again,
}
