"""The client against a real HTTP server with scripted answers."""

import io
import json
import os
import socket
import unicodedata

import pytest

from sluice_client import (
    Conflict,
    Forbidden,
    GatewayFailed,
    GatewayUnreachable,
    Gone,
    InvalidRequest,
    NotFound,
    SluiceClient,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    UnexpectedAnswer,
    WaitTimeout,
)

AT_ONCE = {"Retry-After": "0"}


def problem(code="x", **more):
    return {"type": "https://x/", "title": "No", "detail": "Because.", "code": code, "request_id": "req_9", **more}


def stream(*events, **more):
    body = "".join(f"id: {n}\nevent: document.progress\ndata: {json.dumps(fields)}\n\n" for n, fields in events)
    return {"raw": b"retry: 1\n\n" + body.encode(), "headers": {"Content-Type": "text/event-stream"}, **more}


# Uploading


def test_an_upload_streams_the_file_with_its_fields_and_reports_progress(
    client, script, answered, make_document, tmp_path
):
    path = tmp_path / unicodedata.normalize("NFD", "보고서.txt")
    path.write_bytes(b"x" * 200_000)
    script.on("POST /v1/documents", answered(202, make_document("queued")))
    seen = []

    document = client.upload(
        path,
        collection="c",
        attributes={"year": 2026},
        chunking={"max_chars": 500},
        on_progress=lambda *n: seen.append(n),
    )

    [asked] = script.asked
    assert document.status == "queued"
    assert not document.already_there
    assert 'filename="보고서.txt"'.encode() in asked.body
    assert b"x" * 200_000 in asked.body
    assert b'{"year": 2026}' in asked.body
    assert asked.headers["authorization"] == "Bearer sk_test"
    assert "content-length" in asked.headers
    assert seen[-1] == (200_000, 200_000)
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    "first", [{"cut": True}, {"status": 503, "headers": AT_ONCE}, {"status": 429, "headers": AT_ONCE}]
)
def test_a_repeated_upload_sends_every_byte_again_under_the_same_idempotency_key(
    client, script, answered, make_document, first
):
    script.on("POST /v1/documents", answered(**first), answered(202, make_document("queued")))

    client.upload(b"all of it", name="a.txt")

    keys = {asked.headers["idempotency-key"] for asked in script.asked}
    assert len(script.asked) == 2
    assert len(keys) == 1
    assert all(b"all of it" in asked.body for asked in script.asked)


def test_an_idempotency_key_in_flight_is_waited_for(client, script, answered, make_document):
    in_flight = answered(409, problem("idempotency_in_flight"), AT_ONCE)
    script.on("POST /v1/documents", in_flight, answered(202, make_document("queued")))

    assert client.upload(b"x", name="a.txt").id == "doc_1"


def test_two_uploads_have_different_idempotency_keys(client, script, answered, make_document):
    script.on("POST /v1/documents", answered(202, make_document("queued")))

    client.upload(b"x", name="a.txt")
    client.upload(b"x", name="a.txt")

    assert len({asked.headers["idempotency-key"] for asked in script.asked}) == 2


def test_an_open_file_is_read_from_where_it_stands(client, script, answered, make_document):
    script.on("POST /v1/documents", answered(503, headers=AT_ONCE), answered(202, make_document()))
    body = io.BytesIO(b"head and body")
    body.seek(5)

    client.upload(body, name="a.txt")

    assert all(b"\r\n\r\nand body\r\n" in asked.body for asked in script.asked)


def test_a_pipe_is_uploaded_once_because_it_cannot_be_read_again(client, script, answered):
    script.on("POST /v1/documents", answered(503, problem("unavailable"), AT_ONCE))
    reading, writing = os.pipe()
    os.write(writing, b"from a pipe")
    os.close(writing)

    with os.fdopen(reading, "rb") as pipe, pytest.raises(GatewayFailed):
        client.upload(pipe, name="a.txt")

    [asked] = script.asked
    assert b"from a pipe" in asked.body


def test_bytes_without_a_name_are_refused_before_anything_is_sent(client, script):
    with pytest.raises(ValueError, match="name"):
        client.upload(b"x")

    assert script.asked == []


def test_the_same_bytes_again_are_told_apart_from_a_new_document(client, script, answered, make_document):
    script.on("POST /v1/documents", answered(200, make_document()))

    assert client.upload(b"x", name="a.txt").already_there


# Errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequest),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (410, Gone),
        (412, Conflict),
        (413, TooLarge),
        (415, InvalidRequest),
        (422, InvalidRequest),
        (500, GatewayFailed),
    ],
)
def test_a_problem_becomes_the_error_of_its_status(client, script, answered, status, kind):
    wrong = problem("some_code", remedy="Do this.", errors=[{"pointer": "/file", "detail": "too big"}])
    script.on("GET /v1/documents/doc_1", answered(status, wrong))

    with pytest.raises(kind) as caught:
        client.get("doc_1")

    error = caught.value
    assert (error.code, error.status, error.request_id, error.remedy) == ("some_code", status, "req_9", "Do this.")
    assert error.pointers == (("/file", "too big"),)
    assert str(error) == "Because."
    assert len(script.asked) == 1


def test_a_refusal_that_stays_carries_the_wait_after_the_last_retry(url, script, answered):
    script.on("GET /v1/documents/doc_1", answered(429, problem("rate_limited"), AT_ONCE))

    with SluiceClient(url, "k", retries=2) as client, pytest.raises(TooManyRequests) as caught:
        client.get("doc_1")

    assert caught.value.retry_after_s == 0
    assert caught.value.remedy
    assert len(script.asked) == 3


def test_a_used_up_quota_is_not_tried_again(client, script, answered):
    script.on("POST /v1/documents", answered(429, problem("quota_exceeded"), {"Retry-After": "3600"}))

    with pytest.raises(TooManyRequests):
        client.upload(b"x", name="a.txt")

    assert len(script.asked) == 1


def test_a_full_queue_is_waited_for(client, script, answered, make_document):
    script.on(
        "POST /v1/documents", answered(429, problem("queue_full"), AT_ONCE), answered(202, make_document("queued"))
    )

    assert client.upload(b"x", name="a.txt").status == "queued"
    assert len(script.asked) == 2


def test_a_full_disk_is_not_tried_again_and_the_error_says_so(client, script, answered):
    script.on("POST /v1/documents", answered(507, problem("storage_full"), {"Retry-After": "60"}))

    with pytest.raises(GatewayFailed, match="Because") as caught:
        client.upload(b"x", name="a.txt")

    assert (caught.value.code, caught.value.retry_after_s) == ("storage_full", 60)
    assert "not sent again by itself" in caught.value.remedy
    assert len(script.asked) == 1


def test_an_answer_that_is_not_a_problem_still_has_a_code_and_a_request_id(client, script, answered):
    page = answered(403, raw=b"<html>", headers={"X-Request-Id": "req_p", "Content-Type": "text/html"})
    script.on("GET /v1/documents/doc_1", page)

    with pytest.raises(Forbidden) as caught:
        client.get("doc_1")

    assert (caught.value.code, caught.value.request_id) == ("http_403", "req_p")


def test_another_servers_page_is_not_taken_for_an_answer(client, script, answered):
    script.on("GET /v1/documents/doc_1", answered(200, raw=b"<html>hello</html>"))

    with pytest.raises(UnexpectedAnswer, match="not JSON"):
        client.get("doc_1")


def test_no_answer_at_all_is_named_after_the_retries():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with (
        SluiceClient(f"http://127.0.0.1:{port}", "k", retries=1) as client,
        pytest.raises(GatewayUnreachable) as caught,
    ):
        client.get("doc_1")

    assert caught.value.code == "unreachable"
    assert caught.value.remedy


# Looking


def test_unknown_fields_are_ignored_and_known_ones_are_typed(client, script, answered, make_document):
    sent = make_document(
        "failed",
        error={
            "code": "encrypted",
            "message": "It needs a password.",
            "remedy": "Remove it.",
            "retryable": False,
            "z": 1,
        },
        embedding={"model": "m", "dimensions": 256, "z": 1},
        created_at="2026-11-20T11:48:10Z",
        attributes={"year": 2026},
    )
    script.on("GET /v1/documents/doc_1", answered(200, sent))

    document = client.get("doc_1")

    assert document.error.code == "encrypted"
    assert document.error.remedy == "Remove it."
    assert document.embedding.dimensions == 256
    assert document.created_at.utcoffset().total_seconds() == 0
    assert document.progress.failed_pages == (7,)
    assert document.ended


def test_a_list_follows_its_cursors_and_asks_no_further_than_it_is_read(client, script, answered, make_document):
    script.on(
        "GET /v1/documents",
        answered(
            200, {"object": "list", "data": [make_document(id="a"), make_document(id="b")], "next_cursor": "n+1="}
        ),
        answered(200, {"object": "list", "data": [make_document(id="c")], "next_cursor": None}),
    )

    found = client.list(collection="col", status="ready")
    first = next(found)
    asked_for_the_first = len(script.asked)
    rest = list(found)

    assert (first.id, [one.id for one in rest]) == ("a", ["b", "c"])
    assert asked_for_the_first == 1
    assert "collection=col" in script.asked[1].path
    assert "cursor=n%2B1%3D" in script.asked[1].path


