"""Promise 7: delete works at any moment, and nothing comes back."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
import pytest
from faults.promises.parts import (
    IS_LONG,
    LEASE_S,
    LONGEST_S,
    SEED,
    STOPS,
    Site,
    accepted,
    bare,
    found,
    in_threads,
    is_within,
    text_about,
)
from oracle import wait_until

DOCUMENTS = 500 if IS_LONG else 60
ONE_IN = 10
"""So many documents of each client make one that is embedded, and kills its embedder, before it is deleted."""

KILLED_AT = "vectors.upsert.after"

GONE_S = 60
CLIENTS = 4


@dataclass
class Deletions:
    """What clients were told while they deleted."""

    ids: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)
    """How many documents were in which state a moment before."""

    def expect(self, what: str, answer: httpx.Response, status: int) -> None:
        if answer.status_code != status:
            self.wrong.append(f"{what}: {answer.status_code} {answer.text[:200]}")


def test_documents_deleted_at_any_moment_are_gone_and_stay_gone(site, figures):
    told = Deletions()
    kills = Kills(site)
    in_threads(lambda number: upload_and_delete(site, told, kills, number), CLIENTS)

    assert told.wrong == [], f"seed {SEED}"
    assert len(told.ids) == DOCUMENTS
    started_s = time.monotonic()
    wait_until(lambda: left_of(site, told.ids) == NOTHING, seconds=120, message=lambda: str(left_of(site, told.ids)))
    gone_s = time.monotonic() - started_s
    assert is_within(gone_s, GONE_S)
    assert kills.count >= CLIENTS * (DOCUMENTS // CLIENTS // ONE_IN), "too few embedders were killed"
    if not IS_LONG:
        for document_id in told.ids:
            site.let_second_pass_come(document_id)
    wait_until(lambda: all_purged(site, told.ids), seconds=3 * LONGEST_S, message="not everything is purged twice")
    assert left_of(site, told.ids) == NOTHING, "something came back"
    figures.note(
        7,
        f"{DOCUMENTS} documents deleted at random moments (a moment before: {told.states}), the embedder killed after "
        f"an upsert {kills.count} times: no 409, no 5xx, each at once invisible and 410; points, chunks and bytes = 0 "
        f"after {gone_s:.0f} s, and still after the second purge",
    )


NOTHING = (0, 0, 0)


class Kills:
    """Kills of an embedder that had just written points; the supervisor brings it back."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        return sum(len(self._site.points[name].hits(KILLED_AT)) for name in ("embedder", "embedder2"))

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Wait, behind an upload inside the `with`, until an embedder is dead; one at a time."""
        with self._lock, self._site.armed("embedder", **{KILLED_AT: "kill"}):
            before = self.count
            yield
            wait_until(lambda: self.count > before, seconds=60, message="no embedder came so far")


def upload_and_delete(site: Site, told: Deletions, kills: Kills, number: int) -> None:
    rng = random.Random(f"{SEED}:{number}")
    with site.client(site.gateways()[number % 2]) as client:
        for count in range(DOCUMENTS // CLIENTS):
            word = f"zx{number}n{count}r{uuid4().hex[:6]}"
            with kills.one_more() if count % ONE_IN == ONE_IN - 1 else nullcontext():
                document_id = accepted(client, text_about(word, rng.randint(1, 9)), f"{word}.txt")
            threading.Event().wait(rng.choice([0, 0.02, 0.1, 0.3, 1.0]))
            delete_and_look(site, client, told, document_id, word)


def delete_and_look(site: Site, client: httpx.Client, told: Deletions, document_id: str, word: str) -> None:
    state = site.facts_of(document_id, "state")[0]
    told.states[state] = told.states.get(state, 0) + 1
    path = f"/v1/documents/{document_id}"
    told.expect("delete", client.delete(path), 202)
    if hits := found(client, word):
        told.wrong.append(f"{word} is found {len(hits)} times after its delete")
    told.expect("read", client.get(path), 410)
    told.expect("download", client.get(f"{path}/content"), 410)
    told.expect("chunks", client.get(f"{path}/chunks"), 410)
    told.expect("delete again", client.delete(path), 202)
    told.expect("and again", client.delete(path), 202)
    told.ids.append(document_id)


def left_of(site: Site, ids: list[str]) -> tuple[int, int, int]:
    """Points, chunks and originals of these documents that are still there."""
    chosen = ", ".join(f"'{bare(document_id)}'" for document_id in ids)
    runs = {row[0] for row in site.oracle.query(f"SELECT id FROM runs WHERE document_id IN ({chosen})")}
    points = sum(run in runs for _, run in site.oracle.points())
    chunks = site.oracle.query(
        f"SELECT count(*) FROM chunks k JOIN runs r ON r.id = k.run_id WHERE r.document_id IN ({chosen})"
    )[0][0]
    keys = {row[0] for row in site.oracle.query(f"SELECT storage_key FROM originals WHERE document_id IN ({chosen})")}
    return points, chunks, len(keys & site.originals())


def all_purged(site: Site, ids: list[str]) -> bool:
    chosen = ", ".join(f"'{bare(document_id)}'" for document_id in ids)
    statement = f"SELECT count(*) FROM documents WHERE id IN ({chosen}) AND lifecycle <> 'deleted'"
    return bool(site.oracle.query(statement)[0][0] == 0)


@pytest.mark.parametrize(("stopped_before", "late_move"), STOPS)
def test_a_frozen_embedder_that_wakes_after_the_purge_brings_nothing_back(
    site, client, figures, stopped_before, late_move
):
    word = f"zf{uuid4().hex[:8]}"
    # the audit would mend it too; here the second purge must
    site.arm("reconciler", **{"vectors.page_of_points.before": "hold"})
    frozen_at_s = time.monotonic()
    with site.frozen(
        "embedder", f"{stopped_before}.before", lambda: accepted(client, text_about(word, 4), f"{word}.txt")
    ) as (
        name,
        document_id,
    ):
        assert client.delete(f"/v1/documents/{document_id}").status_code == 202
        wait_until(lambda: site.facts_of(document_id, "purge_pass") == (1,), seconds=30, message="not purged")
        threading.Event().wait(frozen_at_s + 2 * LEASE_S - time.monotonic())  # what is tried is a worker this late
        site.points[name].arm(**{f"{late_move}.after": "pause:0"})

    site.points[name].wait_for_hit(f"{late_move}.after")
    came_back = left_of(site, [document_id])[0]
    assert came_back == (4 if stopped_before == "vectors.upsert" else 0), "the late write is what is tried here"
    assert found(client, word) == []
    assert client.get(f"/v1/documents/{document_id}").status_code == 410
    site.let_second_pass_come(document_id)
    wait_until(lambda: all_purged(site, [document_id]), seconds=30, message="not purged twice")
    assert left_of(site, [document_id]) == NOTHING, "a zombie's points stay"
    figures.note(
        7,
        f"embedder frozen before {stopped_before} for {2 * LEASE_S} s, woken after the purge: "
        f"{came_back} points written late, never found, and gone with the second purge",
    )
