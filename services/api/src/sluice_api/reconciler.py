"""The reconciler's composition root: `python -m sluice_api.reconciler`; any number may run side by side."""

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

import structlog

from sluice_api.loops import BacklogCollector, LoopMetrics, Loops
from sluice_common import __version__
from sluice_common.adapters.build import build_object_store, build_vector_store
from sluice_common.batches import Batches
from sluice_common.database import open_database
from sluice_common.errors import TransientError
from sluice_common.hints import Hints
from sluice_common.metrics import make_registry, serve_metrics
from sluice_common.migrations import check_schema
from sluice_common.reconciling import Reconciling
from sluice_common.service import run_service
from sluice_common.settings import (
    EmbeddingsSettings,
    ObjectsSettings,
    QdrantSettings,
    ReconcilerSettings,
    ServiceSettings,
)
from sluice_common.tasks import open_queue
from sluice_common.times import times_of

log = structlog.get_logger(__name__)


class ReconcilerServiceSettings(ServiceSettings):
    qdrant: QdrantSettings
    embeddings: EmbeddingsSettings
    objects: ObjectsSettings
    reconciler: ReconcilerSettings = ReconcilerSettings()


@dataclass(frozen=True)
class Loop:
    """A pass to be made again and again, with a pause between."""

    name: str
    run: Callable[[], None]
    pause: timedelta


@dataclass(frozen=True)
class Reconciler:
    """All loops, each in a thread of its own: a store that hangs must not hold up the dispatch."""

    loops: tuple[Loop, ...]
    metrics: LoopMetrics

    def run(self) -> None:
        """Work until SIGTERM or SIGINT."""
        stopping = threading.Event()

        def stop(_signal: int, _frame: FrameType | None) -> None:
            stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        threads = [
            threading.Thread(target=self._repeat, args=(loop, stopping), name=loop.name, daemon=True)
            for loop in self.loops
        ]
        for thread in threads:
            thread.start()
        log.info("reconciler_started")
        stopping.wait()
        for thread in threads:
            thread.join(timeout=5)

    def _repeat(self, loop: Loop, stopping: threading.Event) -> None:
        self.metrics.begin(loop.name)
        while not stopping.is_set():
            try:
                loop.run()
                self.metrics.count_pass(loop.name)
            except TransientError as error:
                self.metrics.count_failure(loop.name)
                log.warning("loop_postponed", loop=loop.name, code=error.code, detail=error.detail)
            except Exception:  # the loops are what makes everything else recover; they must go on
                self.metrics.count_failure(loop.name)
                log.exception("loop_crashed", loop=loop.name)
            stopping.wait(loop.pause.total_seconds())


def build(settings: ReconcilerServiceSettings, stack: ExitStack) -> Reconciler:
    """Open everything the reconciler uses; the stack closes it in reverse order."""
    times = times_of(settings.times)
    registry = make_registry(version=__version__)
    database = open_database(settings.database, application="sluice-reconciler")
    stack.callback(database.close)
    check_schema(database)
    queue = open_queue(settings.broker)
    stack.callback(queue.close)
    reconciling = Reconciling(database, times)
    reconciling.keep_lease()
    metrics = LoopMetrics(registry)
    loops = Loops(
        reconciling=reconciling,
        batches=Batches(database, times),
        queue=queue,
        hints=Hints(queue),
        vectors=build_vector_store(settings.qdrant, settings.embeddings),
        objects=build_object_store(settings.objects),
        times=times,
        metrics=metrics,
        originals_grace=timedelta(seconds=settings.reconciler.originals_grace_s),
        history_kept=timedelta(seconds=settings.reconciler.history_s),
    )
    registry.register(BacklogCollector(reconciling))
    stack.callback(serve_metrics(settings.metrics, registry))
    return Reconciler(_schedule(loops, settings), metrics)


def main() -> int:
    """Run the reconciler until it is told to stop; returns the exit status."""
    return run_service(ReconcilerServiceSettings, "reconciler", lambda settings, stack: build(settings, stack).run())


def _schedule(loops: Loops, settings: ReconcilerServiceSettings) -> tuple[Loop, ...]:
    lease = loops.times.lease
    return (
        Loop("dispatch", loops.dispatch, lease / 60),
        Loop("epoch", loops.notice_epoch, lease / 60),
        Loop("reap", loops.reap, lease / 12),
        Loop("exhausted", loops.end_exhausted, lease / 20),
        Loop("overdue", loops.end_overdue, lease / 2),
        Loop("collect", loops.collect, lease / 20),
        Loop("audit", loops.audit, timedelta(seconds=settings.reconciler.audit_interval_s)),
        Loop("tidy", loops.tidy, timedelta(seconds=settings.reconciler.janitor_interval_s)),
    )


if __name__ == "__main__":
    sys.exit(main())
