"""A Redis, its replica and three sentinels as real processes, which may be killed."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from oracle import wait_until
from redis import Redis, RedisError
from redis.sentinel import MasterNotFoundError, Sentinel

from sluice_local.redis import find_program

NAME = "sluice"
PASSWORD = "sentinel-test"
SILENT_MS = 1000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    """One process of Redis with a configuration of its own, which sentinels rewrite."""

    folder: Path
    lines: tuple[str, ...]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen | None = None
    is_sentinel: bool = False

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        file = self.folder / "redis.conf"
        if not file.exists():
            common = ("bind 127.0.0.1", f"port {self.port}", f"dir {self.folder}", "loglevel warning")
            file.write_text("\n".join((*common, *self.lines)) + "\n", encoding="utf-8")
        command = [str(find_program()), str(file), *(["--sentinel"] if self.is_sentinel else [])]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self.answers, seconds=20, message=f"no Redis in {self.folder}")

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False

    def client(self) -> Redis:
        password = None if self.is_sentinel else PASSWORD
        return Redis(port=self.port, password=password, socket_timeout=1, socket_connect_timeout=1)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


@dataclass
class WatchedRedis:
    servers: list[Server]
    sentinels: list[Server]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://:{PASSWORD}@{hosts}/{NAME}/0"

    def master(self) -> Server | None:
        """Whom the sentinels call the master now."""
        addresses = [("127.0.0.1", sentinel.port) for sentinel in self.sentinels]
        try:
            _, port = Sentinel(addresses, socket_timeout=1).discover_master(NAME)
        except MasterNotFoundError:
            return None
        return next(server for server in self.servers if server.port == port)

    def fail_over(self) -> None:
        """Kill the master, and return when another one has taken its place."""
        before = self.master()
        assert before is not None
        before.kill()
        wait_until(
            lambda: (after := self.master()) is not None and after is not before and after.answers(),
            seconds=60,
            message="no failover",
        )


def _server_lines(*more: str) -> tuple[str, ...]:
    return ("appendonly yes", 'save ""', f"requirepass {PASSWORD}", f"masterauth {PASSWORD}", *more)


def _sentinel_lines(master: Server) -> tuple[str, ...]:
    return (
        f"sentinel monitor {NAME} 127.0.0.1 {master.port} 2",
        f"sentinel auth-pass {NAME} {PASSWORD}",
        f"sentinel down-after-milliseconds {NAME} {SILENT_MS}",
        f"sentinel failover-timeout {NAME} 10000",
    )


@contextmanager
def watched_redis(folder: Path) -> Iterator[WatchedRedis]:
    """Two servers and three sentinels that know one another."""
    first = Server(folder / "first", _server_lines())
    second = Server(folder / "second", _server_lines(f"replicaof 127.0.0.1 {first.port}"))
    sentinels = [Server(folder / f"sentinel{n}", _sentinel_lines(first), is_sentinel=True) for n in range(3)]
    with ExitStack() as running:
        for server in (first, second, *sentinels):
            running.callback(server.kill)
            server.start()
        watched = WatchedRedis([first, second], sentinels)
        wait_until(lambda: all(_knows_all(sentinel) for sentinel in sentinels), seconds=60, message="no quorum")
        yield watched


def _knows_all(sentinel: Server) -> bool:
    """Whether a failover would succeed now: it knows the replica and both other sentinels."""
    with sentinel.client() as client:
        seen = client.sentinel_master(NAME)
        return (seen["num-slaves"], seen["num-other-sentinels"]) == (1, 2)
