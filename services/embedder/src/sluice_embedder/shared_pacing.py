"""Keeps one process in step with all other embedders of the same provider, and lets it go on alone if need be."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sluice_common.errors import DatabaseUnavailable, EmbeddingProviderUnavailable
from sluice_common.pace import Limited, Report, Terms
from sluice_embedder.pacing import Admission, Gate, NotYet, Pace, Pacer

SILENCE_S = 0.25
"""When the table has not answered for so long, this process goes by what it sees itself; while the provider may have
a limit, no faster than one request in this time ..."""
LONG_SILENCE_S = 2.0
"""... and in this one where it has."""
FRESH_S = 1.0
"""Terms that are older are asked for anew, while there is something to send; those twice as old are not used."""
CREDIT_S = 0.5
"""One request in this time may leave before its permit has come, while no limit of the provider is known."""
KEEP_S = 0.5
"""A permit that was not used by then is void."""


@dataclass
class _Seen:
    """What the table has not been told yet; moments by this process's clock."""

    on_credit: int = 0
    limited_at_s: float | None = None
    limited_until_s: float = 0.0
    succeeded_at_s: float | None = None
    failures: int = 0
    detail_code: str | None = None
    allowed_rate: float | None = None

    def report(self, now_s: float, wanted: int) -> Report:
        limited_at_s, succeeded_at_s = self.limited_at_s, self.succeeded_at_s
        return Report(
            wanted=wanted,
            on_credit=self.on_credit,
            limited=None if limited_at_s is None else Limited(now_s - limited_at_s, self.limited_until_s - now_s),
            succeeded_age_s=None if succeeded_at_s is None else now_s - succeeded_at_s,
            failures=self.failures,
            detail_code=self.detail_code,
            allowed_rate=self.allowed_rate,
        )


