"""What every embedding provider promises, over the real client with a real server, and the fake."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from sluice_common.adapters.build import build_embeddings
from sluice_common.ports import EmbeddingProvider
from sluice_common.settings import EmbeddingsSettings
from sluice_common.testing import FakeEmbeddings


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "sluice_local.embedding_server", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/healthz")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until_healthy(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            httpx.get(url, trust_env=False, timeout=60).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("the embedding server did not become healthy")


def local(server_url: Callable[[], str]) -> EmbeddingProvider:
    return build_embeddings(EmbeddingsSettings(base_url=server_url(), model="wordllama-256"))


def shortened(server_url: Callable[[], str]) -> EmbeddingProvider:
    settings = EmbeddingsSettings(base_url=server_url(), model="wordllama-256", dimensions=64, send_dimensions=True)
    return build_embeddings(settings)


MAKERS: dict[str, Callable[[Callable[[], str]], EmbeddingProvider]] = {
    "local server": local,
    "local server, 64 dimensions": shortened,
    "fake": lambda _server_url: FakeEmbeddings(),
}


@pytest.fixture(params=MAKERS)
def provider(request: pytest.FixtureRequest) -> EmbeddingProvider:
    return MAKERS[request.param](lambda: request.getfixturevalue("server_url"))


def test_there_is_one_unit_vector_of_the_promised_size_for_each_text(provider):
    vectors = provider.embed(["one", "two", "three words here"])

    assert vectors.shape == (3, provider.dimensions())
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_the_order_of_the_vectors_is_that_of_the_texts(provider):
    texts = [f"text about the number {number}" for number in range(50)]

    together = provider.embed(texts)

    for number in (0, 7, 49):
        np.testing.assert_allclose(together[number], provider.embed([texts[number]])[0], atol=1e-6)
        assert int(np.argmax(together @ together[number])) == number


def test_the_same_text_has_the_same_vector_each_time(provider):
    np.testing.assert_array_equal(provider.embed(["again"]), provider.embed(["again"]))


def test_different_texts_have_different_vectors(provider):
    one, other = provider.embed(["a report on steel bridges", "recipes for plum cake"])

    assert float(one @ other) < 0.9


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\t",
        "\u200b",
        "\x00",
        "\ufffe",
        "👩‍👩‍👧‍👦",
        "한국어 문서",
        "<|endoftext|>",
        "half \ud800 a pair",
        "a" * 20_000,
    ],
)
def test_any_text_at_all_has_a_finite_unit_vector(provider, text):
    (vector,) = provider.embed([text])

    assert np.isfinite(vector).all()
    assert float(np.linalg.norm(vector)) == pytest.approx(1, rel=1e-5)


def test_no_texts_give_no_vectors(provider):
    assert provider.embed([]).shape == (0, provider.dimensions())


def test_a_full_request_of_long_chunks_is_answered(provider):
    vectors = provider.embed([f"chunk {number} " + "lorem ipsum dolor " * 60 for number in range(256)])

    assert vectors.shape == (256, provider.dimensions())


def test_sixteen_threads_at_once_each_get_their_own(provider):
    texts = [f"thread {number}" for number in range(64)]
    expected = provider.embed(texts)

    with ThreadPoolExecutor(16) as threads:
        vectors = list(threads.map(lambda text: provider.embed([text])[0], texts))

    np.testing.assert_allclose(np.stack(vectors), expected, atol=1e-6)


def test_a_provider_that_is_there_answers_a_ping(provider):
    provider.ping()


def test_the_model_has_a_name(provider):
    assert provider.model


def post(server_url: str, **body: object) -> httpx.Response:
    return httpx.post(f"{server_url}/embeddings", json={"model": "wordllama-256", **body}, trust_env=False, timeout=60)


def test_the_local_server_answers_floats_unless_base64_is_asked_for(server_url):
    answer = post(server_url, input="one text").json()

    assert answer["object"] == "list"
    assert answer["model"] == "wordllama-256"
    assert [entry["index"] for entry in answer["data"]] == [0]
    assert len(answer["data"][0]["embedding"]) == 256
    assert answer["usage"]["total_tokens"] > 0


def test_the_local_server_names_its_model(server_url):
    assert httpx.get(f"{server_url}/models", trust_env=False, timeout=60).json()["data"][0]["id"] == "wordllama-256"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": [1, 2, 3]}, 400, "input"),
        ({"input": [[1, 2], [3]]}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({}, 400, "input"),
        ({"input": ["a"] * 2049}, 400, "input"),
        ({"input": "a" * 40_000}, 400, "input"),
        ({"input": "a", "dimensions": 512}, 400, "dimensions"),
        ({"input": "a", "dimensions": 0}, 400, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, 400, "encoding_format"),
        ({"input": "a", "model": "another"}, 404, "model"),
    ],
)
def test_the_local_server_says_what_is_wrong_in_the_shape_of_openai(server_url, body, status, param):
    answer = post(server_url, **body)

    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_the_local_server_refuses_what_is_no_json(server_url):
    answer = httpx.post(f"{server_url}/embeddings", content=b"{", trust_env=False, timeout=60)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
