"""A small disk for the originals, which can be filled."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

BALLAST = "ballast"
PIECE = b"\0" * 2**16


class SmallDisk:
    """A tmpfs of *megabytes* on *folder*, which only root may make; a context manager."""

    def __init__(self, folder: Path, *, megabytes: int) -> None:
        self._folder = folder
        self._megabytes = megabytes

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = f"size={self._megabytes}m,mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "sluice-faults", self._folder], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        # lazily: a process that is still being stopped may have a file open
        subprocess.run(["umount", "--lazy", self._folder], check=True)

    def free_bytes(self) -> int:
        return shutil.disk_usage(self._folder).free

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Put a file there that takes all room but *leave_bytes*."""
        with (self._folder / BALLAST).open("ab", buffering=0) as ballast:
            while (room := self.free_bytes() - leave_bytes) > 0:
                try:
                    ballast.write(PIECE[:room])
                except OSError:
                    return

    def relieve(self) -> None:
        (self._folder / BALLAST).unlink(missing_ok=True)

    def be_full(self, seconds: float, *, leave_bytes: int = 0) -> bool:
        """Be full for *seconds*, also of what is freed meanwhile; whether it ever was."""
        until, was_full = time.monotonic() + seconds, False
        try:
            while time.monotonic() < until:
                self.fill(leave_bytes=leave_bytes)
                was_full = was_full or self.free_bytes() <= leave_bytes
                time.sleep(0.1)
        finally:
            self.relieve()
        return was_full


def why_not() -> str | None:
    """Why no small disk can be made here; None when it can."""
    if os.geteuid() != 0:
        return "only root can mount a small disk"
    trial = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    if subprocess.run(trial, capture_output=True, check=False).returncode != 0:
        return "this machine lets nobody mount a tmpfs"
    return None
