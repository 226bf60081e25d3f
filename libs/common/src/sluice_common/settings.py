"""Every setting that a service can have, in sections; each service's `settings.py` picks the sections it uses."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "SLUICE_"
DELIMITER = "__"
IN_FILE = "_FILE"
"""Behind a setting's name: the value is the path of the UTF-8 file that holds the setting, such as a secret."""

SENTINEL_SCHEMES = ("redis+sentinel://", "rediss+sentinel://")
_WATCHED = re.compile(r"rediss?\+sentinel://(?:[^@/]*@)?[^@/,]+(?:,[^@/,]+)*/[\w.-]+(?:/\d+)?")


class SettingsError(Exception):
    """A setting is wrong or unknown; the message names it as the operator wrote it."""


class Section(BaseModel):
    """A group of settings, read from `SLUICE_<SECTION>__<NAME>`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: Any) -> Any:  # whatever was given
        """Where settings are passed on by name, such as in Compose, what nobody set is empty."""
        if not isinstance(values, Mapping):
            return values
        unset = {name for name, field in cls.model_fields.items() if field.default is None}
        return {name: value for name, value in values.items() if value != "" or name not in unset}


class DatabaseSettings(Section):
    url: str = Field(description="PostgreSQL, as `postgresql://user:password@host:port/database`.")
    pool_size: int = Field(default=10, ge=1, le=200, description="Connections that one process keeps open at most.")

    @field_validator("url")
    @classmethod
    def _is_postgresql(cls, url: str) -> str:
        if not url.startswith(("postgresql://", "postgresql+psycopg://")):
            raise ValueError("must begin with postgresql://")
        return url.replace("postgresql://", "postgresql+psycopg://", 1)


class BrokerSettings(Section):
    url: str = Field(
        description="Redis for the queues, a database of its own: `redis://:password@host:port/0`, or "
        "`redis+sentinel://:password@host:port,host:port/name/0`."
    )
    sentinel_password: SecretStr | None = Field(default=None, description="Password of the sentinels themselves.")
    namespace: str = Field(default="sluice", min_length=1, description="Prefix of every key in Redis.")

    @field_validator("url")
    @classmethod
    def _names_what_sentinels_watch(cls, url: str) -> str:
        if url.startswith(SENTINEL_SCHEMES) and not _WATCHED.fullmatch(url):
            raise ValueError("sentinels are written redis+sentinel://:password@host:port,host:port/name/0")
        return url


class QdrantSettings(Section):
    url: HttpUrl = Field(description="Qdrant's REST address.")
    api_key: SecretStr | None = Field(default=None, description="Qdrant's API key.")
    prefer_grpc: bool = Field(default=False, description="Use gRPC, which costs a quarter of the CPU.")
    grpc_port: int = Field(default=6334, ge=1, le=65535, description="Port of Qdrant's gRPC interface.")
    index_prefix: str = Field(default="sluice", pattern=r"^[a-z0-9_-]{1,32}$", description="Begins the index's name.")
    timeout_s: float = Field(
        default=10, gt=0, le=60, description="Longest wait for one answer; a sixth of the lease unless it is set."
    )


class EmbeddingsSettings(Section):
    base_url: HttpUrl = Field(description="Any OpenAI-compatible API, up to and with `/v1`.")
    api_key: SecretStr = Field(default=SecretStr("none"), description="Key of the provider.")
    model: str = Field(min_length=1, description="Name of the embedding model.")
    dimensions: int | None = Field(default=None, ge=1, le=65536, description="Asked of the provider when unset.")
    send_dimensions: bool = Field(default=False, description="Ask the provider for vectors of `dimensions`.")
    batch_size: int = Field(default=128, ge=1, le=2048, description="Most texts in one request.")
    max_in_flight: int = Field(default=16, ge=1, le=256, description="Most requests under way at once.")
    linger_s: float = Field(default=0.003, ge=0, le=1, description="How long a request waits to be filled.")
    timeout_s: float = Field(
        default=30, gt=0, le=300, description="Longest wait for one answer; half of the lease unless it is set."
    )
    max_tokens: int = Field(default=8191, ge=64, description="Longest text the model takes; longer ones are cut.")


class ObjectsSettings(Section):
    kind: Literal["filesystem", "s3"] = Field(default="filesystem", description="Where originals are kept.")
    root: Path | None = Field(default=None, description="The folder, for `filesystem`.")
    bucket: str | None = Field(default=None, description="The bucket, for `s3`.")
    prefix: str = Field(default="", description="Begins every key, for `s3`.")
    endpoint_url: HttpUrl | None = Field(default=None, description="Address of an S3-compatible store.")
    region: str = Field(default="us-east-1", description="Region, for `s3`.")
    access_key: SecretStr | None = Field(default=None, description="Access key, for `s3`.")
    secret_key: SecretStr | None = Field(default=None, description="Secret key, for `s3`.")


class LimitsSettings(Section):
    max_document_bytes: int = Field(default=100 * 2**20, ge=1, description="Largest upload.")
    max_pages: int = Field(default=5_000, ge=1, description="More pages fail with `too_many_pages`.")
    max_text_chars: int = Field(default=50_000_000, ge=1, description="More text fails with `too_large`.")
    max_chunks: int = Field(default=50_000, ge=1, description="More chunks fail with `too_large`.")
    max_audio_s: float = Field(default=14_400, gt=0, le=86_400, description="Longer recordings fail with `too_large`.")
    min_free_bytes: int = Field(default=256 * 2**20, ge=0, description="Less free disk refuses uploads.")
    min_free_percent: float = Field(default=1, ge=0, le=100, description="Less free disk refuses uploads too.")
    max_waiting_documents: int = Field(
        default=100_000, ge=1, description="So many documents that wait for the extractor refuse more work."
    )
    max_waiting_documents_of_tenant: int = Field(
        default=50_000, ge=1, description="So many of one tenant refuse more work of this tenant."
    )
    max_waiting_chunks: int = Field(
        default=2_000_000, ge=1, description="So many chunks that wait for the embedder refuse more work."
    )
    max_waiting_chunks_of_tenant: int = Field(
        default=1_000_000, ge=1, description="So many of one tenant refuse more work of this tenant."
    )
    max_waiting_s: float | None = Field(
        default=None, gt=0, description="A tenant's document that waits longer refuses more work of this tenant."
    )


class ChunkingSettings(Section):
    max_chars: int = Field(default=1000, ge=100, le=20_000, description="Longest chunk, in characters.")
    overlap_chars: int = Field(default=200, ge=0, le=10_000, description="Text that two neighbours share at most.")


class ExtractionSettings(Section):
    pdf_reader: Literal["pdfium", "pypdf"] = Field(default="pdfium", description="First reader for PDFs.")
    workers: int = Field(default=8, ge=1, le=64, description="Documents in progress side by side.")
    children: int | None = Field(
        default=None, ge=2, le=256, description="Processes that read them; one more than processors unless it is set."
    )
    memory_bytes: int = Field(default=2**30, ge=128 * 2**20, description="Address space of one child.")
    wall_clock_s: float = Field(default=60, gt=0, description="Time for one document ...")
    wall_clock_per_page_s: float = Field(default=5, ge=0, description="... plus this for each page ...")
    wall_clock_max_s: float = Field(default=3600, gt=0, description="... and never more than this.")
    batch_chunks: int = Field(default=128, ge=1, le=2048, description="Chunks forwarded in one batch.")


class AudioEndpoint(Section):
    """A member of the ensemble that answers over HTTP."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    url: HttpUrl
    api_key: SecretStr | None = None
    weight: float = Field(default=1, ge=0, le=1000)
    timeout_s: float = Field(default=60, gt=0, le=3600)


