"""Runs every test in two lanes side by side, for many tests wait more than they work: `run_tests.py pytest [...]`.

A lane is several runs of pytest, one after the other: the servers that a run has started end with it, and do not work
on beside the next. Lines come as they are printed, with the name of their lane.
"""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

LANES = {
    "parts": (
        ("tests/unit", "tests/model", "tests/migrations", "tests/contracts", "tests/architecture"),
        ("tests/bounds",),
        ("tests/faults/tools", "tests/faults/protocol", "tests/faults/planted"),
        ("tests/faults/test_copy_outage.py", "tests/faults/test_durability.py"),
    ),
    "wholes": (
        ("tests/acceptance", "tests/browser"),
        ("tests/deploy",),
        ("tests/faults/promises",),
        ("tests/faults/test_faults.py", "tests/faults/test_providers.py"),
    ),
}


def main(command: Sequence[str]) -> int:
    """Run *command* on all folders; returns the first exit status that is not 0."""
    with ThreadPoolExecutor(len(LANES)) as threads:
        lanes = list(threads.map(lambda lane: _statuses(lane, command), LANES))
    failed = {name: status for statuses in lanes for name, status in statuses.items() if status}
    for name, status in failed.items():
        print(f"failed, status {status}; its list stands above: {name}")
    return next(iter(failed.values()), 0)


def _statuses(lane: str, command: Sequence[str]) -> dict[str, int]:
    return {" ".join(folders): _run(lane, [*command, *folders]) for folders in LANES[lane]}


def _run(lane: str, command: Sequence[str]) -> int:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            sys.stdout.write(f"{lane:6} | {line}")  # one write, so that lines of both lanes do not mix
            sys.stdout.flush()
    return run.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
