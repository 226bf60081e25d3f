"""What the gateway refuses while too much waits or a disk is full: real server, real tables, real small disks."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import psutil
import pytest
from builders import make_batches, make_extraction
from conftest import missing
from contracts.test_gateway_uploads import Gateway, accepted, deps_for, head, running, send, settings_for, wait_until
from prometheus_client import CollectorRegistry
from redis import Redis

from sluice_api.backpressure import KEPT_S
from sluice_api.metrics import GatewayMetrics
from sluice_common import ids
from sluice_common.database import open_database
from sluice_common.hints import BackgroundHints
from sluice_common.keys import Scope
from sluice_common.settings import BrokerSettings, DatabaseSettings
from sluice_common.tasks import open_queue
from sluice_local.redis import LocalRedis

BODIES = {
    "announced": ["Content-Length: 5000000"],
    "waiting for 100": ["Content-Length: 5000000", "Expect: 100-continue"],
    "chunked": ["Transfer-Encoding: chunked"],
}
SMALL_DISK_BYTES = 2 * 2**20
ROOM_BYTES = 50_000


@dataclass(frozen=True)
class Refusal:
    """An answer that came although no byte of the body was sent."""

    status: int
    headers: dict[str, str]
    body: dict

    @property
    def retry_after_s(self) -> int:
        return int(self.headers["retry-after"])


@pytest.fixture
def start(new_database_url, tmp_path) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways over one database of their own: `start(limit=number, ...)`."""
    url = new_database_url()
    with ExitStack() as stack:

        def started(root: Path = tmp_path, *, parts: Mapping[str, object] | None = None, **limits: float) -> Gateway:
            database = open_database(DatabaseSettings(url=url), application="tests")
            stack.callback(database.close)
            deps = deps_for(settings_for(url, root, **{"min_free_percent": 0, **limits}), database)
            return stack.enter_context(running(replace(deps, **(parts or {})), root))

        yield started


