"""Setting the clock of PostgreSQL and of a Python process, and nobody else's."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest
from conftest import missing
from faults.tools.clock import Clock, ClockLibrary, why_not

from sluice_local.postgres import VOLATILE
from sluice_local.stack import LocalStack

TELL = "import time; a = time.monotonic(); time.sleep(0.05); print(time.time(), time.monotonic() - a)"


@pytest.fixture(scope="module")
def library() -> Iterator[ClockLibrary]:
    if reason := why_not():
        missing(reason)
    with ClockLibrary() as built:
        yield built


@pytest.mark.parametrize("offset_s", [0, 61, -61, 3600, 172_800])
def test_a_process_sees_the_time_that_was_set_and_sleeps_as_long_as_it_meant_to(library, offset_s):
    clock = Clock(library, "process")
    clock.set(offset_s)

    told = subprocess.run(
        [sys.executable, "-c", TELL],
        env={**os.environ, **clock.environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert abs(float(told[0]) - time.time() - offset_s) < 5
    assert 0.05 <= float(told[1]) < 5


def test_the_database_sees_a_jump_at_once_and_goes_on(library, tmp_path):
    clock = Clock(library, "postgres")
    home = tmp_path / "stack"
    without = ("redis", "qdrant", "embeddings", "api", "extractor", "embedder", "reconciler")
    environment = {
        "PATH": os.environ["PATH"],
        "SLUICE_BROKER__URL": "redis://127.0.0.1:1/0",
        "SLUICE_QDRANT__URL": "http://127.0.0.1:1",
        "SLUICE_EMBEDDINGS__BASE_URL": "http://127.0.0.1:1/v1",
        "SLUICE_EMBEDDINGS__MODEL": "none",
    }
    extra = {"postgres": clock.environment}
    stack = LocalStack(home, environment=environment, without=without, postgres_settings=VOLATILE, extra=extra)
    with stack, psycopg.connect(url_of_postgres(stack), autocommit=True) as connection:
        for offset_s in (90, -90, 3600, -3600, 172_800, 0):
            clock.set(offset_s)
            seen = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()[0]
            assert abs(seen - time.time() - offset_s) < 5


def url_of_postgres(stack: LocalStack) -> str:
    return next(process.url for process in stack.processes() if process.name == "postgres")


def test_two_clocks_of_one_library_are_set_one_by_one(library):
    first, second = Clock(library, "first"), Clock(library, "second")
    first.set(3600)

    told = subprocess.run(
        ["date", "+%s"], env={**os.environ, **second.environment}, capture_output=True, text=True, check=True
    ).stdout

    assert abs(int(told) - time.time()) < 5
