"""Fills the index from the table after Qdrant was wiped or replaced: `python -m sluice_api.rebuild_index`."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from sluice_api.repairs import Repairs
from sluice_common.adapters.build import build_vector_store
from sluice_common.batches import Batches
from sluice_common.database import open_database
from sluice_common.errors import TransientError
from sluice_common.hints import Hints
from sluice_common.migrations import check_schema
from sluice_common.ports import VectorStore
from sluice_common.reconciling import Reconciling
from sluice_common.service import run_service, say
from sluice_common.settings import EmbeddingsSettings, QdrantSettings, ServiceSettings
from sluice_common.tasks import open_queue
from sluice_common.times import times_of

PAUSE_S = 0.5
SHOWN_EVERY_S = 2.0
MOST_FAILURES = 30
AFTER_FAILURE_S = 2.0
INTERRUPTED = 130


class RebuildSettings(ServiceSettings):
    qdrant: QdrantSettings
    embeddings: EmbeddingsSettings


class Progress:
    """Says now and then how far the rebuild is."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self._total = total
        self._say = say
        self._began_at_s = time.monotonic()
        self._shown_at_s = float("-inf")

    def show(self, done: Callable[[], int], *, now: bool = False) -> None:
        """Say how many chunks are in the index, unless that was said a moment ago."""
        passed_s = time.monotonic() - self._began_at_s
        if not now and passed_s - self._shown_at_s < SHOWN_EVERY_S:
            return
        self._shown_at_s = passed_s
        chunks = max(done(), 0)
        percent = 100 * chunks // self._total if self._total else 100
        self._say(f"{chunks} of {self._total} chunks are in the index ({percent} %), after {passed_s:.0f} s")


@dataclass(frozen=True)
class IndexRebuild:
    """Opens what is missing, a little at a time, until a whole pass finds nothing.

    Everything it does is a row: it may be interrupted, repeated and run twice at once, and what it has begun goes
    on without it.
    """

    reconciling: Reconciling
    repairs: Repairs
    vectors: VectorStore
    say: Callable[[str], None]

    def run(self) -> int:
        """Work until every published run is whole in the index; returns how many runs were not.

        Raises:
            TransientError: a part was away for a minute; run it again.
        """
        self.vectors.ensure_index()
        progress = Progress(self.reconciling.published_chunks(), self.say)
        repaired: set[int] = set()
        while self._patiently(lambda: self._pass(repaired, progress)) or self.reconciling.repairs_waiting():
            pass
        progress.show(self.reconciling.published_chunks, now=True)
        return len(repaired)

    def _pass(self, repaired: set[int], progress: Progress) -> bool:
        """Look at every published run once, wait until what was begun is done; returns whether anything was."""
        seen_chunks, has_begun = 0, False
        for run in self.reconciling.published_runs():
            if not self.repairs.is_whole(run):
                self._wait_until(self.repairs.has_room, seen_chunks, progress)
                self.repairs.begin(run)
                repaired.add(run.run_id)
                has_begun = True
            seen_chunks += run.n_chunks
        self._wait_until(lambda: self.reconciling.repairs_waiting() == 0, seen_chunks, progress)
        return has_begun

    def _wait_until(self, condition: Callable[[], bool], seen_chunks: int, progress: Progress) -> None:
        while not condition():
            progress.show(lambda: seen_chunks - self.reconciling.repairs_waiting())
            time.sleep(PAUSE_S)

    def _patiently(self, act: Callable[[], bool]) -> bool:
        for _ in range(MOST_FAILURES):
            try:
                return act()
            except TransientError as error:
                self.say(f"waiting: {error.code}: {error.detail}")
                time.sleep(AFTER_FAILURE_S)
        return act()


def build(settings: RebuildSettings, stack: ExitStack, say: Callable[[str], None]) -> IndexRebuild:
    """Open everything a rebuild uses; the stack closes it in reverse order."""
    times = times_of(settings.times)
    database = open_database(settings.database, application="sluice-rebuild-index", pool_size=2)
    stack.callback(database.close)
    check_schema(database)
    queue = open_queue(settings.broker)
    stack.callback(queue.close)
    vectors = build_vector_store(settings.qdrant, settings.embeddings)
    reconciling = Reconciling(database, times)
    repairs = Repairs(reconciling, Batches(database, times), vectors, Hints(queue))
    return IndexRebuild(reconciling, repairs, vectors, say)


def main() -> int:
    """Rebuild the index that the settings name; returns the exit status."""
    try:
        return run_service(RebuildSettings, "rebuild-index", _rebuild)
    except KeyboardInterrupt:
        say("interrupted; what was begun goes on, and running this again does the rest")
        return INTERRUPTED


def _rebuild(settings: RebuildSettings, stack: ExitStack) -> None:
    repaired = build(settings, stack, say).run()
    say(f"the index is whole; {repaired} runs were not")


if __name__ == "__main__":
    sys.exit(main())