class AudioSettings(Section):
    endpoints: tuple[AudioEndpoint, ...] = Field(
        default=(), description="Predictors that answer over HTTP, as JSON: `name`, `url`, `weight`, `timeout_s`."
    )
    weights: dict[str, Annotated[float, Field(ge=0, le=1000)]] = Field(
        default={}, description='Weights of the other members, as JSON, `{"speech": 2}`; 0 leaves one out.'
    )
    predict_timeout_s: float = Field(
        default=60, gt=0, le=3600, description="Longest that a predictor of your own may take for one recording."
    )
    start_timeout_s: float = Field(default=300, gt=0, le=3600, description="Longest that it may take to start.")
    work_root: Path | None = Field(
        default=None, description="Where recordings lie while members hear them; the system's temporary folder."
    )

    @field_validator("endpoints")
    @classmethod
    def _have_names_of_their_own(cls, endpoints: tuple[AudioEndpoint, ...]) -> tuple[AudioEndpoint, ...]:
        if len({endpoint.name for endpoint in endpoints}) < len(endpoints):
            raise ValueError("two endpoints have the same name")
        return endpoints


class TranscriptionSettings(Section):
    base_url: HttpUrl | None = Field(
        default=None, description="Any OpenAI-compatible API that transcribes, up to and with `/v1`; none when unset."
    )
    api_key: SecretStr = Field(default=SecretStr("none"), description="Key of that provider.")
    model: str = Field(default="whisper-1", min_length=1, description="Name of the transcription model.")
    language: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,3}$",
        description="What is spoken, such as `ko`; the model finds out when unset.",
    )
    timeout_s: float = Field(default=300, gt=0, le=3600, description="Longest wait for one answer.")
    piece_s: float = Field(default=300, ge=20, le=1200, description="Longest piece of a recording in one request.")
    max_in_flight: int = Field(default=2, ge=1, le=32, description="Pieces of one recording under way at once.")


