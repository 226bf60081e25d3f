"""Documents over HTTP against a real server, real PostgreSQL and a real folder of originals."""

import base64
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest
import uvicorn
from builders import make_batches, make_extraction
from prometheus_client import CollectorRegistry

from sluice_api import bodies, wire
from sluice_api.deps import ApiDeps
from sluice_api.main import server_of
from sluice_api.metrics import GatewayMetrics
from sluice_api.settings import ApiSettings
from sluice_api.waiting import Watch
from sluice_common import failpoints, ids
from sluice_common.adapters.filesystem import FilesystemObjectStore
from sluice_common.batches import Batches
from sluice_common.catalogue import Catalogue
from sluice_common.collections import Collections
from sluice_common.contract import ExtractDocument, Task
from sluice_common.database import Database, open_database
from sluice_common.documents import Documents, Setback
from sluice_common.events import Events
from sluice_common.failpoints import FailPointRaised
from sluice_common.hints import Hints
from sluice_common.hits import Hits
from sluice_common.idempotency import Idempotency
from sluice_common.jobs import Pings
from sluice_common.keys import Keys, Scope
from sluice_common.page_images import PageImages
from sluice_common.settings import DatabaseSettings
from sluice_common.status import State
from sluice_common.testing import FakeEmbeddings
from sluice_common.times import Times

MAX_BYTES = 5 * 2**20
GAP_S = 1.0
TIMES = Times(lease=timedelta(seconds=60), deadline=timedelta(hours=24))
BOUNDARY = "frontier"


