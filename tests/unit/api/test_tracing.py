"""One line, one id and one measurement for every request."""

import pytest
import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, generate_latest
from starlette.responses import Response
from starlette.testclient import TestClient

from sluice_api import problems
from sluice_api.metrics import GatewayMetrics
from sluice_api.tracing import Tracing

DOCUMENT = "doc_0199a3f2c1d47e0b8a5d3c2b1a098877"


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def client(registry):
    app = FastAPI()

    @app.get("/v1/documents/{document_id}")
    def read(document_id: str) -> Response:
        return Response()

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError

    problems.install(app)
    app.add_middleware(Tracing, metrics=GatewayMetrics(registry))
    return TestClient(app)


def lines_of(client: TestClient, path: str, **headers: str) -> list[dict]:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        client.get(path, headers=headers)
    return lines


def test_a_request_leaves_one_line_without_its_query(client):
    (line,) = lines_of(client, f"/v1/documents/{DOCUMENT}?name=secret.pdf", **{"X-Request-Id": "trace-7"})

    assert line.pop("duration_s") >= 0
    assert line == {
        "event": "request_finished",
        "log_level": "info",
        "request_id": "trace-7",
        "document_id": "0199a3f2-c1d4-7e0b-8a5d-3c2b1a098877",
        "method": "GET",
        "route": "/v1/documents/{document_id}",
        "status": 200,
    }


@pytest.mark.parametrize("path", ["/secret-name.pdf", "/v1/documents/secret-name.pdf"])
def test_what_the_client_wrote_into_the_path_is_not_logged(client, path):
    assert "secret-name" not in str(lines_of(client, path))


def test_an_unexpected_error_is_logged_under_the_requests_id(client):
    failed, finished = lines_of(client, "/broken", **{"X-Request-Id": "trace-8"})

    assert (failed["event"], failed["request_id"]) == ("request_failed", "trace-8")
    assert (finished["event"], finished["status"]) == ("request_finished", 500)


@pytest.mark.parametrize("sent", ["a b", "x" * 129, "<script>"])
def test_an_id_that_may_not_stand_in_a_log_is_replaced(client, sent):
    assert client.get("/nowhere", headers={"X-Request-Id": sent}).headers["x-request-id"].startswith("req_")


def test_requests_are_counted_by_route_and_never_by_path(client, registry):
    client.get(f"/v1/documents/{DOCUMENT}")
    client.get("/elsewhere")

    counted = generate_latest(registry).decode()
    assert 'method="GET",route="/v1/documents/{document_id}",status="200"' in counted
    assert 'route="(none)",status="404"' in counted
    assert "elsewhere" not in counted