def refused_before_the_body(gateway: Gateway, lines: list[str], key: str | None = None) -> Refusal:
    """Send the head of an upload and nothing more, and read until the gateway closes."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(head(key or gateway.key, *lines))
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    top, _, body = received.partition(b"\r\n\r\n")
    first, *rest = top.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in rest)
    return Refusal(int(first.split()[1]), headers, json.loads(body))


def sent_when_there_is_room(client: httpx.Client, content: bytes, **options) -> httpx.Response:
    """Send until the gateway has looked once more and lets it in."""
    answers: list[httpx.Response] = []

    def is_taken_in() -> bool:
        answers.append(send(client, content, **options))
        return answers[-1].status_code != 429

    wait_until(is_taken_in, "there is room, and the gateway goes on refusing")
    return answers[-1]


def refused_in_the_end(client: httpx.Client) -> httpx.Response:
    """Send until the gateway has looked once more and refuses."""
    answers: list[httpx.Response] = []

    def is_refused() -> bool:
        answers.append(send(client, uuid4().bytes))
        return answers[-1].status_code == 429

    wait_until(is_refused, "too much waits, and the gateway goes on taking in")
    return answers[-1]


def extracted(gateway: Gateway, client: httpx.Client, chunks: int) -> UUID:
    """A document whose chunks wait to be embedded."""
    document_id = ids.parse("doc", accepted(client)["id"])
    claim = gateway.deps.documents.claim_extraction(document_id, "worker")
    batches = make_batches([chunks])
    assert gateway.deps.batches.finish_extraction(document_id, claim.run_id, batches, make_extraction(batches))
    return document_id


def move(gateway: Gateway, statement: str, *values: object) -> None:
    with gateway.deps.database.transaction() as connection:
        connection.exec_driver_sql(statement, values or None)


# The queues


@pytest.mark.parametrize("lines", BODIES.values(), ids=BODIES)
def test_a_full_queue_is_said_with_its_numbers_before_a_byte_of_the_body(start, lines):
    gateway = start(max_waiting_documents_of_tenant=2)
    with gateway.client() as client:
        accepted(client), accepted(client)
    stored = gateway.originals()

    refusal = refused_before_the_body(gateway, lines)

    assert (refusal.status, refusal.body["code"]) == (429, "queue_full")
    assert (refusal.body["bound"], refusal.body["waiting"], refusal.body["limit"]) == (
        "waiting_documents_of_tenant",
        2,
        2,
    )
    assert refusal.body["detail"].startswith("2 of your documents wait; the limit is 2.")
    assert refusal.body["error"]["type"] == "rate_limit_error"
    assert refusal.retry_after_s == 30, "nothing ended lately, so that nobody knows how long it takes"
    assert gateway.originals() == stored


@pytest.mark.parametrize("lines", BODIES.values(), ids=BODIES)
def test_who_has_no_good_key_hears_nothing_of_the_queue(start, lines):
    gateway = start(max_waiting_documents=1)
    with gateway.client() as client:
        accepted(client)

    unknown = refused_before_the_body(gateway, lines, key="sk_of-nobody-that-we-know")
    reader = refused_before_the_body(gateway, lines, key=gateway.new_key(gateway.tenant_id, [Scope.READ]))

    assert (unknown.status, reader.status) == (401, 403)


def test_the_flood_of_one_tenant_closes_the_door_to_nobody_else(start):
    gateway = start(max_waiting_documents_of_tenant=3, max_waiting_documents=5)
    with gateway.client() as flooding, gateway.client(gateway.other_key) as other:
        for _ in range(3):
            accepted(flooding)
        own = send(flooding, uuid4().bytes)

        assert (own.status_code, own.json()["bound"]) == (429, "waiting_documents_of_tenant")
        accepted(other), accepted(other)

        all_ = send(other, uuid4().bytes)
        assert (all_.status_code, all_.json()["bound"], all_.json()["waiting"]) == (429, "waiting_documents", 5)


def test_documents_that_wait_to_be_embedded_count_by_their_chunks(start):
    gateway = start(max_waiting_chunks_of_tenant=7, max_waiting_chunks=9)
    with gateway.client() as client, gateway.client(gateway.other_key) as other:
        extracted(gateway, client, 7)
        own = refused_in_the_end(client)
        extracted(gateway, other, 2)
        all_ = refused_in_the_end(other)

    assert (own.json()["bound"], own.json()["waiting"], own.json()["limit"]) == ("waiting_chunks_of_tenant", 7, 7)
    assert (all_.json()["bound"], all_.json()["waiting"], all_.json()["limit"]) == ("waiting_chunks", 9, 9)


def test_chunks_of_a_cancelled_document_wait_no_longer(start):
    gateway = start(max_waiting_chunks_of_tenant=7)
    with gateway.client() as client:
        document_id = extracted(gateway, client, 7)
        refused_in_the_end(client)

        gateway.deps.documents.cancel(gateway.tenant_id, document_id)

        assert sent_when_there_is_room(client, uuid4().bytes).status_code == 202


def test_a_tenant_whose_documents_wait_too_long_sends_no_more(start):
    gateway = start(max_waiting_s=600)
    with gateway.client() as client, gateway.client(gateway.other_key) as other:
        document_id = accepted(client)["id"]
        long_ago = "UPDATE documents SET updated_at = now() - interval '11 minutes' WHERE id = %s"
        move(gateway, long_ago, ids.parse("doc", document_id))
        refused = refused_in_the_end(client)
        accepted(other)

    assert (refused.json()["bound"], refused.json()["limit"]) == ("waiting_s", 600)
    assert 660 <= refused.json()["waiting"] < 720


def test_the_wait_follows_from_how_fast_documents_end(start):
    gateway = start(max_waiting_documents_of_tenant=2000)
    with gateway.client() as client:
        for document in [accepted(client) for _ in range(6)]:
            client.post(f"/v1/documents/{document['id']}/cancel")
        move(gateway, "UPDATE document_events SET created_at = now() - interval '30 s' WHERE state = 'queued'")
        clone = (
            "INSERT INTO documents (id, tenant_id, collection_id, job_id, deadline, dispatch_after) "
            "SELECT gen_random_uuid(), tenant_id, collection_id, job_id, deadline, now() "
            "FROM (SELECT * FROM documents LIMIT 1) AS one, generate_series(1, 2000)"
        )
        move(gateway, clone)

        refused = refused_in_the_end(client)

    # six in 30 s or a little longer, and a thousandth of the bound is to be free: two documents
    leaving = refused.json()["waiting"] - 2000 + 2
    assert leaving * 30 / 6 <= int(refused.headers["retry-after"]) <= leaving * 60 / 6


def test_uploads_go_on_when_the_queue_gets_shorter(start, figures):
    gateway = start(max_waiting_documents_of_tenant=2)
    with gateway.client() as client:
        first, _ = accepted(client), accepted(client)
        assert send(client, b"too much").status_code == 429

        client.post(f"/v1/documents/{first['id']}/cancel")
        began = time.monotonic()

        assert sent_when_there_is_room(client, b"too much").status_code == 202
        figures.note(13, f"uploads go on {time.monotonic() - began:.2f} s after a place in a full queue became free")


def test_a_burst_passes_the_bound_of_one_gateway_at_most_by_what_is_arriving(start, figures):
    at_once = 16
    gateway = start(max_waiting_documents_of_tenant=25)
    with gateway.client() as client, ThreadPoolExecutor(at_once) as threads:
        statuses = list(threads.map(lambda _: send(client, uuid4().bytes).status_code, range(100)))

    taken_in = statuses.count(202)
    figures.note(13, f"one gateway, bound 25: {taken_in} of 100 uploads taken in, {at_once} at once")
    assert 25 <= taken_in < 25 + at_once
    assert taken_in + statuses.count(429) == 100


def test_several_gateways_pass_a_bound_by_no_more_than_what_comes_between_two_looks(start, figures):
    gateways = [start(max_waiting_documents_of_tenant=20) for _ in range(3)]
    with ExitStack() as stack:
        clients = [stack.enter_context(gateway.client(gateways[0].key)) for gateway in gateways]
        for client in clients:  # every one of them has looked, and seen an empty table or nearly
            accepted(client)

        taken_in = 3 + sum(send(clients[number % 3], uuid4().bytes).status_code == 202 for number in range(90))

        assert taken_in <= 3 * 20, "each alone keeps the bound"
        for client in clients:
            wait_until(lambda c=client: send(c, uuid4().bytes).status_code == 429, "it has looked and goes on")
    waiting = gateways[0].documents()
    figures.note(13, f"three gateways, bound 20: {waiting} taken in when all come within {KEPT_S:g} s")
    assert 20 <= waiting <= 3 * 20


# Repeats, and what is not an upload


def test_a_request_that_was_done_is_answered_again_however_long_the_queue(start):
    gateway = start(max_waiting_documents_of_tenant=1)
    content, key = uuid4().bytes, {"Idempotency-Key": str(uuid4())}
    with gateway.client() as client:
        first = send(client, content, headers=key)
        assert send(client, content).status_code == 429

        again = send(client, content, headers=key)
        other = send(client, b"other", headers=key)

    assert (first.status_code, again.status_code, again.content) == (202, 202, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert other.json()["code"] == "idempotency_key_reuse"


def test_a_refusal_is_not_kept_under_the_key(start):
    gateway = start(max_waiting_documents_of_tenant=1)
    content, key = uuid4().bytes, {"Idempotency-Key": str(uuid4())}
    with gateway.client() as client:
        first = accepted(client)
        assert send(client, content, headers=key).status_code == 429
        client.post(f"/v1/documents/{first['id']}/cancel")

        answer = sent_when_there_is_room(client, content, headers=key)

    assert answer.status_code == 202
    assert "idempotent-replayed" not in answer.headers


def test_what_adds_no_work_is_never_refused(start):
    gateway = start(max_waiting_documents_of_tenant=1)
    with gateway.client() as client:
        path = f"/v1/documents/{accepted(client)['id']}"
        assert send(client, uuid4().bytes).status_code == 429

        for read in (path, f"{path}/status", f"{path}/content", f"{path}/events", "/v1/documents", "/v1/collections"):
            assert client.get(read).status_code == 200, read
        assert client.post(f"{path}/retry").status_code == 200, "it waits already"
        assert client.post(f"{path}/reprocess").status_code == 200
        assert client.post(f"{path}/cancel").status_code == 202
        assert client.delete(path).status_code == 202


@pytest.mark.parametrize(
    ("path", "body"), [("/retry", None), ("/reprocess", {"from": "extract"})], ids=["retry", "reprocess"]
)
def test_work_on_documents_that_are_here_is_refused_likewise(start, path, body):
    gateway, key = start(max_waiting_documents_of_tenant=2), {"Idempotency-Key": str(uuid4())}
    with gateway.client() as client:
        document = f"/v1/documents/{accepted(client)['id']}"
        client.post(f"{document}/cancel")
        accepted(client)
        refused_in_the_end(client)

        refused = client.post(document + path, json=body, headers=key)
        status = client.get(document).json()["status"]
        move(gateway, "UPDATE documents SET state = 'cancelled', dispatch_after = NULL WHERE state = 'queued'")
        wait_until(lambda: client.post(document + path, json=body, headers=key).status_code == 202, "it stays refused")

    assert (refused.status_code, refused.json()["code"], status) == (429, "queue_full", "cancelled")
    assert refused.headers["retry-after"]


def test_a_replacement_and_embedding_again_are_refused_likewise(start):
    gateway = start(max_waiting_documents_of_tenant=2)
    with gateway.client() as client:
        document_id = extracted(gateway, client, 1)
        ready(gateway, document_id)
        accepted(client)
        refused_in_the_end(client)
        document = f"/v1/documents/{ids.shown('doc', document_id)}"

        replacement = send(client, uuid4().bytes, external_id="x", on_duplicate="replace")
        again = client.post(f"{document}/reprocess", json={"from": "embed"})

    assert (replacement.status_code, again.status_code) == (429, 429)


def ready(gateway: Gateway, document_id: UUID) -> None:
    run_id = gateway.deps.catalogue.find(gateway.tenant_id, document_id).active_run
    gateway.deps.batches.finish(gateway.deps.batches.claim(run_id, 0, "worker"))
    published = gateway.deps.batches.publish(document_id, run_id, model="fake", dimensions=8)
    assert published.outcome == "published"


def test_refused_uploads_are_counted_by_their_code(start):
    registry = CollectorRegistry()
    gateway = start(parts={"metrics": GatewayMetrics(registry)}, max_waiting_documents_of_tenant=1)
    with gateway.client() as client:
        accepted(client)
        send(client, uuid4().bytes), send(client, uuid4().bytes)
        client.post("/v1/documents", content=b"x", headers={"Content-Type": "text/plain"})

    def counted(code: str) -> float | None:
        return registry.get_sample_value("sluice_uploads_refused_total", {"code": code})

    assert (counted("queue_full"), counted("unsupported_media_type"), counted("unavailable")) == (2, 1, 0)


# Parts that are away


@pytest.mark.parametrize("lines", BODIES.values(), ids=BODIES)
def test_without_the_table_nothing_is_taken_in_and_the_body_is_not_read(start, tmp_path, lines):
    gateway = start()
    nowhere = open_database(DatabaseSettings(url="postgresql://a:b@127.0.0.1:1/c"), application="tests")
    deps = deps_for(gateway.deps.settings, gateway.deps.database)

    with running(replace(deps, database=nowhere), tmp_path) as blind:
        refusal = refused_before_the_body(blind, lines)

    assert (refusal.status, refusal.body["code"]) == (503, "unavailable")
    assert refusal.retry_after_s >= 1
    assert blind.originals() == set()


def test_a_redis_that_is_full_or_away_refuses_nobody(start, tmp_path_factory):
    with ExitStack() as stack:
        with LocalRedis(tmp_path_factory.mktemp("redis")) as server:
            queue = open_queue(BrokerSettings(url=server.url))
            stack.callback(queue.close)
            hints = BackgroundHints(queue)
            stack.callback(hints.close)
            gateway = start(parts={"hints": hints})
            with Redis.from_url(server.url) as redis:
                redis.config_set("maxmemory", 1)
            with gateway.client() as client:
                accepted(client)
        with gateway.client() as client:
            accepted(client)


# Full disks


@contextmanager
def small_disk(path: Path, *, options: str = f"size={SMALL_DISK_BYTES}", owner: int = 0) -> Iterator[Path]:
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"{options},mode=0700", "sluice-test", path]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        missing("no small disk can be mounted here (that takes root)")
    try:
        os.chown(path, owner, -1)
        yield path
    finally:
        # lazily: PostgreSQL may still have a file of it open
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.parametrize("lines", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("limits", [{"min_free_bytes": 2**62}, {"min_free_percent": 100}], ids=["bytes", "percent"])
def test_a_nearly_full_disk_is_said_with_its_numbers_before_the_body(start, limits, lines):
    gateway = start(**limits)

    refusal = refused_before_the_body(gateway, lines)

    assert (refusal.status, refusal.body["code"], refusal.body["bound"]) == (507, "storage_full", "free_bytes")
    assert refusal.body["free"] < refusal.body["limit"]
    assert str(refusal.body["free"]) in refusal.body["detail"]
    assert refusal.retry_after_s == 60
    assert gateway.originals() == set()


def test_a_disk_that_gets_full_in_the_middle_of_uploads_keeps_nothing_of_them(start, tmp_path, figures):
    with small_disk(tmp_path / "small") as root:
        gateway = start(root)
        with gateway.client() as client, ThreadPoolExecutor(4) as threads:
            kept = accepted(client, b"k" * 1000)
            before = gateway.originals()
            sent = [bytes([number]) * (SMALL_DISK_BYTES + 1) for number in range(12)]
            answers = list(threads.map(lambda content: send(client, content), sent))

            assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(507, "storage_full")}
            assert {answer.headers["retry-after"] for answer in answers} == {"60"}
            assert (gateway.documents(), gateway.originals()) == (1, before)
            assert client.get(f"/v1/documents/{kept['id']}/content").content == b"k" * 1000
            accepted(client, b"s" * (SMALL_DISK_BYTES // 2))
        figures.note(13, f"{len(answers)} uploads ran into a full disk: all 507, nothing kept, the next one taken in")


def test_a_disk_without_room_for_one_more_name_keeps_nothing_either(start, tmp_path):
    with small_disk(tmp_path / "small", options="size=2m,nr_inodes=3") as root:  # itself, .tmp and the part
        gateway = start(root)
        with gateway.client() as client:
            answer = send(client, b"fits")

        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
        assert (gateway.documents(), gateway.originals()) == (0, set())


def test_a_full_disk_of_postgresql_keeps_nothing_and_is_said(start, tmp_path, figures):
    gateway = start()
    with gateway.deps.database.single() as connection:
        server = psutil.Process(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    open_to_all(tmp_path)
    with small_disk(tmp_path / "small", owner=server.uids().real) as disk, on_disk(gateway, disk):
        ballast = disk / "ballast"
        ballast.write_bytes(b"\0" * (shutil.disk_usage(disk).free - ROOM_BYTES))
        with gateway.client() as client:
            answer, taken_in, refused = sent_until_refused(client)

            assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
            assert answer.json()["detail"] == "The disk of the database is full."
            assert answer.headers["retry-after"] == "60"
            assert gateway.documents() == taken_in
            originals = {path for path in gateway.originals() if disk not in path.parents}
            assert len(originals) == taken_in
            ballast.unlink()
            assert send(client, **refused).status_code == 202, "the same request, under the same key"
    figures.note(13, f"PostgreSQL's disk full after {taken_in} uploads: 507, no row and no original of the refused one")


def sent_until_refused(client: httpx.Client) -> tuple[httpx.Response, int, dict]:
    """The answer that was not 202, how many were before it, and what the refused request was."""
    for taken_in in range(2000):
        attributes = json.dumps({str(number): uuid4().hex * 16 for number in range(16)})
        request = {"content": uuid4().bytes, "headers": {"Idempotency-Key": str(uuid4())}, "attributes": attributes}
        answer = send(client, **request)
        if answer.status_code != 202:
            return answer, taken_in, request
    pytest.fail("the disk never got full")


def open_to_all(folder: Path) -> None:
    """PostgreSQL does not run as root, and pytest's folders are closed to others."""
    for one in (folder, *folder.parents):
        if one.stat().st_uid == os.geteuid() and one != Path("/"):
            one.chmod(one.stat().st_mode | 0o011)


@contextmanager
def on_disk(gateway: Gateway, disk: Path) -> Iterator[None]:
    """The table of documents on *disk*, and back at the end."""
    name = f"small_{uuid4().hex[:8]}"
    with gateway.deps.database.single() as connection:
        connection.exec_driver_sql(f"CREATE TABLESPACE {name} LOCATION '{disk}'")
        connection.exec_driver_sql(f"ALTER TABLE documents SET TABLESPACE {name}")
    try:
        yield
    finally:
        with gateway.deps.database.single() as connection:
            connection.exec_driver_sql("ALTER TABLE documents SET TABLESPACE pg_default")
            connection.exec_driver_sql(f"DROP TABLESPACE {name}")
