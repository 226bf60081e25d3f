"""Arms the fail points of running services, and tells which of them were hit."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oracle import wait_until

from sluice_common.failpoints import POINTS


@dataclass(frozen=True)
class Hit:
    """One time that an armed point was reached."""

    name: str
    action: str
    pid: int


class Armed:
    """The fail points of the processes that were started with `SLUICE_FAILPOINTS` set to *folder*.

    A process counts `*times` for itself and begins anew when it is started again: whoever kills must disarm after
    the hit, as `killed` does.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lines: dict[str, str] = {}
        self._lock = threading.Lock()
        self._hits_before: dict[str, int] = {}
        self._changed_at_ns = 0

    def arm(self, **actions: str) -> None:
        """Arm points beside those that are: `arm(**{"cancel.before": "kill*1"})`; see `FolderTrap` for the actions."""
        unknown = sorted(set(actions) - POINTS)
        if unknown:
            raise ValueError(f"there is no such fail point: {unknown}")
        with self._lock:
            self._lines |= actions
            self._write()

    def disarm(self, *names: str) -> None:
        """Disarm these points, or all; what is held there goes on."""
        with self._lock:
            for name in names or tuple(self._lines):
                self._lines.pop(name, None)
            self._write()

    def hits(self, name: str | None = None) -> list[Hit]:
        """What was hit so far, in order; of one point or of all."""
        try:
            lines = (self.folder / "hits").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        found = [Hit(point, action, int(pid)) for point, action, pid in map(str.split, lines)]
        return [hit for hit in found if name in (None, hit.name)]

    def wait_for_hit(self, name: str, *, after: int = 0, seconds: float = 30) -> Hit:
        """The first hit of a point behind the first *after* ones."""
        wait_until(lambda: len(self.hits(name)) > after, seconds=seconds, message=f"{name} was not reached")
        return self.hits(name)[after]

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Whoever comes to the point inside the `with` waits there until its end."""
        self.arm(**{name: "hold"})
        try:
            yield
        finally:
            self.disarm(name)

    def arm_kill(self, name: str) -> None:
        """Let the next process that comes to the point kill itself; `killed` waits for it."""
        self._hits_before[name] = len(self.hits(name))
        self.arm(**{name: "kill"})

    def killed(self, name: str, *, seconds: float = 30) -> Hit:
        """Wait until the point has killed a process, and disarm it before the next one comes there."""
        try:
            return self.wait_for_hit(name, after=self._hits_before[name], seconds=seconds)
        finally:
            self.disarm(name)

    def _write(self) -> None:
        """Replace the file at once, with a time of its own: a process reads it again when that has changed."""
        self._changed_at_ns = max(time.time_ns(), self._changed_at_ns + 1_000_000)
        written = self.folder / "armed.new"
        written.write_text("".join(f"{name}={action}\n" for name, action in self._lines.items()), encoding="utf-8")
        os.utime(written, ns=(self._changed_at_ns, self._changed_at_ns))
        written.replace(self.folder / "armed")
