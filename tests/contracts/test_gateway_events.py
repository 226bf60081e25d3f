"""What the history of a document promises, as a list and as a stream, over the real gateway and PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import orjson
import pytest
from contracts.gateway_parts import wait_until

from sluice_api.routes import events as routes
from sluice_common import ids
from sluice_common.documents import Setback
from sluice_common.keys import Scope

pytest_plugins = ("contracts.vector_fixtures", "contracts.gateway_parts")

STREAM = {"Accept": "text/event-stream"}


def path_of(document_id) -> str:
    return f"/v1/documents/{ids.shown('doc', document_id)}/events"


class Follower:
    """Reads one stream to its end, in a thread."""

    def __init__(self, client: httpx.Client, document_id, **headers: str) -> None:
        self.events: list[dict] = []
        self.comments = 0
        self.retry = None
        self._client, self._path, self._headers = client, path_of(document_id), {**STREAM, **headers}
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    @property
    def statuses(self) -> list[str]:
        return [event["data"]["status"] for event in self.events if event["event"] == "document.status"]

    def ended(self) -> "Follower":
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), f"the stream did not end: {self.events}"
        return self

    def has(self, count: int) -> "Follower":
        wait_until(lambda: len(self.events) >= count, f"{count} events, not {self.events}")
        return self

    def _read(self) -> None:
        with self._client.stream("GET", self._path, headers=self._headers) as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8", answer.read()
            fields: dict = {}
            for line in answer.iter_lines():
                fields = self._take(line, fields)

    def _take(self, line: str, fields: dict) -> dict:
        name, _, value = line.partition(": ")
        if line == ":":
            self.comments += 1
        elif name == "retry":
            self.retry = int(value)
        elif line:
            return fields | {name: orjson.loads(value) if name == "data" else value}
        elif "data" in fields:
            self.events.append(fields)
        return {}


@contextmanager
def following(gateway, document_id, **headers):
    follower = Follower(gateway.client(), document_id, **headers)
    yield follower.has(1)
    gateway.deps.documents.delete(gateway.tenant_id, document_id)
    follower.ended()


@pytest.fixture
def client(gateway):
    return gateway.client()


def listed(client, document_id, **how) -> list[dict]:
    return client.get(path_of(document_id), **how).json()["data"]


def test_the_history_has_every_change_of_status_oldest_first(gateway, client):
    document_id = gateway.ready(["some words"])

    events = listed(client, document_id)

    assert [(event["status"], event["stage"]) for event in events if event["event"] == "document.status"] == [
        ("queued", "received"),
        ("processing", "extracting"),
        ("processing", "embedding"),
        ("processing", "embedding"),
        ("ready", "done"),
    ]
    assert [event["id"] for event in events] == sorted(event["id"] for event in events)
    assert {event["document_id"] for event in events} == {ids.shown("doc", document_id)}
    assert events[0]["created_at"].endswith("Z")


def test_the_history_goes_on_behind_a_cursor_and_behind_an_id(gateway, client):
    document_id = gateway.ready(["some words"])
    everything = listed(client, document_id)

    first = client.get(path_of(document_id), params={"limit": 2}).json()
    behind_cursor = listed(client, document_id, params={"cursor": first["next_cursor"]})
    behind_id = listed(client, document_id, headers={"Last-Event-ID": str(first["data"][-1]["id"])})

    assert first["data"] + behind_cursor == first["data"] + behind_id == everything


def test_a_cursor_is_good_for_its_own_document_only(gateway, client):
    first, second = gateway.ready(["some words"]), gateway.ready(["some words"])
    cursor = client.get(path_of(first), params={"limit": 1}).json()["next_cursor"]

    answer = client.get(path_of(second), params={"cursor": cursor})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize("headers", [{}, STREAM])
def test_what_is_not_ones_own_is_404_and_what_is_deleted_410(gateway, client, headers):
    theirs = gateway.accept(tenant_id=gateway.other_tenant())
    deleted = gateway.accept()
    gateway.deps.documents.delete(gateway.tenant_id, deleted)
    limited = gateway.client(collections=["first"])

    assert client.get(path_of(theirs), headers=headers).status_code == 404
    assert client.get("/v1/documents/doc_x/events", headers=headers).status_code == 404
    assert limited.get(path_of(gateway.accept()), headers=headers).status_code == 404
    assert client.get(path_of(deleted), headers=headers).json()["code"] == "deleted"


def test_the_history_needs_the_scope_read(gateway):
    assert gateway.client(Scope.WRITE).get(path_of(gateway.accept())).status_code == 403


@pytest.mark.parametrize("last_id", ["x", "-1", "1.5", "9" * 30])
def test_a_last_event_id_is_a_number(gateway, client, last_id):
    answer = client.get(path_of(gateway.accept()), headers={"Last-Event-ID": last_id})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_a_new_stream_begins_with_the_current_state(gateway):
    document_id = gateway.accept("보고서.pdf")

    with following(gateway, document_id) as follower:
        first = follower.events[0]

    assert follower.retry == 2000
    assert (first["event"], first["data"]["status"], first["data"]["progress"]) == ("document.status", "queued", 0)
    assert (first["data"]["document_id"], first["data"]["name"]) == (ids.shown("doc", document_id), "보고서.pdf")
    assert int(first["id"]) > 0


def test_a_stream_follows_a_document_to_its_end_and_then_ends(gateway):
    document_id = gateway.accept()
    follower = Follower(gateway.client(), document_id).has(1)

    gateway.publish(gateway.embed(document_id, ["some words"]))

    follower.ended()
    assert [status for status in follower.statuses if status != "processing"] == ["queued", "ready"]
    assert follower.statuses.count("processing") == 3
    assert follower.events[-1]["data"]["progress"] == 100
    progress = [event["data"]["progress"] for event in follower.events]
    assert progress == sorted(progress)


def test_a_stream_about_an_ended_document_says_so_and_ends(gateway):
    document_id = gateway.ready(["some words"])

    follower = Follower(gateway.client(), document_id).ended()

    assert follower.statuses == ["ready"]


def test_a_stream_tells_why_a_document_failed_in_the_clients_language(gateway):
    document_id = gateway.accept()
    follower = Follower(gateway.client(), document_id, **{"Accept-Language": "ko"}).has(1)
    claim = gateway.deps.documents.claim_extraction(document_id, "extractor")

    gateway.deps.documents.fail_extraction(document_id, claim.run_id, Setback("encrypted", is_permanent=True))

    last = follower.ended().events[-1]["data"]
    assert (last["status"], last["error"]["code"]) == ("failed", "encrypted")
    assert last["message"].startswith("암호가 필요한 문서입니다.")


@pytest.mark.parametrize(("move", "status"), [("cancel", "cancelled"), ("delete", "deleting")])
def test_a_stream_ends_with_the_document(gateway, move, status):
    document_id = gateway.accept()
    follower = Follower(gateway.client(), document_id).has(1)

    getattr(gateway.deps.documents, move)(gateway.tenant_id, document_id)

    assert follower.ended().statuses == ["queued", status]


def test_a_stream_goes_on_behind_the_last_event_and_repeats_nothing(gateway, client):
    document_id = gateway.ready(["some words"])
    everything = listed(client, document_id)

    follower = Follower(client, document_id, **{"Last-Event-ID": str(everything[1]["id"])}).ended()

    assert [int(event["id"]) for event in follower.events] == [
        event["id"] for event in everything[2:] if event["event"] == "document.status"
    ]
    assert follower.statuses[-1] == "ready"
    assert follower.statuses[:-1] == ["processing"] * (len(follower.statuses) - 1)


def test_a_stream_behind_the_end_is_empty(gateway, client):
    document_id = gateway.ready(["some words"])
    last_id = str(listed(client, document_id)[-1]["id"])

    assert Follower(client, document_id, **{"Last-Event-ID": last_id}).ended().events == []


def test_an_id_from_before_a_restore_begins_anew(gateway, client):
    document_id = gateway.ready(["some words"])

    assert Follower(client, document_id, **{"Last-Event-ID": "9" * 18}).ended().statuses == ["ready"]


def test_progress_is_told_at_most_twice_a_second_and_the_end_at_once(gateway):
    document_id = gateway.accept()
    follower = Follower(gateway.client(), document_id).has(1)
    claim = gateway.deps.documents.claim_extraction(document_id, "extractor")
    follower.has(2)
    for page in range(1, 41):
        gateway.deps.documents.heartbeat(document_id, claim.run_id, pages_done=page, pages_total=100)

    gateway.deps.documents.cancel(gateway.tenant_id, document_id)

    follower.ended()
    progress = [event for event in follower.events if event["event"] == "document.progress"]
    assert len(progress) < 40
    assert follower.statuses == ["queued", "processing", "cancelled"]


def test_held_back_progress_is_told_though_nothing_follows_it(gateway):
    document_id = gateway.accept()
    with following(gateway, document_id) as follower:
        claim = gateway.deps.documents.claim_extraction(document_id, "extractor")
        for page in (1, 2, 3):
            gateway.deps.documents.heartbeat(document_id, claim.run_id, pages_done=page, pages_total=4)

        wait_until(
            lambda: follower.events[-1]["data"]["message"] == "Extracting text (3 of 4 pages).", "the last progress"
        )


def test_a_silent_stream_sends_comments(gateway, monkeypatch):
    monkeypatch.setattr(routes, "SILENCE_S", 0.05)

    with following(gateway, gateway.accept()) as follower:
        wait_until(lambda: follower.comments >= 3, "comments")


def test_a_reprocessed_document_can_be_followed_again(gateway):
    document_id = gateway.ready(["some words"])
    gateway.deps.documents.reprocess(gateway.tenant_id, document_id)
    follower = Follower(gateway.client(), document_id).has(1)

    gateway.publish(gateway.embed(document_id, ["other words"]))

    assert [status for status in follower.ended().statuses if status != "processing"] == ["queued", "ready"]


def test_two_hundred_streams_need_one_poller_and_leave_room_for_others(gateway):
    document_ids = [gateway.accept() for _ in range(4)]
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"Bearer {gateway.key()}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=60, limits=limits, trust_env=False) as client:
        with ThreadPoolExecutor(20) as pool:
            followers = list(pool.map(lambda n: Follower(client, document_ids[n % 4]).has(1), range(200)))
        wait_until(lambda: gateway.deps.watch.waiting >= 200, "every stream waits")

        others = [gateway.client().get("/v1/collections").status_code for _ in range(5)]
        for document_id in document_ids:
            gateway.deps.documents.cancel(gateway.tenant_id, document_id)

        assert {tuple(follower.ended().statuses) for follower in followers} == {("queued", "cancelled")}
    assert others == [200] * 5


def test_streams_whose_clients_leave_are_forgotten(gateway):
    document_id = gateway.accept()
    before = gateway.deps.watch.waiting
    client = gateway.client()
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(client.stream("GET", path_of(document_id), headers=STREAM))
        wait_until(lambda: gateway.deps.watch.waiting >= before + 5, "five streams wait")

    wait_until(lambda: gateway.deps.watch.waiting <= before, "nobody waits")
