"""A stack on which everything can be broken: proxies before every part, clocks, a small disk, fail points, a tally."""

import os
import random
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import pytest
from conftest import system
from faults.provider import FaultyProvider
from faults.tools import clock, disk
from faults.tools.clock import Clock, ClockLibrary
from faults.tools.disk import SmallDisk
from faults.tools.failpoint_file import FailPoints
from faults.tools.postgres_faults import PostgresFaults
from faults.tools.proxy import CALM, Ports, Proxies
from faults.tools.redis_faults import RedisFaults
from faults.tools.store_faults import StoreFaults
from faults.tools.tally import Tally

from sluice_local.postgres import DURABLE
from sluice_local.services import URL_SETTINGS
from sluice_local.settings import given_from
from sluice_local.stack import Home, LocalStack, parts_replaced_by, settings_of

TWO_OF_EACH: Mapping[str, int] = MappingProxyType({"api": 2, "extractor": 2, "embedder": 2, "reconciler": 2})
PARTS_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "api": ("postgres", "redis", "qdrant", "embeddings"),
        "extractor": ("postgres", "redis"),
        "embedder": ("postgres", "redis", "qdrant", "embeddings"),
        "reconciler": ("postgres", "redis", "qdrant", "embeddings"),
    }
)
"""What each service talks to over TCP."""
LEASE_S = 5
MAX_CONNECTIONS = 130
"""Few, so that they are used up quickly."""
ORIGINALS_MEGABYTES = 256
NOTHING: Mapping[str, str] = MappingProxyType({})


