"""What a search promises, over the real gateway, PostgreSQL and the embedded vector store."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from sluice_api.searching import SearchQuery, search
from sluice_common import ids
from sluice_common.errors import EmbeddingProviderUnavailable, EmbeddingRejected
from sluice_common.keys import Scope

pytest_plugins = ("contracts.vector_fixtures", "contracts.gateway_parts")

MODES = ("dense", "lexical", "hybrid")
FIELDS = (
    "document_id name collection chunk text score page_start page_end section sheet slide time_start time_end "
    "attributes char_start char_end boxes run"
)


def found(client, query: str, **fields) -> list[dict]:
    answer = client.post("/v1/search", json={"query": query, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def refused(client, **body) -> dict:
    answer = client.post("/v1/search", json=body)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.json()


def shown(document_id) -> str:
    return ids.shown("doc", document_id)


@pytest.mark.parametrize("mode", MODES)
def test_a_published_chunk_is_found_in_every_mode(gateway, mode):
    document_id = gateway.ready(["the notice period is three months", "the rent is due on the first"], "lease.txt")

    results = found(gateway.client(), "the notice period is three months", mode=mode)

    assert results[0]["document_id"] == shown(document_id)
    assert (results[0]["name"], results[0]["chunk"]) == ("lease.txt", 0)


def test_a_result_has_exactly_the_promised_fields(gateway):
    gateway.ready(["alpha beta"], attributes={"year": 2026})

    result = found(gateway.client(), "alpha beta")[0]

    assert set(result) == set(FIELDS.split())
    assert result["attributes"] == {"year": 2026}
    assert (result["page_start"], result["char_start"], result["char_end"]) == (1, 0, 10)


def test_korean_words_are_found_by_a_part_of_them(gateway):
    document_id = gateway.ready(["데이터베이스를 백업합니다"], "백업.txt")
    gateway.ready(["전혀 다른 이야기"])

    results = found(gateway.client(), "데이터베이스 백업", mode="lexical")

    assert [(hit["document_id"], hit["name"]) for hit in results] == [(shown(document_id), "백업.txt")]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_not_yet_published_is_not_found(gateway, mode):
    gateway.embed(gateway.accept(), ["secret plans"])

    assert found(gateway.client(), "secret plans", mode=mode) == []


@pytest.mark.parametrize("mode", MODES)
def test_a_deleted_document_is_not_found_though_its_points_are_still_there(gateway, mode):
    document_id = gateway.ready(["secret plans"])
    client = gateway.client()
    assert found(client, "secret plans", mode=mode)

    gateway.deps.documents.delete(gateway.tenant_id, document_id)

    assert found(client, "secret plans", mode=mode) == []


def test_a_document_that_is_replaced_shows_one_run_and_never_none(gateway):
    document_id = gateway.ready(["the old text"])
    client = gateway.client()
    gateway.deps.documents.reprocess(gateway.tenant_id, document_id)
    claim = gateway.embed(document_id, ["the new text"])
    before = found(client, "the text", mode="lexical")

    gateway.publish(claim)

    after = found(client, "the text", mode="lexical")
    assert [hit["text"] for hit in before] == ["the old text"]
    assert [hit["text"] for hit in after] == ["the new text"]


def test_searches_during_a_swap_see_exactly_one_run(gateway):
    document_id = gateway.ready(["the text number 0"])
    client = gateway.client()
    with ThreadPoolExecutor(2) as pool:
        searching = [pool.submit(lambda: [found(client, "text number", mode="hybrid") for _ in range(40)])]
        for number in range(1, 8):
            gateway.deps.documents.reprocess(gateway.tenant_id, document_id)
            gateway.publish(gateway.embed(document_id, [f"the text number {number}"]))

    assert {len({hit["run"] for hit in results}) for results in searching[0].result()} == {1}


class PublishingStore:
    """A store during whose first answer a new run is published."""

    def __init__(self, vectors, publish) -> None:
        self._vectors = vectors
        self._publish = publish
        self.asked = 0

    def search_lexical(self, *asked, **how):
        points = self._vectors.search_lexical(*asked, **how)
        self.asked += 1
        if self.asked == 1:
            self._publish()
        return points


def test_a_run_that_is_published_in_the_middle_of_a_search_takes_the_old_ones_place(gateway):
    document_id = gateway.ready(["the old text"])
    gateway.deps.documents.reprocess(gateway.tenant_id, document_id)
    claim = gateway.embed(document_id, ["the new text"])
    store = PublishingStore(gateway.deps.vectors, lambda: gateway.publish(claim))
    principal = gateway.deps.keys.principal_of(gateway.key())

    answer = search(SearchQuery("the text", mode="lexical"), principal, replace(gateway.deps, vectors=store))

    assert [hit.text for hit in answer.hits] == ["the new text"]
    assert store.asked == 2


def test_runs_that_nobody_may_see_do_not_crowd_out_what_is_published(gateway):
    # More unpublished points than are asked for beyond top_k, and better ones; the list of hidden runs names them.
    for _ in range(5):
        gateway.embed(gateway.accept(), ["apple apple apple"] * 5)
    document_id = gateway.ready(["apple pie"])

    results = found(gateway.client(), "apple", mode="lexical", top_k=1)

    assert [hit["document_id"] for hit in results] == [shown(document_id)]


def test_points_that_the_table_does_not_know_are_passed_over_by_asking_again(gateway):
    lost = gateway.ready(["apple apple apple"] * 40)
    document_id = gateway.ready(["apple pie"])
    # As after a restore: the store has points of a run that the table does not list as hidden.
    gateway.protocol.query("UPDATE documents SET lifecycle = 'deleting', published_run = NULL WHERE id = :id", id=lost)

    results = found(gateway.client(), "apple", mode="lexical", top_k=1)

    assert [hit["document_id"] for hit in results] == [shown(document_id)]


@pytest.mark.parametrize("mode", MODES)
def test_another_tenants_documents_are_never_found(gateway, mode):
    other = gateway.other_tenant()
    gateway.ready(["shared words"], tenant_id=other)

    assert found(gateway.client(), "shared words", mode=mode) == []
    assert len(found(gateway.client(tenant_id=other), "shared words", mode=mode)) == 1


def test_a_collection_narrows_the_search(gateway):
    gateway.ready(["same words"], "a.txt", collection="first")
    gateway.ready(["same words"], "b.txt", collection="second")

    names = [hit["name"] for hit in found(gateway.client(), "same words", collection="second")]

    assert names == ["b.txt"]


def test_a_collections_name_may_come_decomposed(gateway):
    gateway.ready(["same words"], collection="계약")

    assert len(found(gateway.client(), "same words", collection="계약")) == 1


def test_an_unknown_collection_is_404(gateway):
    problem = refused(gateway.client(), query="x", collection="nowhere")

    assert (problem["status"], problem["code"]) == (404, "not_found")


@pytest.mark.parametrize("name", ["", "a/b", "nul\0", "\ud800", "x" * 300])
def test_a_name_that_no_collection_can_have_is_404_too(gateway, name):
    body = json.dumps({"query": "x", "collection": name}).encode()  # httpx itself cannot encode half a character
    answer = gateway.client().post("/v1/search", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 404


def test_a_limited_key_sees_its_collections_and_no_other(gateway):
    gateway.ready(["same words"], "a.txt", collection="first")
    gateway.ready(["same words"], "b.txt", collection="second")
    client = gateway.client(Scope.READ, collections=["first"])

    everywhere = [hit["name"] for hit in found(client, "same words")]
    elsewhere = refused(client, query="same words", collection="second")

    assert everywhere == ["a.txt"]
    assert elsewhere["status"] == 404


def test_top_k_bounds_the_results(gateway):
    gateway.ready([f"apple number {number}" for number in range(30)])

    assert len(found(gateway.client(), "apple", mode="lexical", top_k=7)) == 7
    assert len(found(gateway.client(), "apple", mode="lexical")) == 10


def test_grouping_shows_the_best_chunk_of_each_document(gateway):
    first = gateway.ready(["apple apple apple"] * 30)
    second = gateway.ready(["apple and pear"])

    results = found(gateway.client(), "apple", mode="lexical", group_by_document=True, top_k=2)

    assert [hit["document_id"] for hit in results] == [shown(first), shown(second)]


def test_scores_fall(gateway):
    gateway.ready(["apple pie", "apple", "pear pie", "a pie of apple and pear"])

    for mode in MODES:
        scores = [hit["score"] for hit in found(gateway.client(), "apple pie", mode=mode)]
        assert scores == sorted(scores, reverse=True)


def test_a_threshold_leaves_out_what_is_further_away(gateway):
    gateway.ready(["exactly this", "something else"])

    results = found(gateway.client(), "exactly this", mode="dense", score_threshold=0.99)

    assert [hit["text"] for hit in results] == ["exactly this"]
    assert results[0]["score"] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("mode", ["hybrid", "lexical"])
def test_a_threshold_is_refused_where_scores_have_no_scale(gateway, mode):
    problem = refused(gateway.client(), query="x", mode=mode, score_threshold=0.5)

    assert (problem["status"], problem["errors"][0]["pointer"]) == (422, "/score_threshold")


def test_a_filter_looks_at_the_attributes(gateway):
    gateway.ready(["same words"], "old.txt", attributes={"year": 2020, "kind": "lease"})
    gateway.ready(["same words"], "new.txt", attributes={"year": 2026, "kind": "lease"})
    gateway.ready(["same words"], "odd.txt", attributes={"year": 2026, "kind": "note"})
    leaves = [{"type": "gte", "key": "year", "value": 2021}, {"type": "eq", "key": "kind", "value": "lease"}]

    both = found(gateway.client(), "same words", filter={"type": "and", "filters": leaves})
    either = found(gateway.client(), "same words", filter={"type": "or", "filters": leaves})
    listed = found(gateway.client(), "same words", filter={"type": "in", "key": "kind", "value": ["note"]})

    assert [hit["name"] for hit in both] == ["new.txt"]
    assert len(either) == 3
    assert [hit["name"] for hit in listed] == ["odd.txt"]


def test_a_wrong_filter_is_refused_with_its_place(gateway):
    leaf = {"type": "like", "key": "year", "value": 1}

    problem = refused(gateway.client(), query="x", filter={"type": "and", "filters": [leaf]})

    assert (problem["status"], problem["errors"][0]["pointer"]) == (422, "/filter/filters/0/type")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/query"),
        ({"query": ""}, "/query"),
        ({"query": " \n\t"}, "/query"),
        ({"query": "가" * 2731}, "/query"),
        ({"query": 7}, "/query"),
        ({"query": "x", "top_k": 0}, "/top_k"),
        ({"query": "x", "top_k": 101}, "/top_k"),
        ({"query": "x", "top_k": "5"}, "/top_k"),
        ({"query": "x", "mode": "fuzzy"}, "/mode"),
        ({"query": "x", "limit": 5}, "/limit"),
        ({"query": "x", "mode": "dense", "score_threshold": 2}, "/score_threshold"),
        ({"query": "x", "filter": []}, "/filter"),
    ],
)
def test_a_wrong_field_is_refused_with_its_name(gateway, body, pointer):
    problem = refused(gateway.client(), **body)

    assert (problem["status"], problem["code"]) == (422, "validation_failed")
    assert problem["errors"][0]["pointer"] == pointer


def test_half_a_character_is_refused(gateway):
    answer = gateway.client().post(
        "/v1/search", content=b'{"query": "\\ud800"}', headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 422


def test_a_query_of_8_kib_is_answered(gateway):
    assert found(gateway.client(), "x" * 8192) == []


@pytest.mark.parametrize("mode", MODES)
def test_a_query_of_punctuation_is_answered(gateway, mode):
    gateway.ready(["some words"])

    answer = gateway.client().post("/v1/search", json={"query": "?!…", "mode": mode})

    assert answer.status_code == 200
    assert answer.json()["mode"] == ("dense" if mode == "hybrid" else mode)


def test_hybrid_falls_back_to_words_and_says_so_when_the_provider_is_away(gateway):
    document_id = gateway.ready(["the notice period"])
    gateway.embeddings.fault = EmbeddingProviderUnavailable("away")

    answer = gateway.client().post("/v1/search", json={"query": "notice period"}).json()

    assert [hit["document_id"] for hit in answer["results"]] == [shown(document_id)]
    assert (answer["mode"], answer["degraded"]) == ("lexical", True)


def test_dense_is_503_when_the_provider_is_away(gateway):
    gateway.embeddings.fault = EmbeddingProviderUnavailable("away")

    answer = gateway.client().post("/v1/search", json={"query": "x", "mode": "dense"})

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1


def test_lexical_does_not_ask_the_provider(gateway):
    found(gateway.client(), "words", mode="lexical")

    assert gateway.embeddings.calls == 0


def test_a_query_that_the_provider_refuses_is_the_clients_fault_in_dense_mode(gateway):
    gateway.embeddings.fault = EmbeddingRejected("too long")

    problem = refused(gateway.client(), query="x", mode="dense")

    assert (problem["status"], problem["errors"][0]["pointer"]) == (422, "/query")


def test_a_usual_answer_names_its_mode_and_is_not_degraded(gateway):
    answer = gateway.client().post("/v1/search", json={"query": "x"}).json()

    assert answer == {"results": [], "mode": "hybrid", "degraded": False}


def test_searches_work_while_the_queue_is_away(gateway):
    gateway.ready(["some words"])
    gateway.queue.is_away = True

    assert len(found(gateway.client(), "some words")) == 1


def test_a_key_without_the_scope_read_is_refused(gateway):
    problem = refused(gateway.client(Scope.WRITE), query="x")

    assert (problem["status"], problem["code"]) == (403, "forbidden")


def test_a_repeated_search_is_answered_anew_and_nothing_of_it_is_kept(gateway):
    client, headers = gateway.client(), {"Idempotency-Key": "one"}
    document_id = gateway.ready(["secret plans"])
    first = client.post("/v1/search", json={"query": "secret plans"}, headers=headers)
    gateway.deps.documents.delete(gateway.tenant_id, document_id)

    again = client.post("/v1/search", json={"query": "secret plans"}, headers=headers)

    kept = gateway.protocol.value("SELECT body::text FROM idempotency_keys WHERE tenant_id = :id", id=gateway.tenant_id)
    assert (len(first.json()["results"]), again.status_code, again.json()["results"]) == (1, 200, [])
    assert "secret" not in str(kept)


def test_the_idempotency_key_of_another_search_is_refused(gateway):
    client, headers = gateway.client(), {"Idempotency-Key": "one"}
    client.post("/v1/search", json={"query": "apple"}, headers=headers)

    answer = client.post("/v1/search", json={"query": "pear"}, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reuse")
