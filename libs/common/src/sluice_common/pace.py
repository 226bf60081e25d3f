"""How fast all embedders of one provider and model may ask it together; PostgreSQL keeps it for them.

Whoever exchanges with the row reads it, works out the next one and writes it if nobody was faster: no lock is held,
so a process that freezes in between stops nobody. Times are durations by the database's clock.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa

from sluice_common.database import Database, one
from sluice_common.errors import DatabaseUnavailable

FIRST_RATE = 32.0
"""Requests per second with which a provider is met that nobody knows yet."""
UNBOUNDED_RATE = 500.0
"""A provider that takes so many is not paced at all, until it says that it is too many."""
LEAST_RATE = 0.1

EAGER_GROWTH = 0.3
"""Per permit used, until the first limit is met: the rate grows by a third each second, tenfold in eight. What is
under way when a limit is met is refused, and grows with this."""
CAREFUL_GROWTH = 0.01
"""Per permit used, from then on: a hundredth per second, and as much again for each `CALM_S` without a limit."""
CALM_S = 10.0
LONGEST_CALM_S = 60.0
FIRST_DECREASE = 0.5
DECREASE = 0.85
SOON_DECREASE = 0.7
SOON_S = 3.0
"""A limit that is met again so soon was passed by far."""
SAME_LIMIT_S = 0.5
"""Requests that left so soon after a limit was met belong to it: not everybody had heard of it."""
MARGIN = 0.95
"""Of what the provider's own headers allow."""

HORIZON_S = 0.2
"""Permits are given no further ahead, and unused ones kept no longer: so much still goes out after a limit is met."""
SLICE_S = 0.25
LONELY_S = 0.25
"""Between two requests while a provider that said "later" has taken none since."""

LONGEST_WAIT_S = 3600.0
"""A provider may ask for a day; asking it again each hour does no harm, and forgives a wrong answer."""
BELIEVED_BOOKING_S = 30.0
FAILURES_THAT_OPEN = 5
FAILURE_WINDOW_S = 30.0
PROBE_INTERVAL_S = 10.0

_TRIES = 20


@dataclass(frozen=True)
class Limited:
    """The provider said "too many": to a request that left *age_s* ago, and nobody should ask for *wait_s*."""

    age_s: float
    wait_s: float


@dataclass(frozen=True)
class Report:
    """What one process saw since its last report, and how many requests it would like to send."""

    wanted: int = 0
    on_credit: int = 0
    """Requests that went out without a permit."""
    limited: Limited | None = None
    succeeded_age_s: float | None = None
    """How long ago the last request left that was answered; None when none was."""
    failures: int = 0
    """Since the last success."""
    detail_code: str | None = None
    allowed_rate: float | None = None
    """Requests per second that the provider's headers allow."""


@dataclass(frozen=True)
class Terms:
    """What one process may do now."""

    permits: int = 0
    starts_in_s: float = 0.0
    interval_s: float = 0.0
    """The first request may leave after `starts_in_s`, each next one `interval_s` later."""
    is_unbounded: bool = False
    """No permits are needed for a while."""
    ask_again_s: float = 0.0
    """When there may be permits, where there are none now."""
    limited_s: float = 0.0
    probe_in_s: float | None = None
    """None: the breaker is closed."""
    detail_code: str | None = None
    is_limit_known: bool = False
    rate: float = FIRST_RATE
    """Requests per second of all embedders together."""


@dataclass(frozen=True)
class Course:
    """The row; every time in seconds from now, negative when it is over."""

    rate: float = FIRST_RATE
    is_limit_known: bool = False
    booked_s: float = -HORIZON_S
    """Permits are given out up to then."""
    limited_s: float = 0.0
    limited_ago_s: float = LONGEST_WAIT_S
    is_answered: bool = True
    """Something was taken since the last limit."""
    failures: int = 0
    failing_s: float = 0.0
    """How long ago the first of the failures was."""
    probe_in_s: float | None = None
    detail_code: str | None = None

    @property
    def is_unbounded(self) -> bool:
        return not self.is_limit_known and self.rate >= UNBOUNDED_RATE


