"""Prints for a person, on any terminal."""

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from sluice_local.supervisor import ProcessRecord

FOLLOW_INTERVAL_S = 0.2
NAME_WIDTH = 12


def say(text: str) -> None:
    """Print *text*; what the terminal's encoding does not have becomes a question mark."""
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, errors="replace").decode(encoding), flush=True)


def complain(text: str) -> None:
    """Print *text* as an error."""
    encoding = sys.stderr.encoding or "ascii"
    print(text.encode(encoding, errors="replace").decode(encoding), file=sys.stderr, flush=True)


class LogFollower:
    """Prints what is appended to logs, each line with the name of its process in front."""

    def __init__(self, processes: Sequence[ProcessRecord]) -> None:
        self._position = {entry.name: _size_of(Path(entry.log)) for entry in processes}
        self._logs = {entry.name: Path(entry.log) for entry in processes}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="logs", daemon=True)

    def start(self) -> None:
        """Begin with what is written from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Print what is left, and end."""
        self._is_over.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._is_over.wait(FOLLOW_INTERVAL_S):
            self._print_new_lines()
        self._print_new_lines()

    def _print_new_lines(self) -> None:
        for name, log in self._logs.items():
            for line in self._new_lines(name, log):
                say(f"{name:<{NAME_WIDTH}}| {line}")

    def _new_lines(self, name: str, log: Path) -> list[str]:
        if _size_of(log) < self._position[name]:  # it was emptied because it had grown too long
            self._position[name] = 0
        try:
            with log.open("rb") as file:
                file.seek(self._position[name])
                new = file.read()
        except FileNotFoundError:
            return []
        complete = new[: new.rfind(b"\n") + 1]
        self._position[name] += len(complete)
        return complete.decode("utf-8", errors="replace").splitlines()


def _size_of(log: Path) -> int:
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0
