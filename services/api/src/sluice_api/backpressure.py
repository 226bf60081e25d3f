"""Whether there is room for more: decided by what waits and by the disk, before a byte of a body is read."""

import asyncio
import contextlib
import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import anyio
from anyio import from_thread, to_thread
from starlette.concurrency import run_in_threadpool

from sluice_api.metrics import GatewayMetrics
from sluice_api.problems import STORAGE_RETRY_S, Problem, problem_of
from sluice_api.settings import ApiSettings
from sluice_common.errors import PipelineError
from sluice_common.idempotency import Idempotency
from sluice_common.queueing import Queueing, Queues
from sluice_common.settings import LimitsSettings

KEPT_S = 1.0
"""How long the last look is believed. Several gateways together may pass a bound by what they take in meanwhile."""

KEPT_PER_LOOK = 20
LONGEST_KEPT_S = 5.0
"""A look that takes long is believed for so many times as long, within reason: counting stays a small load."""

UNKNOWN_RETRY_S = 30
LONGEST_RETRY_S = 300
FREED_PART = 1000
"""A refused client is asked to come back when one part in so many of the bound is free."""


@dataclass(frozen=True)
class Bound:
    """One queue beside its limit."""

    name: str
    """The setting without its `max_`; the word by which programs know the bound."""
    words: str
    """What waits, as a sentence goes on after its number."""
    waiting: int
    limit: int
    drained_per_s: float = 0
    """How fast the queue gets less; 0 when nothing is known."""

    @property
    def retry_after_s(self) -> int:
        """Until a little of the bound is free, 1 to 300 seconds."""
        if self.drained_per_s <= 0:
            return UNKNOWN_RETRY_S
        excess = self.waiting - self.limit + max(1, self.limit // FREED_PART)
        return min(LONGEST_RETRY_S, max(1, math.ceil(excess / self.drained_per_s)))


@dataclass(frozen=True)
class Disk:
    """The disk of the originals, in bytes."""

    free: int
    total: int


@dataclass(frozen=True)
class Look:
    """What was found when somebody last looked."""

    queues: Queues
    disk: Disk | None
    """None where the originals are on no disk of ours, or their folder is not there: the store itself says so."""
    good_until: float
    """On the monotonic clock, in seconds."""


class Backpressure:
    """Lets work in or refuses it; one for the whole process, used in its event loop and in the threads of its routes.

    Between two looks it adds what it let in itself, so that a single gateway does not pass a bound by a burst; only
    uploads that were still arriving at the time of a look are not counted.
    """

    def __init__(
        self, settings: ApiSettings, queueing: Queueing, idempotency: Idempotency, metrics: GatewayMetrics
    ) -> None:
        self._limits = settings.limits
        self._root = settings.objects.root if settings.objects.kind == "filesystem" else None
        self._queueing = queueing
        self._idempotency = idempotency
        self._metrics = metrics
        self._look: Look | None = None
        self._looking: asyncio.Task[Look] | None = None
        self._thread = anyio.CapacityLimiter(1)  # its own: routes that wait for a look may hold all others
        self._let_in: Counter[UUID] = Counter()

    async def check_upload(self, tenant_id: UUID, key: str | None) -> None:
        """Refuse an upload while too much waits or the disk is nearly full; a repeat of one that was done may pass.

        Args:
            tenant_id: who sends it.
            key: the idempotency key that came with it.

        Raises:
            Problem: 429 `queue_full` or 507 `storage_full`, with the numbers.
            DatabaseUnavailable: nobody knows how much waits.
        """
        try:
            look = await self._current()
            _refuse_full_disk(look.disk, self._limits)
            self._let_in_or_refuse(look.queues, tenant_id)
        except Problem:
            if key is None or not await run_in_threadpool(self._idempotency.is_done, tenant_id, key):
                raise

    async def check_work(self, tenant_id: UUID) -> None:
        """Refuse work on documents that are already here, such as a retry, while too much waits.

        Raises:
            Problem: 429 `queue_full`.
            DatabaseUnavailable: nobody knows how much waits.
        """
        look = await self._current()
        self._let_in_or_refuse(look.queues, tenant_id)

    def check_work_in_thread(self, tenant_id: UUID) -> None:
        """As `check_work`, for a route that runs in a thread."""
        from_thread.run(self.check_work, tenant_id)

    @contextlib.contextmanager
    def refusals_counted(self) -> Iterator[None]:
        """Count an upload that is refused within the block, by the code of its answer."""
        try:
            yield
        except Problem as problem:
            self._metrics.upload_refused(problem.code)
            raise
        except PipelineError as error:
            refusal = problem_of(error)
            self._metrics.upload_refused(refusal.code)
            raise refusal from error

    def _let_in_or_refuse(self, queues: Queues, tenant_id: UUID) -> None:
        for bound in bounds_of(queues, tenant_id, self._limits, self._let_in):
            if bound.waiting >= bound.limit:
                raise queue_full(bound)
        self._let_in[tenant_id] += 1

    async def _current(self) -> Look:
        if self._look is not None and time.monotonic() < self._look.good_until:
            return self._look
        if self._looking is None:
            self._looking = asyncio.create_task(to_thread.run_sync(self._look_now, limiter=self._thread))
            self._looking.add_done_callback(self._remember)
        return await asyncio.shield(self._looking)  # a client that goes away must not end the look of the others

    def _look_now(self) -> Look:
        began = time.monotonic()
        queues, disk = self._queueing.look(), _disk_of(self._root)
        ended = time.monotonic()
        kept_s = min(LONGEST_KEPT_S, max(KEPT_S, KEPT_PER_LOOK * (ended - began)))
        return Look(queues, disk, good_until=ended + kept_s)

    def _remember(self, looking: asyncio.Task[Look]) -> None:
        self._looking = None
        if not looking.cancelled() and looking.exception() is None:
            self._look = looking.result()
            self._let_in.clear()


def bounds_of(queues: Queues, tenant_id: UUID, limits: LimitsSettings, let_in: Counter[UUID]) -> list[Bound]:
    """Every bound for one tenant, its own first; *let_in* are documents that *queues* does not count yet."""
    own, all_ = queues.of(tenant_id), queues.of_all
    bounds = [
        Bound(
            "waiting_documents_of_tenant",
            "of your documents wait",
            own.documents + let_in[tenant_id],
            limits.max_waiting_documents_of_tenant,
            own.documents_per_s,
        ),
        Bound(
            "waiting_documents",
            "documents wait",
            all_.documents + let_in.total(),
            limits.max_waiting_documents,
            all_.documents_per_s,
        ),
        Bound(
            "waiting_chunks_of_tenant",
            "chunks of your documents wait",
            own.chunks,
            limits.max_waiting_chunks_of_tenant,
            own.chunks_per_s,
        ),
        Bound("waiting_chunks", "chunks wait", all_.chunks, limits.max_waiting_chunks, all_.chunks_per_s),
    ]
    if limits.max_waiting_s is not None:
        words = "seconds have passed since the oldest of your waiting documents came"
        bounds.append(Bound("waiting_s", words, int(own.oldest_s), math.ceil(limits.max_waiting_s)))
    return bounds


def queue_full(bound: Bound) -> Problem:
    """The answer to work for which there is no room in the queue."""
    return Problem(
        429,
        "queue_full",
        f"{bound.waiting} {bound.words}; the limit is {bound.limit}. Try again in {bound.retry_after_s} s.",
        headers={"Retry-After": str(bound.retry_after_s)},
        facts={"bound": bound.name, "waiting": bound.waiting, "limit": bound.limit},
    )


def _refuse_full_disk(disk: Disk | None, limits: LimitsSettings) -> None:
    if disk is None:
        return
    limit = max(limits.min_free_bytes, math.ceil(disk.total * limits.min_free_percent / 100))
    if disk.free < limit:
        raise Problem(
            507,
            "storage_full",
            f"The disk of the originals has {disk.free} bytes free; {limit} must stay free.",
            headers={"Retry-After": str(STORAGE_RETRY_S)},
            facts={"bound": "free_bytes", "free": disk.free, "limit": limit},
        )


def _disk_of(root: Path | None) -> Disk | None:
    if root is None:
        return None
    with contextlib.suppress(OSError):
        usage = shutil.disk_usage(root)
        return Disk(usage.free, usage.total)
    return None
