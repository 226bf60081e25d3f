"""The ports and passwords that a home keeps from start to start."""

import errno
import json
import random
import secrets
import socket
from pathlib import Path

from sluice_local.files import write_private

LOOPBACK = "127.0.0.1"
RANGE = range(20_000, 32_000)  # below what Linux and macOS hand out to outgoing connections, which could take a port


class NoFreePort(Exception):
    """Every port that was tried is in use."""


def is_free(port: int) -> bool:
    """Whether a server could listen on *port* of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def free_port(*, taken: frozenset[int] = frozenset()) -> int:
    """A port of the loopback address on which nobody listens, and none of *taken*.

    Raises:
        NoFreePort: a hundred tries found none.
    """
    for port in random.SystemRandom().sample(RANGE, 100):
        if port not in taken and is_free(port):
            return port
    raise NoFreePort(f"no free port between {RANGE.start} and {RANGE.stop} was found")


class Choices:
    """Ports and passwords, kept in one private file so that addresses stay the same across restarts."""

    def __init__(self, path: Path, *, are_in_use: bool = False) -> None:
        """Args: *are_in_use*: the kept ports are those of what runs now, so they stay though they are not free."""
        self._path = path
        self._ports: dict[str, int] = {}
        self._secrets: dict[str, str] = {}
        self._confirmed: set[str] = set()
        if path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            self._ports, self._secrets = dict(kept["ports"]), dict(kept["secrets"])
        if are_in_use:
            self._confirmed = set(self._ports)

    def port(self, name: str) -> int:
        """The port of *name*: the kept one while it is free at the first question, else a new one."""
        if name in self._confirmed:
            return self._ports[name]
        kept = self._ports.get(name)
        if kept is None or not is_free(kept):
            self._ports[name] = free_port(taken=frozenset(self._ports.values()))
            self._write()
        self._confirmed.add(name)
        return self._ports[name]

    def use_port(self, name: str, port: int) -> None:
        """Give *name* this very port."""
        self._ports[name] = port
        self._confirmed.add(name)
        self._write()

    def secret(self, name: str) -> str:
        """The password of *name*, made at the first question; safe inside a URL."""
        if name not in self._secrets:
            self._secrets[name] = secrets.token_hex(16)
            self._write()
        return self._secrets[name]

    def _write(self) -> None:
        write_private(self._path, json.dumps({"ports": self._ports, "secrets": self._secrets}, indent=1))
