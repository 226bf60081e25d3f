"""The row of the shared pace in real PostgreSQL: what one process tells the next one hears, whatever the clock does."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from sluice_common.database import open_database
from sluice_common.errors import DatabaseUnavailable
from sluice_common.pace import FIRST_RATE, HORIZON_S, PROBE_INTERVAL_S, SLICE_S, Limited, Report, SharedPace
from sluice_common.settings import DatabaseSettings


@pytest.fixture
def pace(database) -> SharedPace:
    return SharedPace(database, provider="provider:443/v1", model="small")


@pytest.fixture
def other(database) -> SharedPace:
    """The same row, as another process sees it."""
    return SharedPace(database, provider="provider:443/v1", model="small")


def run(database, statement: str) -> None:
    with database.transaction() as connection:
        connection.execute(text(statement))


def test_a_provider_that_nobody_has_asked_yet_has_the_first_rate(pace):
    terms = pace.exchange(Report(wanted=1))

    assert (terms.permits, terms.limited_s, terms.probe_in_s) == (1, 0, None)
    assert terms.rate == FIRST_RATE


def test_a_wait_that_one_was_asked_for_holds_for_all(pace, other):
    pace.exchange(Report(limited=Limited(age_s=0.01, wait_s=60)))

    assert 50 < other.exchange(Report(wanted=1)).limited_s <= 60


def test_another_model_has_a_pace_of_its_own(pace, database):
    pace.exchange(Report(limited=Limited(age_s=0.01, wait_s=60)))

    assert SharedPace(database, provider="provider:443/v1", model="large").exchange(Report(wanted=1)).limited_s == 0


def test_a_breaker_opens_and_closes_for_all(pace, other):
    pace.exchange(Report(failures=5, detail_code="provider_timeout"))

    heard = other.exchange(Report(wanted=1))
    assert (heard.permits, heard.detail_code) == (0, "provider_timeout")
    assert 0 < heard.probe_in_s <= PROBE_INTERVAL_S
    pace.exchange(Report(succeeded_age_s=0.0))
    assert other.exchange(Report()).probe_in_s is None


def test_permits_that_many_ask_for_at_once_are_given_once(database):
    paces = [SharedPace(database, provider="p", model="m") for _ in range(8)]
    paces[0].exchange(Report(allowed_rate=20))

    started = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        terms = list(threads.map(lambda pace: pace.exchange(Report(wanted=16)), paces))

    # What was left over, what the time brought, what may be given ahead, and a last slice that begins there.
    at_most_s = HORIZON_S + (time.monotonic() - started) + HORIZON_S + SLICE_S
    assert 1 <= sum(term.permits for term in terms) <= terms[0].rate * at_most_s + 1


def test_a_question_that_changes_nothing_writes_nothing(pace, database):
    pace.exchange(Report())
    with database.single() as connection:
        before = connection.execute(text("SELECT xmin::text FROM provider_paces")).scalar_one()
        pace.exchange(Report())
        after = connection.execute(text("SELECT xmin::text FROM provider_paces")).scalar_one()

    assert before == after


def test_a_wait_further_ahead_than_the_longest_one_counts_as_passed(pace, database):
    pace.exchange(Report(limited=Limited(age_s=0.01, wait_s=60)))
    run(database, "UPDATE provider_paces SET limited_until = now() + interval '2 days'")

    assert pace.exchange(Report(wanted=1)).limited_s == 0


def test_after_the_clock_went_back_every_wait_counts_as_passed(pace, database):
    pace.exchange(Report(failures=5))
    pace.exchange(Report(limited=Limited(age_s=0.01, wait_s=60)))
    hour = "interval '1 hour'"
    run(
        database,
        f"UPDATE provider_paces SET limited_until = limited_until + {hour}, updated_at = updated_at + {hour}, "
        f"booked_until = booked_until + {hour}, limited_at = limited_at + {hour}, probe_at = probe_at + {hour}",
    )

    terms = pace.exchange(Report(wanted=1))

    assert (terms.permits, terms.limited_s) == (1, 0)


def test_a_database_that_is_away_is_named(postgres):
    url = DatabaseSettings(url=postgres.url.replace(postgres.url.rpartition("/")[2], "nowhere")).url
    away = open_database(DatabaseSettings(url=url), application="tests")

    with pytest.raises(DatabaseUnavailable):
        SharedPace(away, provider="p", model="m").exchange(Report())

    away.close()
