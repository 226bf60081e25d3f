"""What is known of an idempotency key, and for how long."""

import pytest
from builders import Protocol

from sluice_common.idempotency import Fresh, Idempotency, InFlight, Mismatch
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
