"""The test's side of the proxies: which routes there are, and what the weather on them is."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from faults.tools.proxy_server import Weather

PROGRAM = Path(__file__).with_name("proxy_server.py")
CALM = Weather()


@dataclass(frozen=True)
class Ports:
    """Where a route listens, and where it leads; both on loopback."""

    listen: int
    upstream: int


class Proxies:
    """Routes by name, all served by one process; a context manager."""

    def __init__(self, routes: Mapping[str, Ports]) -> None:
        self._ports = dict(routes)
        self._lock = threading.Lock()
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, "-I", "-S", str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._order(routes={name: [ports.listen, ports.upstream] for name, ports in self._ports.items()})
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.stdin.close()
        self._server.wait(timeout=10)
        self._server.stdout.close()

    def __getitem__(self, name: str) -> "Routes":
        """The one route of this name."""
        if name not in self._ports:
            raise KeyError(name)
        return Routes(self, (name,))

    def named(self, begin: str = "", end: str = "") -> "Routes":
        """Every route whose name begins and ends so."""
        return Routes(self, tuple(name for name in self._ports if name.startswith(begin) and name.endswith(end)))

    def _order(self, **order: object) -> object:
        with self._lock:
            self._server.stdin.write(json.dumps(order) + "\n")
            self._server.stdin.flush()
            answer = self._server.stdout.readline()
        if not answer:
            raise RuntimeError(f"the proxies ended with status {self._server.wait()}")
        return json.loads(answer)


@dataclass(frozen=True)
class Routes:
    """Some routes, on which the same happens."""

    proxies: Proxies
    names: tuple[str, ...]

    def set(self, weather: Weather) -> None:
        """Let it be so until something else is set."""
        self.proxies._order(of=self.names, weather=asdict(weather))

    def cut(self) -> int:
        """Reset every open connection; returns how many there were."""
        return self.proxies._order(of=self.names, cut=True)

    def counts(self) -> dict[str, dict[str, int]]:
        """By route: connections open now and opened so far, pieces forwarded, replies lost, what weather touched."""
        return self.proxies._order(of=self.names)

    @contextmanager
    def weather(self, weather: Weather) -> Iterator[None]:
        """Let it be so within the `with`."""
        self.set(weather)
        try:
            yield
        finally:
            self.set(CALM)

    def suffer(self, weather: Weather, seconds: float, *, cut: bool = False) -> int:
        """Let it be so for *seconds*, and then calm; *cut* resets what was open before.

        Returns:
            How much it hit: connections reset, and what the weather touched.
        """
        before = self._touched()
        with self.weather(weather):
            reset = self.cut() if cut else 0
            time.sleep(seconds)
        return reset + self._touched() - before

    def _touched(self) -> int:
        return sum(count["touched"] for count in self.counts().values())