class SharedPacer:
    """The pace of one process within that of all embedders (`sluice_common.pace`).

    A thread exchanges with the table: at once when something went wrong, when permits are wanted, and each second
    while requests go out. Where it gets no answer for a while, *own* decides alone.

    Args:
        own: what this process sees by itself.
        exchange: tells the table and hears from it; may raise DatabaseUnavailable, and take its time.
        clock: monotonic seconds.
    """

    def __init__(
        self, own: Pacer, exchange: Callable[[Report], Terms], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._own = own
        self._exchange = exchange
        self._clock = clock
        self._changed = threading.Condition()
        self._wake: Callable[[], None] = _nobody
        self._count_probe: Callable[[], None] = _nobody
        self._seen = _Seen()
        self._has_news = False
        self._terms = Terms()
        self._heard_at_s = float("-inf")
        self._asked_at_s: float | None = None
        self._wanted = 0
        self._permits: deque[float] = deque()
        self._credit_at_s = float("-inf")
        self._is_closed = False
        self._thread = threading.Thread(target=self._follow, name="shared-pace", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; waits only for an exchange that is under way, and not for long."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(timeout=1)

    @property
    def state(self) -> Pace:
        return self._own.state

    @property
    def rate(self) -> float:
        """Requests per second of all embedders together, as last heard; infinite while nothing bounds it."""
        return float("inf") if self._terms.is_unbounded else self._terms.rate

    def when_changed(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def when_probing(self, count: Callable[[], None]) -> None:
        """Call *count* for each request that is let out to a provider that was away."""
        self._count_probe = count

    def admit(self, wanted: int = 1) -> Admission:
        admission = self._admission(wanted)
        if admission.is_probe:
            self._count_probe()
        return admission

    def _admission(self, wanted: int) -> Admission:
        with self._changed:
            now_s = self._clock()
            pace = self._own.state
            if pace.gate is Gate.LIMITED or self._is_alone(now_s):
                return self._on_credit(self._own.admit())
            if self._took_permit(now_s):
                return Admission(now_s, is_probe=pace.gate is Gate.OPEN)
            if pace.gate is Gate.OPEN:
                return self._probe_or_refuse(now_s, pace)
            if self._is_free(now_s):
                return Admission(now_s)
            if not self._terms.is_limit_known and now_s - self._credit_at_s >= CREDIT_S:
                self._credit_at_s = now_s
                self._tell()
                return self._on_credit(Admission(now_s))
            raise self._turn(now_s, wanted)

    def succeeded(self, admission: Admission) -> None:
        self._own.succeeded(admission)
        with self._changed:
            self._seen.succeeded_at_s = max(admission.at_s, self._seen.succeeded_at_s or admission.at_s)
            self._seen.failures = 0
            if self._terms.probe_in_s is not None:
                self._tell()

    def rate_limited(self, admission: Admission, retry_after_s: float | None) -> None:
        self._own.rate_limited(admission, retry_after_s)
        with self._changed:
            self._permits.clear()
            # The youngest of those that were refused: only it can tell of a limit that is not known yet.
            self._seen.limited_at_s = max(admission.at_s, self._seen.limited_at_s or admission.at_s)
            self._seen.limited_until_s = self._clock() + self._own.state.wait_s
            self._tell()

    def failed(self, detail_code: str | None) -> None:
        self._own.failed(detail_code)
        with self._changed:
            self._seen.failures += 1
            self._seen.detail_code = detail_code
            self._tell()

    def allowed(self, rate: float) -> None:
        """The provider's headers allow *rate* requests per second."""
        with self._changed:
            self._seen.allowed_rate = rate

    def _is_alone(self, now_s: float) -> bool:
        patience_s = LONG_SILENCE_S if self._terms.is_limit_known else SILENCE_S
        if self._asked_at_s is None or now_s - self._asked_at_s <= patience_s:
            return False
        if not self._terms.is_unbounded:
            self._asked_at_s = now_s
        return True

    def _took_permit(self, now_s: float) -> bool:
        while self._permits and self._permits[0] + KEEP_S < now_s:
            self._permits.popleft()
        if not self._permits or self._permits[0] > now_s:
            return False
        self._permits.popleft()
        return True

    def _probe_or_refuse(self, now_s: float, pace: Pace) -> Admission:
        if pace.wait_s > 0:
            raise EmbeddingProviderUnavailable("the provider is away", detail_code=pace.detail_code)
        if self._terms.probe_in_s is None and now_s - self._heard_at_s < FRESH_S:
            return self._on_credit(self._own.admit())  # it is away for this process only
        raise self._turn(now_s, 1)

    def _is_free(self, now_s: float) -> bool:
        if not self._terms.is_unbounded:
            return False
        age_s = now_s - self._heard_at_s
        if age_s > FRESH_S:
            self._ask(now_s, 0)
        return age_s < 2 * FRESH_S

    def _turn(self, now_s: float, wanted: int) -> NotYet:
        """When this process's turn may come; asks for it unless that is known."""
        next_s = self._permits[0] if self._permits else self._heard_at_s + self._terms.ask_again_s
        if now_s < next_s:
            return NotYet(next_s - now_s)
        self._ask(now_s, wanted)
        return NotYet(SILENCE_S)

    def _on_credit(self, admission: Admission) -> Admission:
        self._seen.on_credit += 1
        return admission

    def _ask(self, now_s: float, wanted: int) -> None:
        self._wanted = wanted
        if self._asked_at_s is None:
            self._asked_at_s = now_s
            self._tell()

    def _tell(self) -> None:
        self._has_news = True
        self._changed.notify_all()

    def _follow(self) -> None:
        while (report := self._next_report()) is not None:
            try:
                terms = self._exchange(report)
            except DatabaseUnavailable:  # whoever needs the table for its work says so
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed, timeout=SILENCE_S)
                continue
            self._hear(terms)
            self._wake()

    def _next_report(self) -> Report | None:
        with self._changed:
            self._changed.wait_for(lambda: self._has_news or self._asked_at_s is not None or self._is_closed)
            if self._is_closed:
                return None
            self._has_news = False
            seen, self._seen = self._seen, _Seen()
            return seen.report(self._clock(), self._wanted)

    def _hear(self, terms: Terms) -> None:
        with self._changed:
            now_s = self._clock()
            self._own.hear(terms)
            if terms.limited_s > 0 or terms.probe_in_s is not None:
                self._permits.clear()
            starts_s = [now_s + terms.starts_in_s + n * terms.interval_s for n in range(terms.permits)]
            self._permits.extend(max(start_s, now_s) for start_s in starts_s)
            self._terms, self._heard_at_s = terms, now_s
            self._asked_at_s, self._wanted = None, 0


def _nobody() -> None:
    """Nobody waits to be told."""