_READ = sa.text("""
    SELECT version, rate, is_limit_known, is_answered, failures, detail_code,
           CAST(EXTRACT(EPOCH FROM booked_until - now()) AS float8) AS booked_s,
           CAST(EXTRACT(EPOCH FROM limited_until - now()) AS float8) AS limited_s,
           CAST(EXTRACT(EPOCH FROM now() - limited_at) AS float8) AS limited_ago_s,
           CAST(EXTRACT(EPOCH FROM now() - failing_since) AS float8) AS failing_s,
           CAST(EXTRACT(EPOCH FROM probe_at - now()) AS float8) AS probe_in_s,
           CAST(EXTRACT(EPOCH FROM now() - updated_at) AS float8) AS updated_ago_s
    FROM provider_paces WHERE provider = :provider AND model = :model
""")

_MOMENTS = """
    rate = :rate, is_limit_known = :is_limit_known, is_answered = :is_answered, failures = :failures,
    detail_code = :detail_code, booked_until = now() + make_interval(secs => :booked_s),
    limited_until = now() + make_interval(secs => :limited_s),
    limited_at = now() - make_interval(secs => :limited_ago_s),
    failing_since = now() - make_interval(secs => :failing_s),
    probe_at = now() + make_interval(secs => CAST(:probe_in_s AS float8)), updated_at = now()
"""

_WRITE = sa.text(f"""
    UPDATE provider_paces SET version = version + 1, {_MOMENTS}
    WHERE provider = :provider AND model = :model AND version = :version RETURNING 1
""")

_ADD = sa.text("""
    INSERT INTO provider_paces (provider, model, rate, is_limit_known, is_answered, booked_until, limited_at,
                                limited_until, failing_since)
    VALUES (:provider, :model, :rate, :is_limit_known, :is_answered, now(), now() - interval '1 hour', now(), now())
    ON CONFLICT DO NOTHING
""")


class SharedPace:
    """The row of one provider and model."""

    def __init__(self, database: Database, *, provider: str, model: str) -> None:
        self._database = database
        self._key = {"provider": provider, "model": model}

    def exchange(self, report: Report) -> Terms:
        """Tell what was seen, and hear what may be done now.

        Raises:
            DatabaseUnavailable: it may not have been noted, which costs at most a request that is refused.
        """
        for _ in range(_TRIES):
            with self._database.single() as connection:
                row = one(connection, _READ, **self._key)
                if row is None:
                    connection.execute(_ADD, self._key | asdict(Course()))
                    continue
                before = _course_of(row)
                after, terms = exchange(before, report)
                if after == before or self._write(connection, after, row.version):
                    return terms
        raise DatabaseUnavailable("others wrote the pace each time")

    def _write(self, connection: sa.Connection, course: Course, version: int) -> bool:
        return one(connection, _WRITE, version=version, **self._key, **asdict(course)) is not None


def exchange(course: Course, report: Report) -> tuple[Course, Terms]:
    """The row after *report*, and what its sender may do."""
    course = _after_success(course, report)
    course = _after_failures(course, report)
    course = _after_limit(course, report)
    course = _within_allowance(course, report)
    if report.on_credit:
        course = _book(course, report.on_credit)
    if course.probe_in_s is not None:
        return _probe(course, report)
    return _give_permits(course, report)


def _after_success(course: Course, report: Report) -> Course:
    if report.succeeded_age_s is None:
        return course
    is_answered = course.is_answered or report.succeeded_age_s < course.limited_ago_s
    return replace(course, failures=0, probe_in_s=None, detail_code=None, is_answered=is_answered)


def _after_failures(course: Course, report: Report) -> Course:
    if not report.failures:
        return course
    is_first = course.failures == 0 or course.failing_s > FAILURE_WINDOW_S
    failures = report.failures + (0 if is_first else course.failures)
    course = replace(
        course,
        failures=failures,
        failing_s=0.0 if is_first else course.failing_s,
        detail_code=report.detail_code,
    )
    if failures >= FAILURES_THAT_OPEN and course.probe_in_s is None:
        return replace(course, probe_in_s=PROBE_INTERVAL_S)
    return course


