"""What must hold in every world, and what must have come about once nothing is left to do."""

from collections.abc import Callable, Iterator

from model.protections import Protection
from model.rules import Rules
from model.world import Point, Run, World

from sluice_common.status import ENDED, WORKING, BatchState, Lifecycle, RunState, State


def broken_promise(world: World, rules: Rules) -> str | None:
    """The first thing that must never be so, yet is."""
    return next((broken for check in _ALWAYS for broken in check(world, rules)), None)


def unsettled(world: World) -> str | None:
    """What is wrong with a world in which everybody has finished and nothing will move any more."""
    document = world.document
    if document.lifecycle is not Lifecycle.ACTIVE:
        return _leftovers_of_deleted(world)
    if document.state not in ENDED:
        return f"the document is stuck in {document.state}"
    if world.points != world.wanted_points():
        return f"the store has {_shown(world.points)} and should have {_shown(world.wanted_points())}"
    for run_id, run in enumerate(world.runs, 1):
        if run_id != document.published_run and run.batches:
            return f"the batches of run {run_id} stay for ever"
        if any(batch.state is not BatchState.DONE for batch in run.batches):
            return f"the repair of run {run_id} never ends"
    return None


def visible_points(world: World, rules: Rules) -> frozenset[Point]:
    """What a search can find: `_RESOLVE` in hits.py."""
    document = world.document
    if document.lifecycle is not Lifecycle.ACTIVE:
        return frozenset()
    if not rules.keep(Protection.SEARCH_BY_RUN):
        return world.points
    return frozenset(point for point in world.points if point[0] == document.published_run)


def _leftovers_of_deleted(world: World) -> str | None:
    if world.document.lifecycle is not Lifecycle.DELETED:
        return "the document is stuck in deleting"
    if world.points:
        return f"the store has {_shown(world.points)} of a deleted document"
    if any(run.batches for run in world.runs):
        return "a deleted document has batches"
    return None


def _constraints_of_the_tables_hold(world: World, _rules: Rules) -> Iterator[str]:
    document = world.document
    if (document.state in WORKING) != (document.active_run is not None):
        has = "an" if document.active_run else "no"
        yield f"the document is {document.state} with {has} active run"
    if document.lifecycle is not Lifecycle.ACTIVE and (document.active_run or document.published_run):
        yield "a deleted document has a run"
    if document.state is State.COMPLETED and not document.published_run and document.lifecycle is Lifecycle.ACTIVE:
        yield "the document is completed and nothing is published"


def _runs_fit_their_document(world: World, _rules: Rules) -> Iterator[str]:
    document = world.document
    for run_id, run in enumerate(world.runs, 1):
        if run_id == document.active_run:
            wanted = RunState.EXTRACTING if document.state is State.EXTRACTING else RunState.EMBEDDING
            if run.state is not wanted:
                yield f"the document is {document.state} and its active run {run.state}"
        elif run_id == document.published_run:
            if run.state is not RunState.PUBLISHED:
                yield f"the published run is {run.state}"
        elif run.state not in (RunState.SUPERSEDED, RunState.ABANDONED):
            yield f"run {run_id} is neither active nor published, and {run.state}"


def _done_batches_are_counted(world: World, _rules: Rules) -> Iterator[str]:
    if world.document.purge_pass:
        return
    for run_id, run in enumerate(world.runs, 1):
        if run.gc_pass:
            continue
        n_done = _number_done(run)
        if run.n_done != n_done:
            yield f"run {run_id} counts {run.n_done} done batches and has {n_done}"
        if run.n_batches is not None and run.n_batches != len(run.batches):
            yield f"run {run_id} says {run.n_batches} batches and has {len(run.batches)}"


def _verifying_begins_when_all_is_done(world: World, _rules: Rules) -> Iterator[str]:
    document = world.document
    if document.state is State.VERIFYING and document.active_run:
        run = world.run(document.active_run)
        if run.n_batches is None or _number_done(run) != run.n_batches:
            yield f"run {document.active_run} is verified before all of it is done"


def _search_sees_one_whole_run(world: World, rules: Rules) -> Iterator[str]:
    visible, wanted = visible_points(world, rules), world.wanted_points()
    if visible - wanted:
        yield f"a search shows {_shown(visible - wanted)}, which is not published"
    run_id = world.document.published_run
    if run_id and any(number not in world.run(run_id).excused for _, number in wanted - visible):
        yield f"run {run_id} is published without {_shown(wanted - visible)}"


def _ready_means_the_newest_content(world: World, _rules: Rules) -> Iterator[str]:
    document = world.document
    if document.state is State.COMPLETED and document.published_run:
        content = world.run(document.published_run).content
        if content != document.content:
            yield f"the document is ready with original {content}, and original {document.content} is newer"


def _tries_are_own_faults(world: World, _rules: Rules) -> Iterator[str]:
    document = world.document
    if document.state is State.QUEUED and document.tries != document.own_faults:
        yield f"the document has used {document.tries} tries for {document.own_faults} faults of its own"
    for run_id, run in enumerate(world.runs, 1):
        for number, batch in enumerate(run.batches):
            if batch.state is BatchState.PENDING and batch.tries != batch.own_faults:
                yield f"batch {number} of run {run_id} has used {batch.tries} tries for {batch.own_faults} faults"


_ALWAYS: tuple[Callable[[World, Rules], Iterator[str]], ...] = (
    _constraints_of_the_tables_hold,
    _runs_fit_their_document,
    _done_batches_are_counted,
    _verifying_begins_when_all_is_done,
    _search_sees_one_whole_run,
    _ready_means_the_newest_content,
    _tries_are_own_faults,
)


def _number_done(run: Run) -> int:
    return sum(batch.state is BatchState.DONE for batch in run.batches)


def _shown(points: frozenset[Point]) -> str:
    batches = [f"batch {number} of run {run_id}" for run_id, number in sorted(points)]
    return "the points of " + " and ".join(batches) if batches else "nothing"
