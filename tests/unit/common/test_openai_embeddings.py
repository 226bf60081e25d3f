"""What is made of a provider's wrong, late and rude answers; a real server on loopback gives each of them."""

import base64
import gzip
import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from sluice_common.adapters import openai_embeddings
from sluice_common.adapters.openai_embeddings import OpenAIEmbeddings
from sluice_common.errors import (
    DimensionMismatch,
    EmbeddingProviderUnavailable,
    EmbeddingRejected,
    PipelineError,
    RateLimited,
)
from sluice_common.settings import EmbeddingsSettings

DIMENSIONS = 8
Answer = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request, and the ways to answer it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait for 40 ms
    server: "Provider"

    def do_POST(self) -> None:
        self.asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(self.asked)
        self.server.sent_headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.answer(self)

    def do_GET(self) -> None:
        self.asked = {"input": []}
        self.server.answer(self)

    def log_message(self, *_args: object) -> None:
        pass

    def say(self, body: bytes | object, *, status: int = 200, **headers: str) -> None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        headers = {"content-type": "application/json", "content-length": str(len(body)), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def say_vectors(self, vectors: np.ndarray, *, order: list[int] | None = None, floats: bool = False) -> None:
        self.say(embeddings_body(vectors, order=order, floats=floats))


class Provider(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.answer: Answer = well
        self.asked: list[dict[str, Any]] = []
        self.sent_headers: list[dict[str, str]] = []

    def handle_error(self, *_args: object) -> None:
        pass  # clients hang up in some of the tests


def embeddings_body(vectors: np.ndarray, *, order: list[int] | None = None, floats: bool = False) -> dict[str, Any]:
    rows = [
        {
            "object": "embedding",
            "index": index,
            "embedding": vectors[index].tolist() if floats else packed(vectors[index]),
        }
        for index in (order or range(len(vectors)))
    ]
    return {"object": "list", "data": rows, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def packed(vector: np.ndarray) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def vectors_for(texts: list[str], dimensions: int = DIMENSIONS) -> np.ndarray:
    rows = [np.random.default_rng(list(text.encode()) or [0]).standard_normal(dimensions) for text in texts]
    return np.array(rows, dtype=np.float32) * 3


def at_unit_length(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def well(exchange: Exchange) -> None:
    exchange.say_vectors(vectors_for(exchange.asked["input"]))


@pytest.fixture(scope="module")
def running_server() -> Iterator[Provider]:
    server = Provider()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def opened(running_server: Provider) -> Iterator[OpenAIEmbeddings]:
    provider = OpenAIEmbeddings(settings_for(running_server))
    yield provider
    provider.close()


@pytest.fixture
def server(running_server: Provider) -> Provider:
    running_server.answer = well
    running_server.asked.clear()
    running_server.sent_headers.clear()
    return running_server


@pytest.fixture
def provider(opened: OpenAIEmbeddings, server: Provider) -> OpenAIEmbeddings:
    return opened


@pytest.fixture
def connect(server: Provider) -> Iterator[Callable[..., OpenAIEmbeddings]]:
    made: list[OpenAIEmbeddings] = []

    def open_provider(**changes: Any) -> OpenAIEmbeddings:
        made.append(OpenAIEmbeddings(settings_for(server, **changes)))
        return made[-1]

    yield open_provider
    for provider in made:
        provider.close()


def settings_for(server: Provider, **changes: Any) -> EmbeddingsSettings:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    settings = {"base_url": url, "model": "m", "dimensions": DIMENSIONS, "timeout_s": 10, "api_key": "top-secret"}
    return EmbeddingsSettings.model_validate(settings | changes)


def status(code: int, body: bytes | object = b"{}", **headers: str) -> Answer:
    return lambda exchange: exchange.say(body, status=code, **headers)


def saying(body: bytes | object) -> Answer:
    return lambda exchange: exchange.say(body)


def with_vectors(change: Callable[[np.ndarray], np.ndarray], *, floats: bool = False) -> Answer:
    return lambda exchange: exchange.say_vectors(change(vectors_for(exchange.asked["input"])), floats=floats)


def is_unavailable(provider: OpenAIEmbeddings, detail_code: str) -> None:
    with pytest.raises(EmbeddingProviderUnavailable) as failure:
        provider.embed(["one", "two"])
    assert failure.value.detail_code == detail_code


def wait_after(provider: OpenAIEmbeddings) -> float | None:
    with pytest.raises(RateLimited) as failure:
        provider.embed(["one"])
    return failure.value.retry_after_s


def test_vectors_are_asked_for_as_base64_and_come_back_at_unit_length(provider, server):
    vectors = provider.embed(["one", "two"])

    np.testing.assert_allclose(vectors, at_unit_length(vectors_for(["one", "two"])), rtol=1e-6)
    assert vectors.dtype == np.float32
    assert server.asked == [{"input": ["one", "two"], "model": "m", "encoding_format": "base64"}]


def test_a_server_that_ignores_base64_is_understood_too(provider, server):
    server.answer = with_vectors(lambda vectors: vectors, floats=True)

    np.testing.assert_allclose(provider.embed(["one"]), at_unit_length(vectors_for(["one"])), rtol=1e-6)


def test_vectors_in_another_order_are_put_in_order(provider, server):
    server.answer = lambda exchange: exchange.say_vectors(vectors_for(exchange.asked["input"]), order=[2, 0, 1])

    texts = ["one", "two", "three"]
    np.testing.assert_allclose(provider.embed(texts), at_unit_length(vectors_for(texts)), rtol=1e-6)


def test_dimensions_are_sent_only_when_the_settings_say_so(connect, server):
    connect(send_dimensions=True).embed(["one"])

    assert server.asked[0]["dimensions"] == DIMENSIONS


def test_a_wait_in_seconds_is_handed_on(provider, server):
    server.answer = status(429, retry_after="17")
    assert wait_after(provider) == 17


def test_a_wait_in_milliseconds_is_handed_on_and_wins(provider, server):
    server.answer = status(429, retry_after_ms="1500", retry_after="17")
    assert wait_after(provider) == 1.5


def test_a_wait_until_a_date_counts_by_the_providers_own_clock(provider, server):
    def answer(exchange: Exchange) -> None:
        theirs = datetime.now(UTC) + timedelta(days=2)
        exchange.date_time_string = lambda: format_datetime(theirs, usegmt=True)
        exchange.say(b"{}", status=429, retry_after=format_datetime(theirs + timedelta(seconds=90), usegmt=True))

    server.answer = answer
    assert wait_after(provider) == 90


@pytest.mark.parametrize("header", ["soon", "nan", "inf", ""])
def test_a_wait_that_cannot_be_read_is_no_wait(provider, server, header):
    server.answer = status(429, retry_after=header)
    assert wait_after(provider) is None


def test_a_wait_that_is_not_named_is_no_wait(provider, server):
    server.answer = status(429)
    assert wait_after(provider) is None


def test_a_wait_in_the_past_is_over(provider, server):
    server.answer = status(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")
    assert wait_after(provider) == 0


@pytest.mark.parametrize("code", [500, 502, 503, 504, 529, 408, 409, 402, 418])
def test_a_failure_of_the_provider_is_unavailable(provider, server, code):
    server.answer = status(code)
    is_unavailable(provider, "provider_failed")


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_refusal_of_the_texts_is_rejected(provider, server, code):
    server.answer = status(code)
    with pytest.raises(EmbeddingRejected) as failure:
        provider.embed(["one"])
    assert failure.value.detail_code == f"http_{code}"


@pytest.mark.parametrize(
    ("code", "detail_code"),
    [(401, "provider_refused_credentials"), (403, "provider_refused_credentials"), (404, "provider_unknown_model")],
)
def test_a_wrong_key_or_model_waits_for_the_operator_and_fails_no_document(provider, server, code, detail_code):
    server.answer = status(code)
    is_unavailable(provider, detail_code)


def test_nothing_is_tried_twice_within_one_call(provider, server):
    server.answer = status(500)
    is_unavailable(provider, "provider_failed")
    assert len(server.asked) == 1


def test_a_redirect_is_not_followed(provider, server):
    server.answer = status(307, location=f"http://127.0.0.1:{server.server_port}/elsewhere")
    is_unavailable(provider, "provider_failed")
    assert len(server.asked) == 1


def test_a_provider_that_hangs_is_given_up_after_the_timeout(connect, server):
    released = threading.Event()
    server.answer = lambda _exchange: released.wait(30)

    is_unavailable(connect(timeout_s=0.2), "provider_timeout")
    released.set()


@pytest.mark.parametrize("code", [200, 500])
def test_a_provider_that_drips_is_given_up_after_the_timeout_too(connect, server, code):
    ended = threading.Event()

    def drip(exchange: Exchange) -> None:
        exchange.send_response(code)
        exchange.send_header("content-length", "1000000")
        exchange.end_headers()
        while not ended.wait(0.02):
            exchange.wfile.write(b" ")
            exchange.wfile.flush()

    server.answer = drip
    try:
        is_unavailable(connect(timeout_s=0.3), "provider_timeout")
    finally:
        ended.set()


def test_a_provider_that_is_not_there_is_unavailable(connect):
    is_unavailable(connect(base_url="http://127.0.0.1:9/v1"), "provider_unreachable")


def test_a_connection_that_is_cut_before_the_answer_is_unavailable(provider, server):
    server.answer = lambda exchange: exchange.connection.shutdown(2)
    is_unavailable(provider, "provider_answer_cut_off")


def test_an_answer_that_is_shorter_than_announced_is_unavailable(provider, server):
    def answer(exchange: Exchange) -> None:
        body = json.dumps(embeddings_body(vectors_for(exchange.asked["input"]))).encode()
        exchange.say(body, content_length=str(len(body) + 100))
        exchange.close_connection = True

    server.answer = answer
    is_unavailable(provider, "provider_answer_cut_off")


def test_an_answer_that_is_longer_than_announced_is_unavailable(provider, server):
    def answer(exchange: Exchange) -> None:
        body = json.dumps(embeddings_body(vectors_for(exchange.asked["input"]))).encode()
        exchange.say(body, content_length=str(len(body) - 20))
        exchange.close_connection = True

    server.answer = answer
    with pytest.raises(EmbeddingProviderUnavailable):
        provider.embed(["one", "two"])


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Welcome to the hotel's network</body></html>",
        b"",
        b"{",
        b"[]",
        b"null",
        {"error": "something"},
        {"data": None},
        {"data": [1, 2]},
        {"data": [{"index": 0}, {"index": 1}]},
        {"data": [{"index": i, "embedding": None} for i in range(2)]},
        {"data": [{"index": i, "embedding": "****"} for i in range(2)]},
        {"data": [{"index": i, "embedding": ""} for i in range(2)]},
        {"data": [{"index": i, "embedding": []} for i in range(2)]},
        {"data": [{"index": i, "embedding": "AAAA"} for i in range(2)]},
        {"data": [{"index": i, "embedding": {"a": 1}} for i in range(2)]},
        {"data": [{"index": i, "embedding": ["a"] * DIMENSIONS} for i in range(2)]},
        {"data": [{"index": i, "embedding": [[1.0] * DIMENSIONS]} for i in range(2)]},
        {"data": [{"index": i, "embedding": [1.0] * (DIMENSIONS + i)} for i in range(2)]},
        {"data": [{"index": i, "embedding": packed(np.ones(DIMENSIONS + i))} for i in range(2)]},
    ],
)
def test_an_answer_that_is_none_is_unavailable(provider, server, body):
    server.answer = saying(body)
    is_unavailable(provider, "provider_answer_unreadable")


@pytest.mark.parametrize("order", [[0], [0, 0], [1, 1], [0, 1, 1]])
def test_an_answer_with_vectors_missing_or_twice_is_unavailable(provider, server, order):
    server.answer = lambda exchange: exchange.say_vectors(vectors_for(exchange.asked["input"]), order=order)
    is_unavailable(provider, "provider_answer_incomplete")


@pytest.mark.parametrize("index", [-1, 2, "1", None, 1.0, True, [1]])
def test_an_index_that_is_none_of_the_texts_is_unavailable(provider, server, index):
    body = embeddings_body(vectors_for(["one", "two"]))
    body["data"][1]["index"] = index
    server.answer = saying(body)
    is_unavailable(provider, "provider_answer_incomplete")


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_unavailable(provider, server, number):
    def spoil(vectors: np.ndarray) -> np.ndarray:
        vectors[1, 3] = number
        return vectors

    server.answer = with_vectors(spoil)
    is_unavailable(provider, "provider_answer_not_finite")


def test_a_missing_number_is_unavailable(provider, server):
    body = embeddings_body(vectors_for(["one", "two"]), floats=True)
    body["data"][1]["embedding"][3] = None
    server.answer = saying(body)
    is_unavailable(provider, "provider_answer_not_finite")


def test_a_vector_without_length_is_unavailable(provider, server):
    server.answer = with_vectors(lambda vectors: vectors * np.array([[1], [0]]))
    is_unavailable(provider, "provider_zero_vector")


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_very_short_and_very_long_vectors_still_come_to_unit_length(provider, server, scale):
    server.answer = with_vectors(lambda vectors: vectors * np.float32(scale))

    np.testing.assert_allclose(np.linalg.norm(provider.embed(["one", "two"]), axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("floats", [True, False])
def test_vectors_of_another_size_than_configured_do_not_fit(provider, server, floats):
    server.answer = with_vectors(lambda vectors: vectors[:, :5], floats=floats)
    with pytest.raises(DimensionMismatch, match="5"):
        provider.embed(["one", "two"])


@pytest.mark.parametrize("code", [200, 500])
def test_an_answer_beyond_all_measure_is_dropped_while_it_comes(provider, server, monkeypatch, code):
    monkeypatch.setattr(openai_embeddings, "MAX_ANSWER_BYTES", 10_000)
    server.answer = status(code, b" " * 5_000_000)
    is_unavailable(provider, "provider_answer_too_large")


def test_a_small_answer_that_unpacks_to_a_huge_one_is_dropped_too(provider, server, monkeypatch):
    monkeypatch.setattr(openai_embeddings, "MAX_ANSWER_BYTES", 10_000)
    server.answer = status(200, gzip.compress(b" " * 5_000_000), content_encoding="gzip")
    is_unavailable(provider, "provider_answer_too_large")


def test_a_compressed_answer_is_read(provider, server):
    body = gzip.compress(json.dumps(embeddings_body(vectors_for(["one"]))).encode())
    server.answer = status(200, body, content_encoding="gzip")

    assert provider.embed(["one"]).shape == (1, DIMENSIONS)


def test_after_any_failure_the_next_call_is_like_the_first(provider, server):
    for answer in (status(500), saying(b"{"), status(429), lambda exchange: exchange.connection.shutdown(2)):
        server.answer = answer
        with pytest.raises((EmbeddingProviderUnavailable, RateLimited)):
            provider.embed(["one"])
        server.answer = well
        assert provider.embed(["one"]).shape == (1, DIMENSIONS)


def test_dimensions_that_are_not_configured_are_asked_for_once(connect, server):
    provider = connect(dimensions=None)

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(lambda _: provider.dimensions(), range(32))) == {DIMENSIONS}

    assert [asked["input"] for asked in server.asked] == [["dimension"]]


def test_a_failed_question_for_the_dimensions_is_asked_again(connect, server):
    provider = connect(dimensions=None)
    server.answer = status(500)
    with pytest.raises(EmbeddingProviderUnavailable):
        provider.embed(["one"])

    server.answer = well
    assert provider.dimensions() == DIMENSIONS


def test_a_provider_that_changes_its_size_later_is_noticed(connect, server):
    provider = connect(dimensions=None)
    provider.embed(["one"])

    server.answer = with_vectors(lambda vectors: vectors[:, :5])
    with pytest.raises(DimensionMismatch):
        provider.embed(["one"])


def test_a_text_that_the_model_could_not_take_is_cut_between_two_characters(connect, server):
    connect(max_tokens=64).embed(["short", "한" * 100, "a" * 100])

    assert server.asked[0]["input"] == ["short", "한" * 21, "a" * 64]


def test_a_text_with_half_a_character_is_sent_all_the_same(provider, server):
    provider.embed(["before \ud800 after"])

    assert server.asked[0]["input"] == ["before ? after"]


def test_the_key_is_sent_and_nothing_from_other_programs_variables(connect, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "stray-key")
    monkeypatch.setenv("OPENAI_ORG_ID", "stray-organisation")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "stray-project")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")

    connect().embed(["one"])

    (headers,) = server.sent_headers
    assert headers["authorization"] == "Bearer top-secret"
    assert "stray" not in str(headers)


def test_a_proxy_of_the_environment_does_not_stand_between_us_and_this_machine(connect, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    assert connect().embed(["one"]).shape == (1, DIMENSIONS)


@pytest.mark.parametrize(
    "answer",
    [
        status(400, {"error": {"message": "a private text and top-secret"}}),
        status(429, {"error": {"message": "a private text and top-secret"}}),
        status(500, b"a private text and top-secret"),
        saying(b"a private text and top-secret"),
    ],
)
def test_neither_texts_nor_keys_are_logged_or_told_in_errors(provider, server, caplog, answer):
    caplog.set_level(logging.DEBUG)
    provider.embed(["a private text"])
    server.answer = answer

    with pytest.raises(PipelineError) as failure:
        provider.embed(["a private text"])

    for told in (str(failure.value), caplog.text):
        assert "private" not in told
        assert "top-secret" not in told


def test_sixteen_requests_travel_at_once(provider, server):
    together = threading.Barrier(16)

    def answer(exchange: Exchange) -> None:
        together.wait(20)
        well(exchange)

    server.answer = answer
    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda number: provider.embed([f"text {number}"]), range(16)))

    assert len(results) == 16


def test_a_ping_needs_an_answer_but_no_list_of_models(provider, server):
    for answer in (saying({"object": "list", "data": []}), status(404), status(405), status(429)):
        server.answer = answer
        provider.ping()


@pytest.mark.parametrize(
    ("code", "detail_code"), [(500, "provider_failed"), (503, "provider_failed"), (401, "provider_refused_credentials")]
)
def test_a_ping_to_a_provider_that_cannot_serve_us_says_so(provider, server, code, detail_code):
    server.answer = status(code)
    with pytest.raises(EmbeddingProviderUnavailable) as failure:
        provider.ping()
    assert failure.value.detail_code == detail_code


def test_a_ping_to_nobody_says_so(connect):
    with pytest.raises(EmbeddingProviderUnavailable):
        connect(base_url="http://127.0.0.1:9/v1").ping()


@pytest.mark.parametrize(
    ("headers", "rate"),
    [
        ({}, None),
        ({"limit_requests": "3000", "remaining_requests": "2000", "reset_requests": "20s"}, 100),
        ({"limit_requests": "3000", "remaining_requests": "0", "reset_requests": "1m0s"}, 50),
        ({"limit_requests": "100", "remaining_requests": "99", "reset_requests": "60"}, 1.65),
        ({"limit_tokens": "1000", "remaining_tokens": "0", "reset_tokens": "500ms"}, 2000),
        (
            {"limit_tokens": "1000", "remaining_tokens": "0", "reset_tokens": "10s"}
            | {"limit_requests": "10", "remaining_requests": "0", "reset_requests": "1s"},
            10,
        ),
        ({"limit_requests": "100", "remaining_requests": "100", "reset_requests": "0s"}, None),
        ({"limit_requests": "many", "remaining_requests": "-", "reset_requests": "soon"}, None),
    ],
)
def test_what_the_headers_allow_is_told_as_requests_per_second(server, connect, headers, rate):
    told: list[float] = []
    provider = connect()
    provider.when_allowed(told.append)
    said = {f"x_ratelimit_{name}": value for name, value in headers.items()}
    server.answer = lambda exchange: exchange.say(embeddings_body(vectors_for(exchange.asked["input"])), **said)

    provider.embed(["one"])

    assert told == ([] if rate is None else [pytest.approx(rate)])
