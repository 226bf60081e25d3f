"""What is done to PostgreSQL is really done, and it comes back."""

import random
import threading
from collections.abc import Iterator

import psutil
import psycopg
import pytest
from conftest import system
from faults.tools import processes
from faults.tools.postgres_faults import PostgresFaults
from oracle import wait_until

from sluice_local.stack import LocalStack

OTHERS = ("redis", "qdrant", "embeddings", "api", "extractor", "embedder", "reconciler")
NOWHERE = {
    "SLUICE_BROKER__URL": "redis://127.0.0.1:1/0",
    "SLUICE_QDRANT__URL": "http://127.0.0.1:1",
    "SLUICE_EMBEDDINGS__BASE_URL": "http://127.0.0.1:1/v1",
    "SLUICE_EMBEDDINGS__MODEL": "none",
}
FEW = {"max_connections": "20", "superuser_reserved_connections": "0"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[LocalStack]:
    """Of a stack only PostgreSQL, with few connections and all its promises of durability."""
    folder = tmp_path_factory.mktemp("postgres-faults")
    with LocalStack(folder, environment=system(**NOWHERE), without=OTHERS, postgres_settings=FEW) as running:
        yield running


@pytest.fixture
def url(stack) -> str:
    found = next(process.url for process in stack.processes() if process.name == "postgres")
    wait_until(lambda: answers(found), seconds=30, message="PostgreSQL does not come back")
    return found


@pytest.fixture
def faults(stack, url) -> PostgresFaults:
    return PostgresFaults(stack, url, random.Random(1))


@pytest.fixture
def session(url) -> Iterator[psycopg.Connection]:
    """One that looks like a service's."""
    with psycopg.connect(url, autocommit=True, application_name="sluice-test") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 1 AS one")
        yield connection


@pytest.mark.parametrize("fault", ["kill_postmaster", "stop_immediately", "kill_backend", "terminate_sessions"])
def test_the_session_breaks_and_what_was_committed_is_still_there(faults, session, url, fault):
    getattr(faults, fault)()

    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT pg_sleep(20)")
    wait_until(lambda: answers(url), seconds=30, message="PostgreSQL does not come back")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_a_frozen_backend_stops_and_goes_on(faults, session):
    backend = psutil.Process(session.info.backend_pid)
    striking = threading.Thread(target=faults.freeze_backend, args=(1,))
    striking.start()
    wait_until(lambda: backend.status() == psutil.STATUS_STOPPED, seconds=10, message="it is not frozen")
    striking.join()

    assert session.execute("SELECT 1").fetchone() == (1,)


def test_all_connections_are_taken_and_given_back(faults, url):
    striking = threading.Thread(target=faults.exhaust_connections, args=(10,))
    striking.start()
    wait_until(lambda: not answers(url), seconds=30, message="there is always one more")
    striking.join()

    wait_until(lambda: answers(url), seconds=30, message="the connections stay taken")


def test_a_frozen_postgres_answers_nobody_until_it_goes_on(stack, url):
    striking = threading.Thread(target=processes.freeze, args=(stack, "postgres", 4))
    striking.start()
    wait_until(
        lambda: psutil.Process(stack.pid_of("postgres")).status() == psutil.STATUS_STOPPED,
        seconds=10,
        message="it runs",
    )
    assert not answers(url)
    striking.join()

    assert answers(url)


def test_a_killed_postmaster_takes_its_children_with_it(faults, stack, session):
    backend, postmaster = session.info.backend_pid, stack.pid_of("postgres")

    faults.kill_postmaster()

    wait_until(lambda: not lives(backend), seconds=20, message="a backend lives on")
    wait_until(lambda: stack.pid_of("postgres") != postmaster, seconds=60, message="no new postmaster was started")


def lives(pid: int) -> bool:
    """A zombie does not: this process may have adopted it, and then nobody else buries it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.Error:
        return False
    return True