class SentTasks:
    """A fake queue: what was sent, in order."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def send(self, task: Task) -> None:
        self.tasks.append(task)

    def has_room(self, queue: str) -> bool:  # noqa: ARG002 - the port's signature
        return True

    def epoch(self) -> tuple[str, int]:
        return ("fake", 1)

    def ping(self) -> None:
        pass


class Gateway:
    """A running gateway, with its folder of originals and the keys of two tenants."""

    def __init__(self, deps: ApiDeps, server: uvicorn.Server, root: Path) -> None:
        self.deps = deps
        self.server = server
        self.root = root
        self.sent: SentTasks = deps.queue
        self.tenant_id = deps.keys.ensure_tenant()
        self.key = self.new_key(self.tenant_id)
        self.other_key = self.new_key(deps.keys.ensure_tenant("other"))

    def new_key(self, tenant_id, scopes=tuple(Scope), **options) -> str:
        return self.deps.keys.create(tenant_id, name="test", scopes=scopes, **options).secret

    @property
    def port(self) -> int:
        return self.server.servers[0].sockets[0].getsockname()[1]

    def client(self, key: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=120)

    def originals(self) -> set[Path]:
        """Everything in the store, unfinished objects too."""
        return {path for path in self.root.rglob("*") if path.is_file()}

    def documents(self) -> int:
        with self.deps.database.transaction() as connection:
            return connection.exec_driver_sql("SELECT count(*) FROM documents").scalar_one()


def settings_for(database_url: str, root: Path, **limits: int) -> ApiSettings:
    return ApiSettings(
        database={"url": database_url},
        broker={"url": "redis://unused"},
        qdrant={"url": "http://unused"},
        embeddings={"base_url": "http://unused", "model": "fake"},
        objects={"root": root},
        limits={"max_document_bytes": MAX_BYTES, "min_free_bytes": 0, **limits},
        http={"host": "127.0.0.1", "port": 0, "upload_gap_s": GAP_S},
    )


def deps_for(settings: ApiSettings, database: Database) -> ApiDeps:
    events, queue = Events(database), SentTasks()
    return ApiDeps(
        settings=settings,
        documents=Documents(database, TIMES),
        batches=Batches(database, TIMES),
        catalogue=Catalogue(database),
        page_images=PageImages(database),
        hits=Hits(database),
        collections=Collections(database),
        keys=Keys(database),
        idempotency=Idempotency(database),
        events=events,
        pings=Pings(database),
        objects=FilesystemObjectStore(settings.objects.root),
        vectors=SimpleNamespace(ping=lambda: None),
        embeddings=FakeEmbeddings(),
        hints=Hints(queue),
        queue=queue,
        database=database,
        metrics=GatewayMetrics(CollectorRegistry()),
        watch=Watch(events.latest_ids),
    )


@contextmanager
def running(deps: ApiDeps, root: Path) -> Iterator[Gateway]:
    server = server_of(deps)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, "the gateway did not start")
    try:
        yield Gateway(deps, server, root)
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def wait_until(condition: Callable[[], object], message: str, *, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(message)
        time.sleep(0.01)


@pytest.fixture(scope="module")
def gateway(new_database_url, tmp_path_factory) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("originals")
    url = new_database_url()
    database = open_database(DatabaseSettings(url=url), application="tests")
    with running(deps_for(settings_for(url, root), database), root) as gateway:
        yield gateway
    database.close()


@pytest.fixture
def client(gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


@pytest.fixture
def untouched(gateway) -> Iterator[None]:
    """Nothing is stored by the test, neither a row nor a byte."""
    before = gateway.originals(), gateway.documents()
    yield
    wait_until(lambda: (gateway.originals(), gateway.documents()) == before, "something was stored")


def send(client: httpx.Client, content: bytes, name: str = "a.txt", headers=None, **fields: str) -> httpx.Response:
    files = {"file": (name, content, "text/plain")}
    return client.post("/v1/documents", files=files, data=fields, headers=headers)


def accepted(client: httpx.Client, content: bytes | None = None, **options) -> dict:
    answer = send(client, content or uuid4().bytes, **options)
    assert answer.status_code == 202, answer.text
    return answer.json()


def head(key: str | None, *lines: str, path: str = "/v1/documents") -> bytes:
    authorization = [f"Authorization: Bearer {key}"] if key else []
    content_type = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: test", content_type, *authorization, *lines, "", ""]).encode()


def opening() -> bytes:
    disposition = 'Content-Disposition: form-data; name="file"; filename="a.bin"'
    return f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode()


def closing() -> bytes:
    return f"\r\n--{BOUNDARY}--\r\n".encode()


@contextmanager
def connected(gateway: Gateway) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        yield connection


def answer_on(connection: socket.socket) -> tuple[int, dict]:
    """The answer, read until the server closes the connection."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    header, _, body = received.partition(b"\r\n\r\n")
    return int(header.split()[1]), json.loads(body)


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def test_a_document_is_taken_in_stored_and_hinted(gateway, client):
    content = uuid4().bytes

    answer = send(client, content, name="보고서.pdf", attributes='{"year": 2026}', external_id=f"x-{uuid4()}")

    shown = answer.json()
    document_id = ids.parse("doc", shown["id"])
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/documents/{shown['id']}"
    assert answer.headers["retry-after"] == "1"
    assert shown["message"] == "The document was uploaded and is being processed in the background."
    assert (shown["name"], shown["status"], shown["collection"]) == ("보고서.pdf", "queued", "default")
    assert (shown["sha256"], shown["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert shown["attributes"] == {"year": 2026}
    assert shown["chunking"] == {"max_chars": 1000, "overlap_chars": 200}
    view = gateway.deps.catalogue.find(gateway.tenant_id, document_id)
    assert (gateway.root / view.storage_key).read_bytes() == content
    assert ExtractDocument(document_id=document_id) in gateway.sent.tasks


def test_the_accepted_message_is_korean_for_koreans(client):
    shown = accepted(client, headers={"Accept-Language": "ko"})

    assert shown["message"] == "문서 업로드가 완료되었습니다. 백그라운드에서 문서를 분석하고 있습니다."


def test_a_large_document_arrives_whole_with_its_fields_behind_it(gateway, client):
    content = bytes(range(256)) * 4 * 4096
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="multimodal"\r\n\r\ntrue'.encode()
    body = opening() + content + b"\r\n" + field + closing()

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 70_001):
            yield body[start : start + 70_001]

    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    answer = client.post("/v1/documents", content=pieces(), headers=headers)

    assert answer.status_code == 202
    assert answer.json()["multimodal"] is True
    assert client.get(answer.headers["location"] + "/content").content == content


def test_an_empty_document_is_taken_in(gateway, client):
    with gateway.deps.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE documents SET dedupe_sha = NULL")

    answer = send(client, b"", name="empty.txt")

    assert answer.status_code == 202
    assert answer.json()["bytes"] == 0


def test_the_request_id_is_echoed_and_kept_with_the_document(gateway, client):
    shown = accepted(client, headers={"X-Request-Id": "trace-7"})

    with gateway.deps.database.transaction() as connection:
        row = connection.exec_driver_sql(
            "SELECT request_id FROM documents WHERE id = %s", (ids.parse("doc", shown["id"]),)
        ).one()
    assert row.request_id == "trace-7"
    assert client.get("/livez", headers={"X-Request-Id": "trace-7"}).headers["x-request-id"] == "trace-7"
    assert client.get("/livez", headers={"X-Request-Id": "a b"}).headers["x-request-id"].startswith("req_")


def test_the_same_bytes_again_are_the_same_document_and_leave_no_second_original(gateway, client):
    content = uuid4().bytes
    first = accepted(client, content)
    before = gateway.originals()

    again = send(client, content)

    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    assert gateway.originals() == before


def test_a_cancelled_document_is_tried_again_by_sending_it_again(gateway, client):
    content = uuid4().bytes
    first = accepted(client, content)
    client.post(f"/v1/documents/{first['id']}/cancel")
    before = gateway.originals()

    again = send(client, content)

    assert (again.status_code, again.json()["id"], again.json()["status"]) == (202, first["id"], "queued")
    assert gateway.originals() == before


def test_a_second_one_may_be_allowed_refused_or_take_the_place_of_the_first(client):
    content, external = uuid4().bytes, f"x-{uuid4()}"
    first = accepted(client, content, external_id=external)

    refused = send(client, content, on_duplicate="reject")
    allowed = send(client, content, on_duplicate="allow")
    other_bytes = send(client, uuid4().bytes, external_id=external)
    replaced = send(client, uuid4().bytes, external_id=external, on_duplicate="replace")

    assert (refused.status_code, refused.json()["code"]) == (409, "document_exists")
    assert first["id"] in refused.json()["detail"]
    assert refused.headers["x-should-retry"] == "false"
    assert allowed.status_code == 202
    assert allowed.json()["id"] != first["id"]
    assert (other_bytes.status_code, other_bytes.json()["code"]) == (409, "document_exists")
    assert (replaced.status_code, replaced.json()["id"]) == (202, first["id"])


@pytest.mark.usefixtures("untouched")
def test_a_refused_duplicate_leaves_no_original(gateway, client):
    content = uuid4().bytes
    document = accepted(client, content)
    before = gateway.originals()

    send(client, content, on_duplicate="reject")

    assert gateway.originals() == before
    purge(gateway, document["id"])


def purge(gateway: Gateway, document_id: str) -> None:
    """Take a document out of row and store, as if it had never come."""
    number = ids.parse("doc", document_id)
    view = gateway.deps.catalogue.find(gateway.tenant_id, number)
    with gateway.deps.database.transaction() as connection:
        for table in ("document_events", "jobs", "originals"):
            connection.exec_driver_sql(f"DELETE FROM {table} WHERE document_id = %s", (number,))
        connection.exec_driver_sql("DELETE FROM documents WHERE id = %s", (number,))
    gateway.deps.objects.delete(view.storage_key)


@pytest.mark.usefixtures("untouched")
def test_without_a_key_sixty_megabytes_are_refused_after_their_head(gateway):
    with connected(gateway) as connection:
        connection.sendall(head(None, f"Content-Length: {60 * 2**20}") + opening() + b"x" * (64 * 2**10 - 1000))

        status, body = answer_on(connection)

    assert (status, body["code"]) == (401, "unauthenticated")


@pytest.mark.usefixtures("untouched")
def test_a_client_that_waits_for_100_is_refused_without_sending_a_byte(gateway):
    with connected(gateway) as connection:
        connection.sendall(head(None, "Content-Length: 1000", "Expect: 100-continue"))

        status, _ = answer_on(connection)

    assert status == 401


@pytest.mark.usefixtures("untouched")
def test_a_key_that_may_only_read_sends_nothing(gateway):
    with connected(gateway) as connection:
        connection.sendall(head(gateway.new_key(gateway.tenant_id, [Scope.READ]), "Content-Length: 5000000"))

        status, body = answer_on(connection)

    assert (status, body["code"]) == (403, "forbidden")


@pytest.mark.usefixtures("untouched")
def test_an_announced_length_past_the_limit_is_refused_before_the_body(gateway):
    with connected(gateway) as connection:
        connection.sendall(head(gateway.key, f"Content-Length: {60 * 2**20}"))

        status, body = answer_on(connection)

    assert (status, body["code"]) == (413, "file_too_large")
    assert str(MAX_BYTES) in body["detail"]


@pytest.mark.usefixtures("untouched")
def test_an_unannounced_length_is_refused_as_soon_as_it_passes_the_limit(gateway):
    with connected(gateway) as connection:
        connection.sendall(head(gateway.key, "Transfer-Encoding: chunked") + chunk(opening()))
        for _ in range(MAX_BYTES // 2**16 + 1):
            connection.sendall(chunk(b"x" * 2**16))

        status, body = answer_on(connection)

    assert (status, body["code"]) == (413, "file_too_large")


def test_a_file_of_exactly_the_limit_is_taken_in_and_one_byte_more_is_not(client):
    exact = send(client, b"x" * MAX_BYTES)
    more = send(client, b"x" * (MAX_BYTES + 1))

    assert (exact.status_code, more.status_code) == (202, 413)


@pytest.mark.usefixtures("untouched")
def test_a_cut_connection_leaves_nothing(gateway):
    with connected(gateway) as connection:
        connection.sendall(head(gateway.key, "Content-Length: 4000000") + opening() + b"x" * 2_000_000)
        wait_until(lambda: any(".tmp" in str(path) for path in gateway.originals()), "nothing was written yet")


@pytest.mark.usefixtures("untouched")
def test_a_body_that_ends_early_is_refused(gateway):
    body = opening() + b"x" * 1000
    with connected(gateway) as connection:
        connection.sendall(head(gateway.key, f"Content-Length: {len(body)}", "Connection: close") + body)

        status, answered = answer_on(connection)

    assert (status, answered["code"]) == (400, "invalid_request")


@pytest.mark.usefixtures("untouched")
def test_a_client_that_falls_silent_is_cut(gateway):
    with connected(gateway) as connection:
        connection.sendall(head(gateway.key, "Content-Length: 4000000") + opening() + b"x" * 600_000)

        status, body = answer_on(connection)

    assert (status, body["code"]) == (408, "request_timeout")


@pytest.mark.usefixtures("untouched")
def test_a_client_that_drips_for_ever_is_cut(gateway, monkeypatch):
    monkeypatch.setattr(bodies, "GRACE_S", 0.5)
    with connected(gateway) as connection:
        connection.sendall(head(gateway.key, "Content-Length: 4000000") + opening())
        stopped = threading.Event()
        dripping = threading.Thread(target=drip, args=(connection, stopped))
        dripping.start()

        status, body = answer_on(connection)
        stopped.set()
        dripping.join()

    assert (status, body["code"]) == (408, "request_timeout")


def drip(connection: socket.socket, stopped: threading.Event) -> None:
    with suppress(OSError):
        while not stopped.wait(0.05):
            connection.sendall(b"x")


def test_a_head_that_never_comes_is_cut(gateway, monkeypatch):
    monkeypatch.setattr(wire, "HEAD_S", 0.2)
    with connected(gateway) as connection:
        assert connection.recv(100) == b""


def test_a_head_that_never_ends_is_cut(gateway):
    with connected(gateway) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        padding = threading.Thread(target=pad, args=(connection,))
        padding.start()

        assert connection.recv(100).startswith(b"HTTP/1.1 400")
        padding.join()


def pad(connection: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection.sendall(b"X-Padding: %s\r\n" % (b"x" * 60_000))


def test_a_connection_serves_one_request_after_the_other(gateway):
    with connected(gateway) as connection:
        for _ in range(3):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "application/pdf"}, 415, "unsupported_media_type"),
        ({"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
        ({"Content-Digest": "sha-256=:AAAA:"}, 400, "invalid_request"),
        ({"Idempotency-Key": "x" * 256}, 400, "invalid_request"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_by_its_headers(client, headers, status, code):
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **headers}

    answer = client.post("/v1/documents", content=opening() + b"x" + closing(), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(
    ("fields", "status", "pointer"),
    [
        ({"collection": "nowhere"}, 404, "/collection"),
        ({"collection": "a\0b"}, 422, "/collection"),
        ({"state": "ready"}, 422, "/state"),
        ({"attributes": "{"}, 422, "/attributes"),
        ({"attributes": "[]"}, 422, "/attributes"),
        ({"attributes": '{"a": {"b": 1}}'}, 422, "/attributes"),
        ({"attributes": '{"a": null}'}, 422, "/attributes"),
        ({"attributes": '{"a": "b\\u0000"}'}, 422, "/attributes"),
        ({"attributes": json.dumps({"a": "x" * 513})}, 422, "/attributes"),
        ({"attributes": json.dumps({"x" * 65: 1})}, 422, "/attributes"),
        ({"attributes": json.dumps({str(number): 1 for number in range(17)})}, 422, "/attributes"),
        ({"chunking": '{"max_chars": 1}'}, 422, "/chunking/max_chars"),
        ({"chunking": '{"max_chars": "1000"}'}, 422, "/chunking/max_chars"),
        ({"chunking": '{"size": 1000}'}, 422, "/chunking/size"),
        ({"chunking": '{"max_chars": 200, "overlap_chars": 200}'}, 422, "/chunking/overlap_chars"),
        ({"multimodal": "perhaps"}, 422, "/multimodal"),
        ({"external_id": ""}, 422, "/external_id"),
        ({"on_duplicate": "ignore"}, 422, "/on_duplicate"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_stored(client, fields, status, pointer):
    answer = send(client, uuid4().bytes, **fields)

    assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.usefixtures("untouched")
def test_a_form_without_a_file_is_refused(client):
    answer = client.post("/v1/documents", files={"collection": (None, "default")})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


@pytest.mark.usefixtures("untouched")
def test_a_full_disk_is_said_before_the_body_is_read(gateway):
    settings = gateway.deps.settings
    full = settings.model_copy(update={"limits": settings.limits.model_copy(update={"min_free_bytes": 2**62})})
    deps = replace(gateway.deps, settings=full, watch=Watch(gateway.deps.events.latest_ids))

    with running(deps, gateway.root) as other, other.client() as client:
        answer = send(client, b"x" * 1000)

    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")


def test_an_original_whose_row_may_be_there_is_never_dropped(gateway, client):
    def break_after(name: str) -> None:
        if name == "accept.after":
            raise FailPointRaised(name)

    originals, documents = gateway.originals(), gateway.documents()
    failpoints.set_trap(break_after)
    try:
        answer = send(client, uuid4().bytes)
    finally:
        failpoints.set_trap(None)

    assert answer.status_code == 500
    assert gateway.documents() == documents + 1
    assert len(gateway.originals() - originals) == 1


def test_a_request_that_stands_still_until_its_repeat_has_answered_stores_nothing(gateway):
    content, headers = uuid4().bytes, {"Idempotency-Key": str(uuid4())}
    before = gateway.documents(), len(gateway.originals())
    arrived, go_on = threading.Event(), threading.Event()

    def hold_the_first(name: str) -> None:
        if name == "objects.commit.after" and not arrived.is_set():
            arrived.set()
            assert go_on.wait(30)

    failpoints.set_trap(hold_the_first)
    try:
        with ThreadPoolExecutor(1) as threads, gateway.client() as client, gateway.client() as other:
            late = threads.submit(send, client, content, headers=headers, on_duplicate="allow")
            assert arrived.wait(30)
            with gateway.deps.database.transaction() as connection:
                connection.exec_driver_sql("UPDATE idempotency_keys SET locked_until = now() - interval '1 s'")
            repeat = send(other, content, headers=headers, on_duplicate="allow")
            go_on.set()
            refused = late.result()
    finally:
        go_on.set()
        failpoints.set_trap(None)

    assert (repeat.status_code, refused.status_code) == (202, 409), refused.text
    assert (refused.json()["code"], refused.headers["retry-after"]) == ("idempotency_in_flight", "1")
    assert (gateway.documents(), len(gateway.originals())) == (before[0] + 1, before[1] + 1)


def test_an_upload_whose_collection_is_deleted_meanwhile_is_refused_and_stores_nothing(gateway, client):
    name = f"going-{uuid4().hex[:8]}"
    gateway.deps.collections.create(gateway.tenant_id, name, chunking={})
    before = gateway.documents(), gateway.originals()

    def delete(point: str) -> None:
        if point == "objects.commit.after":
            gateway.deps.collections.delete(gateway.tenant_id, name)

    failpoints.set_trap(delete)
    try:
        answer = send(client, uuid4().bytes, collection=name)
    finally:
        failpoints.set_trap(None)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (gateway.documents(), gateway.originals()) == before


def test_the_hint_goes_out_when_the_row_is_there_and_the_answer_behind_both(gateway, client, monkeypatch):
    seen: list[State] = []

    def look_at_once(task: Task) -> None:
        """As an extractor does that is quicker than everybody."""
        view = gateway.deps.catalogue.find(gateway.tenant_id, task.document_id)
        seen.extend([view.state] if view is not None else [])

    monkeypatch.setattr(gateway.sent, "send", look_at_once)

    document = accepted(client)

    assert seen == [State.QUEUED]
    assert client.get(f"/v1/documents/{document['id']}").status_code == 200


def digest_header(content: bytes) -> dict[str, str]:
    return {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"}


def test_a_digest_of_the_body_or_of_the_file_is_checked(client):
    content = uuid4().bytes
    body = opening() + content + closing()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

    of_body = client.post("/v1/documents", content=body, headers=headers | digest_header(body))
    of_file = client.post("/v1/documents", content=body, headers=headers | digest_header(content))

    assert (of_body.status_code, of_file.status_code) == (202, 200)


@pytest.mark.usefixtures("untouched")
def test_a_wrong_digest_is_refused(client):
    answer = send(client, uuid4().bytes, headers=digest_header(b"other"))

    assert (answer.status_code, answer.json()["code"]) == (400, "digest_mismatch")


def test_ten_at_once_with_one_key_make_one_document_and_nine_replays(gateway):
    content, headers = uuid4().bytes * 1000, {"Idempotency-Key": str(uuid4())}
    before = gateway.documents(), len(gateway.originals())

    def submit(_number: int) -> httpx.Response:
        with gateway.client() as client:
            return send(client, content, headers=headers, on_duplicate="allow")

    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(submit, range(10)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 9
    assert (gateway.documents(), len(gateway.originals())) == (before[0] + 1, before[1] + 1)


def test_the_same_request_is_the_same_however_its_form_is_written(client):
    content, key = uuid4().bytes, {"Idempotency-Key": str(uuid4())}
    first = send(client, content, headers=key, attributes='{"a": 1, "b": 2}')

    again = send(client, content, headers=key, attributes='{"b":2,"a":1}')

    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content


@pytest.mark.parametrize("change", [{"content": b"other bytes"}, {"external_id": "other"}])
def test_another_request_under_the_same_key_is_refused(client, change):
    key = {"Idempotency-Key": str(uuid4())}
    content = uuid4().bytes
    send(client, content, headers=key)

    answer = send(client, **{"content": content, "headers": key, **change})

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reuse")


def test_a_refused_request_does_not_use_up_its_key(client):
    key, content = {"Idempotency-Key": str(uuid4())}, uuid4().bytes
    accepted(client, content)
    refused = send(client, content, headers=key, on_duplicate="reject")

    again = send(client, content, headers=key, on_duplicate="reject")

    assert refused.status_code == again.status_code == 409
    assert "idempotent-replayed" not in again.headers


def test_a_repeat_of_a_request_that_died_gets_the_document_it_had_made(gateway, client):
    content, key = uuid4().bytes, str(uuid4())
    first = send(client, content, headers={"Idempotency-Key": key}).json()
    with gateway.deps.database.transaction() as connection:
        connection.exec_driver_sql(
            "UPDATE idempotency_keys SET status = NULL, body = NULL, locked_until = now() - interval '1 second' "
            "WHERE key = %s",
            (key,),
        )
    before = gateway.originals()

    again = send(client, content, headers={"Idempotency-Key": key})

    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    assert gateway.originals() == before


def test_a_key_is_good_for_other_posts_too(client):
    document, key = accepted(client), {"Idempotency-Key": str(uuid4())}

    first = client.post(f"/v1/documents/{document['id']}/cancel", headers=key)
    again = client.post(f"/v1/documents/{document['id']}/cancel", headers=key)

    assert first.status_code == again.status_code == 202
    assert again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content


def test_a_key_of_some_collections_sees_only_those(gateway, client):
    collection = gateway.deps.collections
    collection.create(gateway.tenant_id, "hers", chunking={})
    only = gateway.new_key(gateway.tenant_id, collection_ids=[collection.find(gateway.tenant_id, "hers").id])
    hers, _ = accepted(client, collection="hers")["id"], accepted(client)["id"]

    with gateway.client(only) as limited:
        assert limited.get(f"/v1/documents/{hers}").status_code == 200
        assert hers in {one["id"] for one in limited.get("/v1/documents?limit=100").json()["data"]}
        assert {one["collection"] for one in limited.get("/v1/documents?limit=100").json()["data"]} == {"hers"}
        assert send(limited, uuid4().bytes).status_code == 404


def test_a_known_version_is_not_sent_again(client):
    document = accepted(client)["id"]
    first = client.get(f"/v1/documents/{document}")

    known = client.get(f"/v1/documents/{document}", headers={"If-None-Match": first.headers["etag"]})

    assert (known.status_code, known.content) == (304, b"")
    assert known.headers["etag"] == first.headers["etag"]


def test_a_change_names_the_version_it_means(client):
    document = accepted(client)["id"]

    outdated = client.post(f"/v1/documents/{document}/cancel", headers={"If-Match": '"999"'})
    current = client.get(f"/v1/documents/{document}").headers["etag"]
    meant = client.post(f"/v1/documents/{document}/cancel", headers={"If-Match": current})

    assert (outdated.status_code, outdated.json()["code"]) == (412, "precondition_failed")
    assert meant.status_code == 202


@pytest.mark.parametrize("change", ["cancel", "reprocess"])
def test_of_many_changes_at_once_that_mean_one_version_one_is_made(gateway, client, change):
    document = accepted(client)["id"]
    if change == "reprocess":
        client.post(f"/v1/documents/{document}/cancel")
    etag = client.get(f"/v1/documents/{document}").headers["etag"]

    def send_change(_: int) -> int:
        return client.post(f"/v1/documents/{document}/{change}", headers={"If-Match": etag}).status_code

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send_change, range(8)))

    assert sorted(answers) == [202] + 7 * [412]


def test_a_document_that_moved_after_the_look_is_not_deleted(gateway, client):
    document_id = ids.parse("doc", accepted(client)["id"])
    version = gateway.deps.catalogue.find(gateway.tenant_id, document_id).row_version
    gateway.deps.documents.cancel(gateway.tenant_id, document_id)

    assert not gateway.deps.documents.delete(gateway.tenant_id, document_id, version=version)
    assert gateway.deps.documents.delete(gateway.tenant_id, document_id, version=version + 1)


def test_a_long_poll_answers_when_the_document_moves(gateway, client):
    document = accepted(client)["id"]
    etag = client.get(f"/v1/documents/{document}").headers["etag"]

    with ThreadPoolExecutor(1) as threads:
        headers = {"If-None-Match": etag, "Prefer": "wait=20"}
        waiting = threads.submit(client.get, f"/v1/documents/{document}", headers=headers)
        wait_until(lambda: gateway.deps.watch.waiting, "nobody waits")
        gateway.deps.documents.cancel(gateway.tenant_id, ids.parse("doc", document))
        answer = waiting.result()

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert answer.headers["preference-applied"] == "wait=20"


def test_a_long_poll_of_an_ended_document_answers_at_once(client):
    document = accepted(client)["id"]
    client.post(f"/v1/documents/{document}/cancel")

    answer = client.get(f"/v1/documents/{document}", headers={"Prefer": "wait=30"})

    assert answer.json()["status"] == "cancelled"


def test_an_upload_may_wait_too(gateway, client):
    answer = send(client, uuid4().bytes, headers={"Prefer": "wait=1"})

    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=1")
    assert answer.json()["status"] == "queued"


def test_the_list_goes_through_all_documents_page_by_page(gateway):
    tenant = gateway.deps.keys.ensure_tenant(f"tenant-{uuid4()}")
    with gateway.client(gateway.new_key(tenant)) as client:
        sent = [accepted(client, name=f"{number}.txt")["id"] for number in range(5)]
        seen, address = [], "/v1/documents?limit=2&status=queued"
        while address:
            page = client.get(address)
            seen += [one["id"] for one in page.json()["data"]]
            address = page.links["next"]["url"] if "next" in page.links else None
            assert (page.json()["next_cursor"] is None) == (address is None)
        assert seen == sent[::-1]

        cursor = client.get("/v1/documents?limit=2").json()["next_cursor"]
        elsewhere = client.get("/v1/documents", params={"cursor": cursor, "name": "1.txt"})
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (400, "invalid_cursor")
        assert [one["id"] for one in client.get("/v1/documents?name=1.txt").json()["data"]] == [sent[1]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=queued", 1),
        ("status=failed", 0),
        ("status=deleting", 0),
        ("stage=received", 1),
        ("stage=done", 0),
        ("collection=default", 1),
        ("error_code=empty", 0),
        ("created_after=2020-01-01T00:00:00Z", 1),
        ("updated_after=2120-01-01T00:00:00Z", 0),
        ("external_id=x", 0),
    ],
)
def test_the_list_is_filtered(gateway, query, expected):
    tenant = gateway.deps.keys.ensure_tenant(f"tenant-{uuid4()}")
    with gateway.client(gateway.new_key(tenant)) as client:
        accepted(client)

        assert len(client.get(f"/v1/documents?{query}").json()["data"]) == expected


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 422),
        ("limit=1000000000", 422),
        ("colour=red", 422),
        ("status=nice", 422),
        ("name=a%00b", 422),
        ("created_after=2020-01-01T00:00:00", 422),
        ("cursor=x", 400),
        ("collection=nowhere", 404),
    ],
)
def test_a_wrong_question_is_refused(client, query, status):
    assert client.get(f"/v1/documents?{query}").status_code == status


def published(gateway: Gateway, client: httpx.Client) -> str:
    """A document that went the whole way, with five chunks."""
    shown = accepted(client)["id"]
    number = ids.parse("doc", shown)
    deps = gateway.deps
    claim = deps.documents.claim_extraction(number, "worker")
    batches = make_batches([3, 2])
    assert deps.batches.finish_extraction(number, claim.run_id, batches, make_extraction(batches))
    for batch_no in range(2):
        deps.batches.finish(deps.batches.claim(claim.run_id, batch_no, "worker"))
    points = {ids.point_id(claim.run_id, chunk_no) for chunk_no in range(5)}
    deps.batches.publish(number, claim.run_id, model="fake", dimensions=8, present=points)
    return shown


def test_chunks_are_listed_and_read(gateway, client):
    document = published(gateway, client)
    path = f"/v1/documents/{document}/chunks"

    first = client.get(path, params={"limit": 3})
    rest = client.get(first.links["next"]["url"])

    assert [one["chunk"] for one in first.json()["data"] + rest.json()["data"]] == [0, 1, 2, 3, 4]
    assert rest.json()["next_cursor"] is None
    assert client.get(f"{path}/4").json()["text"] == "chunk 4"
    assert client.get(f"{path}/5").status_code == 404
    assert client.get(f"{path}/{10**12}").status_code == 422


def test_what_is_so_already_is_no_error(gateway, client):
    document = accepted(client)["id"]
    path = f"/v1/documents/{document}"

    assert client.post(f"{path}/retry").status_code == 200
    assert client.post(f"{path}/reprocess").status_code == 200
    assert client.post(f"{path}/cancel").status_code == 202
    assert client.post(f"{path}/cancel").status_code == 200
    assert client.get(path).json()["status"] == "cancelled"


def test_a_failed_document_is_tried_again(gateway, client):
    document = accepted(client)["id"]
    number = ids.parse("doc", document)
    claim = gateway.deps.documents.claim_extraction(number, "worker")
    gateway.deps.documents.fail_extraction(number, claim.run_id, Setback("corrupt", is_permanent=True))
    sent_before = len(gateway.sent.tasks)

    refused = client.post(f"/v1/documents/{document}/reprocess", json={"from": "embed"})
    again = client.post(f"/v1/documents/{document}/retry")

    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/from")
    assert (again.status_code, again.json()["status"]) == (202, "queued")
    assert gateway.sent.tasks[sent_before:] == [ExtractDocument(document_id=number)]


@pytest.mark.parametrize(("from_", "stage"), [("extract", "received"), ("embed", "embedding")])
def test_a_ready_document_is_processed_again(gateway, client, from_, stage):
    document = published(gateway, client)

    answer = client.post(f"/v1/documents/{document}/reprocess", json={"from": from_})

    assert (answer.status_code, answer.json()["stage"]) == (202, stage)
    assert answer.json()["published_run"] is not None


def test_a_ready_document_needs_no_retry(gateway, client):
    document = published(gateway, client)

    answer = client.post(f"/v1/documents/{document}/retry")

    assert (answer.status_code, answer.json()["status"]) == (200, "ready")


@pytest.mark.parametrize("body", [{"from": "chunk"}, {"to": "embed"}])
def test_a_wrong_place_to_begin_is_refused(client, body):
    assert client.post(f"/v1/documents/{accepted(client)['id']}/reprocess", json=body).status_code == 422


def test_a_deleted_document_is_gone_and_may_be_deleted_again(client):
    document = accepted(client)["id"]
    path = f"/v1/documents/{document}"

    for _ in range(2):
        answer = client.delete(path)
        assert (answer.status_code, answer.json()) == (202, {"id": document, "status": "deleting"})

    for gone in (client.get(path), client.get(f"{path}/content"), client.post(f"{path}/cancel")):
        assert (gone.status_code, gone.json()["code"]) == (410, "deleted")
    assert document not in client.get("/v1/documents?limit=100").text


def test_an_original_comes_back_as_a_file_that_no_browser_runs(client):
    content = b"<script>alert(1)</script>" + uuid4().bytes
    document = accepted(client, content, name='보고서 "1".html')["id"]

    answer = client.get(f"/v1/documents/{document}/content")

    assert answer.content == content
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"___ _1_.html\"; filename*=UTF-8''%EB%B3%B4%EA%B3%A0%EC%84%9C%20%221%22.html"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert answer.headers["content-length"] == str(len(content))


@pytest.mark.parametrize(
    ("asked", "status", "received"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=4-", 206, b"456789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-100", 206, b"0123456789"),
        ("bytes=8-100", 206, b"89"),
        ("bytes=10-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=3-1", 200, b"0123456789"),
        ("bytes=0-1,3-4", 200, b"0123456789"),
        ("bytes=-", 200, b"0123456789"),
        ("lines=0-1", 200, b"0123456789"),
    ],
)
def test_a_range_is_sent_alone(client, asked, status, received):
    document = accepted(client, b"0123456789", on_duplicate="allow")["id"]

    answer = client.get(f"/v1/documents/{document}/content", headers={"Range": asked})

    assert answer.status_code == status
    if received is None:
        assert answer.headers["content-range"] == "bytes */10"
    else:
        assert answer.content == received


def test_only_the_head_a_known_version_and_an_outdated_range(client):
    document = accepted(client, b"0123456789", on_duplicate="allow")["id"]
    path = f"/v1/documents/{document}/content"

    only_head = client.head(path)
    known = client.get(path, headers={"If-None-Match": only_head.headers["etag"]})
    outdated = client.get(path, headers={"Range": "bytes=0-1", "If-Range": '"other"'})

    assert (only_head.status_code, only_head.content, only_head.headers["content-length"]) == (200, b"", "10")
    assert only_head.headers["accept-ranges"] == "bytes"
    assert known.status_code == 304
    assert (outdated.status_code, outdated.content) == (200, b"0123456789")


def test_the_interface_describes_itself(client):
    document = client.get("/openapi.json").json()

    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert all("default" in operation["responses"] for operation in operations)
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["paths"]["/livez"]["get"]["security"] == []
    assert document["paths"]["/v1/documents"]["post"]["security"] == [{"key": []}]


def test_the_list_of_operations_asks_no_other_host(client):
    answer = client.get("/docs", headers={"Authorization": ""})

    assert answer.status_code == 200
    assert "/v1/documents" in answer.text
    assert "http" not in answer.text.replace("http-equiv", "")


def test_the_page_is_served_with_a_strict_policy(client):
    answer = client.get("/", headers={"Authorization": ""})

    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/assets/../main.py", headers={"Authorization": ""}).status_code in {401, 404}


def test_no_other_origin_may_read(client):
    answer = client.get("/livez", headers={"Origin": "https://elsewhere.example"})

    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers


def test_a_revoked_key_is_refused_within_five_seconds(gateway):
    made = gateway.deps.keys.create(gateway.tenant_id, name="short", scopes=[Scope.READ])
    with gateway.client(made.secret) as client:
        assert client.get("/v1/documents").status_code == 200
        gateway.deps.keys.revoke(gateway.tenant_id, made.key.id)

        wait_until(lambda: client.get("/v1/documents").status_code == 401, "the key is still good", seconds=5)
