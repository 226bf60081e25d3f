"""Runs every test in two lanes side by side, for many tests wait more than they work: `run_tests.py pytest [...]`.

Each lane is a run of pytest of its own, with servers of its own; its lines come as they are printed, with its name.
"""

import subprocess
import sys
import threading
from collections.abc import Sequence

LANES = {
    "parts": (
        "tests/unit",
        "tests/model",
        "tests/migrations",
        "tests/contracts",
        "tests/architecture",
        "tests/bounds",
        "tests/faults/tools",
        "tests/faults/protocol",
        "tests/faults/planted",
        "tests/faults/test_copy_outage.py",
        "tests/faults/test_durability.py",
    ),
    "wholes": (
        "tests/acceptance",
        "tests/browser",
        "tests/deploy",
        "tests/faults/promises",
        "tests/faults/test_faults.py",
        "tests/faults/test_providers.py",
    ),
}


def main(command: Sequence[str]) -> int:
    """Run *command* on both lanes; returns the first exit status that is not 0."""
    lanes = {name: _started([*command, *folders]) for name, folders in LANES.items()}
    readers = [threading.Thread(target=_pass_on, args=(name, lane)) for name, lane in lanes.items()]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    statuses = {name: lane.wait() for name, lane in lanes.items()}
    for name, status in statuses.items():
        print(f"{name:6} | {'passed' if status == 0 else f'failed, status {status}; its list stands above'}")
    return next((status for status in statuses.values() if status), 0)


def _started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
    )


def _pass_on(name: str, lane: subprocess.Popen[str]) -> None:
    assert lane.stdout is not None
    for line in lane.stdout:
        sys.stdout.write(f"{name:6} | {line}")  # one write, so that lines of both lanes do not mix
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