def test_a_limited_list_stops_in_the_middle_of_a_page(client, script, answered, make_document):
    page = {"data": [make_document(id=str(n)) for n in range(3)], "next_cursor": "more"}
    script.on("GET /v1/documents", answered(200, page))

    assert [one.id for one in client.list(limit=3)] == ["0", "1", "2"]
    assert "limit=3" in script.asked[0].path
    assert len(script.asked) == 1


def test_chunks_and_hits_are_typed(client, script, answered):
    chunk = {"chunk": 4, "text": "t", "page_start": 2, "page_end": 3, "tokens": 9, "boxes": [], "new": 1}
    hit = {
        "document_id": "doc_1",
        "name": "n",
        "collection": "default",
        "chunk": 4,
        "text": "t",
        "score": 0.5,
        "new": 1,
    }
    script.on("GET /v1/documents/doc_1/chunks", answered(200, {"data": [chunk], "next_cursor": None}))
    script.on("POST /v1/search", answered(200, {"results": [hit]}))

    [one] = client.chunks("doc_1")
    [found] = client.search("q", mode="dense", score_threshold=0.1)

    assert (one.number, one.page_end) == (4, 3)
    assert (found.chunk, found.score, found.page_start) == (4, 0.5, None)
    assert json.loads(script.asked[-1].body) == {"query": "q", "mode": "dense", "score_threshold": 0.1}


def test_a_download_is_written_piece_by_piece(client, script, answered, tmp_path):
    script.on("GET /v1/documents/doc_1/content", answered(200, raw=b"y" * 300_000))

    written = client.download("doc_1", tmp_path / "copy")

    assert written == 300_000
    assert (tmp_path / "copy").read_bytes() == b"y" * 300_000


def test_a_download_that_breaks_off_is_an_error(client, script, answered, tmp_path):
    script.on("GET /v1/documents/doc_1/content", answered(200, raw=b"half", cut=True))

    with pytest.raises(GatewayUnreachable):
        client.download("doc_1", tmp_path / "copy")


def test_ids_cannot_leave_their_place_in_the_path(client, script, answered):
    with pytest.raises(NotFound):
        client.get("../collections?x=")

    assert script.asked[0].path == "/v1/documents/..%2Fcollections%3Fx%3D"


def test_a_ping_names_the_stages_that_did_not_answer(client, script, answered):
    stages = [{"stage": "extract", "worker": "w", "message": "worker is running"}, {"stage": "embed", "worker": None}]
    script.on("POST /v1/admin/workers/ping", answered(503, {"status": "unavailable", "stages": stages}))

    assert [(one.stage, one.has_answered) for one in client.ping()] == [("extract", True), ("embed", False)]
    assert len(script.asked) == 1


# Following


def test_wait_follows_the_stream_to_the_end(client, script, answered, make_document):
    working, embedding = make_document("processing"), make_document("processing", stage="embedding")
    script.on(
        "GET /v1/documents/doc_1", *(answered(200, one) for one in (working, working, embedding, make_document()))
    )
    script.on(
        "GET /v1/documents/doc_1/events", answered(**stream((1, {"status": "processing"}), (2, {"status": "ready"})))
    )
    seen = []

    document = client.wait("doc_1", on_progress=lambda one: seen.append(one.stage))

    assert document.status == "ready"
    assert seen == ["extracting", "embedding", "done"]
    assert len(script.requests("GET /v1/documents/doc_1/events")) == 1


def test_wait_connects_again_behind_the_last_event_when_the_stream_breaks_off(client, script, answered, make_document):
    script.on(
        "GET /v1/documents/doc_1", *[answered(200, make_document("processing"))] * 4, answered(200, make_document())
    )
    script.on(
        "GET /v1/documents/doc_1/events",
        answered(**stream((41, {"status": "processing"}), cut=True)),
        answered(**stream((42, {"status": "ready"}))),
    )

    assert client.wait("doc_1").status == "ready"

    first, second = script.requests("GET /v1/documents/doc_1/events")
    assert "last-event-id" not in first.headers
    assert second.headers["last-event-id"] == "41"


def test_wait_notices_an_end_that_came_before_the_stream_was_open(client, script, answered, make_document):
    script.on("GET /v1/documents/doc_1", answered(200, make_document("processing")), answered(200, make_document()))
    script.on("GET /v1/documents/doc_1/events", answered(**stream()))

    assert client.wait("doc_1").status == "ready"


