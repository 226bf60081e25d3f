"""What each process of a stack takes of the memory, sampled while a test runs."""

import statistics
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import psutil

from sluice_local.stack import LocalStack

READERS = "readers"
"""The children that read documents, all together."""
FORK_SERVER = "fork server"
_FORK_SERVER_MODULE = "sluice_extractor.sandbox.fork_server"
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Sample:
    """One look at the processes of one name, in MiB."""

    progress: float
    """How far the test was, in the test's own unit."""
    own: float
    """Memory that stands in no file and is shared by no server: what a process asked for itself.

    Unlike USS and PSS it does not change when another process that has the same libraries comes or goes; pages that
    a child has of its fork server count in both.
    """
    resident: float
    """Everything mapped in (RSS)."""


def no_progress() -> float:
    """What a test reports that only wants peaks."""
    return 0.0


class MemoryWatch:
    """Samples every process of a stack by its name, in a thread; a context manager."""

    def __init__(self, stack: LocalStack, *, pause_s: float = 0.5, progress: Callable[[], float] = no_progress) -> None:
        self._stack = stack
        self._pause_s = pause_s
        self._progress = progress
        self._samples: dict[str, list[Sample]] = defaultdict(list)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self._failure: Exception | None = None

    def __enter__(self) -> Self:
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(timeout=60)
        if self._failure is not None:
            raise self._failure

    def look(self) -> None:
        """Take one sample now."""
        progress = self._progress()
        own: dict[str, float] = defaultdict(float)
        resident: dict[str, float] = defaultdict(float)
        for name, process in _family_of(self._stack):
            with suppress(psutil.Error):
                used = process.memory_info()
                own[name] += (used.rss - getattr(used, "shared", 0)) / _MEBIBYTE
                resident[name] += used.rss / _MEBIBYTE
        for name, size in own.items():
            self._samples[name].append(Sample(progress, size, resident[name]))

    def names(self) -> list[str]:
        return sorted(self._samples)

    def samples(self, name: str) -> list[Sample]:
        return list(self._samples.get(name, []))

    def first(self, name: str) -> float:
        """Its own memory when the watch began, in MiB."""
        return self._samples[name][0].own

    def peak(self, name: str) -> float:
        """The most of its own memory that was seen, in MiB; 0 when it never ran."""
        return max((sample.own for sample in self.samples(name)), default=0.0)

    def growth(self, name: str) -> float:
        """How much more of its own memory it had than in the beginning, at most, in MiB."""
        return self.peak(name) - self.first(name)

    def slope(self, name: str, *, after: float) -> float:
        """MiB of its own memory for each unit of progress, by least squares, from *after* on."""
        warm = [sample for sample in self.samples(name) if sample.progress >= after]
        line = statistics.linear_regression([one.progress for one in warm], [one.own for one in warm])
        return line.slope

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._pause_s):
                self.look()
        except Exception as error:  # noqa: BLE001 - raised again where the watch ends
            self._failure = error


def _family_of(stack: LocalStack) -> Iterator[tuple[str, psutil.Process]]:
    for record in stack.processes():
        with suppress(psutil.Error):
            first = psutil.Process(record.pid)
            yield record.name, first
            if not record.name.startswith("extractor"):
                yield from ((record.name, child) for child in first.children(recursive=True))
                continue
            for server in first.children():
                if _FORK_SERVER_MODULE in " ".join(server.cmdline()):
                    yield FORK_SERVER, server
                    yield from ((READERS, child) for child in server.children())
