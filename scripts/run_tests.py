"""Runs every test in two lanes side by side, for many tests wait more than they work: `run_tests.py pytest [...]`.

A lane is several runs of pytest, one after the other: the servers that a run has started end with it, and do not work
on beside the next. Lines come as they are printed, with the name of their lane. When both lanes have ended, what failed
is run once more with nothing beside it (ADR 0030), but for what no machine can be blamed for; what failed, and how, is
the last that is printed.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

LANES = {
    "parts": (
        ("tests/unit", "tests/model", "tests/migrations", "tests/contracts", "tests/architecture"),
        ("tests/bounds/test_tables.py", "tests/bounds/test_backlog.py", "tests/bounds/test_large_uploads.py"),
        (
            "tests/bounds/test_full_disk.py",
            "tests/faults/test_copy_outage.py",
            "tests/faults/test_durability.py",
            "tests/faults/test_samplers.py",
        ),
        ("tests/faults/tools", "tests/faults/protocol", "tests/faults/planted"),
    ),
    "wholes": (
        ("tests/acceptance", "tests/browser"),
        ("tests/deploy/test_files.py", "tests/deploy/test_licences.py", "tests/deploy/test_workflows.py"),
        ("tests/deploy/kubernetes", "tests/deploy/systemd", "tests/deploy/test_nginx.py"),
        ("tests/deploy/monitoring",),
        ("tests/deploy/backup", "tests/deploy/sentinel"),
        ("tests/faults/promises",),
        ("tests/faults/test_faults.py", "tests/faults/test_providers.py", "tests/faults/test_store_outage.py"),
    ),
}
BY_THEMSELVES = {
    "tests/deploy/containers": "make test-containers",
    "tests/bounds/test_hostile_files.py": "make test-bounds",
    "tests/bounds/test_leftovers.py": "make test-bounds",
    "tests/bounds/test_many_documents.py": "make test-bounds",
    "tests/bounds/test_many_pages.py": "make test-bounds",
}
"""What takes too long for every change, and the command that runs it."""
MAX_REPEATED = 3
"""More failures than these are no matter of what ran beside them: nothing is repeated then."""
NEVER_REPEATED = ("a promise was broken", "tests/faults/protocol/")
"""What has failed when it has failed once: the fault run's verdict, and what waits for no clock of a machine."""
_KEPT_LINES = 400
"""Of each failed run, counted from its end."""
_CACHES = Path("build/test-runs")


@dataclass(frozen=True)
class Run:
    """One run of pytest that has ended."""

    folders: str
    status: int
    seconds: float
    lines: Sequence[str]

    @property
    def failures(self) -> list[str]:
        """The lines of the short summary that name what failed."""
        return [line.strip() for line in self.lines if line.startswith(("FAILED ", "ERROR "))]


def main(command: Sequence[str]) -> int:
    """Run *command* on all folders; returns the first exit status that is not 0."""
    with ThreadPoolExecutor(len(LANES)) as threads:
        runs = [run for lane in threads.map(lambda lane: list(_lane(lane, command)), LANES) for run in lane]
    failed = [run for run in runs if run.status]
    for run in runs:
        print(f"{run.seconds:6.0f} s, status {run.status}: {run.folders}")
    if not failed:
        return 0
    for run in failed:
        print(f"\n======== how {run.folders} failed beside the other lane ========")
        print("".join(run.lines[-_KEPT_LINES:]))
    return _alone(failed, command)


def _lane(lane: str, command: Sequence[str]) -> Iterator[Run]:
    return (_run(lane, command, folders) for folders in LANES[lane])


def _alone(failed: Sequence[Run], command: Sequence[str]) -> int:
    failures = [line for run in failed for line in run.failures]
    final = [line for line in failures if any(part in line for part in NEVER_REPEATED)]
    if final or len(failures) > MAX_REPEATED or not all(run.failures for run in failed):
        print("\n".join(f"not repeated: {line}" for line in final or failures))
        return failed[0].status
    again = [
        _run("alone", [*command, "--last-failed", "--last-failed-no-failures=none"], run.folders.split())
        for run in failed
    ]
    for run in failed:
        print("\n".join(f"failed beside the other lane: {line}" for line in run.failures))
    print(
        "\n".join(f"failed alone too: {line}" for run in again for line in run.failures) or "none of them failed alone"
    )
    return next((run.status for run in again if run.status), 0)


def _run(lane: str, command: Sequence[str], folders: Sequence[str]) -> Run:
    began, lines = time.monotonic(), []
    cache = _CACHES / folders[0].replace("/", "-")
    with subprocess.Popen(
        [*command, "-o", f"cache_dir={cache.resolve()}", *folders],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            lines.append(line)
            sys.stdout.write(f"{lane:6} | {line}")  # one write, so that lines of both lanes do not mix
            sys.stdout.flush()
    return Run(" ".join(folders), run.returncode, time.monotonic() - began, lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
