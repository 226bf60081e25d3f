"""Arms the fail points of running processes, through the folder that they all read."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

POLL_S = 0.02


class FailPoints:
    """The folder of `SLUICE_FAILPOINTS`; several threads may arm at once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._armed: dict[str, str] = {}
        self._changed_at_ns = 0
        self._lock = threading.Lock()

    @contextmanager
    def armed(self, action: str, *points: str) -> Iterator[None]:
        """Let *action* (`kill`, `pause:6`, `raise:transient*1`) happen at *points* within the `with`."""
        self._change(dict.fromkeys(points, action))
        try:
            yield
        finally:
            self._change(dict.fromkeys(points))

    def strike(self, action: str, *points: str, seconds: float) -> bool:
        """Arm *points* until one of them was hit, at most for *seconds*; whether one was."""
        before = self._hits_of(points)
        with self.armed(action, *points):
            deadline = time.monotonic() + seconds
            while self._hits_of(points) == before:
                if time.monotonic() > deadline:
                    return False
                time.sleep(POLL_S)
        return True

    def hits(self) -> Counter[str]:
        """How often each point was hit so far, in all processes."""
        try:
            lines = (self.folder / "hits").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return Counter()
        return Counter(line.split(" ", 1)[0] for line in lines if line)

    def _hits_of(self, points: Iterable[str]) -> int:
        hits = self.hits()
        return sum(hits[point] for point in points)

    def _change(self, actions: Mapping[str, str | None]) -> None:
        with self._lock:
            changed = {**self._armed, **actions}
            self._armed = {point: action for point, action in changed.items() if action is not None}
            part = self.folder / "armed.part"
            part.write_text("".join(f"{point}={action}\n" for point, action in self._armed.items()), encoding="utf-8")
            self._changed_at_ns = max(self._changed_at_ns + 1, time.time_ns())
            # processes notice a change by its time, and the kernel would give two quick changes the same
            os.utime(part, ns=(self._changed_at_ns, self._changed_at_ns))
            part.replace(self.folder / "armed")  # a process that looks now sees all lines or the ones before
