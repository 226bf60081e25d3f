"""What is done to Redis is really done, and healed."""

import threading
from collections.abc import Iterator

import pytest
from conftest import system
from faults.tools.redis_faults import RedisFaults
from oracle import wait_until
from redis import Redis, RedisError
from redis.exceptions import ReadOnlyError, ResponseError

from sluice_local.stack import LocalStack

OTHERS = ("qdrant", "embeddings", "api", "extractor", "embedder", "reconciler")
NOWHERE = {
    "SLUICE_QDRANT__URL": "http://127.0.0.1:1",
    "SLUICE_EMBEDDINGS__BASE_URL": "http://127.0.0.1:1/v1",
    "SLUICE_EMBEDDINGS__MODEL": "none",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[LocalStack]:
    """Of a stack only the parts that the schema needs, and Redis."""
    with LocalStack(tmp_path_factory.mktemp("redis"), environment=system(**NOWHERE), without=OTHERS) as running:
        yield running


@pytest.fixture
def url(stack) -> str:
    return next(process.url for process in stack.processes() if process.name == "redis")


@pytest.fixture
def faults(stack, url) -> RedisFaults:
    return RedisFaults(stack, url)


@pytest.fixture
def client(url) -> Iterator[Redis]:
    with Redis.from_url(url, socket_timeout=2, retry=None) as connected:
        connected.flushall()
        connected.set("hint", "one")
        yield connected


def test_a_wiped_redis_has_forgotten_all(faults, client):
    faults.wipe()

    assert client.dbsize() == 0


def test_cut_clients_lose_their_connection(faults, client):
    connection = client.client_id()

    faults.cut_clients()

    wait_until(lambda: answers(client), seconds=10, message="Redis does not answer")
    assert client.client_id() != connection


def test_a_restarted_redis_is_empty_and_another_one(faults, client):
    run = client.info("server")["run_id"]

    faults.restart_empty()

    wait_until(lambda: answers(client), seconds=20, message="Redis does not come back")
    assert client.dbsize() == 0
    assert client.info("server")["run_id"] != run


def test_an_older_redis_has_what_it_had_then(faults, client):
    client.set("old", "kept")
    client.execute_command("BGREWRITEAOF")
    wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], seconds=10, message="no rewrite")

    faults.fall_back(0)

    wait_until(lambda: answers(client), seconds=20, message="Redis does not come back")
    assert client.get("old") == b"kept"


@pytest.mark.parametrize(("fault", "refusal"), [("be_full", ResponseError), ("be_read_only", ReadOnlyError)])
def test_a_redis_that_refuses_writes_takes_them_again_afterwards(faults, client, fault, refusal):
    refused = []

    def try_to_write() -> bool:
        try:
            client.set("hint", "two")
        except refusal as error:
            refused.append(error)
        return bool(refused)

    striking = threading.Thread(target=getattr(faults, fault), args=(1,))
    striking.start()
    wait_until(try_to_write, seconds=10, message="it takes every write")
    striking.join()

    assert client.set("hint", "three")


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False
