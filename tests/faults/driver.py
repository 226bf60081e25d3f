"""One run under fire: clients, samplers and faults together, then quiet, then the verdict."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import UUID

import httpx
import psycopg
from faults.census import Census, adopt_orphans, census_of
from faults.clients import Client, Gateway, Pace
from faults.history import History, Violation
from faults.kinds import Kind, kinds
from faults.report import story_of
from faults.samplers import DeletedWatch, Follower, LastLook, LeakWatch, Sampler, Searcher, TableWatch
from faults.schedule import Strikes, schedule
from faults.tools.rig import Rig
from faults.verdict import Verdict
from move_guard import install_move_guard
from oracle import CLEAN, Oracle, wait_until

from sluice_client import SluiceClient
from sluice_local.services import create_key_command
from sluice_local.stack import run_to_end

TENANTS = ("default", "other")
WORKING = ("queued", "extracting", "embedding", "verifying")
UNFINISHED_OF_A_CLIENT = 5
"""Clients slow down when more than so many documents for each of them are unfinished."""
SAY_EVERY_S = 10
TERMINAL_S = 60
"""By then after the last fault every document has ended."""
UNTOLD_JUMP = "clock of postgres by 90 s"
UNTOLD_JUMP_S = 90
"""What was put off while the clock was so far ahead, waits so much longer when it has gone back: a jump of hours can be
told from a wait that was meant, and this one cannot."""
LATE = "everything ends within a minute, and the minute and a half of a jump that cannot be told from a wait"
ENDLESS = "every document ends"
PATIENCE_S = 180
"""So long is waited, so that a failure tells what is late from what is stuck for ever."""


@dataclass(frozen=True)
class Size:
    """A run goes on until it has had all of this."""

    faults: int
    documents: int
    clients: int = 4
    is_by_family: bool = False
    """Whether each family of faults, and not only all together, must meet documents in every working state."""
    chances: int = 3
    """So often a kind strikes that finds nothing, before a run goes on without it."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    hits: int
    """Faults that hit something."""
    documents: int
    violations: list[Violation]
    terminal_s: float
    """From the end of the last fault until every document had ended."""
    clean_s: float
    """From the end of the last fault until store, table and files agreed, and all deleted documents were purged."""
    kinds: Sequence[Kind]
    """All that were made."""
    counts: Counter[str]
    """What clients did and were answered, and how often."""
    seen: Counter[str]
    """What samplers and the verdict really judged, and how often."""
    unmet: list[str]
    """The working states in which no fault, or none of a family, met a document."""
    story: str

    def number(self, promise: str) -> int:
        """How often a promise was broken."""
        return sum(violation.promise == promise for violation in self.violations)


SETTINGS = {
    "SLUICE_RECONCILER__JANITOR_INTERVAL_S": "5",
    "SLUICE_RECONCILER__ORIGINALS_GRACE_S": "30",  # longer than an upload may hang between its file and its row
    "SLUICE_CHUNKING__MAX_CHARS": "300",
    "SLUICE_CHUNKING__OVERLAP_CHARS": "0",  # so that lines stay whole
    "SLUICE_EXTRACTION__BATCH_CHUNKS": "4",  # so that small documents have many batches
}
"""What a rig needs beside its own settings, so that a run sees everything within minutes."""


