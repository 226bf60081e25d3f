"""Analyses and jobs over HTTP."""

from uuid import UUID, uuid4

import pytest

from sluice_common import ids
from sluice_common.batches import Extraction, NewBatch, NewChunk
from sluice_common.documents import Setback
from sluice_common.keys import Scope

pytest_plugins = ("contracts.vector_fixtures", "contracts.gateway_parts")

ANALYSIS = {"kind": "audio", "duration_s": 10.0, "labels": []}


@pytest.fixture
def client(gateway):
    return gateway.client()


def recording(gateway, **fields) -> UUID:
    """A published document with an analysis."""
    document_id = gateway.accept("talk.mp3", **fields)
    claim = gateway.deps.documents.claim_extraction(document_id, "extractor")
    batch = NewBatch(0, [NewChunk(0, "said", 0, 4, tokens=1, time_start=0.0, time_end=1.0)])
    extraction = Extraction(1, 1, "audio/mpeg", pages_done=1, pages_total=None, analysis=ANALYSIS)
    gateway.deps.batches.finish_extraction(document_id, claim.run_id, [batch], extraction)
    gateway.deps.batches.finish(gateway.deps.batches.claim(claim.run_id, 0, "embedder"))
    gateway.publish(claim)
    return document_id


def path_of(document_id: UUID, part: str = "/analysis") -> str:
    return f"/v1/documents/{ids.shown('doc', document_id)}{part}"


def test_the_analysis_of_a_recording_is_answered_with_its_run(gateway, client):
    document_id = recording(gateway)

    answer = client.get(path_of(document_id))

    run = client.get(path_of(document_id, "")).json()["published_run"]
    shown = {"object": "analysis", "document_id": ids.shown("doc", document_id), "run": run}
    assert (answer.status_code, answer.json()) == (200, shown | ANALYSIS)


def test_a_document_without_an_analysis_says_so(gateway, client):
    for document_id in (gateway.accept("waiting.mp3"), gateway.ready(["words"])):
        answer = client.get(path_of(document_id))

        assert (answer.status_code, answer.json()["code"]) == (404, "no_analysis")


def test_a_deleted_recording_has_no_analysis_from_the_answer_on(gateway, client):
    document_id = recording(gateway)

    client.delete(path_of(document_id, ""))

    assert client.get(path_of(document_id)).status_code == 410


def test_the_result_of_a_job_has_the_analysis(gateway, client):
    document_id = recording(gateway)
    job = client.get(path_of(document_id, "")).json()["job_id"]

    shown = client.get(f"/v1/jobs/{job}", headers={"Accept-Language": "ko"}).json()

    analysis = client.get(path_of(document_id)).json()
    assert shown.pop("created_at") < shown.pop("finished_at")
    assert shown == {
        "id": job,
        "object": "job",
        "kind": "ingest",
        "status": "success",
        "document_id": ids.shown("doc", document_id),
        "progress": 100,
        "message": "문서 처리가 완료되었습니다.",
        "result": {
            "document_id": ids.shown("doc", document_id),
            "run": analysis["run"],
            "total_chunks": 1,
            "analysis": analysis,
        },
        "error": None,
    }


def test_a_job_goes_from_pending_to_its_end(gateway, client):
    document_id = gateway.accept()
    job = client.get(path_of(document_id, "")).json()["job_id"]

    def status() -> tuple[str, object]:
        shown = client.get(f"/v1/jobs/{job}").json()
        return shown["status"], shown["error"] and shown["error"]["code"]

    waiting = status()
    claim = gateway.deps.documents.claim_extraction(document_id, "extractor")
    working = status()
    gateway.deps.documents.fail_extraction(document_id, claim.run_id, Setback("corrupt", is_permanent=True))
    failed = status()
    client.post(path_of(document_id, "/retry"))
    later = status()

    assert [waiting, working, failed, later] == [
        ("pending", None),
        ("progress", None),
        ("failure", "corrupt"),
        ("failure", "corrupt"),
    ]


def test_a_job_that_was_overtaken_counts_as_cancelled(gateway, client):
    document_id = gateway.accept()
    job = client.get(path_of(document_id, "")).json()["job_id"]

    client.post(path_of(document_id, "/cancel"))
    client.post(path_of(document_id, "/retry"))

    shown = client.get(f"/v1/jobs/{job}").json()
    assert (shown["status"], shown["result"], shown["progress"]) == ("cancelled", None, None)


def test_what_belongs_to_others_does_not_exist(gateway, client):
    document_id = recording(gateway)
    job = client.get(path_of(document_id, "")).json()["job_id"]
    gateway.deps.collections.create(gateway.tenant_id, "hers", chunking={})
    strangers = [
        gateway.client(tenant_id=gateway.other_tenant()),
        gateway.client(Scope.READ, collections=["hers"]),
    ]

    for path in (path_of(document_id), f"/v1/jobs/{job}"):
        assert [stranger.get(path).status_code for stranger in strangers] == [404, 404]
    for unknown in (ids.shown("job", uuid4()), "job_x", ids.shown("doc", document_id)):
        assert client.get(f"/v1/jobs/{unknown}").status_code == 404
    assert gateway.client(Scope.WRITE).get(f"/v1/jobs/{job}").status_code == 403


def test_a_recording_that_nothing_here_can_decode_says_what_to_install(gateway, client):
    document_id = gateway.accept("talk.mp3")
    claim = gateway.deps.documents.claim_extraction(document_id, "extractor")
    setback = Setback("unsupported_format", detail_code="audio_not_installed", is_permanent=True)
    gateway.deps.documents.fail_extraction(document_id, claim.run_id, setback)

    remedies = [
        client.get(path_of(document_id, ""), headers={"Accept-Language": language}).json()["error"]["remedy"]
        for language in ("en", "ko")
    ]

    assert all("extractor-full" in remedy for remedy in remedies)
    assert remedies[0] != remedies[1]
