"""The batches that this process has claimed, so that they can be handed back when it is told to stop."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from sluice_common.batches import BatchClaim, Batches
from sluice_common.errors import DatabaseUnavailable

log = structlog.get_logger(__name__)

_PATIENCE_S = 3.0
"""A batch that is nearly done is worth a moment; after that somebody else may have it."""


class Claims:
    """Knows every batch under way."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._claims: dict[tuple[int, int], BatchClaim] = {}
        self._lock = threading.Lock()
        self._is_stopping = False

    @property
    def is_stopping(self) -> bool:
        """Nothing new should be claimed."""
        return self._is_stopping

    @contextmanager
    def hold(self, claim: BatchClaim) -> Iterator[None]:
        """Remember *claim* inside the `with`."""
        key = (claim.run_id, claim.batch_no)
        with self._lock:
            self._claims[key] = claim
        try:
            yield
        finally:
            with self._lock:
                self._claims.pop(key, None)

    def release_all(self) -> None:
        """Hand back what is not finished within a moment; the fence makes a late finish harmless."""
        self._is_stopping = True
        threading.Thread(target=self._release_later, name="release", daemon=True).start()

    def _release_later(self) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while self._current() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.hand_back()

    def hand_back(self) -> None:
        """Release what is held still; the fence makes a late finish harmless."""
        for claim in self._current():
            try:
                self._batches.defer(claim, code="released", wait=timedelta(0))
            except DatabaseUnavailable:
                log.warning("claim_not_released", run_id=claim.run_id, batch_no=claim.batch_no)

    def _current(self) -> list[BatchClaim]:
        with self._lock:
            return list(self._claims.values())
