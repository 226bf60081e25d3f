"""The protocol, move by move, on a real PostgreSQL with a trigger that refuses every move that is not listed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from builders import MODEL, Protocol, make_batches, make_extraction, make_original
from oracle import wait_until
from sqlalchemy import text

from sluice_common import failpoints
from sluice_common.collections import Collections
from sluice_common.contract import ExtractDocument, VerifyRun
from sluice_common.documents import CollectionGone, DuplicateDocument, NewDocument, Setback
from sluice_common.ids import point_id
from sluice_common.keys import Keys
from sluice_common.ports import ScoredPoint
from sluice_common.status import State


@pytest.fixture
def protocol(database) -> Protocol:
    return Protocol(database)


# accepting


def test_an_accepted_document_waits_with_a_time_at_which_it_is_sent_again(protocol):
    document_id = protocol.accept().document_id

    assert protocol.view(document_id).state is State.QUEUED
    protocol.let_timers_pass()
    assert protocol.reconciling.due_tasks() == [ExtractDocument(document_id=document_id)]


def test_the_same_bytes_twice_are_one_document(protocol):
    first = protocol.accept(b"same")
    second = protocol.accept(b"same")

    assert (first.how, second.how) == ("created", "existing")
    assert first.document_id == second.document_id


def test_the_same_bytes_at_once_from_many_clients_are_one_document(protocol):
    with ThreadPoolExecutor(8) as pool:
        accepted = list(pool.map(lambda _: protocol.accept(b"race"), range(16)))

    assert len({one.document_id for one in accepted}) == 1
    assert [one.how for one in accepted].count("created") == 1


def test_the_same_bytes_may_stand_twice_when_that_is_asked_for(protocol):
    first = protocol.accept(b"same", may_repeat=True)
    second = protocol.accept(b"same", may_repeat=True)

    assert first.document_id != second.document_id


def test_the_same_bytes_are_refused_when_that_is_asked_for(protocol):
    first = protocol.accept(b"same")

    with pytest.raises(DuplicateDocument) as refused:
        protocol.accept(b"same", on_duplicate="reject")

    assert refused.value.document_id == first.document_id


def test_the_same_bytes_try_a_failed_document_again_under_its_id(protocol):
    document_id = protocol.accept(b"same").document_id
    claim = protocol.documents.claim_extraction(document_id, "worker")
    protocol.documents.fail_extraction(document_id, claim.run_id, Setback("corrupt", is_permanent=True))

    again = protocol.accept(b"same")

    assert (again.document_id, again.how) == (document_id, "retried")
    assert protocol.view(document_id).state is State.QUEUED


def test_a_failed_document_that_is_uploaded_again_with_other_options_is_tried_with_those(protocol):
    document_id = protocol.accept(b"scan", options={"multimodal": False}).document_id
    claim = protocol.documents.claim_extraction(document_id, "worker")
    protocol.documents.fail_extraction(document_id, claim.run_id, Setback("ocr_required", is_permanent=True))

    protocol.accept(b"scan", options={"multimodal": True})

    assert protocol.documents.claim_extraction(document_id, "worker").options == {"multimodal": True}


def test_the_options_of_a_document_that_is_there_already_stay(protocol):
    document_id = protocol.accept(b"text", options={"multimodal": False}).document_id

    protocol.accept(b"text", options={"multimodal": True})

    assert protocol.documents.claim_extraction(document_id, "worker").options == {"multimodal": False}


def test_other_bytes_under_a_taken_external_id_are_refused_unless_they_replace(protocol):
    first = protocol.accept(b"one", external_id="wiki/1")

    with pytest.raises(DuplicateDocument):
        protocol.accept(b"two", external_id="wiki/1")

    assert protocol.accept(b"two", external_id="wiki/1", on_duplicate="replace").document_id == first.document_id


def test_a_replacement_by_bytes_that_another_document_has_is_refused_and_names_that_one(protocol):
    holder = protocol.accept(b"two")
    protocol.accept(b"one", external_id="wiki/1")

    with pytest.raises(DuplicateDocument) as refused:
        protocol.accept(b"two", external_id="wiki/1", on_duplicate="replace")

    assert refused.value.document_id == holder.document_id


def test_the_same_bytes_of_two_tenants_are_two_documents(protocol):
    other = Protocol(protocol.database)
    other.tenant_id = Keys(protocol.database).ensure_tenant("other")
    other.collection_id = protocol.value("SELECT id FROM collections WHERE tenant_id = :t", t=other.tenant_id)

    assert protocol.accept(b"same").document_id != other.accept(b"same").document_id


def in_a_collection(protocol: Protocol, name: str) -> NewDocument:
    """A document to be taken into a new collection."""
    collections = Collections(protocol.database)
    collections.create(protocol.tenant_id, name, chunking={})
    collection = collections.find(protocol.tenant_id, name)
    assert collection is not None
    return NewDocument(protocol.tenant_id, collection.id, make_original())


def test_a_collection_that_was_deleted_since_the_upload_began_takes_no_document(protocol):
    new = in_a_collection(protocol, "gone")
    Collections(protocol.database).delete(protocol.tenant_id, "gone")

    with pytest.raises(CollectionGone):
        protocol.documents.accept(new)

    assert protocol.value("SELECT count(*) FROM documents") == 0


def test_an_upload_beside_the_deletion_of_its_collection_waits_for_it_and_is_refused(protocol):
    new = in_a_collection(protocol, "going")
    arrived, go_on = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == "delete_collection.documents_moved":
            arrived.set()
            assert go_on.wait(30)

    failpoints.set_trap(hold)
    try:
        with ThreadPoolExecutor(2) as pool:
            deleted = pool.submit(Collections(protocol.database).delete, protocol.tenant_id, "going")
            assert arrived.wait(30)
            accepted = pool.submit(protocol.documents.accept, new)
            is_waiting = (
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            wait_until(lambda: bool(protocol.query(is_waiting)), seconds=30, message="the upload does not wait")
            go_on.set()
            assert deleted.result()
            with pytest.raises(CollectionGone):
                accepted.result()
    finally:
        go_on.set()
        failpoints.set_trap(None)


# extracting


def test_a_document_is_claimed_once(protocol):
    document_id = protocol.accept().document_id

    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: protocol.documents.claim_extraction(document_id, f"w{n}"), range(8)))

    assert sum(claim is not None for claim in claims) == 1


def test_the_try_is_counted_before_the_work_starts(protocol):
    assert protocol.view(protocol.claimed().document_id).tries == 1


def test_batches_are_forwarded_while_extraction_goes_on_and_can_be_done_before_it_ends(protocol):
    claim = protocol.claimed()
    batches = make_batches([2, 2])
    assert protocol.batches.forward(claim.document_id, claim.run_id, batches[:1])
    assert protocol.batches.finish(protocol.claim_batch(claim.run_id, 0)) == "more"

    state = protocol.batches.finish_extraction(claim.document_id, claim.run_id, batches[1:], make_extraction(batches))

    assert state is State.EMBEDDING
    assert protocol.batches.finish(protocol.claim_batch(claim.run_id, 1)) == "verify"


def test_a_run_whose_batches_were_all_done_before_it_closed_goes_straight_to_verifying(protocol):
    claim = protocol.claimed()
    batches = make_batches([2])
    protocol.batches.forward(claim.document_id, claim.run_id, batches)
    protocol.batches.finish(protocol.claim_batch(claim.run_id, 0))

    state = protocol.batches.finish_extraction(claim.document_id, claim.run_id, [], make_extraction(batches))

    assert state is State.VERIFYING
    protocol.let_timers_pass()
    assert VerifyRun(document_id=claim.document_id, run_id=claim.run_id) in protocol.reconciling.due_tasks()


def test_a_zombie_cannot_finish_forward_or_fail_an_extraction_that_was_taken_over(protocol):
    zombie = protocol.claimed()
    protocol.let_leases_expire()
    protocol.reconciling.reap()
    protocol.let_timers_pass()
    heir = protocol.documents.claim_extraction(zombie.document_id, "heir")

    assert protocol.finish_extraction(zombie, [1]) is None
    assert not protocol.batches.forward(zombie.document_id, zombie.run_id, make_batches([1]))
    assert protocol.documents.fail_extraction(zombie.document_id, zombie.run_id, Setback("corrupt")) is None
    assert not protocol.documents.heartbeat(zombie.document_id, zombie.run_id, pages_done=1, pages_total=2)
    assert protocol.finish_extraction(heir, [1]) is State.EMBEDDING


def test_a_lost_worker_costs_a_loss_and_not_a_try(protocol):
    claim = protocol.claimed()
    protocol.let_leases_expire()

    assert protocol.reconciling.reap().documents == 1

    view = protocol.view(claim.document_id)
    assert (view.state, view.tries, view.losses) == (State.QUEUED, 0, 1)


def test_what_a_worker_lost_at_the_same_time_does_not_come_back_at_the_same_time(protocol):
    lost = 20
    for _ in range(lost):
        protocol.claimed()
    protocol.let_leases_expire()

    assert protocol.reconciling.reap().documents == lost

    assert len(set(protocol.query("SELECT not_before FROM documents"))) == lost
    assert protocol.query("SELECT count(*) FROM documents WHERE not_before <> dispatch_after")[0][0] == 0


def test_too_many_losses_fail_the_document(protocol):
    claim = protocol.claimed()
    protocol.query("UPDATE documents SET losses = max_losses - 1")
    protocol.let_leases_expire()

    protocol.reconciling.reap()

    view = protocol.view(claim.document_id)
    assert (view.state, view.error_code, view.error_detail_code) == (State.FAILED, "extractor_crashed", "worker_lost")


def test_a_lease_far_in_the_future_because_the_clock_jumped_counts_as_expired(protocol):
    claim = protocol.claimed()
    protocol.query("UPDATE documents SET lease_until = now() + interval '2 days'")

    protocol.reconciling.reap()

    assert protocol.view(claim.document_id).state is State.QUEUED


def test_a_document_that_crashes_its_child_fails_after_three_tries(protocol):
    document_id = protocol.accept().document_id
    states = []
    for _ in range(3):
        protocol.let_timers_pass()
        claim = protocol.documents.claim_extraction(document_id, "worker")
        crash = Setback("extractor_crashed", costs_a_try=True, wait=timedelta(seconds=5))
        states.append(protocol.documents.fail_extraction(document_id, claim.run_id, crash))

    assert states == [State.QUEUED, State.QUEUED, State.FAILED]
    assert protocol.documents.claim_extraction(document_id, "worker") is None


def test_a_permanent_failure_ends_at_the_first_try(protocol):
    claim = protocol.claimed()

    state = protocol.documents.fail_extraction(claim.document_id, claim.run_id, Setback("encrypted", is_permanent=True))

    assert state is State.FAILED
    assert protocol.view(claim.document_id).error_code == "encrypted"


def test_a_worker_that_is_told_to_stop_hands_its_document_back_without_a_try_or_a_loss(protocol):
    claim = protocol.claimed()

    assert protocol.documents.release_extraction(claim.document_id, claim.run_id)

    view = protocol.view(claim.document_id)
    assert (view.state, view.tries, view.losses) == (State.QUEUED, 0, 0)
    assert protocol.documents.claim_extraction(claim.document_id, "other") is not None


# embedding


def test_the_last_batch_and_only_the_last_moves_the_document_to_verifying(protocol):
    claim = protocol.extracted([1] * 8)
    claims = [protocol.claim_batch(claim.run_id, number) for number in range(8)]

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(protocol.batches.finish, claims))

    assert sorted(outcomes) == ["more"] * 7 + ["verify"]
    assert protocol.view(claim.document_id).state is State.VERIFYING


def test_a_batch_is_finished_once_however_often_it_is_delivered(protocol):
    claim = protocol.extracted([1, 1])
    batch = protocol.claim_batch(claim.run_id, 0)

    assert protocol.batches.finish(batch) == "more"
    assert protocol.batches.finish(batch) is None
    assert protocol.value("SELECT n_done FROM runs WHERE id = :id", id=claim.run_id) == 1


def test_a_zombie_cannot_finish_defer_or_fail_a_batch_that_was_claimed_again(protocol):
    claim = protocol.extracted([1, 1])
    zombie = protocol.claim_batch(claim.run_id, 0)
    protocol.let_leases_expire()
    protocol.reconciling.reap()
    heir = protocol.claim_batch(claim.run_id, 0)

    assert protocol.batches.finish(zombie) is None
    assert not protocol.batches.defer(zombie, code="provider_unavailable", wait=timedelta(0))
    assert not protocol.batches.fail(zombie, code="embedding_rejected")
    assert protocol.batches.finish(heir) == "more"


def test_waiting_for_the_provider_gives_the_try_back(protocol):
    claim = protocol.extracted([1])
    for _ in range(20):
        protocol.let_timers_pass()
        batch = protocol.claim_batch(claim.run_id)
        assert protocol.batches.defer(batch, code="provider_unavailable", wait=timedelta(seconds=1))

    assert protocol.value("SELECT tries FROM batches") == 0


def test_a_deferred_batch_is_not_claimed_before_its_time(protocol):
    claim = protocol.extracted([1])
    protocol.batches.defer(protocol.claim_batch(claim.run_id), code="x", wait=timedelta(minutes=5))

    assert protocol.batches.claim(claim.run_id, 0, "embedder") is None
    assert protocol.view(claim.document_id).waiting_code == "x:"


def test_a_rejected_batch_fails_its_document(protocol):
    claim = protocol.extracted([1, 1])

    protocol.batches.fail(protocol.claim_batch(claim.run_id), code="embedding_rejected", detail="chunk 0")

    view = protocol.view(claim.document_id)
    assert (view.state, view.error_code) == (State.FAILED, "embedding_rejected")
    assert protocol.value("SELECT state FROM runs WHERE id = :id", id=claim.run_id) == "abandoned"


@pytest.mark.parametrize("state", ["extracting", "embedding", "verifying"])
def test_a_batch_out_of_tries_fails_its_document_in_every_working_state(protocol, state):
    claim = protocol.extracted([1, 1])
    protocol.query("UPDATE batches SET tries = max_tries WHERE batch_no = 1")
    protocol.query("ALTER TABLE documents DISABLE TRIGGER guard_documents")
    protocol.query("UPDATE documents SET state = :state, dispatch_after = now(), lease_until = now()", state=state)
    protocol.query("ALTER TABLE documents ENABLE TRIGGER guard_documents")

    assert protocol.reconciling.fail_exhausted() == 1

    assert protocol.view(claim.document_id).state is State.FAILED


def test_a_batch_whose_workers_are_lost_again_and_again_fails_its_document(protocol):
    claim = protocol.extracted([1])
    protocol.query("UPDATE batches SET losses = (SELECT max_losses FROM documents)")

    assert protocol.reconciling.fail_exhausted() == 1

    assert protocol.view(claim.document_id).state is State.FAILED


# publishing


def test_a_run_is_published_only_when_every_point_was_found(protocol):
    claim = protocol.extracted([2, 2])
    for number in range(2):
        protocol.batches.finish(protocol.claim_batch(claim.run_id, number))
    present = [point_id(claim.run_id, number) for number in range(3)]

    published = protocol.batches.publish(claim.document_id, claim.run_id, present=present, **MODEL)

    assert (published.outcome, published.reopened) == ("reopened", (1,))
    assert protocol.view(claim.document_id).state is State.EMBEDDING
    protocol.publish(claim)
    assert protocol.view(claim.document_id).state is State.COMPLETED


def test_a_run_is_published_once_and_a_stale_verification_changes_nothing(protocol):
    claim = protocol.published()

    assert protocol.batches.publish(claim.document_id, claim.run_id, **MODEL).outcome == "stale"


def test_the_old_run_serves_until_the_new_one_is_published_and_is_retired_in_the_same_step(protocol):
    old = protocol.published()
    protocol.documents.reprocess(protocol.tenant_id, old.document_id)
    new = protocol.documents.claim_extraction(old.document_id, "worker")
    assert visible_runs(protocol, old, new) == {old.run_id}

    protocol.finish_extraction(new, [2])
    assert visible_runs(protocol, old, new) == {old.run_id}
    protocol.publish(new)

    assert visible_runs(protocol, old, new) == {new.run_id}
    assert protocol.value("SELECT state FROM runs WHERE id = :id", id=old.run_id) == "superseded"


def test_a_failed_replacement_leaves_the_old_run_serving(protocol):
    old = protocol.published()
    protocol.documents.reprocess(protocol.tenant_id, old.document_id)
    new = protocol.documents.claim_extraction(old.document_id, "worker")

    protocol.documents.fail_extraction(old.document_id, new.run_id, Setback("corrupt", is_permanent=True))

    assert protocol.view(old.document_id).state is State.FAILED
    assert visible_runs(protocol, old, new) == {old.run_id}


def test_replacing_a_document_in_the_middle_of_its_work_fences_the_work(protocol):
    document_id = protocol.accept(b"one", external_id="wiki/1").document_id
    claim = protocol.documents.claim_extraction(document_id, "worker")

    protocol.accept(b"two", external_id="wiki/1", on_duplicate="replace")

    assert protocol.finish_extraction(claim, [1]) is None
    again = protocol.documents.claim_extraction(document_id, "worker")
    assert again.storage_key != claim.storage_key


def test_what_a_failed_replacement_left_behind_is_not_made_ready_by_embedding_it_again(protocol):
    document_id = protocol.accept(b"one", external_id="wiki/1").document_id
    old = protocol.documents.claim_extraction(document_id, "worker")
    protocol.finish_extraction(old, [1])
    protocol.publish(old)
    protocol.accept(b"two", external_id="wiki/1", on_duplicate="replace")
    protocol.documents.cancel(protocol.tenant_id, document_id)

    assert protocol.batches.embed_again(protocol.tenant_id, document_id) is None
    assert (protocol.view(document_id).state, protocol.view(document_id).published_run) == (
        State.CANCELLED,
        old.run_id,
    )


def test_embedding_again_is_not_buying_again_what_was_lost(protocol):
    claim = protocol.published([1])

    run_id = protocol.batches.embed_again(protocol.tenant_id, claim.document_id)

    assert not protocol.claim_batch(run_id).is_rebought


def test_a_purge_waits_for_who_holds_the_document_and_not_the_other_way_round(protocol):
    claim = protocol.extracted([1])
    batch = protocol.claim_batch(claim.run_id)
    protocol.documents.delete(protocol.tenant_id, claim.document_id)

    with ThreadPoolExecutor() as pool, protocol.database.transaction() as connection:
        lock = {"id": claim.document_id}
        connection.execute(text("SELECT 1 FROM documents WHERE id = :id FOR NO KEY UPDATE"), lock)
        purging = pool.submit(protocol.reconciling.purge, lambda _: None)
        wait_until(lambda: _is_waiting_for_a_lock(protocol), seconds=10, message="the purge does not wait")
        finished = "UPDATE batches SET state = 'done' WHERE run_id = :run AND batch_no = :no"
        connection.execute(text(finished), {"run": batch.run_id, "no": batch.batch_no})
        connection.commit()

        assert purging.result(timeout=30) == 1


def _is_waiting_for_a_lock(protocol) -> bool:
    return bool(
        protocol.value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
    )


def test_embedding_again_copies_the_chunks_and_extracts_nothing(protocol):
    old = protocol.published([2, 1])

    run_id = protocol.batches.embed_again(protocol.tenant_id, old.document_id)

    view = protocol.view(old.document_id)
    assert (view.state, view.active_run, view.published_run) == (State.EMBEDDING, run_id, old.run_id)
    texts = "SELECT chunk_no, text, char_start FROM chunks WHERE run_id = :id ORDER BY 1"
    assert protocol.query(texts, id=run_id) == protocol.query(texts, id=old.run_id)
    batch = protocol.claim_batch(run_id, 0)
    assert [chunk.point_id for chunk in batch.chunks] == [point_id(run_id, 0), point_id(run_id, 1)]


# cancelling and deleting


@pytest.mark.parametrize("step", ["queued", "extracting", "embedding", "verifying"])
def test_cancel_is_final_in_every_unfinished_state(protocol, step):
    claim, batch = unfinished(protocol, step)

    assert protocol.documents.cancel(protocol.tenant_id, claim.document_id)

    assert protocol.view(claim.document_id).state is State.CANCELLED
    assert protocol.finish_extraction(claim, [1]) is None
    assert protocol.batches.publish(claim.document_id, claim.run_id, **MODEL).outcome == "stale"
    if batch is not None:
        assert protocol.batches.finish(batch) in (None, "more")
        assert protocol.view(claim.document_id).state is State.CANCELLED


def test_cancelling_an_ended_document_changes_nothing(protocol):
    claim = protocol.published()

    assert not protocol.documents.cancel(protocol.tenant_id, claim.document_id)
    assert protocol.view(claim.document_id).state is State.COMPLETED


@pytest.mark.parametrize("step", ["queued", "extracting", "embedding", "verifying", "completed"])
def test_a_deleted_document_is_invisible_at_once_and_gone_after_two_passes(protocol, step):
    claim = protocol.published() if step == "completed" else unfinished(protocol, step)[0]

    assert protocol.documents.delete(protocol.tenant_id, claim.document_id)

    assert visible_runs(protocol, claim) == set()
    assert not protocol.documents.delete(protocol.tenant_id, claim.document_id)
    dropped = []
    for _ in range(2):
        protocol.let_timers_pass()
        protocol.reconciling.purge(dropped.append)
        protocol.reconciling.collect(len)
    assert [purge.document_id for purge in dropped] == [claim.document_id] * 2
    assert protocol.view(claim.document_id).lifecycle == "deleted"
    assert protocol.value("SELECT count(*) FROM chunks") == 0


def test_another_tenant_can_neither_see_nor_touch_a_document(protocol):
    claim = protocol.published()
    stranger = point_id(1, 1)

    assert protocol.catalogue.find(stranger, claim.document_id) is None
    assert not protocol.documents.delete(stranger, claim.document_id)
    assert not protocol.documents.cancel(stranger, claim.document_id)
    assert not protocol.documents.reprocess(stranger, claim.document_id)
    assert protocol.batches.embed_again(stranger, claim.document_id) is None
    assert protocol.hits.resolve(stranger, None, [ScoredPoint(point_id(claim.run_id, 0), 1.0)]) == []


# the reconciler


def test_a_hint_is_sent_again_with_growing_pauses(protocol):
    protocol.accept()
    pauses = []
    for _ in range(9):
        protocol.query("UPDATE documents SET dispatch_after = now()")
        assert len(protocol.reconciling.due_tasks()) == 1
        pauses.append(protocol.value("SELECT EXTRACT(EPOCH FROM dispatch_after - now())::int FROM documents"))

    assert pauses[:4] == [15, 30, 60, 120]
    assert pauses[-1] == 120, "two leases, so that a lost hint never costs more"


def test_when_redis_forgets_every_waiting_row_is_due_at_once(protocol):
    protocol.accept()
    protocol.reconciling.notice_epoch(lambda: ("server-1", 1))
    protocol.let_timers_pass()
    protocol.reconciling.due_tasks()
    assert protocol.reconciling.due_tasks() == []
    assert not protocol.reconciling.notice_epoch(lambda: ("server-1", 2))

    assert protocol.reconciling.notice_epoch(lambda: ("server-1", 1))

    assert len(protocol.reconciling.due_tasks()) == 1


def test_a_timer_far_in_the_future_because_the_clock_jumped_counts_as_passed(protocol):
    protocol.accept()
    protocol.query("UPDATE documents SET not_before = now() + interval '2 d', dispatch_after = now() + interval '2 d'")

    assert len(protocol.reconciling.due_tasks()) == 1


def test_tenants_take_turns(protocol):
    other = Keys(protocol.database).ensure_tenant("other")
    collection = protocol.value("SELECT id FROM collections WHERE tenant_id = :t", t=other)
    for _ in range(5):
        protocol.accept()
    late = protocol.documents.accept(NewDocument(other, collection, make_original())).document_id
    protocol.query("UPDATE documents SET dispatch_after = now() - interval '1 min' WHERE tenant_id <> :t", t=other)
    protocol.query("UPDATE documents SET dispatch_after = now() WHERE tenant_id = :t", t=other)

    tasks = protocol.reconciling.due_tasks()

    assert len(tasks) == 6
    assert ExtractDocument(document_id=late) in tasks


def test_points_that_a_published_run_lost_are_embedded_again_while_it_goes_on_serving(protocol):
    claim = protocol.published([2, 2])

    reopened = protocol.batches.repair(claim.document_id, claim.run_id, [point_id(claim.run_id, n) for n in (0, 1, 2)])

    assert reopened == (1,)
    assert visible_runs(protocol, claim) == {claim.run_id}
    assert protocol.batches.finish(protocol.claim_batch(claim.run_id, 1)) == "more"
    assert protocol.value("SELECT n_done FROM runs WHERE id = :id", id=claim.run_id) == 2
    assert protocol.view(claim.document_id).state is State.COMPLETED


def test_a_repair_that_is_out_of_tries_starts_afresh_and_never_fails_its_document(protocol):
    claim = protocol.published([1])
    protocol.batches.repair(claim.document_id, claim.run_id, [])
    protocol.query("UPDATE batches SET tries = max_tries")

    assert protocol.reconciling.fail_exhausted() == 0

    assert protocol.value("SELECT tries FROM batches") == 0
    assert protocol.view(claim.document_id).state is State.COMPLETED


def test_a_document_that_waited_until_its_deadline_fails_with_what_it_waited_for(protocol):
    claim = protocol.extracted([1])
    protocol.batches.defer(protocol.claim_batch(claim.run_id), code="provider_unavailable", wait=timedelta(seconds=9))
    protocol.query("UPDATE documents SET deadline = now() - interval '1 s'")

    assert protocol.reconciling.fail_overdue().failed == 1

    view = protocol.view(claim.document_id)
    assert (view.error_code, view.error_detail_code) == ("provider_unavailable", "deadline_exceeded")


def test_an_unpublished_run_is_collected_twice(protocol):
    claim = protocol.claimed()
    protocol.documents.cancel(protocol.tenant_id, claim.document_id)
    collected = []
    for _ in range(3):
        protocol.let_timers_pass()
        protocol.reconciling.collect(collected.extend)

    assert collected == [claim.run_id] * 2


def test_a_search_is_told_to_hide_unpublished_runs(protocol):
    published, working = protocol.published(), protocol.claimed()

    assert protocol.hits.hidden_runs(protocol.tenant_id) == [working.run_id]
    assert visible_runs(protocol, published, working) == {published.run_id}


def test_no_row_is_ever_left_without_a_timer(protocol):
    for step in ("queued", "extracting", "embedding", "verifying"):
        unfinished(protocol, step)
    protocol.published()

    assert protocol.reconciling.backlog().stuck == 0


def test_the_history_names_every_state_in_order(protocol):
    claim = protocol.published()

    history = protocol.events.history_of(protocol.tenant_id, claim.document_id)

    states = [event.state for event in history if event.event == "document.status"]
    assert states == ["queued", "extracting", "embedding", "verifying", "completed"]
    assert [event.id for event in history] == sorted(event.id for event in history)


def unfinished(protocol: Protocol, step: str):
    """A document in that state, its claim, and a claimed batch where it has one."""
    if step == "queued":
        claim = protocol.claimed()
        protocol.documents.release_extraction(claim.document_id, claim.run_id)
        return claim, None
    if step == "extracting":
        return protocol.claimed(), None
    claim = protocol.extracted([1])
    batch = protocol.claim_batch(claim.run_id)
    if step == "verifying":
        protocol.batches.finish(batch)
    return claim, batch


def visible_runs(protocol: Protocol, *claims) -> set[int]:
    """Which of these runs a search would show, whatever the store returned."""
    points = [ScoredPoint(point_id(claim.run_id, 0), 1.0) for claim in claims]
    return {hit.run_id for hit in protocol.hits.resolve(protocol.tenant_id, None, points)}


def test_two_reconcilers_that_collect_the_same_run_at_once_make_one_pass(protocol):
    claim = protocol.extracted([1])
    protocol.documents.cancel(protocol.tenant_id, claim.document_id)

    def collect_meanwhile(_run_ids):
        assert protocol.reconciling.collect(lambda _: None) == 1

    protocol.reconciling.collect(collect_meanwhile)

    assert protocol.value("SELECT gc_pass FROM runs WHERE id = :id", id=claim.run_id) == 1


def test_two_reconcilers_that_purge_the_same_document_at_once_make_one_pass(protocol):
    claim = protocol.published()
    protocol.documents.delete(protocol.tenant_id, claim.document_id)

    def purge_meanwhile(_purge):
        assert protocol.reconciling.purge(lambda _: None) == 1

    protocol.reconciling.purge(purge_meanwhile)

    document = "SELECT purge_pass, lifecycle FROM documents WHERE id = :id"
    assert protocol.query(document, id=claim.document_id) == [(1, "deleting")]


def test_the_oldest_unfinished_document_is_as_old_as_its_request(protocol):
    waiting = protocol.accept()
    protocol.query("UPDATE documents SET deadline = deadline - interval '90 s' WHERE id = :id", id=waiting.document_id)

    assert 90 <= protocol.reconciling.backlog().oldest_unfinished_s < 150


def test_without_unfinished_documents_the_oldest_is_no_age(protocol):
    protocol.published()

    assert protocol.reconciling.backlog().oldest_unfinished_s == 0


def test_a_claim_that_waited_for_a_replacement_reads_the_new_original(protocol):
    document_id = protocol.accept(b"one", external_id="wiki/1").document_id
    moved, let_go = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == "replace.document_moved":
            moved.set()
            let_go.wait(20)

    failpoints.set_trap(hold)
    try:
        with ThreadPoolExecutor() as pool:
            replacing = pool.submit(protocol.accept, b"two", external_id="wiki/1", on_duplicate="replace")
            assert moved.wait(20)
            claiming = pool.submit(protocol.documents.claim_extraction, document_id, "worker")
            wait_until(lambda: _is_waiting_for_a_lock(protocol), seconds=10, message="the claim does not wait")
            let_go.set()
            replacing.result(timeout=20)
            claim = claiming.result(timeout=20)
    finally:
        failpoints.set_trap(None)

    newest = "SELECT storage_key FROM originals ORDER BY request_no DESC LIMIT 1"
    assert claim.storage_key == protocol.value(newest)
