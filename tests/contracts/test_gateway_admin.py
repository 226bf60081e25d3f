"""What administration promises, over the real gateway and PostgreSQL."""

from datetime import UTC, datetime, timedelta

import pytest

from sluice_api.routes import admin
from sluice_common import ids
from sluice_common.contract import PingEmbedder, PingExtractor
from sluice_common.keys import Scope

pytest_plugins = ("contracts.vector_fixtures", "contracts.gateway_parts")

PROTECTED = [
    ("POST", "/v1/admin/keys"),
    ("GET", "/v1/admin/keys"),
    ("DELETE", "/v1/admin/keys/key_" + "0" * 32),
    ("POST", "/v1/admin/workers/ping"),
    ("GET", "/v1/admin/queues"),
]


@pytest.fixture
def client(gateway):
    return gateway.client()


def create_key(client, **fields):
    return client.post("/v1/admin/keys", json={"name": "test", **fields})


def using(gateway, secret: str, method: str, path: str, **how):
    client = gateway.client()
    return client.request(method, path, headers={"Authorization": f"Bearer {secret}"}, **how)


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_administration_needs_the_scope_admin(gateway, method, path):
    answer = gateway.client(Scope.READ, Scope.WRITE).request(
        method, path, json={"name": "x"} if method == "POST" else None
    )

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_a_key_for_some_collections_cannot_administer(gateway, method, path):
    limited = gateway.client(collections=["first"])

    answer = limited.request(method, path, json={"name": "x"} if method == "POST" else None)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_a_new_key_shows_its_secret_once_and_works(gateway, client):
    answer = create_key(client)

    body = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert answer.headers["location"] == f"/v1/admin/keys/{body['id']}"
    assert body["scopes"] == ["read", "write"]
    assert using(gateway, body["secret"], "GET", "/v1/collections").status_code == 200
    assert "secret" not in client.get("/v1/admin/keys").text.replace("secret_sha256", "secret")


def test_a_key_may_be_limited_to_collections(gateway, client):
    gateway.collection_id("first")
    secret = create_key(client, collections=["first"]).json()["secret"]

    listed = using(gateway, secret, "GET", "/v1/collections").json()

    assert [one["name"] for one in listed["data"]] == ["first"]


def test_a_key_stops_working_when_it_expires(gateway, client):
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    body = create_key(client, expires_at=later).json()
    gateway.protocol.query(
        "UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE id = :id", id=ids.parse("key", body["id"])
    )

    assert body["expires_at"].endswith("Z")
    assert using(gateway, body["secret"], "GET", "/v1/collections").status_code == 401


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"name": "a" * 201}, "/name"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["root"]}, "/scopes/0"),
        ({"collections": []}, "/collections"),
        ({"collections": ["nowhere"]}, "/collections/0"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2099-01-01T00:00:00"}, "/expires_at"),
        ({"tenant": "other"}, "/tenant"),
    ],
)
def test_a_wrong_field_is_refused(client, fields, pointer):
    answer = create_key(client, **fields)

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_a_repeated_creation_makes_one_key_and_keeps_no_secret(gateway, client):
    headers = {"Idempotency-Key": "once"}
    first = client.post("/v1/admin/keys", json={"name": "test"}, headers=headers).json()

    again = client.post("/v1/admin/keys", json={"name": "test"}, headers=headers)

    kept = gateway.protocol.value("SELECT body::text FROM idempotency_keys WHERE tenant_id = :id", id=gateway.tenant_id)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == {name: value for name, value in first.items() if name != "secret"}
    assert first["secret"] not in str(kept)


def test_a_revoked_key_is_refused_and_stays_listed(gateway, client):
    body = create_key(client).json()

    answer = client.delete(f"/v1/admin/keys/{body['id']}")

    listed = {key["id"]: key for key in client.get("/v1/admin/keys").json()["data"]}
    assert (answer.status_code, answer.json()["deleted"]) == (200, True)
    assert using(gateway, body["secret"], "GET", "/v1/collections").status_code == 401
    assert listed[body["id"]]["revoked_at"] is not None
    assert client.delete(f"/v1/admin/keys/{body['id']}").status_code == 200


@pytest.mark.parametrize("key_id", ["key_" + "0" * 32, "key_x", "doc_" + "0" * 32])
def test_an_unknown_key_is_404(client, key_id):
    assert client.delete(f"/v1/admin/keys/{key_id}").status_code == 404


def test_another_tenants_keys_are_neither_seen_nor_revoked(gateway, client):
    other = gateway.client(tenant_id=gateway.other_tenant())
    theirs = create_key(other).json()

    assert theirs["id"] not in client.get("/v1/admin/keys").text
    assert client.delete(f"/v1/admin/keys/{theirs['id']}").status_code == 404


def test_the_list_of_keys_goes_on_behind_its_cursor(client):
    made = [create_key(client, name=f"key {number}").json()["id"] for number in range(4)]

    first = client.get("/v1/admin/keys", params={"limit": 3}).json()
    second = client.get("/v1/admin/keys", params={"limit": 3, "cursor": first["next_cursor"]}).json()

    assert [key["id"] for key in first["data"] + second["data"]][1:] == made
    assert second["next_cursor"] is None


def test_a_ping_is_ok_when_every_stage_answers(gateway, client):
    gateway.queue.on_send = lambda task: gateway.deps.pings.answer(task.job_id, f"worker of {task.actor}")

    answer = client.post("/v1/admin/workers/ping")

    stages = answer.json()["stages"]
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert [(stage["stage"], stage["worker"]) for stage in stages] == [
        ("extract", "worker of ping_extractor"),
        ("embed", "worker of ping_embedder"),
    ]
    assert {stage["message"] for stage in stages} == {"worker is running"}
    assert all(stage["seconds"] >= 0 for stage in stages)
    assert [type(task) for task in gateway.queue.sent] == [PingExtractor, PingEmbedder]


def test_a_ping_names_the_stage_that_does_not_answer(gateway, client, monkeypatch):
    monkeypatch.setattr(admin, "PING_TIMEOUT_S", 0.2)

    def answer_extractor(task) -> None:
        if isinstance(task, PingExtractor):
            gateway.deps.pings.answer(task.job_id, "extractor")

    gateway.queue.on_send = answer_extractor

    answer = client.post("/v1/admin/workers/ping")

    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert [stage["worker"] for stage in answer.json()["stages"]] == ["extractor", None]
    assert int(answer.headers["retry-after"]) >= 1


def test_a_ping_without_a_queue_says_so_at_once(gateway, client):
    gateway.queue.is_away = True

    answer = client.post("/v1/admin/workers/ping")

    assert answer.status_code == 503
    assert {stage["message"] for stage in answer.json()["stages"]} == {"the queue does not answer"}


def test_the_queues_show_what_waits_and_what_is_worked_on(gateway, client):
    def queues() -> dict[str, dict]:
        return {stage["stage"]: stage for stage in client.get("/v1/admin/queues").json()["data"]}

    before = queues()
    gateway.accept()
    gateway.embed(gateway.accept(), ["some words"])

    after = queues()

    assert after["extract"]["waiting"] == before["extract"]["waiting"] + 1
    assert after["embed"]["working"] == before["embed"]["working"] + 1
    assert after["extract"]["oldest_age_seconds"] >= 0
