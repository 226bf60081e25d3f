"""Promise 13: the tables keep what documents are, and forget what was only needed on the way."""

from types import SimpleNamespace

import pytest
from bounds.sizes import sized
from builders import Protocol

from sluice_common.database import Database

REQUESTS = sized(20, 200)
CHUNKS = [4, 4, 2]
FEW_BYTES = 4096
"""Of a document that was deleted, its history included."""


@pytest.fixture
def protocol(database: Database) -> Protocol:
    return Protocol(database)


def test_trim_forgets_what_is_too_old_and_nothing_else(protocol):
    document_id = protocol.accept().document_id
    for age in ("'25 hours'", "'1 minute'"):
        protocol.query(
            "INSERT INTO idempotency_keys (tenant_id, key, fingerprint, token, locked_until, expires_at) VALUES "
            f"(:tenant, :key, '', gen_random_uuid(), now(), now() + interval '24 hours' - interval {age})",
            tenant=protocol.tenant_id,
            key=age,
        )
        protocol.query(
            "INSERT INTO jobs (id, tenant_id, kind, created_at) "
            f"VALUES (gen_random_uuid(), :tenant, 'ping', now() - interval {age})",
            tenant=protocol.tenant_id,
        )
        protocol.query(
            "INSERT INTO document_events (id, xid, tenant_id, document_id, event, state, created_at) SELECT "
            "nextval('document_events_id_seq'), 1, :tenant, :document, 'document.progress', 'extracting', "
            f"now() - interval {age}",
            tenant=protocol.tenant_id,
            document=document_id,
        )

    protocol.reconciling.trim()

    assert protocol.query("SELECT key FROM idempotency_keys") == [("'1 minute'",)]
    assert protocol.value("SELECT count(*) FROM jobs WHERE kind = 'ping'") == 1
    assert protocol.value("SELECT count(*) FROM jobs WHERE kind = 'ingest'") == 1
    assert protocol.value("SELECT count(*) FROM document_events WHERE event = 'document.progress'") == 1
    assert protocol.value("SELECT count(*) FROM document_events WHERE event = 'document.status'") == 1


def test_a_document_processed_again_and_again_keeps_the_chunks_of_one_run(protocol, figures):
    first = protocol.published(CHUNKS)
    for _ in range(REQUESTS):
        assert protocol.documents.reprocess(protocol.tenant_id, first.document_id)
        claim = protocol.documents.claim_extraction(first.document_id, "worker")
        assert claim is not None
        protocol.finish_extraction(claim, CHUNKS)
        protocol.publish(claim)
        collect_twice(protocol)

    assert protocol.value("SELECT count(*) FROM chunks") == sum(CHUNKS)
    assert protocol.value("SELECT count(*) FROM batches") == len(CHUNKS)
    kept = rows_of(protocol)
    figures.note(13, f"a document processed {REQUESTS + 1} times keeps {sum(CHUNKS)} chunks; rows: {vars(kept)}")
    assert kept.runs == REQUESTS + 1


def test_a_deleted_document_keeps_a_few_rows_without_a_word_of_it(protocol, figures):
    claim = protocol.published(CHUNKS)
    before = rows_of(protocol)
    protocol.documents.delete(protocol.tenant_id, claim.document_id)
    for _ in range(2):
        protocol.let_timers_pass()
        protocol.reconciling.purge(lambda _purge: None)

    after = rows_of(protocol)
    size = protocol.value(
        "SELECT sum(size) FROM (SELECT sum(pg_column_size(t.*)) AS size FROM documents t UNION ALL "
        "SELECT sum(pg_column_size(t.*)) FROM originals t UNION ALL SELECT sum(pg_column_size(t.*)) FROM runs t "
        "UNION ALL SELECT sum(pg_column_size(t.*)) FROM document_events t UNION ALL "
        "SELECT sum(pg_column_size(t.*)) FROM jobs t) AS sizes"
    )
    figures.note(13, f"rows of a document before its delete {vars(before)}, after it {vars(after)}, {size} bytes")
    assert (after.chunks, after.batches) == (0, 0)
    assert protocol.query("SELECT name, sha256 FROM originals") == [("", "")]
    assert int(str(size)) < FEW_BYTES


def test_what_was_deleted_long_ago_leaves_no_row(protocol):
    kept = protocol.published(CHUNKS)
    gone = protocol.published(CHUNKS)
    protocol.documents.delete(protocol.tenant_id, gone.document_id)
    make_old(protocol)
    protocol.reconciling.trim()
    assert rows_of(protocol).documents == 2, "its points and bytes are still there"

    for _ in range(2):
        collect_twice(protocol)
        protocol.reconciling.purge(lambda _purge: None)
        protocol.let_timers_pass()
    make_old(protocol)
    protocol.reconciling.trim()

    assert protocol.query("SELECT id FROM documents") == [(kept.document_id,)]
    assert vars(rows_of(protocol)) | {"document_events": 0} == {
        "documents": 1, "originals": 1, "runs": 1, "batches": 3, "chunks": 10, "document_events": 0, "jobs": 1,
    }  # fmt: skip


def test_of_runs_that_were_replaced_long_ago_no_row_is_left(protocol):
    first = protocol.published(CHUNKS)
    for _ in range(3):
        assert protocol.documents.reprocess(protocol.tenant_id, first.document_id)
        claim = protocol.documents.claim_extraction(first.document_id, "worker")
        protocol.finish_extraction(claim, CHUNKS)
        protocol.publish(claim)
        collect_twice(protocol)
    events = protocol.value("SELECT count(*) FROM document_events")
    protocol.reconciling.trim()
    assert (rows_of(protocol).runs, rows_of(protocol).document_events) == (4, events), "they are young"

    make_old(protocol)
    protocol.reconciling.trim()

    after = rows_of(protocol)
    assert (after.documents, after.runs, after.jobs, after.chunks) == (1, 1, 1, sum(CHUNKS))
    assert 0 < after.document_events < events
    assert protocol.query("SELECT published_run FROM documents") == protocol.query("SELECT id FROM runs")


def make_old(protocol: Protocol) -> None:
    """Let everything be of two months ago."""
    for table, column in (("documents", "updated_at"), ("runs", "created_at"), ("document_events", "created_at")):
        protocol.query(f"UPDATE {table} SET {column} = {column} - interval '61 days'")


def collect_twice(protocol: Protocol) -> None:
    for _ in range(2):
        protocol.let_timers_pass()
        protocol.reconciling.collect(lambda _runs: None)


def rows_of(protocol: Protocol) -> SimpleNamespace:
    """How many rows each table has."""
    tables = ("documents", "originals", "runs", "batches", "chunks", "document_events", "jobs")
    return SimpleNamespace(**{table: protocol.value(f"SELECT count(*) FROM {table}") for table in tables})
