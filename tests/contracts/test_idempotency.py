"""What is known of an idempotency key, for how long, and whose it is when a request stands still."""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from builders import Protocol
from oracle import wait_until

from sluice_common import failpoints
from sluice_common.documents import ClaimLost
from sluice_common.idempotency import Fresh, Idempotency, InFlight, Mismatch, Resumed
from sluice_common.ids import new_id


@pytest.fixture
def protocol(database) -> Protocol:
    return Protocol(database)


def test_an_idempotency_key_lives_until_it_is_forgotten_and_not_until_the_clock_jumps(protocol):
    keys = Idempotency(protocol.database)
    assert isinstance(keys.begin(protocol.tenant_id, "key", b"one"), Fresh)
    protocol.query("UPDATE idempotency_keys SET expires_at = now() - interval '1 day'")

    assert isinstance(keys.begin(protocol.tenant_id, "key", b"other"), Mismatch)

    protocol.reconciling.trim()
    assert isinstance(keys.begin(protocol.tenant_id, "key", b"other"), Fresh)


def test_a_lock_from_a_time_when_the_clock_was_ahead_holds_nobody_up(protocol):
    keys = Idempotency(protocol.database)
    keys.begin(protocol.tenant_id, "key", b"one")
    assert isinstance(keys.begin(protocol.tenant_id, "key", b"one"), InFlight)

    protocol.query("UPDATE idempotency_keys SET locked_until = locked_until + interval '2 days'")

    assert isinstance(keys.begin(protocol.tenant_id, "key", b"one"), Fresh)


def test_a_key_is_known_once_its_request_is_done(protocol):
    keys, document_id = Idempotency(protocol.database), protocol.accept().document_id
    begun = keys.begin(protocol.tenant_id, "k", b"same")
    was_known = keys.is_done(protocol.tenant_id, "k")
    protocol.query("UPDATE idempotency_keys SET document_id = :id", id=document_id)
    has_made_its_document = keys.is_done(protocol.tenant_id, "k")
    keys.complete(begun.token, status=202, body={}, headers={})

    assert (was_known, has_made_its_document) == (False, True)
    assert keys.is_done(protocol.tenant_id, "k")
    assert not keys.is_done(new_id(), "k"), "the key of another tenant is another key"
    protocol.query("UPDATE idempotency_keys SET expires_at = now() - interval '1 s'")
    protocol.reconciling.trim()
    assert not keys.is_done(protocol.tenant_id, "k")


# a request that stands still until its repeat has taken the key over


def begun(protocol: Protocol, key: str = "k") -> UUID:
    """The token of a request that begins with a key, after the time in which the one before had to answer."""
    protocol.query("UPDATE idempotency_keys SET locked_until = now() - interval '1 s'")
    claim = Idempotency(protocol.database).begin(protocol.tenant_id, key, b"same")
    assert isinstance(claim, Fresh)
    return claim.token


def contents_of(protocol: Protocol, document_id: UUID) -> object:
    """How many contents a document has had."""
    return protocol.value("SELECT count(*) FROM originals WHERE document_id = :id", id=document_id)


def documents_of(protocol: Protocol) -> object:
    return protocol.value("SELECT count(*) FROM documents")


def test_a_request_whose_key_was_taken_over_brings_nothing_back_that_was_deleted_since(protocol):
    late, repeat = begun(protocol), begun(protocol)
    document_id = protocol.accept(b"same", token=repeat).document_id
    protocol.documents.delete(protocol.tenant_id, document_id)

    with pytest.raises(ClaimLost):
        protocol.accept(b"same", token=late)

    assert documents_of(protocol) == 1


def test_a_request_whose_key_was_taken_over_makes_no_second_document_where_the_same_bytes_may_repeat(protocol):
    late, repeat = begun(protocol), begun(protocol)
    protocol.accept(b"same", token=repeat, may_repeat=True)

    with pytest.raises(ClaimLost):
        protocol.accept(b"same", token=late, may_repeat=True)

    assert documents_of(protocol) == 1


def test_a_request_whose_key_was_taken_over_puts_no_older_content_back(protocol):
    document_id = protocol.accept(b"one", external_id="wiki/1").document_id
    late, repeat = begun(protocol), begun(protocol)
    protocol.accept(b"two", external_id="wiki/1", on_duplicate="replace", token=repeat)
    newer = begun(protocol, "another key")
    protocol.accept(b"three", external_id="wiki/1", on_duplicate="replace", token=newer)

    with pytest.raises(ClaimLost):
        protocol.accept(b"two", external_id="wiki/1", on_duplicate="replace", token=late)

    assert contents_of(protocol, document_id) == 3


def test_a_replacement_whose_key_is_taken_over_at_the_last_moment_changes_nothing(protocol):
    document_id = protocol.accept(b"one", external_id="wiki/1").document_id
    late = begun(protocol)

    def take_over(name: str) -> None:
        if name == "accept.duplicate_found":
            failpoints.set_trap(None)
            repeat = begun(protocol)
            protocol.accept(b"two", external_id="wiki/1", on_duplicate="replace", token=repeat)

    failpoints.set_trap(take_over)
    try:
        with pytest.raises(ClaimLost):
            protocol.accept(b"two", external_id="wiki/1", on_duplicate="replace", token=late)
    finally:
        failpoints.set_trap(None)

    assert contents_of(protocol, document_id) == 2


def test_a_request_does_nothing_when_its_repeat_has_failed_and_given_the_key_up(protocol):
    late, repeat = begun(protocol), begun(protocol)
    Idempotency(protocol.database).release(repeat)

    with pytest.raises(ClaimLost):
        protocol.accept(b"same", token=late)

    assert documents_of(protocol) == 0


def test_a_repeat_that_comes_while_the_row_is_written_answers_with_the_same_document(protocol):
    protocol.accept(b"one", external_id="wiki/1")
    token = begun(protocol)
    arrived, go_on = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == "resolve.key_held":
            arrived.set()
            assert go_on.wait(30)

    protocol.query("UPDATE idempotency_keys SET locked_until = now() - interval '1 s'")
    failpoints.set_trap(hold)
    try:
        with ThreadPoolExecutor(2) as pool:
            replaced = pool.submit(protocol.accept, b"two", external_id="wiki/1", on_duplicate="replace", token=token)
            assert arrived.wait(30)
            repeat = pool.submit(Idempotency(protocol.database).begin, protocol.tenant_id, "k", b"same")
            wait_until(lambda: waits_for_a_row(protocol), seconds=30, message="the repeat does not wait")
            go_on.set()
            document_id = replaced.result().document_id
            assert repeat.result() == Resumed(repeat.result().token, document_id)
    finally:
        go_on.set()
        failpoints.set_trap(None)


def waits_for_a_row(protocol: Protocol) -> bool:
    return bool(
        protocol.query("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    )
