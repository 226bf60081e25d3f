"""Waiting for documents to move: one question to the table for everybody who waits in this process."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import anyio
import structlog
from anyio import to_thread
from starlette.requests import Request

from sluice_common.errors import DatabaseUnavailable

log = structlog.get_logger(__name__)

POLL_INTERVAL_S = 0.1
OUTAGE_INTERVAL_S = 1.0
MAX_WAIT_S = 30
"""Longest `Prefer: wait` that is honoured."""

LatestIds = Callable[[Sequence[UUID]], Mapping[UUID, int]]


@dataclass(frozen=True, eq=False)
class _Waiter:
    after: int
    woken: asyncio.Event


class Watch:
    """Tells waiters that a document has new events, by one poller that runs only while somebody waits.

    Belongs to the event loop that first waits on it. Two hundred waiters cost one statement every 100 ms, no
    thread and no connection of their own.
    """

    def __init__(self, latest_ids: LatestIds) -> None:
        """Args: *latest_ids* asks the table for the greatest event id of each document (`Events.latest_ids`)."""
        self._latest_ids = latest_ids
        self._waiters: dict[UUID, set[_Waiter]] = defaultdict(set)
        self._poller: asyncio.Task[None] | None = None
        self._thread = anyio.CapacityLimiter(1)  # its own, so that busy routes cannot starve it
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """How many wait just now."""
        return sum(map(len, self._waiters.values()))

    @property
    def is_closed(self) -> bool:
        """Whether the process is stopping: nobody should wait again."""
        return self._is_closed

    async def changed(self, document_id: UUID, after_event_id: int, timeout_s: float) -> bool:
        """Wait until the document has an event behind *after_event_id*.

        Returns:
            False when *timeout_s* passed without one, or the process is stopping.
        """
        if self._is_closed:
            return False
        waiter = _Waiter(after_event_id, asyncio.Event())
        self._waiters[document_id].add(waiter)
        self._keep_polling()
        try:
            async with asyncio.timeout(timeout_s):
                await waiter.woken.wait()
        except TimeoutError:
            return False
        finally:
            self._forget(document_id, waiter)
        return not self._is_closed

    def close(self) -> None:
        """Wake everybody and let nobody wait any more, so that open streams end when the process stops."""
        self._is_closed = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.woken.set()

    def _keep_polling(self) -> None:
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        while self._waiters and not self._is_closed:
            try:
                await self._wake_changed()
                pause_s = POLL_INTERVAL_S
            except DatabaseUnavailable as error:  # who waits goes on waiting, and asks by itself when its time is over
                log.warning("events_not_polled", detail=error.detail)
                pause_s = OUTAGE_INTERVAL_S
            await asyncio.sleep(pause_s)

    async def _wake_changed(self) -> None:
        watched = list(self._waiters)
        latest = await to_thread.run_sync(self._latest_ids, watched, limiter=self._thread)
        for document_id, event_id in latest.items():
            for waiter in self._waiters.get(document_id, ()):
                if event_id > waiter.after:
                    waiter.woken.set()

    def _forget(self, document_id: UUID, waiter: _Waiter) -> None:
        waiters = self._waiters[document_id]
        waiters.discard(waiter)
        if not waiters:
            del self._waiters[document_id]


def prefer_wait(request: Request) -> int | None:
    """The seconds that `Prefer: wait=N` asks for, at most 30; None when it asks for none (RFC 7240)."""
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            name, _, value = preference.partition(";")[0].partition("=")
            seconds = value.strip().strip('"')
            if name.strip().lower() == "wait" and seconds.isascii() and seconds.isdigit():
                return min(int(seconds), MAX_WAIT_S)
    return None
