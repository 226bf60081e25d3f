"""Private folders for what must be a file; gone when they are left, and after a kill when the next one is made."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "sluice-work-"
_OWNER = "owner"
_BEING_MADE_S = 3600
"""A folder without an owner's lock that is younger may just be made."""


class WorkFolders:
    """Makes folders that only this user may open; each is locked by its owner, which the system undoes at its death."""

    def __init__(self, root: Path | None = None) -> None:
        self._root = root or Path(tempfile.gettempdir())

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder as long as the block; what owners that died left behind is swept away first.

        Raises:
            OSError: there is no room for it, or no right to make one.
        """
        self.sweep()
        path, lock = self._make()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)

    def sweep(self) -> int:
        """Remove the folders of owners that are gone; returns how many."""
        with suppress(OSError):
            return sum(_remove_if_left(path) for path in self._root.glob(f"{_PREFIX}*"))
        return 0

    def _make(self) -> tuple[Path, int]:
        while True:
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._root))
            lock = os.open(path / _OWNER, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # somebody who sweeps was between the two lines above, and removes it
                os.close(lock)
            else:
                return path, lock


def _remove_if_left(path: Path) -> bool:
    try:
        lock = os.open(path / _OWNER, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return _remove_if_old(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _remove_if_old(path: Path) -> bool:
    try:
        is_old = time.time() - path.stat().st_mtime > _BEING_MADE_S
    except OSError:
        return False
    if is_old:
        shutil.rmtree(path, ignore_errors=True)
    return is_old
