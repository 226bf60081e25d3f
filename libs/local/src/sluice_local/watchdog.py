"""Waits for the supervisor to die and ends what it left behind."""

import signal
import sys
from pathlib import Path

from sluice_local.children import end_leftovers

GRACE_S = 10


def main() -> None:
    """Read the pipe from the supervisor: `done` is a proper end, silence at its end is a death."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.stdin.buffer.read() != b"done\n":
        end_leftovers(Path(sys.argv[1]), grace_s=GRACE_S)


if __name__ == "__main__":
    main()
