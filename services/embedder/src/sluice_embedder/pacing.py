"""How fast one process may ask the embedding provider: waits that it asked for, and a breaker for when it is away."""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sluice_common.errors import (
    DimensionMismatch,
    EmbeddingProviderUnavailable,
    EmbeddingRejected,
    RateLimited,
)
from sluice_common.pace import (
    FAILURE_WINDOW_S,
    FAILURES_THAT_OPEN,
    LONGEST_WAIT_S,
    PROBE_INTERVAL_S,
    Terms,
)
from sluice_common.ports import EmbeddingProvider

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0


class Gate(StrEnum):
    """Whether requests may go out. As with any circuit breaker, closed is the good state."""

    CLOSED = "closed"
    LIMITED = "limited"
    OPEN = "open"


@dataclass(frozen=True)
class Pace:
    """What a handler needs to put a batch back: why, for how many seconds from now, and the last failure's word."""

    gate: Gate
    wait_s: float = 0.0
    detail_code: str | None = None


@dataclass(frozen=True)
class Admission:
    """The leave to send one request; its outcome is told with it."""

    at_s: float
    is_probe: bool = False


class NotYet(RateLimited):
    """The provider said nothing: it is only not this request's turn. Ask again in `wait_s`, or when told to."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("the embedders together are at the provider's limit")
        self.wait_s = wait_s


class Pacing(Protocol):
    """Lets requests out, and is told what came of them."""

    @property
    def state(self) -> Pace:
        """The pace now; asking changes nothing."""

    def admit(self, wanted: int = 1) -> Admission:
        """Leave to send one request now; tell its outcome with what this returns.

        Args:
            wanted: how many could be sent just now.

        Raises:
            NotYet: only for a moment.
            RateLimited: with the seconds that are left of the provider's wait.
            EmbeddingProviderUnavailable: the provider is away.
        """

    def succeeded(self, admission: Admission) -> None:
        """The provider answered, be it by refusing the input."""

    def rate_limited(self, admission: Admission, retry_after_s: float | None) -> None:
        """The provider asked to wait *retry_after_s* seconds; None: it did not say how long."""

    def failed(self, detail_code: str | None) -> None:
        """The provider did not answer, or not in a way that can be right."""

    def when_changed(self, wake: Callable[[], None]) -> None:
        """Call *wake* whenever it may be worth asking again before the time that was named."""


class Pacer:
    """The pace that one process finds by itself.

    After `RateLimited` nobody asks until the time that the provider named, or, when it named none, for a
    random time below a bound that doubles from 1 s to 60 s. Five failures within 30 s open the breaker;
    then one request is let through each 10 s, and the first that succeeds closes it.

    Args:
        clock: monotonic seconds.
        spread: a random number from 0 to its argument ("full jitter").
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, spread: Callable[[float], float] | None = None
    ) -> None:
        self._clock = clock
        self._spread = spread or _full_jitter
        self._lock = threading.Lock()
        self._limited_at_s = float("-inf")
        self._limited_until_s = float("-inf")
        self._limits_in_a_row = 0
        self._failed_at_s: deque[float] = deque(maxlen=FAILURES_THAT_OPEN)
        self._next_probe_at_s: float | None = None
        self._detail_code: str | None = None
        self._is_open_for_all = False

    @property
    def state(self) -> Pace:
        """The pace now; asking changes nothing."""
        with self._lock:
            return self._pace_at(self._clock())

    def admit(self, wanted: int = 1) -> Admission:  # noqa: ARG002 - alone, one is as good as many
        with self._lock:
            now_s = self._clock()
            pace = self._pace_at(now_s)
            if pace.gate is Gate.LIMITED:
                raise RateLimited("the provider asked to wait", retry_after_s=pace.wait_s)
            is_probe = self._next_probe_at_s is not None
            if is_probe:
                self._probe_or_refuse(now_s)
            return Admission(now_s, is_probe)

    def succeeded(self, admission: Admission) -> None:
        with self._lock:
            self._failed_at_s.clear()
            self._next_probe_at_s = None
            self._detail_code = None
            if admission.at_s >= self._limited_until_s:
                self._limits_in_a_row = 0

    def rate_limited(self, admission: Admission, retry_after_s: float | None) -> None:
        with self._lock:
            now_s = self._clock()
            self._next_probe_at_s = None  # who says "later" is there
            # Requests that were under way together are refused together: that is one limit and not sixteen.
            if admission.at_s > self._limited_at_s:
                self._limits_in_a_row += 1
                self._limited_at_s = now_s
            # A provider that says "too many" and "at once" would be asked in a circle.
            wait_s = min(retry_after_s, LONGEST_WAIT_S) if retry_after_s else self._backoff_s()
            self._limited_until_s = max(self._limited_until_s, now_s + wait_s)

    def failed(self, detail_code: str | None) -> None:
        with self._lock:
            now_s = self._clock()
            self._failed_at_s.append(now_s)
            self._detail_code = detail_code
            if self._next_probe_at_s is None and self._is_failing(now_s):
                self._next_probe_at_s = now_s + PROBE_INTERVAL_S

    def when_changed(self, wake: Callable[[], None]) -> None:
        """Nothing changes but by time, and by outcomes that the sender tells itself."""

    def hear(self, terms: Terms) -> None:
        """Take over what all embedders together know; a breaker that only this process opened stays open."""
        with self._lock:
            now_s = self._clock()
            self._limited_until_s = max(self._limited_until_s, now_s + terms.limited_s)
            if terms.probe_in_s is not None:
                self._next_probe_at_s = now_s + terms.probe_in_s
                self._detail_code = terms.detail_code
            elif self._is_open_for_all:
                self._failed_at_s.clear()
                self._next_probe_at_s = None
            self._is_open_for_all = terms.probe_in_s is not None

    def _pace_at(self, now_s: float) -> Pace:
        if now_s < self._limited_until_s:
            return Pace(Gate.LIMITED, self._limited_until_s - now_s, "rate_limited")
        if self._next_probe_at_s is not None:
            return Pace(Gate.OPEN, max(self._next_probe_at_s - now_s, 0.0), self._detail_code)
        return Pace(Gate.CLOSED)

    def _probe_or_refuse(self, now_s: float) -> None:
        assert self._next_probe_at_s is not None
        if now_s < self._next_probe_at_s:
            raise EmbeddingProviderUnavailable("the provider is away", detail_code=self._detail_code)
        self._next_probe_at_s = now_s + PROBE_INTERVAL_S

    def _is_failing(self, now_s: float) -> bool:
        return len(self._failed_at_s) == FAILURES_THAT_OPEN and now_s - self._failed_at_s[0] <= FAILURE_WINDOW_S

    def _backoff_s(self) -> float:
        # The exponent is bounded, because a provider may stay busy for days.
        doublings = min(self._limits_in_a_row - 1, 10)
        return self._spread(min(FIRST_BACKOFF_S * 2**doublings, LONGEST_BACKOFF_S))


def embed_admitted(
    provider: EmbeddingProvider, texts: Sequence[str], pacer: Pacing, admission: Admission
) -> NDArray[np.float32]:
    """Ask *provider*, and tell *pacer* what came of it; raises what the provider raises."""
    try:
        vectors = provider.embed(texts)
    except RateLimited as error:
        pacer.rate_limited(admission, error.retry_after_s)
        raise
    except EmbeddingProviderUnavailable as error:
        pacer.failed(error.detail_code)
        raise
    except DimensionMismatch as error:
        pacer.failed(str(error.code))  # another model answers than the one that was configured
        raise
    except EmbeddingRejected:
        pacer.succeeded(admission)  # the provider is there; it is the texts
        raise
    pacer.succeeded(admission)
    return vectors


def _full_jitter(longest_s: float) -> float:
    return random.uniform(0, longest_s)  # noqa: S311 - spreads load and guards nothing
