"""What the routes of collections promise, over the real gateway and PostgreSQL."""

import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest

from sluice_common import ids
from sluice_common.keys import Scope

pytest_plugins = ("contracts.vector_fixtures", "contracts.gateway_parts")


@pytest.fixture
def client(gateway):
    return gateway.client()


def create(client, name: str, **fields):
    return client.post("/v1/collections", json={"name": name, **fields})


def test_a_new_collection_is_answered_with_its_place(client):
    answer = create(client, "contracts", chunking={"max_chars": 800, "overlap_chars": 100})

    body = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/collections/contracts")
    assert ids.parse("col", body.pop("id"))
    assert body.pop("created_at") == body.pop("updated_at")
    assert body == {
        "object": "collection",
        "name": "contracts",
        "chunking": {"max_chars": 800, "overlap_chars": 100},
        "documents": 0,
    }
    assert client.get(answer.headers["location"]).json()["name"] == "contracts"


def test_default_is_there_from_the_start_and_cannot_be_deleted(client):
    assert [one["name"] for one in client.get("/v1/collections").json()["data"]] == ["default"]

    answer = client.delete("/v1/collections/default")

    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")
    assert client.get("/v1/collections/default").status_code == 200


@pytest.mark.parametrize("name", ["a", "7", "계약 2026", "Größe_1.x-y", "日本", "a" * 64])
def test_names_of_many_scripts_are_taken(client, name):
    answer = create(client, name)

    assert answer.status_code == 201
    assert client.get(answer.headers["location"]).json()["name"] == name


@pytest.mark.parametrize("name", ["", " a", "a ", "_a", "-a", ".a", "a/b", "a\n", "a\0b", "a" * 65, "a?b"])
def test_other_names_are_refused(client, name):
    answer = create(client, name)

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/name")


def test_a_name_is_kept_in_nfc(client):
    decomposed = unicodedata.normalize("NFD", "계약서")

    assert create(client, decomposed).json()["name"] == "계약서"
    assert create(client, "계약서").status_code == 409
    assert client.get(f"/v1/collections/{decomposed}").json()["name"] == "계약서"


def test_a_name_that_is_taken_is_409(client):
    create(client, "contracts")

    answer = create(client, "contracts")

    assert (answer.status_code, answer.json()["code"]) == (409, "collection_exists")


@pytest.mark.parametrize("field", ["expires_after", "quota", "expires_after_s", "description"])
def test_what_is_not_enforced_is_not_taken(client, field):
    answer = create(client, "contracts", **{field: 1})

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{field}")


@pytest.mark.parametrize(
    "chunking",
    [
        {"max_chars": 99},
        {"max_chars": 20_001},
        {"max_chars": 100, "overlap_chars": 100},
        {"max_chars": 500, "overlap_chars": -1},
        {"max_chars": "500"},
        {"tokens": 5},
        7,
    ],
)
def test_chunking_that_cannot_be_used_is_refused(client, chunking):
    answer = create(client, "contracts", chunking=chunking)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith("/chunking")


def test_a_list_goes_on_behind_its_cursor(client):
    for name in ("a", "b", "c"):
        create(client, name)

    first = client.get("/v1/collections", params={"limit": 3})
    second = client.get("/v1/collections", params={"limit": 3, "cursor": first.json()["next_cursor"]})

    assert [one["name"] for one in first.json()["data"]] == ["a", "b", "c"]
    assert [one["name"] for one in second.json()["data"]] == ["default"]
    assert second.json()["next_cursor"] is None
    assert client.get(first.links["next"]["url"]).json() == second.json()


def test_a_cursor_of_our_own_only(client):
    answer = client.get("/v1/collections", params={"cursor": "made-up"})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize("limit", [0, 101, "x"])
def test_a_limit_outside_1_to_100_is_refused(client, limit):
    assert client.get("/v1/collections", params={"limit": limit}).status_code == 422


def test_a_change_replaces_the_chunking(client):
    create(client, "contracts", chunking={"max_chars": 800})

    answer = client.patch("/v1/collections/contracts", json={"chunking": {"max_chars": 500, "overlap_chars": 50}})

    assert answer.json()["chunking"] == {"max_chars": 500, "overlap_chars": 50}
    assert client.patch("/v1/collections/contracts", json={"chunking": {}}).json()["chunking"] == {}


def test_a_change_may_name_the_version_it_is_for(client):
    tag = create(client, "contracts").headers["etag"]
    changed = client.patch(
        "/v1/collections/contracts", json={"chunking": {"max_chars": 500}}, headers={"If-Match": tag}
    )

    late = client.patch("/v1/collections/contracts", json={"chunking": {}}, headers={"If-Match": tag})

    assert changed.status_code == 200
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")


def test_of_many_changes_at_once_that_mean_one_version_one_is_made(client):
    tag = create(client, "contracts").headers["etag"]

    def change(overlap: int) -> int:
        body = {"chunking": {"max_chars": 500, "overlap_chars": overlap}}
        return client.patch("/v1/collections/contracts", json=body, headers={"If-Match": tag}).status_code

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(change, range(8)))

    assert sorted(answers) == [200] + 7 * [412]


def test_an_unchanged_collection_is_304(gateway, client):
    tag = client.get("/v1/collections/default").headers["etag"]
    unchanged = client.get("/v1/collections/default", headers={"If-None-Match": tag})
    gateway.accept()

    changed = client.get("/v1/collections/default", headers={"If-None-Match": tag})

    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert changed.json()["documents"] == 1


def test_a_deleted_collection_and_its_documents_are_gone_at_once(gateway, client):
    gateway.ready(["some words"], collection="contracts")

    answer = client.delete("/v1/collections/contracts")

    assert (answer.status_code, answer.json()["status"]) == (202, "deleting")
    assert client.get("/v1/collections/contracts").status_code == 404
    assert client.post("/v1/search", json={"query": "some words"}).json()["results"] == []
    assert create(client, "contracts").status_code == 201


@pytest.mark.parametrize("name", ["nowhere", "a%00b", "%ED%A0%80", "x" * 300])
def test_an_unknown_name_is_404(client, name):
    for method in ("GET", "DELETE"):
        assert client.request(method, f"/v1/collections/{name}").status_code == 404


def test_another_tenants_collection_is_404(gateway, client):
    gateway.collection_id("theirs", gateway.other_tenant())

    assert client.get("/v1/collections/theirs").status_code == 404


def test_a_limited_key_sees_its_collections_and_makes_none(gateway, client):
    create(client, "second")
    limited = gateway.client(collections=["first"])

    names = [one["name"] for one in limited.get("/v1/collections").json()["data"]]

    assert names == ["first"]
    assert limited.get("/v1/collections/second").status_code == 404
    assert limited.delete("/v1/collections/second").status_code == 404
    assert create(limited, "third").json()["code"] == "forbidden"


def test_reading_needs_read_and_changing_needs_write(gateway):
    reader, writer = gateway.client(Scope.READ), gateway.client(Scope.WRITE)

    assert create(reader, "x").status_code == 403
    assert reader.patch("/v1/collections/default", json={}).status_code == 403
    assert reader.delete("/v1/collections/default").status_code == 403
    assert writer.get("/v1/collections").status_code == 403


def test_a_repeated_creation_with_its_idempotency_key_is_replayed(client):
    headers = {"Idempotency-Key": "once"}
    first = client.post("/v1/collections", json={"name": "contracts"}, headers=headers)

    again = client.post("/v1/collections", json={"name": "contracts"}, headers=headers)

    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["location"] == first.headers["location"]
