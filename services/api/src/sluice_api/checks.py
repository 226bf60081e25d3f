"""Readiness: asks every part that the gateway stands on, all at once and never more often than needed."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import anyio
import structlog
from anyio import to_thread

from sluice_common.errors import PipelineError

log = structlog.get_logger(__name__)

TIMEOUT_S = 2.0
KEPT_S = 1.0


@dataclass(frozen=True)
class Check:
    """One part and how to ask it; `ping` raises unless it answers."""

    name: str
    ping: Callable[[], None]
    is_needed: bool = True
    """Without it the gateway cannot answer; otherwise it is only degraded."""


@dataclass(frozen=True)
class Finding:
    """What one part answered; `detail` is a constant word, never an address or a secret."""

    is_ok: bool
    detail: str


@dataclass(frozen=True)
class Report:
    """`ok`, `degraded` (something is away that searches and uploads can do without) or `unavailable`."""

    status: str
    findings: dict[str, Finding]

    @property
    def is_ready(self) -> bool:
        return self.status != "unavailable"


class Readiness:
    """Keeps what the parts answered for a second, so that probes never become load."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks
        self._threads = anyio.CapacityLimiter(max(1, len(checks)))  # its own: busy routes must not make it unready
        self._asked: dict[str, asyncio.Task[Finding]] = {}
        self._turn = asyncio.Lock()
        self._report: Report | None = None
        self._reported_at = 0.0

    async def report(self) -> Report:
        """How the parts are; at most one second old, after at most two seconds."""
        async with self._turn:
            if self._report is None or time.monotonic() - self._reported_at > KEPT_S:
                self._report = _report_of(self._checks, await self._findings())
                self._reported_at = time.monotonic()
            return self._report

    async def _findings(self) -> dict[str, Finding]:
        for check in self._checks:
            # One that still hangs since the last time is not asked once more: its threads would pile up.
            if check.name not in self._asked:
                self._asked[check.name] = asyncio.create_task(self._ask(check))
        await asyncio.wait(self._asked.values(), timeout=TIMEOUT_S)
        return {check.name: self._finding_of(check) for check in self._checks}

    def _finding_of(self, check: Check) -> Finding:
        if not self._asked[check.name].done():
            return Finding(is_ok=False, detail="no_answer")
        return self._asked.pop(check.name).result()

    async def _ask(self, check: Check) -> Finding:
        try:
            await to_thread.run_sync(check.ping, limiter=self._threads)
        except PipelineError as error:
            return Finding(is_ok=False, detail=str(error.code))
        except Exception:  # a probe must get an answer, whatever is wrong
            log.exception("check_crashed", check=check.name)
            return Finding(is_ok=False, detail="internal")
        return Finding(is_ok=True, detail="ok")


def _report_of(checks: Sequence[Check], findings: dict[str, Finding]) -> Report:
    missing = [check for check in checks if not findings[check.name].is_ok]
    if any(check.is_needed for check in missing):
        return Report("unavailable", findings)
    return Report("degraded" if missing else "ok", findings)
