"""Runs tests with a bug planted, each time in a process of its own, and keeps what they said."""

import multiprocessing
import os
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from faults.planted.bugs import Bug
from faults.planted.planting import NAME

ROOT = Path(__file__).parents[3]

_PRELOADED = [
    *("pytest", "hypothesis.stateful", "psycopg", "sqlalchemy.dialects.postgresql.psycopg", "alembic.command"),
    *("prometheus_client", "structlog", "pydantic_settings", "httpx", "psutil", "faults.planted.planting"),
]
"""What every session needs and no bug is planted in: imported once, and every process begins with it."""


@dataclass(frozen=True)
class Verdict:
    """What one detector said of one bug."""

    bug: str
    detector: str
    seconds: float
    is_found: bool

    def __str__(self) -> str:
        word = "PASS" if self.is_found else "SURVIVED"
        file, _, name = self.detector.rpartition("::test_")
        return f"{word:8} {self.seconds:6.1f} s  {self.bug:50} {name if file else Path(name).stem}"


@dataclass(frozen=True)
class Ended:
    """A session of pytest that is over."""

    status: int | None
    output: str

    @property
    def has_failures(self) -> bool:
        """A test failed, rather than could not be run."""
        summary = self.output.rstrip().rpartition("\n")[2]
        return self.status == pytest.ExitCode.TESTS_FAILED and bool(re.search(r"\d failed", summary))


@dataclass
class Garden:
    """A place to try bugs out, as many at once as there are processors; all on one PostgreSQL."""

    folder: Path
    environment: dict[str, str]
    is_thorough: bool
    """Every detector of every bug is tried, instead of no more after the first that notices."""
    verdicts: list[Verdict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(_PRELOADED)
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._tried: dict[str, Future[list[Verdict]]] = {}

    def plant(self, bugs: Sequence[tuple[Bug, Sequence[str]]]) -> None:
        """Begin to try each bug on its detectors."""
        for bug, detectors in bugs:
            self._tried[bug.name] = self._pool.submit(self._try_out, bug, detectors)

    def verdicts_on(self, bug: Bug) -> list[Verdict]:
        """Wait for what the detectors say of a bug; raise AssertionError when it could not be tried."""
        return self._tried[bug.name].result()

    def run(self, detectors: Sequence[str], planted: Bug | None = None) -> Ended:
        """Run tests, with a bug or without."""
        output = self.folder / f"{uuid4().hex}.txt"
        environment = self.environment | ({} if planted is None else {NAME: planted.name})
        process = self._processes.Process(target=_run_session, args=(list(detectors), environment, output))
        process.start()
        process.join()
        return Ended(process.exitcode, output.read_text(encoding="utf-8"))

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _try_out(self, bug: Bug, detectors: Sequence[str]) -> list[Verdict]:
        verdicts = []
        for detector in detectors:
            began = time.monotonic()
            ended = self.run([detector], bug)
            assert ended.has_failures or ended.status == 0, f"{bug.name} could not be tried: {ended}"
            verdicts.append(Verdict(bug.name, detector, time.monotonic() - began, ended.has_failures))
            if ended.has_failures and not self.is_thorough:
                break
        self.verdicts += verdicts
        return verdicts


VERDICTS = pytest.StashKey[list[Verdict]]()
"""Where a session keeps them, to show them at its end."""


def _run_session(detectors: list[str], environment: dict[str, str], output: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    with output.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    options = ["-x", "-q", "--no-header", "-p", "faults.planted.planting", "-p", "no:cacheprovider"]
    sys.exit(pytest.main([*options, *detectors]))