class OcrSettings(Section):
    enabled: Literal["auto", "on", "off"] = Field(
        default="auto", description="Whether text in pictures is recognised: when Tesseract is here, always, or never."
    )
    languages: str = Field(
        default="kor+eng",
        pattern=r"^[A-Za-z_/]+(\+[A-Za-z_/]+){0,7}$",
        description="Languages of Tesseract, the likeliest first; those that are not installed are left out.",
    )
    program: str = Field(default="tesseract", min_length=1, description="Tesseract's name or path.")
    at_once: int | None = Field(
        default=None, ge=1, le=256, description="Pictures recognised side by side; as many as processors unless set."
    )
    memory_bytes: int = Field(default=2**30, ge=256 * 2**20, description="Address space for one picture.")
    wall_clock_s: float = Field(default=30, gt=0, le=3600, description="Time for one picture.")


class VisionSettings(Section):
    base_url: HttpUrl | None = Field(
        default=None, description="Any OpenAI-compatible API whose model sees, up to and with `/v1`; none when unset."
    )
    api_key: SecretStr = Field(default=SecretStr("none"), description="Key of that provider.")
    model: str = Field(default="gpt-4o-mini", min_length=1, description="Name of a model that takes images.")
    language: str = Field(
        default="en",
        pattern=r"^[a-z]{2,3}$",
        description="In what figures are described that show no words, such as `ko`.",
    )
    timeout_s: float = Field(default=60, gt=0, le=600, description="Longest wait for one answer.")
    patience_s: float = Field(
        default=60, ge=0, le=600, description="So long one document waits for a provider that is away, all together."
    )
    max_figures: int = Field(default=20, ge=1, le=1000, description="Figures of one document that are described.")
    max_in_flight: int = Field(default=2, ge=1, le=32, description="Figures of one document under way at once.")


class EmbedderSettings(Section):
    workers: int = Field(default=16, ge=1, le=256, description="Batches worked on side by side.")


class TimesSettings(Section):
    lease_s: float = Field(default=60, ge=1, le=3600, description="How long a silent worker keeps its work.")
    deadline_s: float = Field(default=86_400, ge=1, description="How long a document may wait for others at most.")
    max_tries: int = Field(default=3, ge=1, le=100, description="Tries of one document.")
    max_losses: int = Field(default=10, ge=1, le=1000, description="Expired leases of one document.")


