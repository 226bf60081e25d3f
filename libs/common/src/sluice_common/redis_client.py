"""A client of Redis, or of whichever Redis the sentinels call the master."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

import redis
from redis.sentinel import Sentinel

from sluice_common.settings import SENTINEL_SCHEMES, BrokerSettings

_SENTINEL_PORT = 26379
_LIMITS = {"socket_timeout": 5, "socket_connect_timeout": 2, "health_check_interval": 30, "retry": None}
"""A client gives up soon, because a hint that is late is better than a request that hangs."""


@dataclass(frozen=True)
class Watched:
    """A Redis that sentinels watch: `redis+sentinel://user:password@host:port,host:port/name/database`."""

    sentinels: tuple[tuple[str, int], ...]
    name: str
    database: int
    username: str | None
    password: str | None
    is_encrypted: bool

    @classmethod
    def of(cls, url: str) -> Self:
        """The address in its pieces; the settings have checked its form."""
        scheme, _, address = url.partition("://")  # urlsplit takes a list of hosts with brackets for a bad address
        netloc, _, path = address.partition("/")
        credentials, _, hosts = netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        name, _, database = path.strip("/").partition("/")
        return cls(
            sentinels=tuple(_address_of(host) for host in hosts.split(",")),
            name=name,
            database=int(database or 0),
            username=unquote(username) or None,
            password=unquote(password) or None,
            is_encrypted=scheme.startswith("rediss"),
        )


def open_redis(settings: BrokerSettings) -> redis.Redis:
    """A client for the broker; connects at first use, and again to another Redis after a failover."""
    if not settings.url.startswith(SENTINEL_SCHEMES):
        return redis.Redis.from_url(settings.url, **_LIMITS)
    watched = Watched.of(settings.url)
    secret = settings.sentinel_password
    sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py leaves its constructor untyped
        watched.sentinels,
        sentinel_kwargs={
            "password": secret.get_secret_value() if secret else None,
            "ssl": watched.is_encrypted,
            "socket_timeout": 1,
            "socket_connect_timeout": 1,
        },
        username=watched.username,
        password=watched.password,
        ssl=watched.is_encrypted,
        **_LIMITS,
    )
    client: redis.Redis = sentinel.master_for(watched.name, db=watched.database)  # type: ignore[no-untyped-call]  # as above
    return client


def _address_of(host: str) -> tuple[str, int]:
    name, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "")
    return name.strip("[]"), int(port or _SENTINEL_PORT)
