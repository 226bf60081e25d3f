"""What the person who runs the local stack has set, in the environment or in `.env`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource

from sluice_common.settings import FAILPOINTS, PREFIX, STANDALONE, SettingsError, known_names

SYSTEM_NAMES = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
)
"""What services get of the environment beside their settings; no key of another program is among it."""


class LocalSettings(BaseModel):
    """The settings of the local stack itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    home: Path | None = Field(default=None, alias="SLUICE_HOME")
    port: int = Field(default=8000, ge=1, le=65535, alias="SLUICE_PORT")
    openai_api_key: str | None = Field(default=None, alias="OPENAI_API_KEY")


@dataclass(frozen=True)
class Given:
    """Everything that was set, sorted by whom it is for."""

    local: LocalSettings
    services: Mapping[str, str]
    """`SLUICE_<SECTION>__<NAME>` by name."""
    system: Mapping[str, str]


def read_given() -> Given:
    """Read the environment, and the `.env` file of this folder below it.

    Raises:
        SettingsError: names each setting that does not exist or is wrong.
    """
    environment = _texts(EnvSettingsSource(BaseSettings, case_sensitive=True).env_vars)
    env_file = Path(environment.get("SLUICE_ENV_FILE", ".env")).absolute()
    from_file = _texts(DotEnvSettingsSource(BaseSettings, env_file=env_file, case_sensitive=True).env_vars)
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in known_names())
    if unknown:
        raise SettingsError("\n".join(f"{name}: there is no such setting" for name in unknown))
    return given_from({**from_file, **environment})


def given_from(variables: Mapping[str, str]) -> Given:
    """Sort *variables* by whom they are for."""
    try:
        local = LocalSettings.model_validate(dict(variables))
    except ValidationError as error:
        raise SettingsError("\n".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())) from error
    return Given(local=local, services=_for_services(variables), system=_for_system(variables))


def default_home() -> Path:
    """`.sluice` in the root of the project that this package was installed from, else in this folder."""
    for folder in Path(__file__).resolve().parents:
        if (folder / "libs" / "local" / "pyproject.toml").is_file():
            return folder / ".sluice"
    return Path.cwd() / ".sluice"


def _for_services(variables: Mapping[str, str]) -> dict[str, str]:
    names = known_names() - set(STANDALONE) | {FAILPOINTS}
    chosen = {name: value for name, value in variables.items() if name in names}
    root = chosen.get("SLUICE_OBJECTS__ROOT")
    if root is not None:  # the services start in another folder than the person who wrote it
        chosen["SLUICE_OBJECTS__ROOT"] = str(Path(root).absolute())
    return chosen


def _for_system(variables: Mapping[str, str]) -> dict[str, str]:
    chosen = {name: value for name, value in variables.items() if name in SYSTEM_NAMES}
    return {"PATH": os.defpath, "HOME": str(Path.home()), **chosen}


def _texts(variables: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if value is not None}