class ReconcilerSettings(Section):
    audit_interval_s: float = Field(default=300, gt=0, description="Time between two audits of the vector store.")
    janitor_interval_s: float = Field(default=3600, gt=0, description="Time between two sweeps of the object store.")
    originals_grace_s: float = Field(
        default=86_400, gt=0, description="Age from which an original without a row may go."
    )
    history_s: float = Field(
        default=2_592_000, ge=86_400, description="How long rows of deleted documents and replaced runs are kept."
    )


class MetricsSettings(Section):
    host: str = Field(default="0.0.0.0", description="Address the metrics are served on.")  # noqa: S104 - scraped from outside the container
    port: int = Field(default=9464, ge=0, le=65535, description="Port of the metrics; 0 takes a free one.")


class LogSettings(Section):
    format: Literal["json", "console"] = Field(default="json", description="One JSON object a line, or for a person.")
    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level written.")


class TracingSettings(Section):
    endpoint: HttpUrl | None = Field(
        default=None, description="Where spans go by OTLP over HTTP, up to and with `/v1/traces`; off when unset."
    )
    sample_ratio: float = Field(
        default=1, ge=0, le=1, description="Part of the traces that begin here; others keep what their caller decided."
    )


class HttpSettings(Section):
    host: str = Field(default="0.0.0.0", description="Address the gateway listens on.")  # noqa: S104 - a container's only way to be reached
    port: int = Field(default=8000, ge=0, le=65535, description="Port the gateway listens on.")
    public_url: HttpUrl | None = Field(default=None, description="How clients reach it, where that differs.")
    upload_gap_s: float = Field(default=15, gt=0, description="Longest silence within an upload.")
    cursor_secret: SecretStr | None = Field(
        default=None, description="Signs cursors; made and kept in the table when unset."
    )


SECTIONS: dict[str, type[Section]] = {
    "database": DatabaseSettings,
    "broker": BrokerSettings,
    "qdrant": QdrantSettings,
    "embeddings": EmbeddingsSettings,
    "objects": ObjectsSettings,
    "limits": LimitsSettings,
    "chunking": ChunkingSettings,
    "extraction": ExtractionSettings,
    "audio": AudioSettings,
    "ocr": OcrSettings,
    "transcription": TranscriptionSettings,
    "vision": VisionSettings,
    "embedder": EmbedderSettings,
    "times": TimesSettings,
    "reconciler": ReconcilerSettings,
    "metrics": MetricsSettings,
    "log": LogSettings,
    "tracing": TracingSettings,
    "http": HttpSettings,
}
"""Every section there is; a shared environment may name any of them to any service."""

FAILPOINTS = "SLUICE_FAILPOINTS"
"""The one setting without a section that a service reads beside the place of its `.env` file."""

STANDALONE: dict[str, str] = {
    "SLUICE_HOME": "Where the local stack keeps its data; `.sluice` in the project's root by default.",
    "SLUICE_PORT": "Port of the gateway on the local stack; 8000 by default.",
    "SLUICE_URL": "Address the client and the command line talk to.",
    "SLUICE_API_KEY": "Key the client and the command line use; else the one line of `$SLUICE_HOME/api-key`.",
    "SLUICE_ENV_FILE": "Another `.env` file; relative paths count from the folder the service starts in.",
    "SLUICE_CORPUS": "Folder of real documents for the tests that want one.",
    "SLUICE_TEST_QDRANT_URL": "A real Qdrant for the contract suite.",
    FAILPOINTS: "Folder in which tests say where a service is stopped or killed; never set it elsewhere.",
}


class FilesSource(EnvSettingsSource):
    """Settings that the environment does not hold itself, but names the files of."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        named = {
            name.upper().removesuffix(IN_FILE): path for name, path in os.environ.items() if _names_a_file(name.upper())
        }
        return {name.lower(): _text_of(name, path) for name, path in named.items()}


class DatabaseOnlySettings(BaseSettings):
    """Settings of what needs nothing but the tables: the environment, the files it names, a UTF-8 `.env` file."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, extra="ignore", frozen=True, env_file_encoding="utf-8"
    )

    database: DatabaseSettings
    log: LogSettings = LogSettings()
    failpoints: Path | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings gives the signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, FilesSource(settings_cls), dotenv_settings


