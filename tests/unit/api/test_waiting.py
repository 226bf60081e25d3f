import asyncio
import threading
from uuid import UUID

import pytest
from starlette.requests import Request

from sluice_api.waiting import Watch, prefer_wait
from sluice_common.errors import DatabaseUnavailable

FIRST, SECOND = UUID(int=1), UUID(int=2)


class Table:
    """The greatest event id of each document, and how it was asked for."""

    def __init__(self) -> None:
        self.ids: dict[UUID, int] = {}
        self.asked: list[list[UUID]] = []
        self.fault: Exception | None = None
        self.threads: set[int] = set()

    def latest_ids(self, document_ids):
        self.asked.append(list(document_ids))
        self.threads.add(threading.get_ident())
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        return {one: self.ids[one] for one in document_ids if one in self.ids}


@pytest.fixture
def table() -> Table:
    return Table()


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is not ours to signal
            await asyncio.sleep(0.005)


def test_a_document_that_has_moved_already_is_told_at_once(table):
    table.ids[FIRST] = 5

    assert asyncio.run(Watch(table.latest_ids).changed(FIRST, 4, 20)) is True


def test_a_wait_without_a_move_ends_with_its_time(table):
    table.ids[FIRST] = 4

    assert asyncio.run(Watch(table.latest_ids).changed(FIRST, 4, 0.02)) is False


def test_who_waits_is_woken_by_a_move_of_its_own_document_only(table):
    async def wait() -> tuple[bool, bool]:
        watch = Watch(table.latest_ids)
        mine = asyncio.create_task(watch.changed(FIRST, 0, 20))
        other = asyncio.create_task(watch.changed(SECOND, 0, 20))
        await until(lambda: table.asked)
        table.ids[FIRST] = 1
        await mine
        was_done = other.done()
        watch.close()
        return mine.result(), was_done or await other

    assert asyncio.run(wait()) == (True, False)


def test_two_hundred_waiters_are_one_question(table):
    async def wait() -> list[bool]:
        watch = Watch(table.latest_ids)
        waiters = [asyncio.create_task(watch.changed((FIRST, SECOND)[n % 2], 0, 20)) for n in range(200)]
        await until(lambda: watch.waiting == 200)
        table.ids = {FIRST: 1, SECOND: 1}
        return await asyncio.gather(*waiters)

    assert asyncio.run(wait()) == [True] * 200
    assert all(sorted(asked) == [FIRST, SECOND] for asked in table.asked)
    assert len(table.asked) < 50


def test_nothing_is_asked_while_nobody_waits(table):
    async def wait() -> None:
        watch = Watch(table.latest_ids)
        await watch.changed(FIRST, 0, 0.01)
        poller = watch._poller
        assert poller is not None
        await until(poller.done)
        assert watch.waiting == 0

    asyncio.run(wait())


def test_a_second_wait_behind_an_idle_time_is_served_too(table):
    async def wait() -> bool:
        watch = Watch(table.latest_ids)
        await watch.changed(FIRST, 0, 0.01)
        await until(lambda: watch._poller is not None and watch._poller.done())
        table.ids[FIRST] = 1
        return await watch.changed(FIRST, 0, 20)

    assert asyncio.run(wait()) is True


def test_an_outage_of_the_database_is_waited_out(table, monkeypatch):
    monkeypatch.setattr("sluice_api.waiting.OUTAGE_INTERVAL_S", 0.01)
    table.fault = DatabaseUnavailable("away")
    table.ids[FIRST] = 1

    assert asyncio.run(Watch(table.latest_ids).changed(FIRST, 0, 20)) is True
    assert len(table.asked) == 2


def test_closing_wakes_everybody_and_lets_nobody_wait_again(table):
    async def wait() -> list[bool]:
        watch = Watch(table.latest_ids)
        waiter = asyncio.create_task(watch.changed(FIRST, 0, 20))
        await until(lambda: watch.waiting == 1)
        watch.close()
        return [await waiter, await watch.changed(FIRST, 0, 20), watch.is_closed]

    assert asyncio.run(wait()) == [False, False, True]


def test_a_waiter_that_is_cancelled_is_forgotten(table):
    async def wait() -> int:
        watch = Watch(table.latest_ids)
        waiter = asyncio.create_task(watch.changed(FIRST, 0, 20))
        await until(lambda: watch.waiting == 1)
        waiter.cancel()
        await asyncio.wait([waiter])
        return watch.waiting

    assert asyncio.run(wait()) == 0


def test_the_table_is_not_asked_in_the_event_loop(table):
    asyncio.run(Watch(table.latest_ids).changed(FIRST, 0, 0.02))

    assert threading.get_ident() not in table.threads


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=25", 25),
        ("wait=30", 30),
        ("wait=31", 30),
        ("wait=0", 0),
        ("Wait=5", 5),
        ('wait="5"', 5),
        ("respond-async, wait=10", 10),
        ("wait=10; foo=bar", 10),
        (" wait = 7 ", 7),
        ("wait", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=soon", None),
        ("return=minimal", None),
        ("", None),
    ],
)
def test_a_preference_for_waiting_is_read_as_the_standard_says(header, seconds):
    request = Request({"type": "http", "headers": [(b"prefer", header.encode())]})

    assert prefer_wait(request) == seconds


def test_no_preference_is_no_wait():
    assert prefer_wait(Request({"type": "http", "headers": []})) is None


def test_a_preference_may_stand_in_a_second_header():
    headers = [(b"prefer", b"return=minimal"), (b"prefer", b"wait=3")]

    assert prefer_wait(Request({"type": "http", "headers": headers})) == 3
