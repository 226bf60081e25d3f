"""What can happen to Redis, done past the proxies."""

import shutil
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
    """Faults of the Redis of *stack*; each says whether it hit, which it cannot when Redis is just away."""

    def __init__(self, stack: LocalStack, url: str) -> None:
        self._stack = stack
        self._url = url
        self._folder = stack.home / "redis"

    def wipe(self) -> bool:
        """Forget everything; false when there was nothing to forget."""
        with self._client() as client:
            size = client.dbsize()
            client.flushall()
            return size > 0
        return False

    def cut_clients(self) -> int:
        """End every connection; returns how many."""
        with self._client() as client:
            return client.client_kill_filter(_type="normal", skipme=True)
        return 0

    def be_full(self, seconds: float) -> bool:
        """Refuse every write for lack of memory."""
        is_hit = self._done(lambda client: client.config_set("maxmemory", "1"))
        time.sleep(seconds)
        self._surely(lambda client: client.config_set("maxmemory", "0"))
        return is_hit

    def be_read_only(self, seconds: float) -> bool:
        """Be the replica of a primary that is away, as after a failover that went wrong."""
        is_hit = self._done(lambda client: client.replicaof(*NOWHERE))
        time.sleep(seconds)
        self._surely(lambda client: client.replicaof("NO", "ONE"))
        return is_hit

    def restart_empty(self) -> bool:
        """Die, and come back without any data."""
        with processes.stopped(self._stack, "redis"):
            self._remove_data()
            return processes.kill(self._stack, "redis")

    def fall_back(self, seconds: float) -> bool:
        """Die after *seconds*, and come back with the data of now."""
        with tempfile.TemporaryDirectory(prefix="sluice-redis-") as kept:
            older = Path(kept) / "data"
            with processes.stopped(self._stack, "redis"):
                shutil.copytree(self._folder, older, ignore=shutil.ignore_patterns(CONFIGURATION))
            time.sleep(seconds)
            with processes.stopped(self._stack, "redis"):
                self._remove_data()
                shutil.copytree(older, self._folder, dirs_exist_ok=True)
                return processes.kill(self._stack, "redis")

    def _remove_data(self) -> None:
        for path in self._folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != CONFIGURATION:
                path.unlink()

    def _surely(self, heal: Callable[[Redis], object]) -> None:
        """Another fault may strike Redis at the same moment, and what was done to it must still end."""
        deadline = time.monotonic() + HEALING_S
        while time.monotonic() < deadline and not self._done(heal):
            time.sleep(0.2)

    def _done(self, what: Callable[[Redis], object]) -> bool:
        with self._client() as client:
            what(client)
            return True
        return False

    @contextmanager
    def _client(self) -> Iterator[Redis]:
        with suppress(RedisError), Redis.from_url(self._url, socket_timeout=3, socket_connect_timeout=2) as client:
            yield client
