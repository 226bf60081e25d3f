"""What each loop of the reconciler does, once; `reconciler` decides how often."""

import contextlib
from collections import Counter as Counts
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sluice_api.repairs import Repairs
from sluice_api.second_look import SecondLook
from sluice_common.batches import Batches
from sluice_common.contract import EMBED_QUEUE, EXTRACT_QUEUE, Task
from sluice_common.errors import TransientError
from sluice_common.hints import Hints
from sluice_common.ports import ObjectStore, StoredObject, VectorStore
from sluice_common.reconciling import Backlog, Purge, Reconciling
from sluice_common.tasks import DramatiqQueue
from sluice_common.times import Times

log = structlog.get_logger(__name__)

_AUDIT_PAGE = 1000
_JANITOR_PAGE = 500

SECOND_LOOK = timedelta(minutes=10)
"""Between two looks at an original without a row: twice what the timeouts of the object store and the database, all
added up, leave an upload between the commit of its original and that of its row."""

KINDS = (
    "leases_expired",
    "batch_leases_expired",
    "redis_forgot",
    "tries_used_up",
    "deadline_passed",
    "orphans",
    "points_missing",
    "runs_collected",
    "documents_purged",
    "objects_without_row",
    "uploads_unfinished",
)
"""Everything that a loop can find."""


