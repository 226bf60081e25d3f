"""Refusals as clients see them."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import orjson
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.testclient import TestClient

from sluice_api import problems
from sluice_api.problems import TITLES, Problem, body_of, problem_of, response_of
from sluice_common.errors import (
    DatabaseUnavailable,
    DimensionMismatch,
    EmbeddingRejected,
    LeaseLost,
    ObjectMissing,
    RateLimited,
    StorageFull,
)


class Wanted(BaseModel):
    number: int


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/secret")
    def secret() -> None:
        raise RuntimeError("the password is hunter2")

    @app.post("/wanted")
    def wanted(body: Wanted) -> None:
        return None

    problems.install(app)
    return app


@pytest.fixture
def client():
    return TestClient(application())


def test_a_problem_has_the_members_of_both_readers():
    body = body_of(Problem(413, "file_too_large", "The limit is 5 bytes.", pointer="/file"), "req_1")

    assert body == {
        "type": "https://sluice.example/problems/file_too_large",
        "title": "The file is too large",
        "status": 413,
        "detail": "The limit is 5 bytes.",
        "instance": "/v1/requests/req_1",
        "code": "file_too_large",
        "request_id": "req_1",
        "errors": [{"pointer": "/file", "detail": "The limit is 5 bytes."}],
        "error": {
            "message": "The limit is 5 bytes.",
            "type": "invalid_request_error",
            "param": "file",
            "code": "file_too_large",
        },
    }


def test_an_unexpected_error_is_answered_without_its_text(client):
    answer = client.get("/secret")

    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "not_found"), ("DELETE", "/secret", 405, "method_not_allowed")],
)
def test_the_frameworks_own_refusals_have_the_same_form(client, method, path, status, code):
    answer = client.request(method, path)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_wrong_field_is_pointed_at(client):
    answer = client.post("/wanted", json={"number": "x"})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/number"
    assert answer.json()["error"]["param"] == "number"


def test_what_is_no_json_cannot_be_read(client):
    answer = client.post("/wanted", content=b"{", headers={"content-type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (DatabaseUnavailable("host=10.0.0.1"), 503, "unavailable"),
        (StorageFull(), 507, "storage_full"),
        (LeaseLost(), 409, "conflict"),
        (EmbeddingRejected("the text itself"), 422, "embedding_rejected"),
        (ObjectMissing("ab/cd"), 500, "internal"),
        (DimensionMismatch(), 500, "internal"),
    ],
)
def test_a_named_failure_says_what_to_do_next_and_not_its_detail(error, status, code):
    problem = problem_of(error)

    assert (problem.status, problem.code) == (status, code)
    assert not error.detail or error.detail not in problem.detail


def test_the_wait_that_a_provider_asks_for_is_passed_on():
    assert problem_of(RateLimited(retry_after_s=7.4)).headers["Retry-After"] == "7"


def test_clients_are_told_not_to_repeat_a_conflict_unless_it_passes():
    lasting = response_of(Problem(409, "document_exists", "x"), {})
    passing = response_of(Problem(409, "idempotency_in_flight", "x", headers={"Retry-After": "1"}), {})

    assert lasting.headers["x-should-retry"] == "false"
    assert "x-should-retry" not in passing.headers


def test_a_missing_key_names_its_scheme():
    answer = response_of(Problem(401, "unauthenticated", "x"), {})

    assert answer.headers["www-authenticate"] == "Bearer"
    assert orjson.loads(answer.body)["error"]["type"] == "authentication_error"


def test_every_title_is_a_phrase_of_its_own():
    assert len(set(TITLES.values())) == len(TITLES)


def test_who_is_cut_off_by_a_gateway_that_stops_is_told_to_try_again():
    app, arrived = FastAPI(), threading.Event()
    problems.install(app)

    @app.get("/slow")
    async def slow() -> None:
        arrived.set()
        await asyncio.Event().wait()

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(2) as threads:
        server = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=1, log_config=None))
        serving = threads.submit(server.run, [listener])
        asking = threads.submit(httpx.get, f"http://127.0.0.1:{listener.getsockname()[1]}/slow", timeout=30)
        assert arrived.wait(30)
        server.should_exit = True
        answer = asking.result()
        serving.result()

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "retry-after" in answer.headers
