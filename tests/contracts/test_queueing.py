"""What the table says about the queues, and what PostgreSQL says when it has no room."""

import pytest
import sqlalchemy as sa
from builders import Protocol

from sluice_common.database import DISK_FULL
from sluice_common.errors import DatabaseUnavailable
from sluice_common.queueing import NOTHING, Queueing, Waiting


@pytest.fixture
def protocol(database) -> Protocol:
    return Protocol(database)


@pytest.fixture
def queueing(database) -> Queueing:
    return Queueing(database)


def test_an_empty_table_has_nothing_waiting(protocol, queueing):
    queues = queueing.look()

    assert queues.of(protocol.tenant_id) == queues.of_all == NOTHING


def test_documents_wait_for_the_extractor_and_chunks_for_the_embedder(protocol, queueing):
    protocol.accept(), protocol.accept()
    protocol.claimed()
    claim = protocol.extracted([3, 2])
    protocol.claim_batch(claim.run_id, 1)  # is being embedded, and waits no longer

    waiting = queueing.look().of(protocol.tenant_id)

    assert (waiting.documents, waiting.chunks) == (2, 3)


def test_what_has_ended_or_was_given_up_waits_no_longer(protocol, queueing):
    protocol.published()
    protocol.documents.cancel(protocol.tenant_id, protocol.accept().document_id)
    protocol.documents.cancel(protocol.tenant_id, protocol.extracted([4]).document_id)
    protocol.documents.delete(protocol.tenant_id, protocol.extracted([4]).document_id)
    protocol.documents.delete(protocol.tenant_id, protocol.accept().document_id)

    waiting = queueing.look().of_all

    assert (waiting.documents, waiting.chunks, waiting.oldest_s) == (0, 0, 0)


def test_the_oldest_is_the_one_that_has_waited_longest(protocol, queueing):
    protocol.accept()
    protocol.query("UPDATE documents SET updated_at = now() - interval '90 s'")
    protocol.accept()

    assert 90 <= queueing.look().of(protocol.tenant_id).oldest_s < 120


def test_the_pace_is_what_ended_in_the_last_minute(protocol, queueing):
    for _ in range(3):
        protocol.published([2, 2])
    protocol.documents.cancel(protocol.tenant_id, protocol.accept().document_id)
    protocol.query("UPDATE document_events SET created_at = now() - interval '20 s' WHERE state = 'queued'")

    waiting = queueing.look().of(protocol.tenant_id)

    assert waiting.documents_per_s == pytest.approx(4 / 20, rel=0.2)
    assert waiting.chunks_per_s == pytest.approx(12 / 20, rel=0.2)


def test_what_ended_long_ago_says_nothing_about_the_pace(protocol, queueing):
    protocol.published()
    protocol.query("UPDATE document_events SET created_at = now() - interval '2 minutes'")

    assert queueing.look().of_all == Waiting()


@pytest.mark.parametrize(
    ("sqlstate", "detail_code"),
    [("53100", DISK_FULL), ("53200", None), ("53300", None)],
    ids=["disk", "memory", "sessions"],
)
def test_a_postgresql_without_room_is_unavailable_and_a_full_disk_has_its_own_word(database, sqlstate, detail_code):
    refusing = sa.text(f"DO $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '{sqlstate}'; END $$")

    with pytest.raises(DatabaseUnavailable) as caught, database.single() as connection:
        connection.execute(refusing)

    assert caught.value.detail_code == detail_code
    database.ping()
