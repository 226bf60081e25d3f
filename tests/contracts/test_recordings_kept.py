"""An analysis goes the way of the run that made it, and pieces of transcripts that of their document."""

from uuid import uuid4

import pytest
from builders import Protocol, make_batches

from sluice_common.batches import Extraction
from sluice_common.documents import Setback
from sluice_common.jobs import Jobs
from sluice_common.status import State
from sluice_common.transcripts import Transcripts

ANALYSIS = {"kind": "audio", "labels": [{"label": "개", "confidence": 0.5}]}


@pytest.fixture
def protocol(database) -> Protocol:
    return Protocol(database)


def extracted(protocol: Protocol, document_id, analysis=ANALYSIS):
    protocol.let_timers_pass()
    claim = protocol.documents.claim_extraction(document_id, "worker")
    batches = make_batches([1])
    extraction = Extraction(1, 1, "audio/mpeg", pages_done=1, pages_total=None, analysis=analysis)
    protocol.batches.finish_extraction(claim.document_id, claim.run_id, batches, extraction)
    return claim


def shown(protocol: Protocol, document_id, tenant_id=None):
    found = protocol.catalogue.analysis_of(tenant_id or protocol.tenant_id, document_id)
    return found and (found.run_id, found.analysis)


def test_the_analysis_is_shown_once_its_run_is_published(protocol):
    document_id = protocol.accept().document_id
    claim = extracted(protocol, document_id)
    before = shown(protocol, document_id)

    protocol.publish(claim)

    assert before is None
    assert shown(protocol, document_id) == (claim.run_id, ANALYSIS)
    assert shown(protocol, document_id, uuid4()) is None


def test_while_a_document_is_processed_again_its_old_analysis_is_shown(protocol):
    document_id = protocol.accept().document_id
    first = extracted(protocol, document_id)
    protocol.publish(first)
    protocol.documents.reprocess(protocol.tenant_id, document_id)

    second = extracted(protocol, document_id, {"kind": "audio", "labels": []})
    between = shown(protocol, document_id)
    protocol.publish(second)

    assert between == (first.run_id, ANALYSIS)
    assert shown(protocol, document_id) == (second.run_id, {"kind": "audio", "labels": []})


def test_a_run_that_is_embedded_again_keeps_its_analysis(protocol):
    document_id = protocol.accept().document_id
    protocol.publish(extracted(protocol, document_id))
    run_id = protocol.batches.embed_again(protocol.tenant_id, document_id)

    for number in protocol.pending_batches(run_id):
        protocol.batches.finish(protocol.claim_batch(run_id, number))
    protocol.batches.publish(document_id, run_id, model="test-model", dimensions=8)

    assert shown(protocol, document_id) == (run_id, ANALYSIS)


def test_a_document_that_is_no_recording_has_none(protocol):
    document_id = protocol.accept().document_id
    protocol.publish(extracted(protocol, document_id, None))

    assert shown(protocol, document_id) is None


def test_delete_takes_the_analysis_and_the_pieces_with_it(protocol):
    document_id = protocol.accept().document_id
    protocol.publish(extracted(protocol, document_id))
    transcripts = Transcripts(protocol.database)
    transcripts.keep(document_id, b"key", {"spoken": []})

    protocol.documents.delete(protocol.tenant_id, document_id)
    at_once = shown(protocol, document_id)
    protocol.reconciling.purge(lambda _purge: None)

    assert at_once is None
    assert protocol.value("SELECT count(*) FROM runs WHERE analysis IS NOT NULL") == 0
    assert transcripts.find(document_id, b"key") is None


def test_a_replaced_run_loses_its_analysis_when_it_is_collected(protocol):
    document_id = protocol.accept().document_id
    first = extracted(protocol, document_id)
    protocol.publish(first)
    protocol.documents.reprocess(protocol.tenant_id, document_id)
    protocol.publish(extracted(protocol, document_id))

    protocol.let_timers_pass()
    protocol.reconciling.collect(len)

    kept = protocol.query("SELECT id FROM runs WHERE analysis IS NOT NULL")
    assert first.run_id not in {row[0] for row in kept}
    assert shown(protocol, document_id) is not None


def test_a_piece_is_found_again_by_its_own_document_only_and_the_first_one_wins(protocol):
    mine, other = protocol.accept().document_id, protocol.accept().document_id
    transcripts = Transcripts(protocol.database)

    transcripts.keep(mine, b"key", {"spoken": [{"text": "안녕"}]})
    transcripts.keep(mine, b"key", {"spoken": []})

    assert transcripts.find(mine, b"key") == {"spoken": [{"text": "안녕"}]}
    assert transcripts.find(other, b"key") is None
    assert transcripts.find(mine, b"another") is None


def test_a_worker_that_is_late_leaves_no_piece_of_a_deleted_document(protocol):
    document_id = protocol.accept().document_id
    protocol.documents.delete(protocol.tenant_id, document_id)

    Transcripts(protocol.database).keep(document_id, b"key", {"spoken": []})

    assert protocol.value("SELECT count(*) FROM transcript_pieces") == 0


def test_pieces_are_forgotten_after_a_week(protocol):
    document_id = protocol.accept().document_id
    transcripts = Transcripts(protocol.database)
    for key, age in ((b"old", "8 days"), (b"new", "6 days")):
        transcripts.keep(document_id, key, {"spoken": []})
        older = "UPDATE transcript_pieces SET created_at = now() - CAST(:age AS interval) WHERE key = :key"
        protocol.query(older, age=age, key=key)

    protocol.reconciling.trim()

    assert transcripts.find(document_id, b"old") is None
    assert transcripts.find(document_id, b"new") is not None


def job_of(protocol: Protocol, document_id):
    return protocol.view(document_id).job_id


def test_a_job_tells_what_became_of_its_own_request(protocol):
    document_id = protocol.accept().document_id
    first = job_of(protocol, document_id)
    claim = extracted(protocol, document_id)
    protocol.publish(claim)
    protocol.documents.reprocess(protocol.tenant_id, document_id)
    second = job_of(protocol, document_id)
    jobs = Jobs(protocol.database)

    old, new = jobs.find(protocol.tenant_id, first), jobs.find(protocol.tenant_id, second)

    assert (old.kind, old.is_newest, old.state, old.run_id, old.analysis) == (
        "ingest",
        False,
        State.COMPLETED,
        claim.run_id,
        ANALYSIS,
    )
    assert (new.kind, new.is_newest, new.state, new.run_id) == ("reprocess", True, State.QUEUED, None)


@pytest.mark.parametrize("end", ["cancel", "fail"])
def test_an_earlier_job_remembers_that_it_ended_without_a_result(protocol, end):
    document_id = protocol.accept().document_id
    first = job_of(protocol, document_id)
    if end == "cancel":
        protocol.documents.cancel(protocol.tenant_id, document_id)
    else:
        claim = protocol.documents.claim_extraction(document_id, "worker")
        protocol.documents.fail_extraction(document_id, claim.run_id, Setback("corrupt", is_permanent=True))
    protocol.documents.reprocess(protocol.tenant_id, document_id)

    job = Jobs(protocol.database).find(protocol.tenant_id, first)

    expected = (State.CANCELLED, None) if end == "cancel" else (State.FAILED, "corrupt")
    assert (job.state, job.error_code) == expected


def test_another_tenant_has_no_such_job(protocol):
    document_id = protocol.accept().document_id

    assert Jobs(protocol.database).find(uuid4(), job_of(protocol, document_id)) is None
    assert Jobs(protocol.database).find(protocol.tenant_id, uuid4()) is None