class LoopMetrics:
    """What the reconciler found and mended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._resent = Counter(
            "sluice_tasks_resent", "Hints that the dispatch loop sent.", ["stage"], registry=registry
        )
        for stage in ("extract", "embed"):
            self._resent.labels(stage)
        self._found = Counter(
            "sluice_reconciler_found",
            "What the reconciler had to put right, by kind.",
            ["kind"],
            registry=registry,
        )
        for kind in KINDS:
            self._found.labels(kind)  # shown as 0 from the start, or nobody could see the first find as an increase
        self._crashed = Counter(
            "sluice_reconciler_loop_failures", "Passes of a loop that raised.", ["loop"], registry=registry
        )
        self._passed_at = Gauge(
            "sluice_reconciler_last_pass_timestamp_seconds",
            "When a loop last ended a pass well, or was started if it never did; in seconds since 1970.",
            ["loop"],
            registry=registry,
        )

    def count_resent(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            self._resent.labels("embed" if task.queue == EMBED_QUEUE else "extract").inc()

    def count_found(self, kind: str, number: int) -> None:
        """Add to one of `KINDS`."""
        self._found.labels(kind).inc(number)

    def begin(self, loop: str) -> None:
        """Show a loop from its start on, before anything can have gone wrong."""
        self._crashed.labels(loop)
        self.count_pass(loop)

    def count_pass(self, loop: str) -> None:
        """Note that a pass ended well just now."""
        self._passed_at.labels(loop).set_to_current_time()

    def count_failure(self, loop: str) -> None:
        self._crashed.labels(loop).inc()


class BacklogCollector(Collector):
    """Reads the table at each scrape: a gauge that can be read is not kept by adding and subtracting.

    While the table cannot be read its gauges are left out, and everything else is still shown.
    """

    def __init__(self, reconciling: Reconciling) -> None:
        self._reconciling = reconciling

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with contextlib.suppress(TransientError):
            yield from _families_of(self._reconciling.backlog())


@dataclass(frozen=True)
class Loops:
    """One pass of each loop; every pass may run in several processes at once."""

    reconciling: Reconciling
    batches: Batches
    queue: DramatiqQueue
    hints: Hints
    vectors: VectorStore
    objects: ObjectStore
    times: Times
    metrics: LoopMetrics
    originals_grace: timedelta
    history_kept: timedelta
    second_look: SecondLook = field(default_factory=SecondLook)

    def dispatch(self) -> None:
        """Send again what the queue may have lost; the outbox, the retry timer and the fair release in one."""
        # asked first: while Redis is away or has enough, no row's next hint is put off
        queues = [queue for queue in (EXTRACT_QUEUE, EMBED_QUEUE) if self.queue.has_room(queue)]
        tasks = self.reconciling.due_tasks(queues)
        sent = self.hints.send(tasks)
        self.metrics.count_resent(tasks[:sent])
        if sent < len(tasks):
            self.reconciling.not_sent(tasks[sent:])

    def notice_epoch(self) -> None:
        """When Redis forgot, every waiting row is due at once."""
        if self.reconciling.notice_epoch(self.queue.epoch):
            self.metrics.count_found("redis_forgot", 1)
            log.warning("redis_epoch_changed")

    def reap(self) -> None:
        """Take back what silent workers held."""
        reaped = self.reconciling.reap()
        self.metrics.count_found("leases_expired", reaped.documents)
        self.metrics.count_found("batch_leases_expired", reaped.batches)
        if reaped.documents or reaped.batches:
            log.warning("leases_expired", documents=reaped.documents, batches=reaped.batches)

    def end_exhausted(self) -> None:
        """Fail what is out of tries."""
        self.metrics.count_found("tries_used_up", self.reconciling.fail_exhausted())

    def end_overdue(self) -> None:
        """Fail what waited for others until its deadline."""
        overdue = self.reconciling.fail_overdue()
        if overdue.unseen:
            log.warning("clock_jumped", seconds=overdue.unseen.total_seconds())
        self.metrics.count_found("deadline_passed", overdue.failed)

    def collect(self) -> None:
        """Remove abandoned and superseded runs, and deleted documents."""
        self.metrics.count_found("runs_collected", self.reconciling.collect(self.vectors.delete_runs))
        self.metrics.count_found("documents_purged", self.reconciling.purge(self._drop))

    def audit(self) -> None:
        """Compare store and table in both directions."""
        self._repair_published(self._remove_orphans())

    def tidy(self) -> None:
        """Remove originals without a row, uploads that were never finished, and old rows of ours."""
        self.reconciling.trim(history_kept=self.history_kept)
        before = datetime.now(UTC) - self.originals_grace
        self.metrics.count_found("uploads_unfinished", self.objects.discard_unfinished(older_than=before))
        with self.second_look.sweep():
            for page in _pages(self.objects.entries(older_than=before)):
                self._remove_originals({entry.key for entry in page})

    def _remove_originals(self, keys: set[str]) -> None:
        """Remove those of *keys* that had no row at two looks: by its age alone one may be of an upload under way."""
        apart = min(SECOND_LOOK, self.originals_grace)
        unknown = self.second_look.confirmed(keys, self.reconciling.unknown_keys, apart=apart)
        for key in unknown:
            self.objects.delete(key)
            self.second_look.forget(key)
        self.metrics.count_found("objects_without_row", len(unknown))

    def _drop(self, purge: Purge) -> bool:
        self.vectors.delete_document(purge.document_id)
        for key in purge.storage_keys:
            self.objects.delete(key)
        return purge.is_last and self._has_points(purge.document_id)

    def _has_points(self, document_id: UUID) -> bool:
        left = self.vectors.count_of_document(document_id)
        if left:
            self.metrics.count_found("orphans", left)
            log.warning("points_left", document_id=str(document_id), points=left)
        return left > 0

    def _remove_orphans(self) -> Counts[int]:
        """Go through every point once; returns how many each run has."""
        found: Counts[int] = Counts()
        after: UUID | None = None
        while True:
            points, after = self.vectors.page_of_points(after, limit=_AUDIT_PAGE)
            live = self.reconciling.live_runs({point.run_id for point in points})  # after the page, see there
            orphans = [point.id for point in points if point.run_id not in live]
            if orphans:
                self.vectors.delete_points(orphans)
                self.metrics.count_found("orphans", len(orphans))
                log.warning("orphans_removed", points=len(orphans))
            found.update(point.run_id for point in points)
            if after is None:
                return found

    def _repair_published(self, found: Counts[int]) -> None:
        repairs = Repairs(self.reconciling, self.batches, self.vectors, self.hints)
        for run in self.reconciling.published_runs():
            if found[run.run_id] == run.n_chunks or repairs.is_whole(run):
                continue  # what was published while the points were read is counted by itself
            if not repairs.has_room():
                return  # the next audit goes on
            repair = repairs.begin(run)
            self.metrics.count_found("points_missing", repair.points)
            log.warning("points_missing", run_id=run.run_id, batches=repair.batches)


def _families_of(backlog: Backlog) -> Iterator[GaugeMetricFamily]:
    documents = GaugeMetricFamily("sluice_documents", "Unfinished documents, by state.", labels=["status"])
    ages = GaugeMetricFamily(
        "sluice_oldest_unmoved_document_age_seconds",
        "How long the document that has not moved for longest has been in its state.",
        labels=["status"],
    )
    for state in ("queued", "extracting", "embedding", "verifying"):
        documents.add_metric([state], backlog.documents.get(state, 0))
        ages.add_metric([state], backlog.oldest_s.get(state, 0))
    yield documents
    yield ages
    yield GaugeMetricFamily(
        "sluice_oldest_unfinished_document_age_seconds",
        "Time since the request for the document that is unfinished for longest.",
        backlog.oldest_unfinished_s,
    )
    yield GaugeMetricFamily("sluice_batches_waiting", "Batches that wait to be embedded.", backlog.batches_waiting)
    yield GaugeMetricFamily("sluice_chunks_waiting", "Chunks that wait to be embedded.", backlog.chunks_waiting)
    yield GaugeMetricFamily(
        "sluice_stuck_documents", "Documents that nothing will ever move again; must be 0.", backlog.stuck
    )


def _pages(entries: Iterator[StoredObject]) -> Iterator[list[StoredObject]]:
    page: list[StoredObject] = []
    for entry in entries:
        page.append(entry)
        if len(page) == _JANITOR_PAGE:
            yield page
            page = []
    if page:
        yield page
