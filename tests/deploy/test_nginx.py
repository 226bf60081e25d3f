"""The real nginx in front of the real gateway."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from deploy.proxies import Proxy, open_mirror, open_proxy
from oracle import wait_until
from websockets.sync.client import connect

BOUNDARY = "c0ffee"
LARGE = 60 * 2**20


@pytest.fixture
def proxy(stack, tmp_path) -> Iterator[Proxy]:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    with open_proxy(tmp_path, stack.url) as proxy:
        yield proxy


@pytest.fixture
def browser(proxy, stack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    with httpx.Client(base_url=proxy.url, verify=proxy.tls, headers=headers, http2=True, timeout=60) as client:
        yield client


@pytest.fixture
def unfinished(stack) -> Path:
    """Where the gateway keeps what is being uploaded."""
    return Path(stack.environment_of("reconciler")["SLUICE_OBJECTS__ROOT"]) / ".tmp"


@pytest.fixture
def mirrored(tmp_path) -> Iterator[Proxy]:
    """The proxy in front of something that answers with what reached it."""
    tmp_path.chmod(0o755)
    with open_mirror() as url, open_proxy(tmp_path, url) as proxy:
        yield proxy


def part_head(name: str) -> bytes:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: text/plain\r\n\r\n".encode()


END = f"\r\n--{BOUNDARY}--\r\n".encode()


def request_head(key: str, size: int) -> bytes:
    lines = [
        "POST /v1/documents HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {key}",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        f"Content-Length: {size}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def bytes_below(folder: Path) -> int:
    return sum(part.stat().st_size for part in folder.glob("*.part")) if folder.exists() else 0


def answer_of(connection: socket.socket) -> bytes:
    answer = b""
    while piece := connection.recv(65_536):
        answer += piece
    return answer


def test_the_gateway_has_the_first_bytes_of_an_upload_before_the_last_is_sent(proxy, stack, unfinished):
    text = uuid4().hex.encode() * (LARGE // 32)
    body = part_head("large.txt") + text + END
    half = len(body) // 2

    with proxy.connect() as connection:
        connection.sendall(request_head(stack.api_key, len(body)) + body[:half])
        wait_until(lambda: bytes_below(unfinished) > half // 2, seconds=30, message="nginx keeps the upload to itself")
        connection.sendall(body[half:])
        answer = answer_of(connection)

    assert answer.startswith(b"HTTP/1.1 202 "), answer[:300]


def test_an_upload_that_is_cut_leaves_nothing_behind(proxy, stack, unfinished, client):
    before = len(list(client.list()))
    body = part_head("cut.txt") + uuid4().hex.encode() * 65_536
    connection = proxy.connect()
    connection.sendall(request_head(stack.api_key, len(body) * 2) + body)
    wait_until(lambda: bytes_below(unfinished) > 0, seconds=30, message="the upload did not begin")

    connection.close()

    wait_until(lambda: bytes_below(unfinished) == 0, seconds=30, message="a part of the upload stayed")
    assert len(list(client.list())) == before


def test_clients_speak_http_2_and_get_security_headers(browser):
    answer = browser.get("/readyz")

    assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    assert answer.headers.get_list("x-frame-options") == ["DENY"]
    assert "server" not in answer.headers or answer.headers["server"] == "nginx"


def test_a_request_has_one_id_from_end_to_end(browser):
    answer = browser.get("/v1/documents/doc_none", headers={"X-Request-Id": "req-of-mine"})

    assert answer.headers.get_list("x-request-id") == ["req-of-mine"]
    assert answer.json()["request_id"] == "req-of-mine"


def test_events_arrive_one_by_one_while_the_stream_is_open(browser, client):
    document = client.upload(f"A stream through a proxy {uuid4()}.".encode(), name="streamed.txt")

    with browser.stream(
        "GET", f"/v1/documents/{document.id}/events", headers={"Accept": "text/event-stream"}
    ) as stream:
        pieces = [piece for piece in stream.iter_raw() if b"event:" in piece]

    assert stream.headers["content-type"].startswith("text/event-stream")
    assert b'"status":"ready"' in pieces[-1]
    assert len(pieces) > 1


@pytest.mark.parametrize("path", ["/metrics", "/v1/admin/keys", "/v1/admin/workers/ping", "/v1/admin"])
def test_what_is_not_for_the_outside_is_not_there(browser, path):
    for spelling in (path, path.replace("/v1/", "/v1//"), path.replace("admin", "%61dmin")):
        answer = browser.get(spelling)

        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "not_found"


def test_too_many_requests_are_answered_429_as_a_problem_that_says_when(browser, proxy):
    answers = []
    lock = threading.Lock()

    def ask() -> None:
        with httpx.Client(base_url=proxy.url, verify=proxy.tls, headers=browser.headers, timeout=60) as client:
            found = [client.get("/livez") for _ in range(100)]
        with lock:
            answers.extend(found)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert {answer.status_code for answer in answers} == {200, 429}
    assert refused[0].headers["retry-after"] == "1"
    assert refused[0].headers["content-type"] == "application/problem+json"
    assert refused[0].json()["error"]["code"] == "rate_limited"
    assert refused[0].headers["strict-transport-security"].startswith("max-age=")


def test_heads_that_never_end_are_cut_while_others_are_served(proxy, browser):
    slow = [proxy.connect() for _ in range(40)]
    for connection in slow:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")

    assert browser.get("/livez").status_code == 200
    endings = [answer_of(connection) for connection in slow]  # each ends when nginx cuts it

    assert all(ending == b"" or b" 408 " in ending for ending in endings)


def test_a_body_that_stops_is_answered_by_the_gateway_itself(proxy, stack):
    with proxy.connect() as connection:
        connection.sendall(request_head(stack.api_key, 1_000_000) + part_head("silent.txt") + b"and then nothing")
        answer = answer_of(connection)

    assert b" 408 " in answer
    assert b'"request_timeout"' in answer


def test_an_upload_that_is_too_large_is_refused_by_its_announced_length(proxy, stack):
    with proxy.connect() as connection:
        connection.sendall(request_head(stack.api_key, 10 * 2**30))
        answer = answer_of(connection)

    assert b" 413 " in answer
    assert b'"file_too_large"' in answer


def test_a_gateway_that_is_away_is_answered_503_as_a_problem(tmp_path):
    tmp_path.chmod(0o755)
    with open_proxy(tmp_path, "http://127.0.0.1:9") as proxy:
        answer = httpx.get(f"{proxy.url}/readyz", verify=proxy.tls, timeout=60)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert answer.json()["code"] == "unavailable"
    assert answer.headers["strict-transport-security"].startswith("max-age=")


def test_a_document_keeps_its_korean_name(browser):
    name = "임대차 계약서 (최종).txt"

    answer = browser.post("/v1/documents", files={"file": (name, f"보증금 {uuid4()}".encode())})

    assert browser.get(f"/v1/documents/{answer.json()['id']}").json()["name"] == name
    found = browser.get(f"/v1/documents?name={quote(name)}").json()["data"]
    assert answer.json()["id"] in {document["id"] for document in found}


def test_what_clients_say_about_their_address_is_not_passed_on(mirrored):
    spoofed = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "gopher"}

    reached = httpx.get(f"{mirrored.url}/livez", verify=mirrored.tls, headers=spoofed, timeout=60).json()["headers"]

    assert (reached["x-forwarded-for"], reached["x-forwarded-proto"]) == ("127.0.0.1", "https")


def test_a_websocket_goes_through_with_its_ticket_and_its_subprotocol(mirrored):
    address = f"wss://127.0.0.1:{mirrored.port}/v1/documents/doc_1/ws?ticket=once"

    with connect(address, ssl=mirrored.tls, subprotocols=["bearer.sk_1"]) as socket_:
        reached = json.loads(socket_.recv())
        socket_.send("a word")
        echoed = socket_.recv()

    assert reached["path"] == "/v1/documents/doc_1/ws?ticket=once"
    assert reached["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert socket_.subprotocol == "bearer.sk_1"
    assert (echoed, socket_.close_code) == ("a word", 1000)


def test_only_a_document_has_a_websocket(mirrored):
    asked = {"Connection": "Upgrade", "Upgrade": "websocket"}

    reached = httpx.get(f"{mirrored.url}/v1/search", verify=mirrored.tls, headers=asked, timeout=60).json()["headers"]

    assert "upgrade" not in reached


def test_the_log_of_refusals_has_neither_keys_nor_names(tmp_path):
    tmp_path.chmod(0o755)
    with open_proxy(tmp_path, "http://127.0.0.1:9") as proxy:
        answers = httpx.get(f"{proxy.url}/v1/documents?name=a-name-of-mine", verify=proxy.tls, timeout=60)
        text = (proxy.folder / "access.log").read_text(encoding="utf-8") + proxy.log()

    assert answers.status_code == 503
    assert '"gateway_status":"502"' in text
    assert "a-name-of-mine" not in text


def test_the_log_has_neither_keys_nor_names_nor_questions(browser, proxy, stack):
    browser.get("/v1/documents", params={"name": "a-name-of-mine"})

    text = (proxy.folder / "access.log").read_text(encoding="utf-8") + proxy.log()
    assert json.loads(text.splitlines()[0])["status"] == 200
    assert "a-name-of-mine" not in text
    assert stack.api_key not in text
