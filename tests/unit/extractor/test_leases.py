"""A worker keeps the lease of what it reads, and gives the reading up before anybody else can have taken over."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from clocks import SteadyClock

from sluice_common.documents import ExtractionClaim
from sluice_common.errors import DatabaseUnavailable
from sluice_common.times import Times
from sluice_extractor import leases
from sluice_extractor.leases import Holding, StopReason

TIMES = Times(lease=timedelta(seconds=60), deadline=timedelta(hours=24))
GIVE_UP_S = TIMES.give_up.total_seconds()


class Table:
    """What a worker asks for its lease; `answer` is what comes back, or what happens instead."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Callable[[], bool] = lambda: True

    def heartbeat(self, *_: object, **__: object) -> bool:
        self.asked += 1
        return self.answer()


class Reader:
    """One reading and its lease."""

    def __init__(self, clock: SteadyClock) -> None:
        self.table = Table()
        self.stopped_with: list[str] = []
        self._clock = clock
        claim = ExtractionClaim(
            document_id=UUID(int=1),
            run_id=1,
            tries=1,
            **dict.fromkeys(set(ExtractionClaim.__dataclass_fields__) - {"document_id", "run_id", "tries"}),
        )
        self.holding = Holding(claim)
        self.holding.begin(self.stopped_with.append)

    def beat_after(self, seconds: float) -> None:
        self._clock.ahead_s += seconds
        self.holding.beat_if_due(self.table, TIMES)


@pytest.fixture
def clock(monkeypatch) -> SteadyClock:
    clock = SteadyClock()
    monkeypatch.setattr(leases, "time", clock)
    return clock


@pytest.fixture
def reader(clock) -> Reader:
    return Reader(clock)


def away() -> bool:
    raise DatabaseUnavailable("away")


def test_a_database_that_is_away_for_less_than_four_fifths_of_a_lease_stops_nothing(reader):
    reader.table.answer = away

    reader.beat_after(GIVE_UP_S - 2)

    assert (reader.table.asked, reader.holding.stopped) == (1, None)


def test_the_reading_is_given_up_when_no_heartbeat_succeeded_for_four_fifths_of_a_lease(reader):
    reader.table.answer = away
    reader.beat_after(GIVE_UP_S - 2)

    reader.beat_after(3)

    assert reader.holding.stopped is StopReason.LOST
    assert reader.stopped_with == ["lost"]


def test_a_heartbeat_that_fails_only_after_that_time_gives_the_reading_up_too(reader, clock):
    def hang_and_fail() -> bool:
        clock.ahead_s += GIVE_UP_S / 2
        return away()

    reader.table.answer = hang_and_fail

    reader.beat_after(GIVE_UP_S / 2 + 1)

    assert reader.stopped_with == ["lost"]


def test_every_heartbeat_that_succeeds_begins_the_time_anew(reader):
    reader.beat_after(GIVE_UP_S - 2)
    reader.table.answer = away

    reader.beat_after(GIVE_UP_S - 2)

    assert (reader.table.asked, reader.holding.stopped) == (2, None)


def test_what_is_somebody_elses_by_now_is_given_up_at_once(reader):
    reader.table.answer = lambda: False

    reader.beat_after(TIMES.heartbeat.total_seconds() + 1)

    assert reader.stopped_with == ["lost"]


def test_what_was_given_up_before_it_began_is_ended_as_soon_as_it_begins(reader):
    holding = Holding(reader.holding.claim)
    holding.stop(StopReason.LOST)
    ended = []

    holding.begin(ended.append)

    assert ended == ["lost"]
