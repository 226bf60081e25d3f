"""The pace of all embedders together: what the row becomes, and what its reader may do."""

from dataclasses import replace

import pytest

from sluice_common.pace import (
    DECREASE,
    FIRST_DECREASE,
    FIRST_RATE,
    HORIZON_S,
    LEAST_RATE,
    LONELY_S,
    MARGIN,
    PROBE_INTERVAL_S,
    SOON_DECREASE,
    UNBOUNDED_RATE,
    Course,
    Limited,
    Report,
    exchange,
)

LIMITED = Course(rate=20, is_limit_known=True, booked_s=0, limited_ago_s=60)


def after(course: Course, seconds: float) -> Course:
    """The row when so much time has passed."""
    return replace(
        course,
        booked_s=course.booked_s - seconds,
        limited_s=course.limited_s - seconds,
        limited_ago_s=course.limited_ago_s + seconds,
        failing_s=course.failing_s + seconds,
        probe_in_s=None if course.probe_in_s is None else course.probe_in_s - seconds,
    )


def open_breaker() -> Course:
    course, _ = exchange(Course(), Report(failures=5, detail_code="provider_timeout"))
    return course


def test_permits_are_spread_over_time_and_given_no_further_ahead_than_the_horizon():
    course, first = exchange(LIMITED, Report(wanted=100))
    course, second = exchange(course, Report(wanted=100))

    assert (first.permits, first.starts_in_s, first.interval_s) == (5, 0, 0.05)
    assert (second.permits, second.ask_again_s) == (0, pytest.approx(0.25 - HORIZON_S / 2))
    assert exchange(after(course, second.ask_again_s), Report(wanted=1))[1].permits == 1


def test_who_wants_one_permit_gets_one():
    assert exchange(LIMITED, Report(wanted=1))[1].permits == 1


def test_nothing_is_given_while_the_provider_asks_to_wait():
    course, told = exchange(LIMITED, Report(limited=Limited(age_s=0.1, wait_s=3)))

    assert told.limited_s == 3
    assert exchange(after(course, 2.9), Report(wanted=1))[1].permits == 0
    assert exchange(after(course, 3.0), Report(wanted=1))[1].permits == 1


@pytest.mark.parametrize(
    ("course", "rate"),
    [
        (Course(rate=40), 40 * FIRST_DECREASE),
        (LIMITED, 20 * DECREASE),
        (replace(LIMITED, limited_ago_s=2), 20 * SOON_DECREASE),
        (replace(LIMITED, rate=LEAST_RATE), LEAST_RATE),
    ],
)
def test_a_limit_makes_the_rate_smaller(course, rate):
    slower, terms = exchange(course, Report(limited=Limited(age_s=0.1, wait_s=1)))

    assert slower.rate == terms.rate == rate
    assert slower.is_limit_known


def test_requests_that_were_under_way_together_are_one_limit():
    course, _ = exchange(LIMITED, Report(limited=Limited(age_s=0.1, wait_s=1)))

    again, _ = exchange(after(course, 0.2), Report(limited=Limited(age_s=0.25, wait_s=1)))

    assert again.rate == course.rate


def test_a_provider_that_takes_nothing_at_all_is_not_asked_ever_more_slowly_but_one_by_one():
    course, _ = exchange(LIMITED, Report(limited=Limited(age_s=0, wait_s=4)))
    for _ in range(50):
        course, terms = exchange(after(course, 5), Report(wanted=16))
        assert terms.permits == 1
        course, _ = exchange(course, Report(limited=Limited(age_s=0, wait_s=4)))

    assert course.rate == 20 * DECREASE
    course = after(course, 4)
    first, _ = exchange(course, Report(wanted=1))
    assert exchange(first, Report(wanted=1))[1].permits == (1 if LONELY_S <= HORIZON_S else 0)
    answered, terms = exchange(course, Report(wanted=16, succeeded_age_s=0))
    assert answered.is_answered
    assert terms.permits > 1


def test_the_rate_grows_only_by_what_is_used_of_it():
    idle, _ = exchange(after(LIMITED, 60), Report(wanted=1))
    busy, _ = exchange(LIMITED, Report(wanted=5))

    assert idle.rate == 20
    assert busy.rate > 20


def test_a_provider_without_a_limit_is_soon_not_paced_at_all():
    course, seconds = Course(), 0.0
    while not course.is_unbounded:
        course, terms = exchange(course, Report(wanted=16))
        course, seconds = after(course, terms.ask_again_s), seconds + terms.ask_again_s

    assert seconds < 10
    assert exchange(course, Report(wanted=16))[1].is_unbounded


def test_a_limit_of_a_provider_that_was_without_one_is_kept():
    course, _ = exchange(Course(rate=UNBOUNDED_RATE), Report(limited=Limited(age_s=0, wait_s=1)))

    assert not course.is_unbounded


def test_what_the_headers_allow_is_not_passed():
    course, _ = exchange(Course(), Report(allowed_rate=10))

    assert (course.rate, course.is_limit_known) == (10 * MARGIN, True)
    assert exchange(Course(), Report(allowed_rate=1e6))[0].rate == FIRST_RATE


def test_requests_on_credit_are_paid_off_before_anybody_gets_permits():
    course, terms = exchange(replace(LIMITED, booked_s=0), Report(wanted=1, on_credit=10))

    assert terms.permits == 0
    assert course.booked_s == pytest.approx(0.5)


def test_failures_of_several_embedders_open_one_breaker():
    course, _ = exchange(Course(), Report(failures=3, detail_code="provider_timeout"))
    course, terms = exchange(after(course, 1), Report(failures=2, detail_code="provider_unreachable"))

    assert (terms.probe_in_s, terms.detail_code) == (PROBE_INTERVAL_S, "provider_unreachable")


@pytest.mark.parametrize("between", [Report(succeeded_age_s=0.1), Report()])
def test_failures_with_a_success_between_or_far_apart_open_nothing(between):
    course, _ = exchange(Course(), Report(failures=4))
    course, _ = exchange(after(course, 31), between)

    assert exchange(course, Report(failures=4))[1].probe_in_s is None


def test_an_open_breaker_lets_one_probe_of_all_embedders_through_each_interval():
    course = open_breaker()
    assert exchange(course, Report(wanted=16))[1].permits == 0

    course = after(course, PROBE_INTERVAL_S)
    course, first = exchange(course, Report(wanted=16))
    course, second = exchange(course, Report(wanted=16))

    assert (first.permits, second.permits) == (1, 0)
    assert second.probe_in_s == PROBE_INTERVAL_S


@pytest.mark.parametrize("sign", [Report(succeeded_age_s=0.1), Report(limited=Limited(age_s=0.1, wait_s=1))])
def test_a_sign_of_life_closes_the_breaker(sign):
    assert exchange(open_breaker(), sign)[1].probe_in_s is None


def test_a_provider_that_asks_for_a_day_is_asked_again_after_an_hour():
    assert exchange(Course(), Report(limited=Limited(age_s=0, wait_s=86_400)))[1].limited_s == 3600
