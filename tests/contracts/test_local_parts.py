import os
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from redis import AuthenticationError, Redis, RedisError

from sluice_local.doctor import Level, Patient, examine
from sluice_local.ports import Choices
from sluice_local.postgres import DURABLE, LocalPostgres, PostgresCluster, PostgresMissing, cache_folder
from sluice_local.redis import LocalRedis
from sluice_local.stack import Home

LONG_NAME = "a folder whose name is much longer than a socket's path may be " * 3


@pytest.fixture(scope="module")
def postgres():
    with tempfile.TemporaryDirectory() as folder, LocalPostgres(Path(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def redis():
    with tempfile.TemporaryDirectory() as folder, LocalRedis(Path(folder)) as server:
        yield server


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def answer_of(url: str, statement: str):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement).fetchone()[0]


def accepts(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def test_postgres_speaks_tcp_only_on_loopback_and_asks_for_a_password(postgres):
    wrong = postgres.url.replace(postgres.url.split(":")[2].split("@")[0], "wrong")

    assert answer_of(postgres.url, "SHOW listen_addresses") == "127.0.0.1"
    assert answer_of(postgres.url, "SHOW unix_socket_directories") == ""
    assert answer_of(postgres.url, "SHOW password_encryption") == "scram-sha-256"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_postgres_orders_and_folds_text_of_every_language(postgres):
    assert answer_of(postgres.url, "SHOW server_encoding") == "UTF8"
    assert answer_of(postgres.url, "SELECT lower('ÀÉÎ 온돌')") == "àéî 온돌"


def test_a_database_is_made_once_and_has_an_address(postgres):
    url = postgres.create_database("one-more")

    assert postgres.create_database("one-more") == url
    assert answer_of(url, "SELECT current_database()") == "one-more"


def test_rows_are_there_after_a_stop_and_the_address_is_the_same(tmp_path):
    server = LocalPostgres(tmp_path)
    with server:
        url = server.url
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")

    with LocalPostgres(tmp_path) as server:
        assert server.url == url
        assert answer_of(server.url, "SELECT number FROM kept") == 7


def test_a_killed_postgres_is_started_again_and_has_lost_nothing(tmp_path):
    with LocalPostgres(tmp_path, settings=DURABLE) as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        first = server.pid()

        server.kill(signal.SIGKILL)

        wait_until(lambda: server.pid() != first and accepts(server.url), "PostgreSQL answers again")
        assert answer_of(server.url, "SELECT number FROM kept") == 7


def test_postgres_starts_below_a_long_and_private_path(tmp_path):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)

    with LocalPostgres(private / LONG_NAME) as server:
        assert answer_of(server.url, "SELECT 1") == 1


def test_postgres_starts_though_the_pid_in_its_pid_file_is_now_somebody_elses(tmp_path):
    with LocalPostgres(tmp_path) as server:
        data = Path(answer_of(server.url, "SHOW data_directory"))
    (data / "postmaster.pid").write_text(f"{os.getppid()}\n{data}\n0\n1\n\n127.0.0.1\n\nready\n")

    with LocalPostgres(tmp_path) as server:
        assert answer_of(server.url, "SELECT 1") == 1


def test_two_clusters_may_be_made_at_once_and_have_different_passwords(tmp_path):
    def make(name: str) -> str:
        with LocalPostgres(tmp_path / name, cache=tmp_path / "cache") as server:
            assert answer_of(server.url, "SELECT 1") == 1
            return server.url

    with ThreadPoolExecutor() as threads:
        urls = list(threads.map(make, ["one", "two"]))

    assert len({url.split("@")[0] for url in urls}) == 2


def test_a_cluster_of_another_major_version_is_refused_by_name(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "PG_VERSION").write_text("9\n")
    cluster = PostgresCluster(tmp_path, Choices(tmp_path / "parts.json"), cache=cache_folder())

    with pytest.raises(PostgresMissing, match="was made by PostgreSQL 9"):
        cluster.prepare()


def test_redis_asks_for_a_password_keeps_an_append_only_file_and_evicts_nothing(redis):
    with Redis.from_url(redis.url, decode_responses=True) as client:
        names = ("appendonly", "maxmemory-policy", "bind")
        settings = {name: client.config_get(name)[name] for name in names}
    with (
        Redis.from_url(redis.url.replace("redis://:", "redis://:wrong")) as stranger,
        pytest.raises(AuthenticationError),
    ):
        stranger.ping()

    assert settings == {"appendonly": "yes", "maxmemory-policy": "noeviction", "bind": "127.0.0.1"}


def test_a_killed_redis_is_started_again_with_what_it_had(tmp_path):
    with LocalRedis(tmp_path) as server, Redis.from_url(server.url) as client:
        client.set("kept", "yes")
        first = server.pid()

        server.kill(signal.SIGKILL)

        wait_until(lambda: server.pid() != first and answers(client), "Redis answers again")
        assert client.get("kept") == b"yes"


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def test_redis_starts_below_a_long_and_private_path(tmp_path):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)

    with LocalRedis(private / LONG_NAME) as server, Redis.from_url(server.url) as client:
        assert client.ping()


def test_the_doctor_finds_an_unmigrated_database_and_healthy_servers(postgres, redis, tmp_path):
    settings = {"SLUICE_DATABASE__URL": postgres.url, "SLUICE_BROKER__URL": redis.url}

    findings = examine(Patient(Home(tmp_path), settings, port=8000, is_running=True), for_deployment=True)

    levels = {(finding.subject, finding.level) for finding in findings}
    assert {("PostgreSQL", Level.OK), ("Redis", Level.OK), ("clocks", Level.OK), ("schema", Level.FAIL)} <= levels
    assert any(finding.text == "fsync is off" and finding.level is Level.FAIL for finding in findings)


def test_a_cluster_copied_from_the_cache_never_keeps_its_first_password(postgres, tmp_path):
    with LocalPostgres(tmp_path / "one", cache=tmp_path / "cache") as server:
        template = next((tmp_path / "cache").glob("postgres-*"))
        first = (template / "password").read_text()
        address = server.url.split("@")[1]

        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(f"postgresql://sluice:{first}@{address}")

    assert not list((tmp_path / "one").rglob("first-password"))
