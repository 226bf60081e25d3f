"""The whole pipeline on one machine: parts, services, the admin key and the proof that all is ready."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import httpx

from sluice_common.settings import SettingsError
from sluice_local.console import say
from sluice_local.files import make_private_folder, write_private
from sluice_local.platforms import require_supported, this_machine
from sluice_local.ports import LOOPBACK, Choices, is_free
from sluice_local.postgres import DURABLE, OWNER, PostgresCluster, cache_folder
from sluice_local.redis import RedisPart
from sluice_local.services import (
    LOCAL_DIMENSIONS,
    LOCAL_MODEL,
    PARTS,
    SERVICES,
    URL_SETTINGS,
    create_key_command,
    embedding_server,
    migration_command,
    require_model,
    service,
    vector_server,
)
from sluice_local.settings import Given, given_from
from sluice_local.supervisor import ProcessRecord, ProcessSpec, StartFailed, Supervisor

NOTHING: Mapping[str, str] = MappingProxyType({})
ONE_OF_EACH: Mapping[str, int] = MappingProxyType({})
ALIKE: Mapping[str, Mapping[str, str]] = MappingProxyType({})
API_KEY_FILE = "api-key"
PARTS_FILE = "parts.json"
READY_TIMEOUT_S = 90.0
PING_TIMEOUT_S = 120.0
COMMAND_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Home:
    """The folder that keeps everything of one local stack."""

    folder: Path

    @property
    def api_key_file(self) -> Path:
        """One line: the admin key."""
        return self.folder / API_KEY_FILE

    def choices(self, *, are_in_use: bool = False) -> Choices:
        """Its ports and passwords."""
        return Choices(self.folder / PARTS_FILE, are_in_use=are_in_use)


class LocalStack:
    """Brings the parts and services up in *home*, keeps them up, and takes them down.

    Use it as a context manager, or call `start` and `stop`.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int = 0,
        environment: Mapping[str, str] = NOTHING,
        scale: Mapping[str, int] = ONE_OF_EACH,
        without: Collection[str] = (),
        quiet: bool = True,
        postgres_settings: Mapping[str, str] = DURABLE,
        extra: Mapping[str, Mapping[str, str]] = ALIKE,
    ) -> None:
        """Only note what is wanted.

        Args:
            home: keeps all data; made when it is not there.
            port: the gateway's; 0 takes a free one.
            environment: settings of the services, `PATH` and the like; nothing else is read. A setting that
                gives the address of a part replaces it.
            scale: how many of a service, by its name; 1 unless named.
            without: parts and services that are not started.
            quiet: do not print what is being started.
            postgres_settings: for the local PostgreSQL, by name.
            extra: more environment for single parts and services, by the name of the process (`postgres`,
                `extractor2`); it wins over what they would get.
        """
        require_supported(this_machine())
        self._home = Home(home.absolute())
        self._port = port
        self._given = given_from(environment)
        self._scale = scale
        self._without = frozenset(without) | parts_replaced_by(self._given)
        self._postgres_settings = postgres_settings
        self._extra = extra
        self._say: Callable[[str], None] = _say_nothing if quiet else say
        self._supervisor = Supervisor(self._home.folder, on_event=self._say)
        _refuse_unknown_names(scale, without)

    @property
    def url(self) -> str:
        """Address of the gateway."""
        return self._spec_of("api").url

    @property
    def api_key(self) -> str:
        """The admin key of tenant `default`."""
        return self._home.api_key_file.read_text(encoding="utf-8").strip()

    @property
    def home(self) -> Path:
        """The folder that keeps everything."""
        return self._home.folder

    @property
    def metrics_url(self) -> str:
        """Address of the reconciler's metrics, where the counts of unfinished documents are."""
        return f"{self._spec_of('reconciler').url}/metrics"

    def has(self, name: str) -> bool:
        """Whether *name* is one of the processes of this stack."""
        return any(spec.name == name for spec in self._supervisor.specs())

    def start(self) -> None:
        """Start everything and return when a ping has gone through every stage.

        Raises:
            AlreadyRunning: another stack has this home.
            SettingsError: a part is left out and no address was given for it, or a value is wrong.
            StartFailed: something did not come up; the message shows the end of its log.
            PostgresMissing, RedisMissing: there is no such program.
        """
        self._supervisor.open()
        try:
            self._start()
        except BaseException:
            self._supervisor.stop()
            raise

    def stop(self) -> None:
        """Stop everything in reverse order; the home can be started again."""
        self._supervisor.stop()

    def processes(self) -> list[ProcessRecord]:
        """What runs now: name, pid, address, log."""
        return self._supervisor.records()

    def pid_of(self, name: str) -> int:
        """The pid that *name* (`extractor`, `extractor2`) has now; waits while it is being restarted."""
        return self._supervisor.pid_of(name)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal; SIGKILL, SIGSTOP and SIGCONT reach its children too. What dies is started again."""
        self._supervisor.kill(name, number)

    def environment_of(self, name: str) -> Mapping[str, str]:
        """The whole environment that *name* was started with."""
        return self._spec_of(name).environment

    def wait_until_ready(self, *, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until everything answers again, and a ping goes through every stage.

        Raises:
            StartFailed: something did not come back in time.
        """
        self._supervisor.wait_until_ready([spec.name for spec in self._supervisor.specs()], timeout_s=timeout_s)
        self._ping()

    def _start(self) -> None:
        choices = self._home.choices()
        self._take_gateway_port(choices)
        settings = settings_of(choices, self._home, self._given, self._without)
        parts = self._start_parts(choices)
        self._migrate(settings)
        self._supervisor.wait_until_ready([name for name in parts if name != "postgres"], timeout_s=READY_TIMEOUT_S)
        services = self._start_services(choices, settings)
        self._keep_key(settings)
        self._supervisor.wait_until_ready(services, timeout_s=READY_TIMEOUT_S)
        self._renew_refused_key(settings)
        self._ping()

    def _take_gateway_port(self, choices: Choices) -> None:
        if self._port and "api" not in self._without:
            if not is_free(self._port):
                raise StartFailed(f"port {self._port} is in use; choose another by --port or SLUICE_PORT")
            choices.use_port("api", self._port)

    def _start_parts(self, choices: Choices) -> list[str]:
        folder, system = self._home.folder, self._given.system
        specs: list[ProcessSpec] = []
        if "postgres" not in self._without:
            self._say("preparing PostgreSQL")
            cluster = PostgresCluster(
                folder / "postgres", choices, cache=cache_folder(), settings=self._postgres_settings
            )
            cluster.prepare()
            specs.append(cluster.spec())
        if "redis" not in self._without:
            specs.append(RedisPart(folder / "redis", choices).spec())
        if "qdrant" not in self._without:
            specs.append(vector_server(folder / "qdrant", choices, system))
        if "embeddings" not in self._without:
            specs.append(embedding_server(choices, system))
        return self._start_layer(specs)

    def _start_layer(self, specs: list[ProcessSpec]) -> list[str]:
        names = [spec.name for spec in specs]
        if specs:
            self._say("starting " + ", ".join(names))
            self._supervisor.start([self._with_extra(spec) for spec in specs])
        return names

    def _with_extra(self, spec: ProcessSpec) -> ProcessSpec:
        return replace(spec, environment={**spec.environment, **self._extra.get(spec.name, {})})

    def _migrate(self, settings: Mapping[str, str]) -> None:
        if "postgres" not in self._without:
            self._supervisor.wait_until_ready(["postgres"], timeout_s=READY_TIMEOUT_S)
        self._say("bringing the schema up to date")
        run_to_end(migration_command(), settings)

    def _start_services(self, choices: Choices, settings: Mapping[str, str]) -> list[str]:
        specs = [
            service(name, kind, choices, settings)
            for kind in SERVICES
            if kind not in self._without
            for name in _names(kind, self._scale.get(kind, 1))
        ]
        return self._start_layer(specs)

    def _keep_key(self, settings: Mapping[str, str]) -> None:
        if not self._home.api_key_file.is_file():
            self._make_key(settings)

    def _make_key(self, settings: Mapping[str, str]) -> None:
        self._say("making the admin key")
        key = run_to_end(create_key_command("default", "read,write,admin", "local"), settings).strip()
        write_private(self._home.api_key_file, key + "\n")

    def _renew_refused_key(self, settings: Mapping[str, str]) -> None:
        """The database may be another one than when the key was made."""
        if "api" in self._without:
            return
        if self._ask("GET", "/v1/documents?limit=1").status_code == httpx.codes.UNAUTHORIZED:
            self._make_key(settings)

    def _ping(self) -> None:
        """Send a task through every stage, as the proof that the queue and its workers do their part."""
        if not {"api", "extractor", "embedder", "reconciler"}.isdisjoint(self._without):
            return
        if any(self._scale.get(kind, 1) == 0 for kind in SERVICES):
            return
        started = time.monotonic()
        answer = self._ask("POST", "/v1/admin/workers/ping")
        while answer.status_code != httpx.codes.OK:
            if time.monotonic() - started > PING_TIMEOUT_S:
                raise StartFailed(f"the workers did not answer a ping: {answer.text[:500]}")
            answer = self._ask("POST", "/v1/admin/workers/ping")
        self._say(f"a ping went through every stage ({time.monotonic() - started:.1f} s)")

    def _ask(self, method: str, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return httpx.request(method, self.url + path, headers=headers, timeout=PING_TIMEOUT_S, trust_env=False)

    def _spec_of(self, name: str) -> ProcessSpec:
        return next(spec for spec in self._supervisor.specs() if spec.name == name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def settings_of(choices: Choices, home: Home, given: Given, without: Collection[str]) -> dict[str, str]:
    """The environment of every service: addresses of the parts, then what was set, then what must be so.

    Raises:
        SettingsError: a part is left out and no address was given for it, or an address without a model.
    """
    missing = [URL_SETTINGS[part] for part in PARTS if part in without and URL_SETTINGS[part] not in given.services]
    if missing:
        raise SettingsError(f"a part is left out, so its address is needed: set {' and '.join(missing)}")
    settings = {
        "SLUICE_LOG__FORMAT": "console",
        "SLUICE_HTTP__HOST": LOOPBACK,
        "SLUICE_OBJECTS__ROOT": str(home.folder / "objects"),
        **given.services,
        **_part_settings(choices, without),
    }
    require_model(settings)
    make_private_folder(home.folder / "objects")
    return {**settings, **given.system, "SLUICE_ENV_FILE": os.devnull}  # `.env` is already in what was given


def running_settings(home: Home, given: Given) -> dict[str, str]:
    """The environment that the services of the stack that runs in *home* have."""
    return settings_of(home.choices(are_in_use=True), home, given, parts_replaced_by(given))


def parts_replaced_by(given: Given) -> frozenset[str]:
    """The parts whose address was set, so that the stack does not start its own."""
    return frozenset(part for part, name in URL_SETTINGS.items() if name in given.services)


def _part_settings(choices: Choices, without: Collection[str]) -> dict[str, str]:
    addresses = {
        "postgres": lambda: {
            "SLUICE_DATABASE__URL": (
                f"postgresql://{OWNER}:{choices.secret('postgres')}@{LOOPBACK}:{choices.port('postgres')}/{OWNER}"
            )
        },
        "redis": lambda: {
            "SLUICE_BROKER__URL": f"redis://:{choices.secret('redis')}@{LOOPBACK}:{choices.port('redis')}/0"
        },
        "qdrant": lambda: {
            "SLUICE_QDRANT__URL": f"http://{LOOPBACK}:{choices.port('qdrant')}",
            "SLUICE_QDRANT__API_KEY": choices.secret("qdrant"),
        },
        "embeddings": lambda: {
            "SLUICE_EMBEDDINGS__BASE_URL": f"http://{LOOPBACK}:{choices.port('embeddings')}/v1",
            "SLUICE_EMBEDDINGS__MODEL": LOCAL_MODEL,
            "SLUICE_EMBEDDINGS__DIMENSIONS": str(LOCAL_DIMENSIONS),
        },
    }
    return {name: value for part in PARTS if part not in without for name, value in addresses[part]().items()}


def run_to_end(command: list[str], environment: Mapping[str, str]) -> str:
    """Run *command* and return what it printed.

    Raises:
        StartFailed: it failed; the message shows what it said.
    """
    try:
        outcome = subprocess.run(
            command, env=dict(environment), capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StartFailed(f"{' '.join(command[2:4])} did not end within {COMMAND_TIMEOUT_S:.0f} s") from error
    if outcome.returncode != 0:
        said = (outcome.stderr + outcome.stdout).decode("utf-8", errors="replace").strip()
        raise StartFailed(f"{' '.join(command[2:4])} failed:\n{said[-3000:]}")
    return outcome.stdout.decode("utf-8")


def _names(kind: str, count: int) -> list[str]:
    return [kind if number == 1 else f"{kind}{number}" for number in range(1, count + 1)]


def _refuse_unknown_names(scale: Mapping[str, int], without: Collection[str]) -> None:
    for name in [
        *(name for name in scale if name not in SERVICES),
        *(name for name in without if name not in PARTS + SERVICES),
    ]:
        raise SettingsError(f"there is no {name}; there are {', '.join(PARTS + SERVICES)}")


def _say_nothing(_event: str) -> None:
    """Tests want silence."""