class FaultRun:
    """Drives one rig; `say` gets a line of progress now and then."""

    def __init__(self, rig: Rig, size: Size, *, say: Callable[[str], None]) -> None:
        self._rig = rig
        self._stack = rig.stack
        self._seed = rig.seed
        self._kinds = kinds(rig, Random(f"{rig.seed}:kinds"))
        self._say = say
        self._oracle = Oracle(rig)
        self._history = History()
        self._pace = Pace(most_unfinished=size.clients * UNFINISHED_OF_A_CLIENT)
        self._size = size
        self._keys = {"default": rig.stack.api_key, "other": self._other_key()}
        self._table = TableWatch(self._oracle, self._pace, self._history)
        self._history.secrets |= {f"key of {tenant}": key for tenant, key in self._keys.items()}
        self._searcher = Searcher(self._gateways("searcher"), self._oracle, self._history, rig.seed)
        self._began = time.monotonic()
        self._said = 0.0

    def run(self) -> Outcome:
        """Everything from the first upload to the verdict."""
        install_move_guard(self._rig.settings["SLUICE_DATABASE__URL"])
        adopt_orphans()
        self._warm_up()
        base = self._census()
        leaks = LeakWatch(self._stack.home, self._broker_url, self._history)
        follower = Follower(self._gateways("follower"), self._history, self._seed)
        deleted = DeletedWatch(self._gateways("deleted"), self._history, self._seed)
        with ExitStack() as samplers:
            samplers.enter_context(Sampler("searcher", self._searcher.look, pause_s=0.15))
            samplers.enter_context(Sampler("follower", follower.look, pause_s=0.15))
            samplers.enter_context(Sampler("deleted", deleted.look, pause_s=0.3))
            samplers.enter_context(Sampler("table", self._table.look, pause_s=0.25))
            samplers.enter_context(Sampler("leaks", leaks.look, pause_s=3))
            quiet_at = self._fire()
            terminal_s = self._wait_for_the_end(quiet_at)
        clean_s = self._wait_for_agreement(quiet_at)
        leaks.look()
        leaks.look_at_metrics(self._metrics_urls())
        return self._outcome(base, terminal_s, clean_s)

    def _fire(self) -> float:
        """Clients and faults together, until there were enough of both or something is seen to be wrong.

        Returns:
            When the last fault was over, by this machine's steady clock.
        """
        clients = [
            Client(number, tenant, gateway, pace=self._pace, history=self._history, seed=self._seed)
            for number in range(self._size.clients)
            for tenant in [TENANTS[number == self._size.clients - 1]]
            for gateway in [self._gateway(f"client {number}", tenant)]
        ]
        for client in clients:
            client.start()
        wait_until(lambda: len(self._history.told) > self._size.clients, seconds=60, message="no upload was accepted")
        with Strikes(self._history) as strikes:
            rng = Random(f"{self._seed}:faults")
            for group in schedule(self._kinds, rng, is_wanted_again=self._is_wanted_again):
                time.sleep(group.pause_s)
                strikes.begin(group)
                self._say_sometimes()
                if self._is_enough() or self._history.violations:
                    break
            self._pace.stopping.set()
        quiet_at, quiet = time.monotonic(), datetime.now(UTC)
        self._rig.calm()
        for client in clients:
            client.join(timeout_s=60)
        self._say(f"clients ended {time.monotonic() - quiet_at:.1f} s after the last fault")
        for note in self._history.unanswered_since(quiet):
            self._say(f"unanswered when all was quiet: {note}")
        return quiet_at

    def _is_enough(self) -> bool:
        return (
            self._hits() >= self._size.faults
            and len(self._history.told) >= self._size.documents
            and not any(map(self._is_wanted_again, self._kinds))
            and not self._unmet()
        )

    def _unmet(self) -> list[str]:
        """The working states in which no fault, or none of a family, has met a document yet."""
        families: dict[str, list[str]] = defaultdict(list)
        for kind in self._kinds:
            families[kind.family if self._size.is_by_family else "any"].append(kind.name)
        return [
            f"{family}: {state}"
            for family, names in families.items()
            for state in WORKING
            if not self._rig.tally.met_in(state, names)
        ]

    def _is_wanted_again(self, kind: Kind) -> bool:
        """Whether it hit nothing yet, and that may have been chance."""
        tally = self._rig.tally
        return not tally.hits[kind.name] and tally.missed[kind.name] < self._size.chances

    def _hits(self) -> int:
        return sum(strike.is_hit for strike in self._history.strikes)

    def _wait_for_the_end(self, quiet_at: float) -> float:
        """Seconds until everything had ended; what is late, or never ends, breaks a promise."""
        deadline = quiet_at + TERMINAL_S + self._untold_jump_s(datetime.now(UTC))
        self._wait(lambda: self._is_up() and self._has_ended(), deadline)
        self._accuse_unfinished(LATE)
        self._wait(self._has_ended, quiet_at + PATIENCE_S)
        self._accuse_unfinished(ENDLESS)
        return time.monotonic() - quiet_at

    def _untold_jump_s(self, now: datetime) -> float:
        """How much longer than meant something may wait at most."""
        jumps = [strike.ended for strike in self._history.strikes if strike.kind == UNTOLD_JUMP]
        return max([0.0, *(UNTOLD_JUMP_S - (now - ended).total_seconds() for ended in jumps)])

    def _wait_for_agreement(self, quiet_at: float) -> float:
        self._wait(self._agrees, time.monotonic() + PATIENCE_S)
        return time.monotonic() - quiet_at

    def _wait(self, condition: Callable[[], bool], deadline: float) -> None:
        while not condition() and time.monotonic() < deadline:
            self._say_sometimes()
            time.sleep(0.25)

    def _has_ended(self) -> bool:
        return not self._oracle.unfinished()

    def _accuse_unfinished(self, promise: str) -> None:
        for document in self._oracle.unfinished():
            self._history.accuse(promise, document, f"doc_{UUID(document.split()[0]).hex}")

    def _is_up(self) -> bool:
        try:
            answers = [httpx.get(f"{url}/readyz", timeout=5, trust_env=False) for url in self._rig.urls]
        except httpx.TransportError:
            return False
        return all(answer.status_code == httpx.codes.OK for answer in answers)

    def _agrees(self) -> bool:
        try:
            is_clean = self._oracle.being_purged() == 0 and self._oracle.findings() == CLEAN
        except (httpx.HTTPError, psycopg.Error):
            return False  # something is being started again
        return is_clean and not self._oracle.originals_without_row() and not self._oracle.unfinished_uploads()

    def _outcome(self, base: Census, terminal_s: float, clean_s: float) -> Outcome:
        grown = self._census().grown_since(base)
        last_look = LastLook(self._gateways("last look"))
        violations = Verdict(self._oracle, self._history, self._searcher, last_look).violations()
        violations += [Violation("nothing is left running or open", detail) for detail in grown]
        tell = {"oracle": self._oracle, "history": self._history, "home": self._stack.home}
        return Outcome(
            hits=self._hits(),
            documents=len(self._history.told),
            violations=violations,
            terminal_s=terminal_s,
            clean_s=clean_s,
            kinds=self._kinds,
            counts=self._history.counts,
            seen=self._history.seen,
            unmet=self._unmet(),
            story=story_of(violations, self._seed, **tell),
        )

    def _warm_up(self) -> None:
        with SluiceClient(self._stack.url, self._stack.api_key) as client:
            for number in range(3):
                document = client.upload(f"Before the first fault, {number}.".encode(), name="first.txt")
                assert client.wait(document.id, timeout_s=60).status == "ready"
                client.delete(document.id)

    def _say_sometimes(self) -> None:
        elapsed = time.monotonic() - self._began
        if elapsed - self._said < SAY_EVERY_S:
            return
        self._said = elapsed
        self._say(
            f"{elapsed:5.0f} s: {self._hits()} faults, {len(self._history.told)} documents accepted, "
            f"{self._pace.unfinished} unfinished, {len(self._history.violations)} violations"
        )

    def _gateway(self, who: str, tenant: str) -> Gateway:
        return Gateway(self._rig.urls, self._keys[tenant], who=who, history=self._history)

    def _gateways(self, who: str) -> dict[str, Gateway]:
        return {tenant: self._gateway(who, tenant) for tenant in TENANTS}

    @property
    def _broker_url(self) -> str:
        return self._rig.settings["SLUICE_BROKER__URL"]

    def _census(self) -> Census:
        return census_of(self._stack, self._oracle, self._broker_url)

    def _metrics_urls(self) -> list[str]:
        names = [name for names in self._rig.processes.values() for name in names]
        settings = [self._stack.environment_of(name) for name in names]
        return [f"http://{each['SLUICE_METRICS__HOST']}:{each['SLUICE_METRICS__PORT']}/metrics" for each in settings]

    def _other_key(self) -> str:
        return run_to_end(create_key_command(TENANTS[1], "read,write", "faults"), self._rig.settings).strip()


def keep_story(outcome: Outcome, seed: int, folder: Path) -> Path:
    """Write the whole story where it outlives the run; returns where."""
    folder.mkdir(exist_ok=True)
    path = folder / f"faults-{seed}-{datetime.now(UTC):%Y%m%dT%H%M%S}.txt"
    path.write_text(outcome.story, encoding="utf-8")
    return path
