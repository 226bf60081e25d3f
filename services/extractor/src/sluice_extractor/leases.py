"""Keeps the leases of the documents that this process is reading, and stops the reading when one is lost."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from sluice_common.documents import Documents, ExtractionClaim
from sluice_common.errors import DatabaseUnavailable
from sluice_common.failpoints import reach
from sluice_common.times import Times

log = structlog.get_logger(__name__)

_TICK_S = 0.5
"""Progress is shown at most twice a second."""


class StopReason(StrEnum):
    """Why a reading is ended from outside."""

    LOST = "lost"
    """Cancelled, deleted, replaced, or taken over by another worker."""
    SHUTDOWN = "shutdown"


@dataclass
class Holding:
    """One document that is being read; the reading thread reports pages, the lease thread reads them."""

    claim: ExtractionClaim
    pages_total: int | None = None
    pages_done: int = 0
    stopped: StopReason | None = None
    stop_reading: Callable[[str], None] | None = None
    _shown: int = 0
    _beaten_at: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, stop_reading: Callable[[str], None]) -> None:
        """Say how the reading is ended from outside; it is ended at once when that was asked before."""
        self.stop_reading = stop_reading
        if self.stopped:
            stop_reading(self.stopped)

    def open(self, pages_total: int | None) -> None:
        """Say how many pages the document has."""
        self.pages_total = pages_total
        reach("extractor.child_started")

    def stop(self, reason: StopReason) -> None:
        """End the reading, now or as soon as it begins."""
        self.stopped = self.stopped or reason
        if self.stop_reading is not None:
            self.stop_reading(reason)

    def beat_if_due(self, documents: Documents, times: Times) -> None:
        """Prolong the lease when a third of it has passed, or when there are new pages to show."""
        with self._lock:
            silence_s = time.monotonic() - self._beaten_at
            if self.stopped or (self.pages_done == self._shown and silence_s < times.heartbeat.total_seconds()):
                return
            self._beat(documents, times)

    def _beat(self, documents: Documents, times: Times) -> None:
        pages_done = self.pages_done
        claim = self.claim
        try:
            alive = documents.heartbeat(
                claim.document_id, claim.run_id, pages_done=pages_done, pages_total=self.pages_total
            )
        except DatabaseUnavailable:
            # unknown is not lost; but stop before anybody else can have taken over: the failure may have come late
            if time.monotonic() - self._beaten_at > times.give_up.total_seconds():
                self.stop(StopReason.LOST)
            return
        self._shown, self._beaten_at = pages_done, time.monotonic()
        if not alive:
            self.stop(StopReason.LOST)

    def end(self) -> None:
        """No beat runs or begins from here on: it would wait for the finishing move's lock and read `lost`."""
        with self._lock:
            self.stopped = self.stopped or StopReason.LOST


class Leases:
    """Beats for every document that is being read, from one thread with a connection of its own."""

    def __init__(self, documents: Documents, times: Times) -> None:
        self._documents = documents
        self._times = times
        self._by_run: dict[int, Holding] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join(timeout=5)

    @contextmanager
    def hold(self, claim: ExtractionClaim) -> Iterator[Holding]:
        """Keep the lease of *claim* inside the `with`."""
        holding = Holding(claim)
        with self._lock:
            self._by_run[claim.run_id] = holding
            if self._ending.is_set():
                holding.stop(StopReason.SHUTDOWN)
        try:
            yield holding
        finally:
            with self._lock:
                del self._by_run[claim.run_id]

    def release_all(self) -> None:
        """Stop every reading, so that its document can be handed back at once."""
        self._ending.set()
        for holding in self._current():
            holding.stop(StopReason.SHUTDOWN)

    def hand_back(self) -> None:
        """Release what is held still, at the end of the process; the fence makes a late finish harmless."""
        for holding in self._current():
            claim = holding.claim
            try:
                self._documents.release_extraction(claim.document_id, claim.run_id)
            except DatabaseUnavailable:
                log.warning("lease_not_released", run_id=claim.run_id)

    def _current(self) -> list[Holding]:
        with self._lock:
            return list(self._by_run.values())

    def _run(self) -> None:
        while not self._ending.wait(_TICK_S):
            for holding in self._current():
                try:
                    holding.beat_if_due(self._documents, self._times)
                except Exception:  # one document's trouble must not let the others' leases run out
                    log.exception("heartbeat_failed", run_id=holding.claim.run_id)
