"""Becomes the program it is given, after asking the kernel to end it together with the supervisor.

Run by path and without site-packages (`python -I -S launch.py SUPERVISOR_PID SIGNAL PROGRAM ...`), so that it
costs ten milliseconds. A `preexec_fn` would do the same, but may deadlock in a program with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
SUPERVISOR_IS_GONE = 70


def main(supervisor_pid: int, death_signal: int, command: list[str]) -> None:
    """Replace this process by *command*; returns only by an error."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != supervisor_pid:  # it died before the kernel was asked
        sys.exit(SUPERVISOR_IS_GONE)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)  # what the supervisor ignores, its children would ignore too
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
