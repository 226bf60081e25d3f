"""Workers and the reconciler must judge by the same lease, and several reconcilers make one jump good once."""

from datetime import timedelta

import pytest
from builders import TIMES, Protocol

from sluice_common.agreement import TimesDisagree, check_lease
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


def test_a_clock_that_went_back_moves_nothing(protocol):
    document_id = protocol.accept().document_id
    before = deadline_of(protocol, document_id)
    protocol.query("UPDATE keeper SET clock_seen_at = now() + interval '2 days'")

    assert protocol.reconciling.fail_overdue().unseen == timedelta(0)
    assert deadline_of(protocol, document_id) == before
