"""Exact orders of two workers, by hand, over the real statements: the races that pipelines lose."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import get_type_hints
from uuid import UUID

import psycopg
import pytest
from builders import MODEL, make_extraction
from faults.protocol.world import Owned, Sight, Token, World
from oracle import wait_until

from sluice_common import failpoints
from sluice_common.contract import ALL_TASKS
from sluice_common.database import open_database
from sluice_common.documents import Setback
from sluice_common.settings import DatabaseSettings

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def worlds(new_database_url) -> Iterator[tuple[World, str]]:
    url = new_database_url()
    database = open_database(DatabaseSettings(url=url), application="scripts")
    world = World(database, url)
    yield world, url
    world.close()
    database.close()


@pytest.fixture
def world(worlds) -> World:
    world, _ = worlds
    world.begin()
    return world


@pytest.fixture
def waiting(worlds) -> Iterator[Callable[[Future[object]], None]]:
    """Returns when a move has ended or waits for a lock that another one holds."""
    _, url = worlds
    with psycopg.connect(url, autocommit=True) as connection:

        def is_waiting() -> bool:
            statement = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            return connection.execute(statement).fetchone() is not None

        def wait(move: Future[object]) -> None:
            wait_until(lambda: move.done() or is_waiting(), seconds=10, message="it neither ends nor waits")

        yield wait


@pytest.fixture
def at_point() -> Iterator[Callable[[str, Callable[[], object]], None]]:
    """Does something once, in the middle of a move: `at_point("publish.locked", …)`."""
    armed: dict[str, Callable[[], object]] = {}

    def trap(name: str) -> None:
        act = armed.pop(name, None)
        if act is not None:
            act()

    failpoints.set_trap(trap)
    yield armed.__setitem__
    failpoints.set_trap(None)


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


# extraction


def test_a_zombie_that_finishes_its_extraction_after_a_takeover_changes_nothing(world):
    zombie = extracting(world)
    heir = taken_over(world, zombie)

    assert not world.finish_extraction(zombie, [1])
    assert world.finish_extraction(heir, [1])
    comes_to_rest(world)


def test_a_zombie_that_forwards_batches_after_a_takeover_stores_nothing(world):
    zombie = extracting(world)
    taken_over(world, zombie)

    assert not world.forward(zombie, 1)
    assert world.anyone.value("SELECT count(*) FROM batches") == 0


def test_a_zombie_that_gives_up_after_a_takeover_costs_its_heir_nothing(world):
    zombie = extracting(world)
    heir = taken_over(world, zombie)

    assert not world.fail_extraction(zombie, Setback("corrupt", is_permanent=True))
    assert world.heartbeat(heir.document_id, heir.run_id, 1)


def test_a_heartbeat_keeps_a_lease_that_had_run_out_and_was_not_taken_back_yet(world):
    token = extracting(world)
    world.let_leases_expire()
    world.invariants.look()
    assert world.heartbeat(token.document_id, token.run_id, 1)
    world.invariants.look()

    world.reap()

    assert world.finish_extraction(token, [1])


def test_a_heartbeat_that_comes_after_the_reaper_is_told_that_all_is_lost(world):
    token = extracting(world)
    world.let_leases_expire()
    world.reap()
    world.check(None)

    assert not world.heartbeat(token.document_id, token.run_id, 1)
    retired(world, token)


def test_a_worker_that_hands_back_too_late_takes_nothing_from_its_heir(world):
    zombie = extracting(world)
    heir = taken_over(world, zombie)

    assert not world.anyone.documents.release_extraction(zombie.document_id, zombie.run_id)
    assert world.finish_extraction(heir, [1])


def test_handing_back_costs_neither_a_try_nor_a_loss_however_often_it_happens(world):
    token = extracting(world)
    for _ in range(5):
        assert world.anyone.documents.release_extraction(token.document_id, token.run_id)
        world.let_timers_pass()
        world.check(None)
        token = world.claim_extraction(token.document_id)
        assert token is not None


# embedding


def test_two_last_batches_at_once_are_one_end_of_the_run(world, at_point, waiting, elsewhere):
    token = embedding(world, [1, 1])
    first, second = claimed(world, token)
    other: list[Future[object]] = []

    def finish_the_other() -> None:
        other.append(elsewhere.submit(world.anyone.batches.finish, second))
        waiting(other[0])

    at_point("finish_batch.counted", finish_the_other)
    outcome = world.anyone.batches.finish(first)

    assert sorted([outcome, other[0].result()]) == ["more", "verify"]
    world.check(None)


def test_a_batch_that_ends_while_its_document_is_cancelled_blocks_nobody(world, at_point, waiting, elsewhere):
    token = embedding(world, [1, 1])
    batch, _ = claimed(world, token)
    cancelling: list[Future[object]] = []

    def cancel() -> None:
        owner = world.anyone
        cancelling.append(elsewhere.submit(owner.documents.cancel, owner.tenant_id, token.document_id))
        waiting(cancelling[0])

    at_point("finish_batch.counted", cancel)
    world.anyone.batches.finish(batch)

    assert cancelling[0].result() is True
    world.check(None)
    comes_to_rest(world)


def test_the_last_batch_and_the_end_of_the_extraction_at_once_are_one_end_of_the_run(
    world, at_point, waiting, elsewhere
):
    token = extracting(world)
    world.forward(token, 1)
    world.check(None)
    (batch,) = claimed(world, token)
    finishing: list[Future[object]] = []
    batches = world._cut[token.run_id]

    def finish_extraction() -> None:
        finishing.append(
            elsewhere.submit(
                world.anyone.batches.finish_extraction,
                token.document_id,
                token.run_id,
                [],
                make_extraction(batches),
            )
        )
        waiting(finishing[0])

    at_point("finish_batch.counted", finish_extraction)
    world.anyone.batches.finish(batch)

    assert finishing[0].result() == "verifying"
    world.check(None)


def test_a_zombie_that_finishes_its_batch_after_a_takeover_is_not_counted(world):
    token = embedding(world, [1, 1])
    zombie, _ = claimed(world, token)
    world.let_leases_expire()
    world.reap()
    world.check(None)
    heir, _ = claimed(world, token)

    assert not world.finish_batch(zombie)
    assert world.finish_batch(heir)
    world.check(None)


def test_a_batch_that_is_finished_twice_is_counted_once(world):
    token = embedding(world, [1, 1])
    batch, _ = claimed(world, token)

    assert world.finish_batch(batch)
    world.check(None)
    assert not world.finish_batch(batch)
    world.check(None)


def test_a_batch_that_waits_for_others_never_runs_out_of_tries(world):
    token = embedding(world, [1])
    for _ in range(5):
        (batch,) = claimed(world, token)
        assert world.defer_batch(batch, costs_a_try=False)
        world.check(None)

    assert world.anyone.reconciling.fail_exhausted() == 0


# publishing


def test_a_run_with_a_missing_point_is_not_published(world):
    token = verifying(world, [1, 1], lost=1)

    assert world.publish(world.look_at_points(token)) == "reopened"
    world.check(None)
    comes_to_rest(world)


def test_a_document_deleted_before_its_publication_stays_invisible(world):
    token = verifying(world, [1])
    sight = world.look_at_points(token)
    world.anyone.documents.delete(world.anyone.tenant_id, token.document_id)
    world.check(None)

    assert world.publish(sight) == "stale"
    world.check(None)
    comes_to_rest(world)


def test_a_deletion_waits_for_the_publication_it_meets_and_has_the_last_word(world, at_point, waiting, elsewhere):
    token = verifying(world, [1])
    deleting: list[Future[object]] = []

    def delete() -> None:
        owner = world.anyone
        deleting.append(elsewhere.submit(owner.documents.delete, owner.tenant_id, token.document_id))
        waiting(deleting[0])

    at_point("publish.document_moved", delete)
    assert world.anyone.batches.publish(token.document_id, token.run_id, **MODEL).outcome == "published"

    assert deleting[0].result() is True
    world.check(None)
    comes_to_rest(world)


def test_a_document_replaced_before_its_publication_never_shows_the_old_content(world):
    token = verifying(world, [1])
    sight = world.look_at_points(token)
    replace(world)
    world.check(None)

    assert world.publish(sight) == "stale"
    world.check(None)
    retired(world, token)
    comes_to_rest(world)


def test_a_run_cancelled_before_its_publication_is_not_published_in_the_next_ones_place(world):
    old = verifying(world, [1])
    sight = world.look_at_points(old)
    owner = world.anyone
    owner.documents.cancel(owner.tenant_id, old.document_id)
    owner.documents.reprocess(owner.tenant_id, old.document_id)
    world.check(None)
    new = world.claim_extraction(old.document_id)
    world.check(None)
    finish_all(world, new, [2])

    assert world.publish(sight) == "stale"
    world.check(None)


def test_two_verifications_at_once_publish_once(world, at_point, waiting, elsewhere):
    token = verifying(world, [1])
    other: list[Future[object]] = []

    def publish() -> None:
        other.append(elsewhere.submit(world.anyone.batches.publish, token.document_id, token.run_id, **MODEL))
        waiting(other[0])

    at_point("publish.locked", publish)
    outcome = world.anyone.batches.publish(token.document_id, token.run_id, **MODEL).outcome

    assert sorted([outcome, other[0].result().outcome]) == ["published", "stale"]
    world.check(None)


def test_a_batch_reopened_by_a_verification_is_not_finished_by_its_former_worker(world):
    token = verifying(world, [1, 1], lost=1)
    former = world.last_claims[1]
    assert world.publish(world.look_at_points(token)) == "reopened"
    world.check(None)

    assert not world.finish_batch(former)
    (again,) = claimed(world, token)
    world.upsert(again)
    assert world.finish_batch(again)
    world.check(None)
    assert world.publish(world.look_at_points(token)) == "published"
    world.check(None)


def test_the_old_run_is_retired_in_the_step_that_publishes_the_new_one(world):
    old = published(world, [1])
    owner = world.anyone
    owner.documents.reprocess(owner.tenant_id, old.document_id)
    world.check(None)
    new = world.claim_extraction(old.document_id)
    world.check(None)
    finish_all(world, new, [2])

    assert world.publish(world.look_at_points(new)) == "published"

    world.check(None)
    retired(world, old)
    comes_to_rest(world)


# repairing, collecting, deleting


def test_a_repair_that_comes_after_a_reprocessing_touches_only_what_is_still_published(world):
    old = published(world, [1, 1])
    world.lose_all_points()
    sight = world.look_at_points(old)
    owner = world.anyone
    owner.documents.reprocess(owner.tenant_id, old.document_id)
    world.check(None)
    new = world.claim_extraction(old.document_id)
    world.check(None)
    finish_all(world, new, [1])
    assert world.publish(world.look_at_points(new)) == "published"
    world.check(None)

    assert world.anyone.batches.repair(sight.document_id, sight.run_id, sight.present) == ()
    comes_to_rest(world)


def test_a_repair_during_a_reprocessing_does_not_move_the_document(world):
    old = published(world, [1])
    world.lose_all_points()
    owner = world.anyone
    owner.documents.reprocess(owner.tenant_id, old.document_id)
    world.check(None)
    new = world.claim_extraction(old.document_id)
    world.check(None)
    world.repair(world.look_at_points(old))
    world.check(None)
    (repairing,) = claimed(world, old)

    assert world.finish_batch(repairing)

    world.check(None)
    assert world.heartbeat(new.document_id, new.run_id, 1)


def test_points_that_the_store_lost_are_there_again_after_one_audit(world):
    published(world, [2, 1])
    world.lose_point(0)

    world.audit()
    world.work_honestly()

    assert world.unsettled() == []


def test_what_a_zombie_writes_after_the_first_collection_is_gone_after_the_second(world):
    token = embedding(world, [1])
    (zombie,) = claimed(world, token)
    world.anyone.documents.cancel(world.anyone.tenant_id, token.document_id)
    world.collect(lambda: None)

    world.upsert(zombie)
    world.let_timers_pass()
    world.collect(lambda: None)

    assert world.points.run_of == {}


def test_what_a_zombie_writes_after_the_first_purge_is_gone_after_the_second(world):
    token = embedding(world, [1])
    (zombie,) = claimed(world, token)
    world.anyone.documents.delete(world.anyone.tenant_id, token.document_id)
    world.purge(lambda: None)

    world.upsert(zombie)
    world.let_timers_pass()
    world.purge(lambda: None)

    assert world.points.run_of == {}
    assert world.anyone.view(token.document_id).lifecycle == "deleted"


def test_a_zombie_that_finishes_while_its_document_is_purged_blocks_nobody(world, at_point, waiting, elsewhere):
    token = embedding(world, [1, 1])
    zombie, _ = claimed(world, token)
    world.anyone.documents.delete(world.anyone.tenant_id, token.document_id)
    purging: list[Future[object]] = []

    def purge() -> None:
        purging.append(elsewhere.submit(world.anyone.reconciling.purge, lambda _: None))
        waiting(purging[0])

    at_point("finish_batch.locked", purge)
    world.anyone.batches.finish(zombie)

    assert purging[0].result() == 1
    comes_to_rest(world)


def test_what_a_zombie_writes_between_the_points_and_the_rows_of_a_collection_is_gone_after_the_next(world):
    token = embedding(world, [1])
    (zombie,) = claimed(world, token)
    world.anyone.documents.cancel(world.anyone.tenant_id, token.document_id)

    world.collect(lambda: world.upsert(zombie))
    world.let_timers_pass()
    world.collect(lambda: None)

    assert world.points.run_of == {}


def test_a_run_that_begins_while_the_audit_reads_the_store_keeps_its_points(world):
    published(world, [1])
    document = other_document(world)

    def begin_a_run() -> None:
        world.points.on_page = None
        token = world.claim_extraction(document)
        world.check(None)
        finish_all(world, token, [2])

    world.points.on_page = begin_a_run
    world.audit()

    assert world.anyone.value("SELECT sum(n_chunks) FROM runs") == len(world.points.run_of) == 3


def test_what_a_zombie_writes_when_all_is_collected_is_removed_by_the_audit(world):
    token = embedding(world, [1])
    (zombie,) = claimed(world, token)
    world.anyone.documents.cancel(world.anyone.tenant_id, token.document_id)
    comes_to_rest(world)

    world.upsert(zombie)
    world.audit()

    assert world.points.run_of == {}


def test_a_deletion_in_any_state_leaves_nothing(world):
    for prepare in (
        extracting,
        lambda w: embedding(w, [1, 1]),
        lambda w: verifying(w, [1]),
        lambda w: published(w, [1]),
    ):
        world.begin()
        token = prepare(world)

        world.delete(Owned(0, token.document_id), 0)

        world.check(None)
        comes_to_rest(world)
        assert world.points.run_of == {}


def test_nobody_moves_a_document_of_another_tenant(world):
    token = verifying(world, [1])
    for wish in (world.cancel, world.delete, world.reprocess, world.embed_again, world.look):
        wish(Owned(0, token.document_id), 1)
        world.check(frozenset())
    assert world.publish(world.look_at_points(token)) == "published"
    world.check(None)
    for wish in (world.cancel, world.delete, world.reprocess, world.embed_again, world.look):
        wish(Owned(0, token.document_id), 1)
        world.check(frozenset())


# hints


def test_a_hint_holds_nothing_but_ids():
    for task in ALL_TASKS:
        kinds = {get_type_hints(task)[name] for name in task.model_fields}
        assert kinds <= {UUID, int}, task


def test_hints_that_come_twice_late_or_never_change_nothing(world):
    token = published(world, [1])
    for task_run in (token, Token(token.document_id, token.run_id + 1)):
        assert world.publish(Sight(task_run.document_id, task_run.run_id, frozenset())) == "stale"
        assert world.claim_batches(task_run.run_id) == []
        world.check(frozenset())
    assert world.claim_extraction(token.document_id) is None
    world.check(frozenset())


# how a document gets where a script begins


def extracting(world: World) -> Token:
    owned = world.accept(0, 0, "a", "return")
    assert owned is not None
    world.check(None)
    token = world.claim_extraction(owned.document_id)
    assert token is not None
    world.check(None)
    return token


def other_document(world: World) -> UUID:
    owned = world.accept(1, 0, "a", "return")
    assert owned is not None
    world.check(None)
    return owned.document_id


def taken_over(world: World, zombie: Token) -> Token:
    world.let_leases_expire()
    world.invariants.look()
    world.reap()
    world.let_timers_pass()
    world.check(None)
    heir = world.claim_extraction(zombie.document_id)
    assert heir is not None
    world.check(None)
    return heir


def embedding(world: World, sizes: list[int]) -> Token:
    token = extracting(world)
    assert world.finish_extraction(token, sizes)
    world.check(None)
    return token


def claimed(world: World, token: Token) -> list:
    world.let_timers_pass()
    world.invariants.look()
    claims = world.claim_batches(token.run_id)
    world.check(None)
    return claims


def verifying(world: World, sizes: list[int], *, lost: int | None = None) -> Token:
    """All batches done and stored, but for the points of the one that is *lost*."""
    token = embedding(world, sizes)
    finish_batches(world, token, lost=lost)
    return token


def finish_all(world: World, token: Token, sizes: list[int]) -> None:
    assert world.finish_extraction(token, sizes)
    world.check(None)
    finish_batches(world, token)


def finish_batches(world: World, token: Token, *, lost: int | None = None) -> None:
    world.last_claims = claimed(world, token)
    for claim in world.last_claims:
        if claim.batch_no != lost:
            world.upsert(claim)
        assert world.finish_batch(claim)
        world.check(None)


def published(world: World, sizes: list[int]) -> Token:
    token = verifying(world, sizes)
    assert world.publish(world.look_at_points(token)) == "published"
    world.check(None)
    return token


def replace(world: World) -> None:
    assert world.accept(0, 1, "a", "replace") is not None


def retired(world: World, token: Token) -> None:
    found = world.anyone.query("SELECT state, gc_at IS NOT NULL FROM runs WHERE id = :id", id=token.run_id)
    assert found[0] in [("abandoned", True), ("superseded", True)]


def comes_to_rest(world: World) -> None:
    world.settle()
