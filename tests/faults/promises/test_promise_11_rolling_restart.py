"""Promise 11: a rolling restart loses nothing and waits for nothing."""

import itertools
import os
import random
import signal
import subprocess
import threading
from typing import Self
from uuid import uuid4

import httpx
import psutil
import pytest
from faults.promises.parts import (
    ENDED,
    IS_LONG,
    LEASE_S,
    SEED,
    SMALL_CHUNKS,
    Site,
    asked_of_any,
    bare,
    ended,
    is_within,
    text_about,
)
from oracle import wait_until

ROUNDS = int(os.environ.get("ROUNDS", "50" if IS_LONG else "1"))
TURNS = (("extractor", "embedder"), ("api", "reconciler"), ("extractor2", "embedder2"), ("api2", "reconciler2"))
"""Which processes are restarted together: none that does the same, so that the other one of its kind goes on."""

LONGEST_PAUSE_S = 5
CLIENTS = 3
PAUSE_S = 0.3
AHEAD = 20
"""So many of its documents a client leaves unfinished; a machine that does not keep up gets no backlog."""


class Load:
    """Clients that go on uploading at a pace that the machine keeps up with; a context manager.

    A client that a gateway does not answer asks the other one, with the same key.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._upload, args=(n,), daemon=True) for n in range(CLIENTS)]
        self.ids: list[str] = []
        self.wrong: list[str] = []
        """What a client was told that it should not be."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def _upload(self, number: int) -> None:
        rng = random.Random(f"{SEED}:{number}")
        mine: list[str] = []
        for count in itertools.count():
            if self._stopping.wait(PAUSE_S):
                return
            word = f"zr{number}n{count}r{uuid4().hex[:6]}"
            mine.append(self._accepted(text_about(word, rng.randint(1, 30)), f"{word}.txt"))
            self.ids.append(mine[-1])
            if len(mine) > AHEAD:
                self._wait_for(mine[-AHEAD])

    def _accepted(self, body: bytes, name: str) -> str:
        request = {"files": {"file": (name, body)}, "data": {"chunking": SMALL_CHUNKS}}
        answer = asked_of_any(self._site, "POST", "/v1/documents", headers={"Idempotency-Key": name}, **request)
        if answer.status_code != httpx.codes.ACCEPTED:
            self.wrong.append(f"{answer.status_code} {answer.text}")
        return str(answer.json()["id"])

    def _wait_for(self, document_id: str) -> None:
        while asked_of_any(self._site, "GET", f"/v1/documents/{document_id}").json()["status"] not in ENDED:
            if self._stopping.wait(PAUSE_S):
                return


def restart(site: Site, names: tuple[str, ...]) -> None:
    """Tell processes to stop, and wait until their successors are ready, as every orchestrator does."""
    old = [site.stack.pid_of(name) for name in names]
    for name in names:
        site.stack.kill(name, signal.SIGTERM)
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in old), seconds=60, message=f"{names} do not stop")
    site.stack.wait_until_ready()


@pytest.mark.timeout(7200 if IS_LONG else 900)
def test_every_process_restarted_in_turn_under_load_costs_no_try_and_no_loss(site, client, figures):
    restarts = 0
    with Load(site) as load:
        wait_until(lambda: len(load.ids) > 3, seconds=60, message="no upload was accepted")
        for _ in range(ROUNDS):
            for names in TURNS:
                restart(site, names)
                restarts += len(names)
    assert load.wrong == []
    outcomes = {ended(client, document_id)["status"] for document_id in load.ids}

    assert outcomes == {"ready"}
    chosen = ", ".join(f"'{bare(document_id)}'" for document_id in load.ids)
    tries, losses = site.oracle.query(f"SELECT max(tries), sum(losses) FROM documents WHERE id IN ({chosen})")[0]
    lost = site.oracle.query(f"SELECT COALESCE(sum(losses), 0) FROM batches WHERE document_id IN ({chosen})")[0][0]
    assert (tries, losses, lost) == (1, 0, 0)
    pause_s = longest_pause_s(site, chosen)
    assert is_within(pause_s, LONGEST_PAUSE_S)
    figures.note(
        11,
        f"{restarts} SIGTERMs to processes of every kind in turn while {len(load.ids)} documents went through: no "
        f"try, no loss, all ready, longest pause between two publications {pause_s:.1f} s",
    )


def longest_pause_s(site: Site, chosen: str) -> float:
    statement = (
        "SELECT COALESCE(max(pause), 0) FROM (SELECT EXTRACT(EPOCH FROM published_at - lag(published_at) "
        f"OVER (ORDER BY published_at)) AS pause FROM runs WHERE document_id IN ({chosen}) AND state = 'published') p"
    )
    return float(site.oracle.query(statement)[0][0])


@pytest.mark.parametrize("kind", ["extractor", "embedder"])
def test_a_worker_with_another_lease_than_the_reconcilers_does_not_start(site, kind):
    other = {"SLUICE_TIMES__LEASE_S": str(2 * LEASE_S), "SLUICE_METRICS__PORT": "0"}
    command = psutil.Process(site.stack.pid_of(kind)).cmdline()

    done = subprocess.run(
        command,
        env={**site.stack.environment_of(kind), **other},
        capture_output=True,
        timeout=120,
        check=False,
        text=True,
    )

    assert done.returncode == 1, done.stderr
    said = [line for line in done.stderr.splitlines() if "times_disagree" in line]
    assert len(said) == 1, done.stderr
    assert f"{LEASE_S} s" in said[0]
    assert f"{2 * LEASE_S} s" in said[0]
