"""The services of Sluice as processes of the local stack: their commands, addresses and settings."""

import signal
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from sluice_common.settings import (
    DELIMITER,
    PREFIX,
    EmbeddingsSettings,
    Section,
    SettingsError,
    TimesSettings,
)
from sluice_common.times import times_of
from sluice_local.files import make_private_folder, write_private
from sluice_local.ports import LOOPBACK, Choices
from sluice_local.supervisor import ProcessSpec

PARTS = ("postgres", "redis", "qdrant", "embeddings")
URL_SETTINGS = {
    "postgres": "SLUICE_DATABASE__URL",
    "redis": "SLUICE_BROKER__URL",
    "qdrant": "SLUICE_QDRANT__URL",
    "embeddings": "SLUICE_EMBEDDINGS__BASE_URL",
}
"""The setting that replaces a part by a real one."""
MODULES = {
    "api": "sluice_api.main",
    "reconciler": "sluice_api.reconciler",
    "extractor": "sluice_extractor.main",
    "embedder": "sluice_embedder.main",
}
SERVICES = tuple(MODULES)
LOCAL_MODEL = "wordllama-256"
LOCAL_DIMENSIONS = 256
CLOSING_S = 5
"""What a service gets beyond the time in which it hands its work back, to close what it opened."""

SectionType = TypeVar("SectionType", bound=Section)


def python(*arguments: str) -> list[str]:
    """A command of this interpreter that imports nothing from the folder it starts in."""
    return [sys.executable, "-P", *arguments]


def section_of(section: type[SectionType], settings: Mapping[str, str], name: str) -> SectionType:
    """One section as a service will read it.

    Raises:
        SettingsError: a value is wrong.
    """
    begin = f"{PREFIX}{name}{DELIMITER}".upper()
    values = {key.removeprefix(begin).lower(): value for key, value in settings.items() if key.startswith(begin)}
    try:
        return section.model_validate(values)
    except ValueError as error:
        raise SettingsError(f"{begin}*: {error}") from error


def vector_server(folder: Path, choices: Choices, system: Mapping[str, str]) -> ProcessSpec:
    """The embedded vector server, with its API key in a private file."""
    make_private_folder(folder)
    key_file = folder.parent / "qdrant-api-key"
    key = choices.secret("qdrant")
    write_private(key_file, key)
    port = choices.port("qdrant")
    url = f"http://{LOOPBACK}:{port}"
    address = ("--host", LOOPBACK, "--port", str(port))
    return ProcessSpec(
        name="qdrant",
        command=python(
            "-m", "sluice_local.vector_server", *address, "--root", str(folder), "--api-key-file", str(key_file)
        ),
        environment=system,
        url=url,
        is_ready=answers(f"{url}/collections", headers={"api-key": key}),
    )


def embedding_server(choices: Choices, system: Mapping[str, str]) -> ProcessSpec:
    """The small embedding model behind an OpenAI-compatible address."""
    port = choices.port("embeddings")
    url = f"http://{LOOPBACK}:{port}/v1"
    return ProcessSpec(
        name="embeddings",
        command=python("-m", "sluice_local.embedding_server", "--host", LOOPBACK, "--port", str(port)),
        environment=system,
        url=url,
        is_ready=answers(f"{url}/models"),
    )


def service(name: str, kind: str, choices: Choices, environment: Mapping[str, str]) -> ProcessSpec:
    """One service; *name* is its kind, with a number behind when there are several."""
    metrics = choices.port(f"{name} metrics")
    own = {"SLUICE_METRICS__HOST": LOOPBACK, "SLUICE_METRICS__PORT": str(metrics)}
    url = f"http://{LOOPBACK}:{metrics}"
    ready_url = f"{url}/metrics"
    if kind == "api":
        port = choices.port(name)
        own |= {"SLUICE_HTTP__PORT": str(port)}
        url = f"http://{LOOPBACK}:{port}"
        ready_url = f"{url}/readyz"
    return ProcessSpec(
        name=name,
        command=python("-m", MODULES[kind]),
        environment={**environment, **own},
        url=url,
        is_ready=answers(ready_url),
        stop_signal=signal.SIGTERM,
        stop_grace_s=times_of(section_of(TimesSettings, environment, "times")).stop_grace.total_seconds() + CLOSING_S,
    )


def answers(url: str, *, headers: Mapping[str, str] | None = None) -> Callable[[], bool]:
    """A check that is true when a GET of *url* is answered by 200."""
    parts = urlsplit(url)

    def check() -> bool:
        # not httpx: it reads every root certificate for each client, and this is asked fifty times a second
        connection = HTTPConnection(parts.netloc, timeout=2)
        try:
            connection.request("GET", parts.path, headers=dict(headers or {}))
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    return check


def migration_command() -> list[str]:
    """Brings the schema up to date and ends."""
    return python("-m", "sluice_common.migrations")


def create_key_command(tenant: str, scopes: str, name: str) -> list[str]:
    """Prints a new key and ends."""
    return python("-m", "sluice_api.admin", "create-key", "--tenant", tenant, "--scopes", scopes, "--name", name)


def require_model(settings: Mapping[str, str]) -> None:
    """Check the embeddings' settings before anything starts.

    Raises:
        SettingsError: the address of a provider was given without its model, or a value is wrong.
    """
    if "SLUICE_EMBEDDINGS__MODEL" not in settings:
        raise SettingsError("SLUICE_EMBEDDINGS__MODEL must name the model at SLUICE_EMBEDDINGS__BASE_URL")
    section_of(EmbeddingsSettings, settings, "embeddings")