@pytest.mark.parametrize(
    "no_stream",
    [{"status": 406}, {"status": 404}, {"body": {"data": []}}, {"raw": b": nothing\n\n", "cut": True}],
    ids=["refused", "unknown", "not a stream", "breaks off"],
)
def test_wait_falls_back_to_long_polling(client, script, answered, make_document, no_stream):
    if "raw" in no_stream:
        no_stream = {**no_stream, "headers": {"Content-Type": "text/event-stream"}}
    working = answered(200, make_document("processing"), {"ETag": '"1"'})
    script.on("GET /v1/documents/doc_1", *[working] * 5, answered(304), answered(200, make_document()))
    script.on("GET /v1/documents/doc_1/events", answered(**no_stream))

    assert client.wait("doc_1").status == "ready"

    last = script.requests("GET /v1/documents/doc_1")[-1]
    assert last.headers["prefer"] == "wait=25"
    assert last.headers["if-none-match"] == '"1"'


def test_wait_gives_a_failed_document_back_with_its_error(client, script, answered, make_document):
    failed = make_document("failed", error={"code": "empty", "message": "m", "remedy": "r"})
    script.on("GET /v1/documents/doc_1", answered(200, failed))

    assert client.wait("doc_1").error.code == "empty"


def test_wait_gives_up_when_the_time_is_over(client, script, answered, make_document):
    script.on("GET /v1/documents/doc_1", answered(200, make_document("processing")))
    script.on("GET /v1/documents/doc_1/events", answered(404))

    with pytest.raises(WaitTimeout, match="doc_1"):
        client.wait("doc_1", timeout_s=0.05)


def test_wait_says_that_the_document_was_deleted_meanwhile(client, script, answered, make_document):
    script.on("GET /v1/documents/doc_1", answered(200, make_document("processing")), answered(410, problem("deleted")))
    script.on("GET /v1/documents/doc_1/events", answered(**stream((1, {"status": "deleting"}))))

    with pytest.raises(Gone) as caught:
        client.wait("doc_1")

    assert caught.value.code == "deleted"


def test_followed_events_go_on_behind_the_last_one_and_stop_at_the_end(client, script, answered, make_document):
    script.on("GET /v1/documents/doc_1/status", answered(200, make_document("processing", progress=10)))
    script.on(
        "GET /v1/documents/doc_1/events",
        answered(**stream((5, {"status": "processing", "progress": 12}), cut=True)),
        answered(**stream((6, {"status": "ready", "progress": 100}))),
    )

    events = list(client.events("doc_1", after="4", follow=True))

    assert [(one.id, one.percent) for one in events] == [("5", 12), ("6", 100)]
    connections = script.requests("GET /v1/documents/doc_1/events")
    assert [one.headers["last-event-id"] for one in connections] == ["4", "5"]


def test_past_events_are_a_list(client, script, answered):
    event = {"id": 3, "type": "document.status", "document_id": "doc_1", "status": "ready"}
    script.on("GET /v1/documents/doc_1/events", answered(200, {"data": [event], "next_cursor": None}))

    [one] = client.events("doc_1")

    assert (one.id, one.type, one.status) == ("3", "document.status", "ready")


# Pages


def test_the_image_of_a_page_is_asked_for_with_its_resolution(client, script, answered):
    script.on("GET /v1/documents/doc_1/pages/3.png", answered(200, raw=b"png"))

    assert client.page_image("doc_1", 3, dpi=72) == b"png"
    assert [one.path.partition("?")[2] for one in script.asked] == ["dpi=72"]


# Recordings and jobs


def test_an_analysis_is_given_as_it_was_sent(client, script, answered):
    script.on("GET /v1/documents/doc_1/analysis", answered(200, {"kind": "audio", "duration_s": 1.5, "new": True}))

    assert client.analysis("doc_1") == {"kind": "audio", "duration_s": 1.5, "new": True}


def test_a_job_is_read_with_its_result_and_its_error(client, script, answered):
    error = {"code": "corrupt", "message": "Damaged.", "remedy": "Save it anew.", "retryable": False}
    body = {"id": "job_1", "kind": "ingest", "document_id": "doc_1", "created_at": "2026-11-20T11:46:01Z", "new": 1}
    good = answered(200, body | {"status": "success", "progress": 100, "result": {"run": 7}, "error": None})
    bad = answered(200, body | {"status": "failure", "result": None, "error": error})
    script.on("GET /v1/jobs/job_1", good, bad)

    done, failed = client.job("job_1"), client.job("job_1")

    assert (done.status, done.progress, done.result, done.created_at.year) == ("success", 100, {"run": 7}, 2026)
    assert (failed.status, failed.error.code, failed.error.remedy) == ("failure", "corrupt", "Save it anew.")
