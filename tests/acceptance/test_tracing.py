"""One trace goes through gateway, queue, extractor and embedder, whatever Redis forgets meanwhile."""

import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from conftest import system
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from oracle import wait_until
from redis import Redis

from sluice_client import SluiceClient
from sluice_local.postgres import VOLATILE
from sluice_local.stack import LocalStack


@dataclass
class Collector:
    """What was sent, as (service, span)."""

    url: str = ""
    spans: list = field(default_factory=list)

    def of(self, trace_id: str) -> dict[str, list]:
        """The spans of one trace by `service: name`."""
        found: dict[str, list] = {}
        for service, span in self.spans:
            if span.trace_id.hex() == trace_id:
                found.setdefault(f"{service}: {span.name}", []).append(span)
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Otlp(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                (service,) = (a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
                collector.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Otlp) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
        Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        server.shutdown()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def stack(collector, tmp_path_factory) -> Iterator[LocalStack]:
    settings = {"SLUICE_TRACING__ENDPOINT": collector.url}
    home = tmp_path_factory.mktemp("traced")
    with LocalStack(home, environment=system(**settings), postgres_settings=VOLATILE) as running:
        yield running


def upload(stack: LocalStack, *, traceparent: str) -> str:
    answer = httpx.post(
        f"{stack.url}/v1/documents",
        headers={"Authorization": f"Bearer {stack.api_key}", "traceparent": traceparent},
        files={"file": ("gate.txt", secrets.token_hex(8).encode())},
        timeout=30,
    )
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text
    return answer.json()["id"]


WHOLE = {
    "sluice-api: POST /v1/documents",
    "sluice-extractor: extract document",
    "sluice-embedder: embed batch",
    "sluice-embedder: publish run",
}


def whole_trace(collector: Collector, trace_id: str) -> dict[str, list]:
    wait_until(
        lambda: set(collector.of(trace_id)) == WHOLE, seconds=30, message=lambda: f"{set(collector.of(trace_id))}"
    )
    return collector.of(trace_id)


def test_one_trace_goes_through_every_stage_of_a_document_and_continues_that_of_its_client(stack, client, collector):
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)

    document_id = upload(stack, traceparent=f"00-{trace_id}-{caller}-01")
    client.wait(document_id)

    (request,), (extraction,), (batch,), (publication,) = (
        whole_trace(collector, trace_id)[name] for name in sorted(WHOLE, key=order_of)
    )
    assert request.parent_span_id.hex() == caller
    assert extraction.parent_span_id == batch.parent_span_id == request.span_id
    assert publication.parent_span_id == batch.span_id
    facts = {attribute.key: attribute.value.string_value for attribute in extraction.attributes}
    assert facts["sluice.outcome"] == "ok"
    assert facts["sluice.document_id"].replace("-", "") == document_id.removeprefix("doc_")
    assert "gate.txt" not in str(collector.spans)


def order_of(name: str) -> int:
    return ("POST /v1/documents", "extract document", "embed batch", "publish run").index(name.partition(": ")[2])


def test_the_trace_is_whole_when_redis_forgot_the_message(stack, client, collector):
    trace_id = secrets.token_hex(16)
    stack.kill("extractor", signal.SIGSTOP)
    try:
        document_id = upload(stack, traceparent=f"00-{trace_id}-{secrets.token_hex(8)}-01")
        with Redis.from_url(stack.environment_of("api")["SLUICE_BROKER__URL"]) as redis:
            redis.flushall()
    finally:
        stack.kill("extractor", signal.SIGCONT)

    client.wait(document_id)

    assert whole_trace(collector, trace_id)


def test_a_client_that_does_not_want_a_trace_gets_none(stack, client, collector):
    trace_id, other = secrets.token_hex(16), secrets.token_hex(16)

    client.wait(upload(stack, traceparent=f"00-{trace_id}-{secrets.token_hex(8)}-00"))
    client.wait(upload(stack, traceparent=f"00-{other}-{secrets.token_hex(8)}-01"))

    assert whole_trace(collector, other)
    assert collector.of(trace_id) == {}


def test_a_traceparent_that_cannot_be_read_begins_a_new_trace(stack, client, collector):
    document_id = upload(stack, traceparent="00-nonsense")
    client.wait(document_id)

    wanted = document_id.removeprefix("doc_")
    wait_until(lambda: bool(extractions_of(collector, wanted)), seconds=30, message="no span of the document")
    (span,) = extractions_of(collector, wanted)
    assert whole_trace(collector, span.trace_id.hex())


def extractions_of(collector: Collector, document: str) -> list:
    return [
        span
        for _, span in collector.spans
        if span.name == "extract document" and document in str(span.attributes).replace("-", "")
    ]


def test_while_the_collector_is_away_everything_goes_on(collector, tmp_path):
    settings = system(SLUICE_TRACING__ENDPOINT="http://127.0.0.1:9/v1/traces")
    with (
        LocalStack(tmp_path, environment=settings, postgres_settings=VOLATILE) as stack,
        SluiceClient(stack.url, stack.api_key) as client,
    ):
        document = client.wait(upload(stack, traceparent=f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"))

        assert document.status == "ready"