def _after_limit(course: Course, report: Report) -> Course:
    if report.limited is None:
        return course
    wait_s = min(report.limited.wait_s, LONGEST_WAIT_S)
    # Who says "later" is there. Requests that were under way together are refused together: that is one limit.
    course = replace(course, probe_in_s=None, failures=0, limited_s=max(course.limited_s, wait_s))
    if report.limited.age_s > course.limited_ago_s - SAME_LIMIT_S:
        return course
    return replace(_slower(course), limited_ago_s=0.0, is_answered=False)


def _slower(course: Course) -> Course:
    if not course.is_answered:
        return course  # a closed door says nothing about how fast one may walk through it
    again = SOON_DECREASE if course.limited_ago_s < SOON_S else DECREASE
    factor = again if course.is_limit_known else FIRST_DECREASE
    return replace(course, rate=max(course.rate * factor, LEAST_RATE), is_limit_known=True)


def _within_allowance(course: Course, report: Report) -> Course:
    if report.allowed_rate is None:
        return course
    allowed = max(report.allowed_rate * MARGIN, LEAST_RATE)
    return replace(course, rate=allowed, is_limit_known=True) if allowed < course.rate else course


def _book(course: Course, permits: int) -> Course:
    """Use the rate, and let it grow by what was used of it, when it was what held the requests back."""
    until_s = max(course.booked_s, -HORIZON_S) + permits / course.rate
    used = permits if until_s > -HORIZON_S / 2 else 0
    return replace(course, booked_s=until_s, rate=course.rate + _growth(course) * used)


def _growth(course: Course) -> float:
    if not course.is_limit_known:
        return EAGER_GROWTH
    return CAREFUL_GROWTH * (1 + min(course.limited_ago_s, LONGEST_CALM_S) / CALM_S)


def _probe(course: Course, report: Report) -> tuple[Course, Terms]:
    assert course.probe_in_s is not None
    may_probe = report.wanted > 0 and course.probe_in_s <= 0
    if may_probe:
        course = replace(course, probe_in_s=PROBE_INTERVAL_S)
    return course, replace(_terms_of(course), permits=int(may_probe))


def _give_permits(course: Course, report: Report) -> tuple[Course, Terms]:
    terms = _terms_of(course)
    if course.is_unbounded or not report.wanted or course.limited_s > 0:
        return course, terms
    start_s = max(course.booked_s, -HORIZON_S)
    if start_s > HORIZON_S:
        return course, replace(terms, ask_again_s=start_s - HORIZON_S / 2)
    if not course.is_answered:
        return replace(course, booked_s=max(start_s, 0) + LONELY_S), replace(terms, permits=1)
    permits = min(report.wanted, max(1, int(course.rate * SLICE_S)))
    given = replace(terms, permits=permits, starts_in_s=start_s, interval_s=1 / course.rate)
    return _book(course, permits), given


def _terms_of(course: Course) -> Terms:
    return Terms(
        is_unbounded=course.is_unbounded,
        limited_s=max(course.limited_s, 0.0),
        probe_in_s=course.probe_in_s,
        detail_code=course.detail_code,
        is_limit_known=course.is_limit_known,
        rate=course.rate,
    )


def _course_of(row: sa.Row[Any]) -> Course:  # any column type
    course = Course(
        rate=row.rate,
        is_limit_known=row.is_limit_known,
        booked_s=_believed(row.booked_s, BELIEVED_BOOKING_S),
        limited_s=_believed(row.limited_s, LONGEST_WAIT_S),
        limited_ago_s=row.limited_ago_s,
        is_answered=row.is_answered,
        failures=row.failures,
        failing_s=row.failing_s,
        probe_in_s=None if row.probe_in_s is None else _believed(row.probe_in_s, PROBE_INTERVAL_S),
        detail_code=row.detail_code,
    )
    if row.updated_ago_s >= 0:
        return course
    # The clock has gone back since the row was written: what it says of the time ahead means nothing any more.
    probe_in_s = None if course.probe_in_s is None else 0.0
    return replace(
        course, booked_s=0.0, limited_s=0.0, limited_ago_s=LONGEST_WAIT_S, failing_s=0.0, probe_in_s=probe_in_s
    )


def _believed(seconds: float, longest_s: float) -> float:
    """A time further ahead than it is ever set was set by a clock that has jumped since: it counts as passed."""
    return 0.0 if seconds > longest_s + 1 else seconds
