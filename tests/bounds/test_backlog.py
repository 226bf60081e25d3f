"""Promise 13: what waits, waits in PostgreSQL; Redis and the services stay as small and the loops as quick as ever."""

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest
from bounds.conftest import Say, StartStack
from bounds.memory import MemoryWatch
from bounds.sizes import sized
from builders import Protocol
from conftest import Figures
from oracle import wait_until
from redis import Redis

from sluice_client import SluiceClient
from sluice_common.contract import EXTRACT_QUEUE, ExtractDocument
from sluice_common.database import Database, open_database
from sluice_common.hints import Hints
from sluice_common.queueing import Queueing
from sluice_common.settings import BrokerSettings, DatabaseSettings
from sluice_common.tasks import open_queue
from sluice_local.stack import LocalStack

DOCUMENTS = sized(8_000, 100_000)
CLIENTS = 8
MEBIBYTES_OF_REDIS = 5
MOST_HINTS = 5_000
"""A thousand, and what several processes send before they look again."""
SECONDS_OF_DISPATCH = sized(5, 60)
"""How long the dispatch loop is watched while nobody takes a hint."""
SECONDS_OF_A_STATEMENT = 2.0
"""A quarter of what the database allows one; on an idle machine they take a tenth of it."""


@pytest.fixture
def stack(start_stack: StartStack) -> LocalStack:
    """Nobody works: no extractor, no embedder."""
    return start_stack(
        scale={"extractor": 0, "embedder": 0},
        SLUICE_LIMITS__MAX_WAITING_DOCUMENTS=str(10 * DOCUMENTS),
        SLUICE_LIMITS__MAX_WAITING_DOCUMENTS_OF_TENANT=str(10 * DOCUMENTS),
    )


@pytest.fixture
def database(stack) -> Iterator[Database]:
    url = stack.environment_of("reconciler")["SLUICE_DATABASE__URL"]
    database = open_database(DatabaseSettings(url=url, pool_size=CLIENTS), application="tests")
    yield database
    database.close()


@pytest.fixture
def redis(stack) -> Iterator[Redis]:
    with Redis.from_url(stack.environment_of("api")["SLUICE_BROKER__URL"]) as redis:
        yield redis


@pytest.mark.timeout(1800)
def test_a_backlog_without_workers_waits_in_postgresql_and_not_in_redis(stack, database, redis, figures, say):
    fill = Fill(database, BrokerSettings(url=stack.environment_of("api")["SLUICE_BROKER__URL"]), say)
    before = used_mebibytes(redis)
    with MemoryWatch(stack, pause_s=1) as memory:
        fill.run()
        after_filling = used_mebibytes(redis)
        watch_dispatch(redis, say)
        uploads_s = [duration_of(partial(upload_one, stack, number)) for number in range(5)]

    grown = used_mebibytes(redis) - before
    figures.note(
        13,
        f"{DOCUMENTS} documents waiting, no worker: Redis grew by {after_filling - before:.2f} MiB while they came, "
        f"by {grown:.2f} MiB after {SECONDS_OF_DISPATCH} s more, {hints_waiting(redis)} hints; the gateway by "
        f"{memory.growth('api'):.0f}, the reconciler by {memory.growth('reconciler'):.0f} MiB; "
        f"an upload then takes {min(uploads_s) * 1000:.0f} ms",
    )
    note_passes(figures, database)
    assert grown < MEBIBYTES_OF_REDIS
    assert hints_waiting(redis) < MOST_HINTS
    assert memory.growth("api") < 64
    assert memory.growth("reconciler") < 64


class Fill:
    """Takes documents in as the gateway does: the row by its own statement, then a hint."""

    def __init__(self, database: Database, broker: BrokerSettings, say: Say) -> None:
        self._protocol = Protocol(database)
        self._broker = broker
        self._say = say
        self._numbers = itertools.count(1)

    def run(self) -> None:
        with ThreadPoolExecutor(CLIENTS) as clients:
            for client in [clients.submit(self._run_one) for _ in range(CLIENTS)]:
                client.result()

    def _run_one(self) -> None:
        with ExitStack() as opened:
            queue = open_queue(self._broker)
            opened.callback(queue.close)
            hints = Hints(queue)
            while (number := next(self._numbers)) <= DOCUMENTS:
                document_id = self._protocol.accept().document_id
                hints.send([ExtractDocument(document_id=document_id)])
                self._say(f"{number} of {DOCUMENTS} documents wait")


def watch_dispatch(redis: Redis, say: Say) -> None:
    """Let the dispatch loop go round for a while."""
    until = time.monotonic() + SECONDS_OF_DISPATCH

    def is_over() -> bool:
        say(f"{hints_waiting(redis)} hints, {used_mebibytes(redis):.2f} MiB in Redis")
        return time.monotonic() > until

    wait_until(is_over, seconds=SECONDS_OF_DISPATCH + 30, message="time does not pass")


def note_passes(figures: Figures, database: Database) -> None:
    """How long one pass of each loop takes, the shortest of three."""
    moves = Protocol(database)
    passes: dict[str, Callable[[], object]] = {
        "dispatch": moves.reconciling.due_tasks,
        "reap": moves.reconciling.reap,
        "exhausted": moves.reconciling.fail_exhausted,
        "overdue": moves.reconciling.fail_overdue,
        "collect": lambda: moves.reconciling.collect(lambda _runs: None),
        "purge": lambda: moves.reconciling.purge(lambda _purge: None),
        "metrics": moves.reconciling.backlog,
        "backpressure": Queueing(database).look,
        "live runs": lambda: moves.reconciling.live_runs(range(1000)),
    }
    took_s = {name: min(duration_of(once) for _ in range(3)) for name, once in passes.items()}
    shown = ", ".join(f"{name} {seconds * 1000:.0f}" for name, seconds in took_s.items())
    figures.note(13, f"one pass of each loop with {DOCUMENTS} documents waiting, in ms: {shown}")
    too_slow = {name: seconds for name, seconds in took_s.items() if seconds > SECONDS_OF_A_STATEMENT}
    assert not too_slow


def duration_of(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def upload_one(stack: LocalStack, number: int) -> None:
    with SluiceClient(stack.url, stack.api_key) as client:
        client.upload(f"One more of {number}.".encode(), name="more.txt")


def used_mebibytes(redis: Redis) -> float:
    return redis.info("memory")["used_memory"] / 2**20


def hints_waiting(redis: Redis) -> int:
    return redis.llen(f"sluice:{EXTRACT_QUEUE}")
