"""Workers and the reconciler must judge by the same lease, and several reconcilers make one jump good once."""

from datetime import timedelta

import pytest
from builders import TIMES, Protocol

from sluice_common.agreement import TimesDisagree, check_lease
from sluice_common.reconciling import Reconciling
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


def test_a_jump_that_two_reconcilers_see_moves_the_deadlines_once(protocol):
    document_id = protocol.accept().document_id
    before = protocol.value("SELECT deadline FROM documents WHERE id = :id", id=document_id)

    moved = [Reconciling(protocol.database, TIMES).extend_deadlines(timedelta(hours=1)) for _ in range(2)]

    assert moved == [True, False]
    after = protocol.value("SELECT deadline FROM documents WHERE id = :id", id=document_id)
    assert after - before == timedelta(hours=1)


def test_a_jump_that_was_made_good_long_ago_does_not_hide_a_new_one(protocol):
    protocol.query("UPDATE keeper SET clock_moved_at = now() - interval '2 min'")

    assert protocol.reconciling.extend_deadlines(timedelta(hours=1))


def test_a_jump_that_was_made_good_in_what_is_now_the_far_future_does_not_hide_a_new_one(protocol):
    protocol.query("UPDATE keeper SET clock_moved_at = now() + interval '2 days'")

    assert protocol.reconciling.extend_deadlines(timedelta(hours=1))
