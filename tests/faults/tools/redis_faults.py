"""What can happen to Redis, done past the proxies."""

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faults.tools import processes
from redis import Redis, RedisError

from sluice_local.stack import LocalStack

CONFIGURATION = "redis.conf"
HEALING_S = 60.0
NOWHERE = ("127.0.0.1", 1)
"""A primary that never answers."""


class RedisFaults:
    """Faults of the Redis of *stack*; each is silent when Redis is just away."""

    def __init__(self, stack: LocalStack, url: str) -> None:
        self._stack = stack
        self._url = url
        self._folder = stack.home / "redis"

    def wipe(self) -> None:
        with self._client() as client:
            client.flushall()

    def cut_clients(self) -> None:
        with self._client() as client:
            client.client_kill_filter(_type="normal", skipme=True)

    def be_full(self, seconds: float) -> None:
        """Refuse every write for lack of memory."""
        with self._client() as client:
            client.config_set("maxmemory", "1")
        time.sleep(seconds)
        self._surely(lambda client: client.config_set("maxmemory", "0"))

    def be_read_only(self, seconds: float) -> None:
        """Be the replica of a primary that is away, as after a failover that went wrong."""
        with self._client() as client:
            client.replicaof(*NOWHERE)
        time.sleep(seconds)
        self._surely(lambda client: client.replicaof("NO", "ONE"))

    def restart_empty(self) -> None:
        """Die, and come back without any data."""
        with self._stopped():
            self._remove_data()
            processes.kill(self._stack, "redis")

    def fall_back(self, seconds: float) -> None:
        """Die after *seconds*, and come back with the data of now."""
        with tempfile.TemporaryDirectory(prefix="sluice-redis-") as kept:
            older = Path(kept) / "data"
            with self._stopped():
                shutil.copytree(self._folder, older, ignore=shutil.ignore_patterns(CONFIGURATION))
            time.sleep(seconds)
            with self._stopped():
                self._remove_data()
                shutil.copytree(older, self._folder, dirs_exist_ok=True)
                processes.kill(self._stack, "redis")

    def _remove_data(self) -> None:
        for path in self._folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != CONFIGURATION:
                path.unlink()

    def _surely(self, heal: Callable[[Redis], object]) -> None:
        """Another fault may strike Redis at the same moment, and what was done to it must still end."""
        deadline = time.monotonic() + HEALING_S
        while time.monotonic() < deadline:
            with self._client() as client:
                heal(client)
                return
            time.sleep(0.2)

    @contextmanager
    def _stopped(self) -> Iterator[None]:
        """Redis writes nothing meanwhile."""
        processes.kill(self._stack, "redis", signal.SIGSTOP)
        try:
            yield
        finally:
            processes.kill(self._stack, "redis", signal.SIGCONT)

    @contextmanager
    def _client(self) -> Iterator[Redis]:
        with suppress(RedisError), Redis.from_url(self._url, socket_timeout=3, socket_connect_timeout=2) as client:
            yield client