_PARTS_OF_LEASE = {"embeddings": (2, 300.0), "qdrant": (6, 60.0)}
"""Which part of the lease one answer may take, and the longest wait of all."""


class ServiceSettings(DatabaseOnlySettings):
    """Settings that every service has."""

    broker: BrokerSettings
    times: TimesSettings = TimesSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()

    @model_validator(mode="before")
    @classmethod
    def _derive_timeouts(cls, values: Any) -> Any:  # what the sources give, not validated yet
        lease_s = _lease_in(values)
        for section, (part, longest_s) in _PARTS_OF_LEASE.items():
            given = values.get(section)
            if lease_s is not None and isinstance(given, dict):
                values[section] = {"timeout_s": min(lease_s / part, longest_s)} | given
        return values

    @model_validator(mode="after")
    def _fit_into_the_lease(self) -> Self:
        """What a worker waits for while it holds a batch must end before somebody else takes the batch over."""
        sections = [getattr(self, name, None) for name in _PARTS_OF_LEASE]
        timeouts = [section.timeout_s for section in sections if section is not None]
        if sum(timeouts) >= self.times.lease_s:
            raise ValueError(
                f"SLUICE_EMBEDDINGS__TIMEOUT_S and SLUICE_QDRANT__TIMEOUT_S, {sum(timeouts):g} s together, "
                f"must be less than SLUICE_TIMES__LEASE_S, {self.times.lease_s:g} s"
            )
        return self


S = TypeVar("S", bound=DatabaseOnlySettings)


def load_settings(settings_type: type[S], environment: Mapping[str, str] | None = None) -> S:
    """Read the settings of one service, or say which one is wrong.

    Unknown names are ignored in the `.env` file, which other programs may share, and refused in the
    environment, where they are typing mistakes.

    Raises:
        SettingsError: names each wrong, missing or unknown setting.
    """
    environment = os.environ if environment is None else environment
    _refuse_unknown(environment)
    env_file = Path(environment.get("SLUICE_ENV_FILE", ".env")).absolute()
    try:
        return settings_type(_env_file=env_file if env_file.is_file() else None)  # type: ignore[call-arg]  # pydantic-settings takes it
    except ValidationError as error:
        raise SettingsError("\n".join(_describe(item) for item in error.errors())) from error


def known_names() -> set[str]:
    """Every name that may stand in the environment."""
    names = {
        f"{PREFIX}{section}{DELIMITER}{field}".upper()
        for section, model in SECTIONS.items()
        for field in model.model_fields
    }
    return names | set(STANDALONE)


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    unknown = sorted(
        name
        for name in environment
        if name.upper().startswith(PREFIX) and name.upper() not in known_names() and not _names_a_file(name.upper())
    )
    if unknown:
        raise SettingsError("\n".join(f"{name}: there is no such setting" for name in unknown))


def _names_a_file(name: str) -> bool:
    return name.endswith(IN_FILE) and DELIMITER in name and name.removesuffix(IN_FILE) in known_names()


def _text_of(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name}{IN_FILE}: {path} cannot be read: {type(error).__name__}") from error


def _lease_in(values: Any) -> float | None:  # as above
    """The lease, where one was given that can be read; what cannot is refused by its own section."""
    times = values.get("times")
    given = times.lease_s if isinstance(times, TimesSettings) else (times or {}).get("lease_s")
    try:
        return None if given is None else float(given)
    except (TypeError, ValueError):
        return None


def _describe(item: Any) -> str:  # pydantic's ErrorDetails; a TypedDict of another package
    if not item["loc"]:  # about several settings, which the text names
        return str(item["msg"])
    name = PREFIX + DELIMITER.join(str(part) for part in item["loc"]).upper()
    return f"{name}: {item['msg']}"
