"""What is done to the vector store is really done, and it comes back."""

from collections.abc import Iterator

import httpx
import pytest
from conftest import system
from faults.tools.store_faults import StoreFaults
from oracle import wait_until

from sluice_local.stack import LocalStack

OTHERS = ("redis", "embeddings", "api", "extractor", "embedder", "reconciler")
NOWHERE = {
    "SLUICE_BROKER__URL": "redis://127.0.0.1:1/0",
    "SLUICE_EMBEDDINGS__BASE_URL": "http://127.0.0.1:1/v1",
    "SLUICE_EMBEDDINGS__MODEL": "none",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[LocalStack]:
    """Of a stack only the parts that the schema needs, and the vector store."""
    with LocalStack(tmp_path_factory.mktemp("store"), environment=system(**NOWHERE), without=OTHERS) as running:
        yield running


@pytest.fixture
def faults(stack) -> StoreFaults:
    return StoreFaults(stack, url_of(stack), key_of(stack), "postgresql://nobody@127.0.0.1:1/nothing")


@pytest.fixture
def client(stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url_of(stack), headers={"api-key": key_of(stack)}, trust_env=False) as connected:
        connected.delete("/collections/rivers")
        shape = {"vectors": {"size": 2, "distance": "Cosine"}}
        connected.put("/collections/rivers", json=shape).raise_for_status()
        yield connected


def test_an_older_store_has_what_it_had_then_and_nothing_of_what_came_later(faults, client):
    put(client, 1)
    put(client, 2)

    with faults.falling_back():
        client.post("/collections/rivers/points/delete?wait=true", json={"points": [1]}).raise_for_status()
        put(client, 3)

    wait_until(lambda: answers(client), seconds=30, message="the store does not come back")
    assert ids(client) == {1, 2}


def test_a_store_that_was_put_back_takes_points_again(faults, client):
    assert faults.fall_back(0)

    wait_until(lambda: answers(client), seconds=30, message="the store does not come back")
    put(client, 4)
    assert 4 in ids(client)


def url_of(stack: LocalStack) -> str:
    return next(process.url for process in stack.processes() if process.name == "qdrant")


def key_of(stack: LocalStack) -> str:
    return (stack.home / "qdrant-api-key").read_text(encoding="utf-8").strip()


def put(client: httpx.Client, number: int) -> None:
    points = {"points": [{"id": number, "vector": [1.0, number], "payload": {}}]}
    client.put("/collections/rivers/points?wait=true", json=points).raise_for_status()


def ids(client: httpx.Client) -> set[int]:
    answer = client.post("/collections/rivers/points/scroll", json={"limit": 100}).raise_for_status()
    return {point["id"] for point in answer.json()["result"]["points"]}


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/collections").is_success
    except httpx.TransportError:
        return False
