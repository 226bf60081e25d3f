"""Clocks of single processes that the test can set, by a small library that is preloaded into them.

libfaketime would be the usual choice. Its release in Debian 12 makes every `time.sleep` of Python 3.11 fail when told
to leave the monotonic clock alone (wolfcw/libfaketime#426), lets the interpreter's threads spin where they should wait,
leaves files in /dev/shm behind when it is killed, and more than doubles the time of a short statement of PostgreSQL.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

SOURCE = Path(__file__).with_name("clock.c")
OFFSET_BYTES = 8


def why_not() -> str | None:
    """Why no clock can be set here; None when they can."""
    if sys.platform != "linux":
        return "clocks can be set on Linux only"
    if shutil.which("cc") is None:
        return "there is no C compiler (cc)"
    return None


class ClockLibrary:
    """The library, built in a folder that every user can read; a context manager."""

    def __enter__(self) -> Self:
        # PostgreSQL may run as another user, who cannot enter the test's own folder
        self.folder = Path(tempfile.mkdtemp(prefix="sluice-clock-"))
        self.folder.chmod(0o755)
        self.path = self.folder / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", self.path, SOURCE, "-ldl"], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)


class Clock:
    """The wall clock of the processes that are started with `environment`."""

    def __init__(self, library: ClockLibrary, name: str) -> None:
        self._library = library
        self._file = library.folder / name
        self._file.write_bytes(bytes(OFFSET_BYTES))
        self._file.chmod(0o644)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"LD_PRELOAD": str(self._library.path), "TEST_CLOCK_FILE": str(self._file)}

    def set(self, offset_s: int) -> None:
        """Let it run so many seconds ahead of the machine's; seen by the very next question."""
        file = os.open(self._file, os.O_WRONLY)
        try:
            os.pwrite(file, offset_s.to_bytes(OFFSET_BYTES, sys.byteorder, signed=True), 0)
        finally:
            os.close(file)

    def jump(self, offset_s: int, *, seconds: float) -> None:
        """Be wrong for *seconds*, and then right again: two jumps."""
        self.set(offset_s)
        try:
            time.sleep(seconds)
        finally:
            self.set(0)
