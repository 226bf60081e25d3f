"""A breaker before the vector store, so that no texts are bought whose vectors it would not take."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from sluice_common.errors import DimensionMismatch, VectorStoreUnavailable
from sluice_common.ports import Point, VectorStore


class StoreGate:
    """What one process knows of the store: closed while all is well, as with any circuit breaker.

    Closed it asks nothing of the store. An upsert that fails opens it; then the store is pinged, the first time at
    once and after that each *probe_interval*, and one batch is let through after each ping that it answers. Only an
    upsert that succeeds closes the gate, because a store may answer and still take nothing, as with a full disk.

    Args:
        vectors: the store; may be used by several threads at once.
        probe_interval: time from one probe to the next.
        clock: monotonic seconds.
    """

    def __init__(
        self, vectors: VectorStore, *, probe_interval: timedelta, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._vectors = vectors
        self._probe_interval_s = probe_interval.total_seconds()
        self._clock = clock
        self._lock = threading.Lock()
        self._next_probe_at_s: float | None = None  # None: closed
        self._detail_code: str | None = None

    def admit(self) -> None:
        """Leave to buy the embeddings of one batch.

        Raises:
            VectorStoreUnavailable: the store is away; `detail_code` is that of the upsert that failed.
        """
        with self._lock:
            if self._next_probe_at_s is None:
                return
            self._probe_or_refuse(self._next_probe_at_s)
        self._vectors.ping()

    def upsert(self, points: Sequence[Point], dense: NDArray[np.float32]) -> None:
        """`VectorStore.upsert`, from whose outcome the gate learns; raises what that raises."""
        try:
            self._vectors.upsert(points, dense)
        except VectorStoreUnavailable as error:
            self._open(error.detail_code)
            raise
        except DimensionMismatch as error:
            self._open(str(error.code))  # the index was made for another model than the configured one
            raise
        with self._lock:
            self._next_probe_at_s = None

    def _probe_or_refuse(self, next_probe_at_s: float) -> None:
        now_s = self._clock()
        if now_s < next_probe_at_s:
            raise VectorStoreUnavailable("the store is away", detail_code=self._detail_code)
        self._next_probe_at_s = now_s + self._probe_interval_s

    def _open(self, detail_code: str | None) -> None:
        with self._lock:
            self._detail_code = detail_code
            if self._next_probe_at_s is None:
                self._next_probe_at_s = self._clock()