class Rig:
    """Starts a stack in *folder* and what can break it; a context manager."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        provider: FaultyProvider | None = None,
        scale: Mapping[str, int] = TWO_OF_EACH,
        environment: Mapping[str, str] = NOTHING,
        postgres_settings: Mapping[str, str] = DURABLE,
    ) -> None:
        """Only note what is wanted.

        Args:
            folder: keeps everything; empty or not there yet.
            seed: of everything that is chosen at random.
            provider: one that was started already, used instead of the stack's own server of embeddings.
            scale: how many of each service.
            environment: settings that win over those that make the stack quick to recover.
            postgres_settings: as for `LocalStack`.
        """
        self.seed = seed
        self.rng = random.Random(seed)
        self.provider = provider
        self.processes = {kind: _names(kind, scale.get(kind, 1)) for kind in PARTS_OF}
        """The names of the processes of each service."""
        self.left_out: list[str] = []
        """What cannot be broken on this machine, and why."""
        self.failpoints = FailPoints(folder / "failpoints")
        self._home = Home((folder / "stack").absolute())
        self._environment = system(**{**self._settings(), **environment})
        self._postgres_settings = {"max_connections": str(MAX_CONNECTIONS), **postgres_settings}
        self._scale = scale
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            self.disk = self._small_disk(opening)
            self.clocks = self._make_clocks(opening)
            """By process; only those whose clock can be set."""
            self.settings = self._direct_settings()
            """What a service would be given without proxies: the addresses of the parts themselves."""
            routes = self._routes()
            self.proxies = opening.enter_context(Proxies(routes))
            self.stack = opening.enter_context(self._make_stack(routes))
            self.stack.wait_until_ready()
            self._make_faults()
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def clock(self) -> Clock | None:
        """The database's clock."""
        return self.clocks.get("postgres")

    @property
    def urls(self) -> list[str]:
        """The addresses of all gateways."""
        settings = [self.stack.environment_of(name) for name in self.processes["api"]]
        return [f"http://{each['SLUICE_HTTP__HOST']}:{each['SLUICE_HTTP__PORT']}" for each in settings]

    def environment_of(self, _name: str) -> Mapping[str, str]:
        """The settings past the proxies, so that an `Oracle` can be given the rig where it wants a stack."""
        return self.settings

    def calm(self) -> None:
        """End whatever a strike may have left behind, before the last look."""
        self.proxies.named().set(CALM)
        for each in self.clocks.values():
            each.set(0)
        if self.disk is not None:
            self.disk.relieve()
        if self.provider is not None:
            self.provider.behave()

    def _settings(self) -> dict[str, str]:
        provider = {} if self.provider is None else self.provider.settings()
        return {
            "SLUICE_TIMES__LEASE_S": str(LEASE_S),
            "SLUICE_TIMES__MAX_LOSSES": "1000",
            "SLUICE_TIMES__MAX_TRIES": "20",  # a child that is killed rightly costs a try, and here many are
            "SLUICE_RECONCILER__AUDIT_INTERVAL_S": "4",  # after five seconds the vector server drops idle connections
            "SLUICE_EMBEDDINGS__TIMEOUT_S": "3",
            "SLUICE_QDRANT__TIMEOUT_S": "1.5",
            "SLUICE_LIMITS__MIN_FREE_BYTES": "0",  # so that writes really meet the end of the disk
            "SLUICE_LOG__FORMAT": "json",  # a traceback for a person takes seconds of a busy machine to print
            "SLUICE_FAILPOINTS": str(self.failpoints.folder),
            **provider,
        }

    def _direct_settings(self) -> Mapping[str, str]:
        given = given_from(self._environment)
        return settings_of(self._home.choices(), self._home, given, parts_replaced_by(given))

    def _routes(self) -> dict[str, Ports]:
        choices = self._home.choices()
        upstream = {part: urlsplit(self.settings[name]).port for part, name in URL_SETTINGS.items()}
        return {
            f"{process}:{part}": Ports(choices.port(f"{process}:{part}"), upstream[part])
            for kind, parts in PARTS_OF.items()
            for process in self.processes[kind]
            for part in parts
        }

    def _make_stack(self, routes: Mapping[str, Ports]) -> LocalStack:
        extra: dict[str, dict[str, str]] = {name: dict(each.environment) for name, each in self.clocks.items()}
        for route, ports in routes.items():
            process, _, part = route.partition(":")
            setting = URL_SETTINGS[part]
            extra.setdefault(process, {})[setting] = with_port(self.settings[setting], ports.listen)
        return LocalStack(
            self._home.folder,
            environment=self._environment,
            scale=self._scale,
            postgres_settings=self._postgres_settings,
            extra=extra,
        )

    def _make_faults(self) -> None:
        database, store = self.settings["SLUICE_DATABASE__URL"], self.settings["SLUICE_QDRANT__URL"]
        self.tally = Tally(database)
        self.redis = RedisFaults(self.stack, self.settings["SLUICE_BROKER__URL"])
        self.postgres = PostgresFaults(self.stack, database, self.rng)
        self.store = StoreFaults(self.stack, store, self.settings.get("SLUICE_QDRANT__API_KEY", ""), database)

    def _small_disk(self, opening: ExitStack) -> SmallDisk | None:
        reason = disk.why_not()
        if reason is not None:
            self._leave_out(f"disk full: {reason}")
            return None
        return opening.enter_context(SmallDisk(self._home.folder / "objects", megabytes=ORIGINALS_MEGABYTES))

    def _make_clocks(self, opening: ExitStack) -> dict[str, Clock]:
        reason = clock.why_not()
        if reason is not None:
            self._leave_out(f"clock jumps: {reason}")
            return {}
        library = opening.enter_context(ClockLibrary())
        second_of_each = [names[-1] for names in self.processes.values() if len(names) > 1]
        return {name: Clock(library, name) for name in ("postgres", *second_of_each)}

    def _leave_out(self, what: str) -> None:
        if os.environ.get("CI") == "true":
            pytest.fail(what)
        self.left_out.append(what)


def with_port(url: str, port: int) -> str:
    """*url* with another port; user and password stay."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))


def _names(kind: str, count: int) -> list[str]:
    return [kind if number == 1 else f"{kind}{number}" for number in range(1, count + 1)]
