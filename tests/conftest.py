"""What several kinds of tests use: real PostgreSQL and Redis, the whole local stack, the folder of real documents."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from move_guard import install_move_guard

from sluice_client import SluiceClient
from sluice_common import migrations
from sluice_common.database import Database, open_database
from sluice_common.settings import DatabaseSettings
from sluice_local.postgres import VOLATILE, LocalPostgres
from sluice_local.stack import LocalStack

FIGURES = Path(__file__).parents[1] / "build" / "figures.jsonl"
_noted: list[str] = []


class Figures:
    """What a run has measured about the promises of docs/reliability.md; shown at its end and kept in build."""

    def __init__(self, test: str) -> None:
        self._test = test

    def note(self, promise: int, text: str) -> None:
        """Keep a sentence with the numbers that were seen."""
        _noted.append(f"promise {promise}: {text}")
        FIGURES.parent.mkdir(exist_ok=True)
        with FIGURES.open("a", encoding="utf-8") as kept:
            kept.write(json.dumps({"promise": promise, "text": text, "test": self._test}, ensure_ascii=False) + "\n")


@pytest.fixture
def figures(request) -> Figures:
    return Figures(request.node.nodeid)


def pytest_terminal_summary(terminalreporter) -> None:
    for line in _noted:
        terminalreporter.write_line(line)


def missing(what: str) -> None:
    """Skip on a laptop, fail in CI: one place decides."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real documents; the one thing that CI may do without."""
    folder = os.environ.get("SLUICE_CORPUS")
    if not folder:
        pytest.skip("SLUICE_CORPUS names no folder of real documents")
    return Path(folder)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory) -> Iterator[LocalPostgres]:
    """A PostgreSQL server for all tests of this run."""
    with LocalPostgres(tmp_path_factory.mktemp("postgres"), settings=VOLATILE) as server:
        yield server


@pytest.fixture(scope="session")
def new_database_url(postgres) -> Callable[[], str]:
    """Makes a database of its own with the newest tables, copied from one that was migrated once."""
    template = f"template_{uuid4().hex[:8]}"
    template_url = DatabaseSettings(url=postgres.create_database(template)).url
    migrations.upgrade(template_url)
    install_move_guard(template_url)

    def make() -> str:
        name = f"test_{uuid4().hex[:12]}"
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return postgres.url.rpartition("/")[0] + f"/{name}"

    return make


@pytest.fixture
def database_url(new_database_url) -> str:
    return new_database_url()


@pytest.fixture
def database(database_url) -> Iterator[Database]:
    database = open_database(DatabaseSettings(url=database_url), application="tests")
    yield database
    database.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory) -> Iterator[LocalStack]:
    """The whole pipeline as real processes, for every test that only uses it."""
    with LocalStack(tmp_path_factory.mktemp("stack"), environment=system(), postgres_settings=VOLATILE) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def client(stack) -> Iterator[SluiceClient]:
    with SluiceClient(stack.url, stack.api_key) as client:
        yield client


def system(**settings: str) -> dict[str, str]:
    """The environment of a stack: what programs need, and these settings; none of the person's own."""
    needed = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
    return needed | settings
