"""Workers and the reconciler must judge by the same lease, and several reconcilers make one jump good once."""

from datetime import timedelta

import pytest
from builders import TIMES, Protocol

from sluice_common.agreement import TimesDisagree, check_lease
from sluice_common.idempotency import Idempotency, InFlight
from sluice_common.reconciling import Reconciling
from sluice_common.status import State
from sluice_common.times import Times

OTHER = Times(lease=timedelta(seconds=5), deadline=TIMES.deadline)


@pytest.fixture
def protocol(database) -> Protocol:
    return Protocol(database)


def test_a_worker_with_the_reconcilers_lease_starts(protocol):
    protocol.reconciling.keep_lease()

    check_lease(protocol.database, TIMES, patience_s=0)


def test_a_worker_with_another_lease_refuses_to_start_and_names_both(protocol):
    protocol.reconciling.keep_lease()

    with pytest.raises(TimesDisagree, match=r"60 s and this service with 5 s"):
        check_lease(protocol.database, OTHER, patience_s=0)


def test_a_worker_starts_before_there_ever_was_a_reconciler(protocol):
    check_lease(protocol.database, OTHER, patience_s=0)


def deadline_of(protocol, document_id):
    return protocol.value("SELECT deadline FROM documents WHERE id = :id", id=document_id)


def test_a_jump_of_the_clock_moves_the_deadlines_along_and_fails_nobody(protocol):
    document_id = protocol.accept().document_id
    protocol.reconciling.fail_overdue()
    before = deadline_of(protocol, document_id)
    # as if the clock had jumped two days ahead since a reconciler last looked
    protocol.query("UPDATE keeper SET clock_seen_at = clock_seen_at - interval '2 days'")
    protocol.query("UPDATE documents SET deadline = deadline - interval '2 days'")

    overdue = protocol.reconciling.fail_overdue()

    assert overdue.failed == 0
    assert overdue.unseen >= timedelta(days=2)
    assert deadline_of(protocol, document_id) >= before
    assert protocol.view(document_id).state is State.QUEUED


def test_a_reconciler_that_starts_after_the_jump_makes_up_for_it_too(protocol):
    document_id = protocol.accept().document_id
    protocol.reconciling.fail_overdue()
    protocol.query("UPDATE keeper SET clock_seen_at = clock_seen_at - interval '2 days'")
    protocol.query("UPDATE documents SET deadline = deadline - interval '2 days'")

    assert Reconciling(protocol.database, TIMES).fail_overdue().failed == 0
    assert protocol.view(document_id).state is State.QUEUED


def test_a_jump_that_two_reconcilers_see_moves_the_deadlines_once(protocol):
    protocol.accept()
    protocol.query("UPDATE keeper SET clock_seen_at = now() - interval '1 hour'")

    unseen = [Reconciling(protocol.database, TIMES).fail_overdue().unseen for _ in range(2)]

    assert unseen[0] >= timedelta(hours=1)
    assert unseen[1] == timedelta(0)


def between_two_jumps(protocol, do) -> None:
    """The clock is two days ahead, goes back, *do* happens before a reconciler looks, and it is ahead once more."""
    ahead = "UPDATE keeper SET clock_seen_at = now() + interval '2 days'"
    protocol.query(ahead)
    do()
    for column, table in (("deadline", "documents"), ("expires_at", "idempotency_keys"), ("clock_seen_at", "keeper")):
        protocol.query(f"UPDATE {table} SET {column} = {column} - interval '2 days'")


def test_a_request_between_two_jumps_of_the_clock_has_its_whole_day(protocol):
    cancelled = protocol.accept(b"cancelled").document_id
    protocol.documents.cancel(protocol.tenant_id, cancelled)
    published = protocol.published().document_id
    keys = Idempotency(protocol.database)

    def ask() -> None:
        protocol.accept(b"new")
        protocol.documents.reprocess(protocol.tenant_id, cancelled)
        protocol.batches.embed_again(protocol.tenant_id, published)
        keys.begin(protocol.tenant_id, "key", b"one")

    between_two_jumps(protocol, ask)

    assert protocol.reconciling.fail_overdue().failed == 0
    protocol.reconciling.trim()
    assert isinstance(keys.begin(protocol.tenant_id, "key", b"one"), InFlight)


def test_a_clock_that_went_back_moves_nothing(protocol):
    document_id = protocol.accept().document_id
    before = deadline_of(protocol, document_id)
    protocol.query("UPDATE keeper SET clock_seen_at = now() + interval '2 days'")

    assert protocol.reconciling.fail_overdue().unseen == timedelta(0)
    assert deadline_of(protocol, document_id) == before
