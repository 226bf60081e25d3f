"""Every fail point kills a process once, while documents of every kind go through; everything ends as it must."""

import itertools
import random
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import pytest
from faults.promises.parts import IS_LONG, PROCESSES, SEED, Site
from faults.promises.users import User, Vandal
from oracle import CLEAN

from sluice_common.failpoints import POINTS

PATIENCE_S = 150
USERS = 6
POINTS_OF_EACH = 24 if IS_LONG else 1
"""So many points kill each process; without LONG a sample that the seed chooses."""


def both_sides(*names: str) -> list[str]:
    return [f"{name}.{side}" for name in names for side in ("before", "after")]


POINTS_OF: Mapping[str, Sequence[str]] = {
    "api": [
        *both_sides("accept", "cancel", "delete", "reprocess", "embed_again", "delete_collection"),
        *both_sides("begin_request", "complete_request", "release_request"),
        *both_sides("objects.create", "objects.commit", "objects.read", "vectors.search"),
        *("objects.synced", "objects.renamed"),
        *("cancel.document_moved", "delete.document_moved", "embed_again.document_moved", "replace.document_moved"),
        *("accept.duplicate_found", "resolve.key_held"),
        *("delete_collection.collection_moved", "delete_collection.documents_moved"),
    ],
    "extractor": [
        *both_sides("claim_extraction", "heartbeat", "forward", "finish_extraction", "fail_extraction"),
        *both_sides("objects.local_copy", "queue.has_room", "queue.send"),
        *("extractor.child_started", "extractor.page_read", "forward.locked", "fail_extraction.document_moved"),
        *(f"finish_extraction.{step}" for step in ("document_moved", "batches_added", "run_closed")),
    ],
    "embedder": [
        *both_sides("claim_batch", "finish_batch", "defer_batch", "fail_batch", "publish"),
        *both_sides("vectors.ensure_index", "vectors.upsert", "vectors.count_of_run", "provider.embed"),
        *(f"finish_batch.{step}" for step in ("locked", "batch_done", "counted")),
        *(f"publish.{step}" for step in ("locked", "document_moved", "run_published")),
        "fail_batch.batch_failed",
    ],
    "reconciler": [
        *both_sides("repair", "dispatch", "notice_epoch", "reap", "fail_exhausted", "fail_overdue", "collect", "purge"),
        *both_sides("trim", "queue.epoch", "objects.entries", "objects.discard_unfinished"),
        *both_sides("vectors.ids_of_run", "vectors.page_of_points", "vectors.delete_runs"),
        *both_sides("vectors.delete_document", "vectors.count_of_document", "vectors.delete_points"),
        *both_sides("objects.delete"),
        *("repair.locked", "collect.points_dropped", "purge.bytes_dropped", "purge.document_moved"),
        *("dispatch.documents_given_out", "notice_epoch.counter_set", "reap.documents_taken_back"),
        *("fail_exhausted.document_failed", "fail_overdue.document_failed"),
    ],
}
"""Every point, in the service that it kills here; some are reached by others too."""

FIRST_OF_ALL = "vectors.ensure_index"
"""Where a process comes only when it has just been started."""

BACKGROUND: Mapping[str, Mapping[str, str]] = {
    "extractor": {"extractor.page_read": "pause:0.04"},
    "embedder": {"provider.embed.before": "raise:transient@0.2"},
}
"""What goes on all the while: pages that take their time, so that there is a heartbeat, and a provider with moods."""


def test_every_point_has_its_place_in_the_table():
    assert sorted(itertools.chain(*POINTS_OF.values())) == sorted(POINTS)


@pytest.mark.timeout(1200)
def test_a_process_may_die_at_every_point_and_everything_still_ends(site, figures):
    drivers = [Driver(site, name) for name in PROCESSES]
    users = [User(site, number) for number in range(USERS)]
    started_s = time.monotonic()
    with ExitStack() as running:
        for one in (*users, Vandal(site, users)):
            running.enter_context(one)
        for driver in drivers:
            driver.start()
        for driver in drivers:
            driver.join()
    struck_s = time.monotonic() - started_s
    site.stack.wait_until_ready()

    assert [missed for driver in drivers for missed in driver.missed] == [], f"nobody came there; seed {SEED}"
    assert [wrong for user in users for wrong in user.wrong] == [], f"seed {SEED}"
    assert site.oracle.settle(seconds=90) == CLEAN, f"seed {SEED}"
    figures.note(
        2,
        f"{sum(len(driver.killed) for driver in drivers)} of {len(POINTS)} fail points killed a process each, in "
        f"{struck_s:.0f} s, while {sum(user.documents for user in users)} documents went through: each ended as it "
        "must, nothing missing, nothing left over",
    )


class Driver(threading.Thread):
    """Lets one process die at one point after the other."""

    def __init__(self, site: Site, name: str) -> None:
        super().__init__(name=f"driver of {name}", daemon=True)
        kind = name.removesuffix("2")
        chosen = list(POINTS_OF[kind])
        random.Random(SEED).shuffle(chosen)
        self._points = chosen[name.endswith("2") :: 2][:POINTS_OF_EACH]
        self._site = site
        self._name = name
        self._armed = site.points[name]
        self._background = BACKGROUND.get(kind, {})
        self.killed: list[str] = []
        self.missed: list[str] = []

    def run(self) -> None:
        self._armed.arm(**self._background)
        for point in self._points:
            self._armed.arm_kill(point)
            if point.startswith(FIRST_OF_ALL):
                self._site.stack.kill(self._name, signal.SIGKILL)
            try:
                self._armed.killed(point, seconds=PATIENCE_S)
            except AssertionError:
                self.missed.append(f"{self.name}: {point}")
            else:
                self.killed.append(point)
            self._armed.arm(**self._background)
