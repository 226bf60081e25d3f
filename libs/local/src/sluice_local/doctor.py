"""Checks a machine, its stores and its provider, and says how to mend what is wrong."""

import argparse
import importlib.metadata
import ipaddress
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit, urlunsplit

import httpx
import psycopg
from redis import Redis, RedisError

from sluice_common.migrations import newest_revision
from sluice_common.redis_client import open_redis
from sluice_common.settings import (
    BrokerSettings,
    LimitsSettings,
    LogSettings,
    MetricsSettings,
    ObjectsSettings,
    OcrSettings,
    SettingsError,
)
from sluice_local.children import owner_of
from sluice_local.console import complain, say
from sluice_local.platforms import UnsupportedPlatform, require_supported, this_machine
from sluice_local.ports import is_free
from sluice_local.services import section_of
from sluice_local.settings import Given, default_home, read_given
from sluice_local.stack import Home, running_settings

PACKAGES = (
    *("sluice-common", "sluice-api", "sluice-extractor", "sluice-embedder", "sluice-client", "sluice-local"),
    *("dramatiq", "fastapi", "sqlalchemy", "psycopg", "qdrant-client", "openai"),
)
TIMEOUT_S = 5
CLOCK_TOLERANCE_S = 5.0
COMFORTABLE_DISK_BYTES = 5 * 2**30
LEAST_PASSWORD_CHARS = 12
WELL_KNOWN_PASSWORDS = frozenset(
    {"sluice", "postgres", "password", "redis", "qdrant", "secret", "change-me", "changeme"}
)
HTTP_ERROR = 400


class Level(StrEnum):
    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """What one check found; `remedy` says how to mend it."""

    level: Level
    subject: str
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Patient:
    """What is checked."""

    home: Home
    settings: Mapping[str, str]
    """Of the running stack, else as they were set."""
    port: int
    is_running: bool


Check = Callable[[Patient], Iterable[Finding]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line per finding; returns 1 when something must be mended, else 0."""
    parser = argparse.ArgumentParser(prog="sluice-local doctor", description=__doc__)
    parser.add_argument("--deploy", action="store_true", help="also what must be right before going live")
    parser.add_argument("--home", type=Path, help="folder of the local stack; else SLUICE_HOME, else .sluice")
    options = parser.parse_args(arguments)
    try:
        patient = _patient_of(read_given(), options.home)
    except SettingsError as error:
        complain(f"FAIL  settings: {error}")
        return 1
    findings = examine(patient, for_deployment=options.deploy)
    for finding in findings:
        _print(finding)
    return 1 if any(finding.level is Level.FAIL for finding in findings) else 0


def examine(patient: Patient, *, for_deployment: bool) -> list[Finding]:
    """Make every check; a check that cannot be made is itself a finding."""
    checks = [*CHECKS, *(DEPLOYMENT_CHECKS if for_deployment else ())]
    return [finding for check in checks for finding in check(patient)]


def without_password(url: str) -> str:
    """*url* with stars for its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))


def _patient_of(given: Given, home_folder: Path | None) -> Patient:
    home = Home((home_folder or given.local.home or default_home()).absolute())
    is_running = owner_of(home.folder) is not None
    settings = running_settings(home, given) if is_running else dict(given.services)
    return Patient(home, settings, given.local.port, is_running)


def _print(finding: Finding) -> None:
    say(f"{finding.level.value:<5} {finding.subject}: {finding.text}")
    if finding.remedy:
        say(f"      -> {finding.remedy}")


def _check_platform(_patient: Patient) -> Iterable[Finding]:
    machine = this_machine()
    text = f"{machine.system} {machine.architecture}, Python {sys.version.split()[0]}"
    try:
        require_supported(machine)
        yield Finding(Level.OK, "platform", text)
    except UnsupportedPlatform as error:
        yield Finding(Level.FAIL, "platform", text, str(error))


def _check_packages(_patient: Patient) -> Iterable[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(Level.OK, "package", f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding(Level.FAIL, "package", f"{name} is not installed", "run 'make .venv'")


def _check_disk(patient: Patient) -> Iterable[Finding]:
    folder = next(path for path in (patient.home.folder, *patient.home.folder.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    least = section_of(LimitsSettings, patient.settings, "limits").min_free_bytes
    text = f"{free / 2**30:.1f} GiB free in {folder}"
    if free < least:
        yield Finding(Level.FAIL, "disk", text, "make room: uploads are refused (SLUICE_LIMITS__MIN_FREE_BYTES)")
    elif free < COMFORTABLE_DISK_BYTES:
        yield Finding(Level.WARN, "disk", text, "make room before many documents are uploaded")
    else:
        yield Finding(Level.OK, "disk", text)


def _check_gateway(patient: Patient) -> Iterable[Finding]:
    if patient.is_running:
        yield Finding(Level.OK, "stack", f"runs in {patient.home.folder}")
    elif is_free(patient.port):
        yield Finding(Level.OK, "port", f"{patient.port} is free")
    else:
        remedy = "stop what uses it, or choose another by SLUICE_PORT"
        yield Finding(Level.WARN, "port", f"{patient.port} is in use", remedy)


def _check_database(patient: Patient) -> Iterable[Finding]:
    url = patient.settings.get("SLUICE_DATABASE__URL")
    if url is None:
        yield _not_set("PostgreSQL", "SLUICE_DATABASE__URL", patient)
        return
    try:
        with psycopg.connect(_libpq(url), connect_timeout=TIMEOUT_S) as connection:
            yield Finding(Level.OK, "PostgreSQL", f"answers, version {connection.info.server_version // 10_000}")
            yield _schema_of(connection)
            yield _clock_of(connection)
    except psycopg.Error as error:
        yield Finding(Level.FAIL, "PostgreSQL", _first_line(error), f"check {without_password(url)}")


def _schema_of(connection: psycopg.Connection[tuple[object, ...]]) -> Finding:
    remedy = "run 'make migrate', or 'python -m sluice_common.migrations'"
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except psycopg.errors.UndefinedTable:
        connection.rollback()
        return Finding(Level.FAIL, "schema", "there are no tables", remedy)
    found, newest = (row[0] if row else None), newest_revision()
    if found != newest:
        return Finding(Level.FAIL, "schema", f"the tables are at {found}, this release knows {newest}", remedy)
    return Finding(Level.OK, "schema", f"version {found}")


def _clock_of(connection: psycopg.Connection[tuple[object, ...]]) -> Finding:
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert row is not None
    assert isinstance(row[0], float)
    difference = abs(time.time() - row[0])
    if difference > CLOCK_TOLERANCE_S:
        text = f"the database's differs by {difference:.0f} s"
        return Finding(Level.WARN, "clocks", text, "let NTP set both; only the database's counts, but logs will puzzle")
    return Finding(Level.OK, "clocks", f"the database's differs by {difference:.1f} s")


def _check_redis(patient: Patient) -> Iterable[Finding]:
    url = patient.settings.get("SLUICE_BROKER__URL")
    if url is None:
        yield _not_set("Redis", "SLUICE_BROKER__URL", patient)
        return
    try:
        with open_redis(section_of(BrokerSettings, patient.settings, "broker")) as client:
            yield Finding(Level.OK, "Redis", f"answers, version {client.info('server')['redis_version']}")
            yield from _redis_settings(client)
    except RedisError as error:
        yield Finding(Level.FAIL, "Redis", _first_line(error), f"check {without_password(url)}")


def _redis_settings(client: Redis) -> Iterable[Finding]:
    policy = str(client.info("memory").get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        yield Finding(Level.OK, "Redis", "maxmemory-policy is noeviction")
    else:
        yield Finding(Level.FAIL, "Redis", f"maxmemory-policy is {policy}", "set noeviction: messages are no cache")
    if client.info("persistence").get("aof_enabled"):
        yield Finding(Level.OK, "Redis", "the append-only file is on")
    else:
        remedy = "set appendonly yes: nothing is lost without it, but waiting documents pause after a restart"
        yield Finding(Level.WARN, "Redis", "the append-only file is off", remedy)


def _check_qdrant(patient: Patient) -> Iterable[Finding]:
    url = patient.settings.get("SLUICE_QDRANT__URL")
    if url is None:
        yield _not_set("Qdrant", "SLUICE_QDRANT__URL", patient)
        return
    key = patient.settings.get("SLUICE_QDRANT__API_KEY")
    headers = {"api-key": key} if key else {}
    try:
        root = httpx.get(url, headers=headers, timeout=TIMEOUT_S)
        collections = httpx.get(f"{url.rstrip('/')}/collections", headers=headers, timeout=TIMEOUT_S)
        version = root.json().get("version", "unknown") if root.is_success else "unknown"
    except (httpx.HTTPError, ValueError) as error:
        yield Finding(Level.FAIL, "Qdrant", _first_line(error), f"check {without_password(url)}")
        return
    if collections.status_code >= HTTP_ERROR:
        remedy = "check SLUICE_QDRANT__API_KEY"
        yield Finding(Level.FAIL, "Qdrant", f"refuses with {collections.status_code}", remedy)
    else:
        yield Finding(Level.OK, "Qdrant", f"answers, version {version}")


def _check_objects(patient: Patient) -> Iterable[Finding]:
    objects = section_of(ObjectsSettings, patient.settings, "objects")
    if objects.kind != "filesystem":
        yield from _check_bucket(objects)
        return
    if objects.root is None:
        yield _not_set("object store", "SLUICE_OBJECTS__ROOT", patient)
        return
    try:
        with tempfile.TemporaryFile(dir=objects.root) as file:
            file.write(b"sluice")
        yield Finding(Level.OK, "object store", f"{objects.root} can be written")
    except OSError as error:
        remedy = "make the folder, or correct SLUICE_OBJECTS__ROOT"
        yield Finding(Level.FAIL, "object store", f"{objects.root}: {error.strerror}", remedy)


def _check_bucket(objects: ObjectsSettings) -> Iterable[Finding]:
    address = str(objects.endpoint_url or f"https://s3.{objects.region}.amazonaws.com")
    try:
        status = httpx.get(address, timeout=TIMEOUT_S).status_code
    except httpx.HTTPError as error:
        yield Finding(Level.FAIL, "object store", _first_line(error), "check SLUICE_OBJECTS__ENDPOINT_URL")
        return
    # without a signature a store may only refuse; whether the bucket can be written is what /readyz asks
    yield Finding(Level.OK, "object store", f"{address} answers ({status}); /readyz tells whether it can be written")


def _check_provider(patient: Patient) -> Iterable[Finding]:
    url, model = (patient.settings.get(f"SLUICE_EMBEDDINGS__{name}") for name in ("BASE_URL", "MODEL"))
    if url is None or model is None:
        yield _not_set("provider", "SLUICE_EMBEDDINGS__BASE_URL and __MODEL", patient)
        return
    try:
        answer = httpx.post(
            f"{url.rstrip('/')}/embeddings",
            json={"model": model, "input": ["Is there anybody?"]},
            headers={"Authorization": f"Bearer {patient.settings.get('SLUICE_EMBEDDINGS__API_KEY', 'none')}"},
            timeout=TIMEOUT_S,
        ).raise_for_status()
        dimensions = len(answer.json()["data"][0]["embedding"])
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        yield Finding(
            Level.FAIL, "provider", _first_line(error), "check SLUICE_EMBEDDINGS__BASE_URL, __API_KEY, __MODEL"
        )
        return
    yield _dimensions_of(patient, model, dimensions)


def _dimensions_of(patient: Patient, model: str, dimensions: int) -> Finding:
    wanted = patient.settings.get("SLUICE_EMBEDDINGS__DIMENSIONS")
    asks = patient.settings.get("SLUICE_EMBEDDINGS__SEND_DIMENSIONS", "false").lower() in {"true", "1", "yes", "on"}
    if wanted and not asks and wanted != str(dimensions):
        remedy = "correct or remove SLUICE_EMBEDDINGS__DIMENSIONS"
        return Finding(Level.FAIL, "provider", f"{model} has {dimensions} dimensions, not {wanted}", remedy)
    return Finding(Level.OK, "provider", f"{model} answers with {dimensions} dimensions")


def _check_recognition(patient: Patient) -> Iterable[Finding]:
    ocr = section_of(OcrSettings, patient.settings, "ocr")
    if ocr.enabled == "off":
        yield Finding(Level.OK, "recognition", "is switched off: text in pictures stays unread")
        return
    wanted = ocr.languages.split("+")
    present = _languages_of_tesseract(ocr.program)
    absent = [language for language in wanted if language not in present and not _is_read_by_script(language, present)]
    remedy = (
        "to read scans, apt-get install tesseract-ocr tesseract-ocr-kor (Debian), or "
        "brew install tesseract tesseract-lang (macOS)"
    )
    level = Level.WARN if ocr.enabled == "auto" else Level.FAIL
    if not present:
        yield Finding(level, "recognition", f"there is no {ocr.program}: text in pictures stays unread", remedy)
    elif absent:
        level = Level.WARN if len(absent) < len(wanted) else level
        yield Finding(level, "recognition", f"Tesseract has no {', '.join(absent)}", remedy)
    else:
        yield Finding(Level.OK, "recognition", f"Tesseract reads {', '.join(wanted)}")


def _is_read_by_script(language: str, present: set[str]) -> bool:
    return language == "kor" and bool({"Hangul", "script/Hangul"} & present)


def _languages_of_tesseract(program: str) -> set[str]:
    """No language where it is not there, or does not run."""
    path = shutil.which(program)
    if path is None:
        return set()
    try:
        done = subprocess.run(
            [path, "--list-langs"], capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return set()
    return {line.strip() for line in done.stdout.splitlines()[1:]}


def _check_passwords(patient: Patient) -> Iterable[Finding]:
    for name in ("SLUICE_DATABASE__URL", "SLUICE_BROKER__URL"):
        url = patient.settings.get(name)
        if url is not None:
            yield _judge_password(name, unquote(urlsplit(url).password or ""))
    if "SLUICE_QDRANT__URL" in patient.settings:
        yield _judge_password("SLUICE_QDRANT__API_KEY", patient.settings.get("SLUICE_QDRANT__API_KEY", ""))


def _judge_password(name: str, password: str) -> Finding:
    remedy = "take a random one: python -c 'import secrets; print(secrets.token_hex(24))'"
    if not password:
        return Finding(Level.FAIL, name, "has no password", remedy)
    if password.lower() in WELL_KNOWN_PASSWORDS or len(password) < LEAST_PASSWORD_CHARS:
        return Finding(Level.FAIL, name, "has a password that can be guessed", remedy)
    return Finding(Level.OK, name, "has a password of its own")


def _check_encryption(patient: Patient) -> Iterable[Finding]:
    for name in ("SLUICE_DATABASE__URL", "SLUICE_BROKER__URL", "SLUICE_QDRANT__URL", "SLUICE_EMBEDDINGS__BASE_URL"):
        url = urlsplit(patient.settings.get(name, ""))
        if not url.hostname or _is_loopback(url.hostname):
            continue
        if _is_encrypted(url):
            yield Finding(Level.OK, name, "is encrypted")
        else:
            remedy = "use https://, rediss:// or ?sslmode=verify-full, unless the network between is your own"
            yield Finding(Level.WARN, name, f"is not encrypted to {url.hostname}", remedy)


def _is_encrypted(url: SplitResult) -> bool:
    if url.scheme.startswith("postgresql"):
        return parse_qs(url.query).get("sslmode", ["prefer"])[0] in {"require", "verify-ca", "verify-full"}
    return url.scheme in {"https", "rediss", "rediss+sentinel"}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_durability(patient: Patient) -> Iterable[Finding]:
    url = patient.settings.get("SLUICE_DATABASE__URL")
    if url is None:
        return
    try:
        with psycopg.connect(_libpq(url), connect_timeout=TIMEOUT_S) as connection:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
                assert row is not None
                yield _judge_durability(name, str(row[0]))
    except psycopg.Error:
        return  # the check of the database has said so


def _judge_durability(name: str, value: str) -> Finding:
    if value == "off":
        return Finding(Level.FAIL, "PostgreSQL", f"{name} is off", "switch it on: a power cut would lose documents")
    return Finding(Level.OK, "PostgreSQL", f"{name} is {value}")


def _check_operation(patient: Patient) -> Iterable[Finding]:
    log = section_of(LogSettings, patient.settings, "log")
    if log.format == "json":
        yield Finding(Level.OK, "log", "is JSON")
    else:
        yield Finding(Level.WARN, "log", f"is {log.format}", "set SLUICE_LOG__FORMAT=json, which log stores understand")
    metrics = section_of(MetricsSettings, patient.settings, "metrics")
    if _is_loopback(metrics.host):
        yield Finding(Level.WARN, "metrics", f"only this machine reaches {metrics.host}", "set SLUICE_METRICS__HOST")
    else:
        yield Finding(Level.OK, "metrics", f"on {metrics.host}:{metrics.port}; let only the scraper reach it")
    if patient.settings.get("SLUICE_EMBEDDINGS__MODEL", "").startswith("wordllama"):
        remedy = "name a real model: this one is for trying, and changing it later embeds everything again"
        yield Finding(Level.FAIL, "model", "the small local embedding model is configured", remedy)


CHECKS: tuple[Check, ...] = (
    *(_check_platform, _check_packages, _check_disk, _check_gateway, _check_database, _check_redis, _check_qdrant),
    *(_check_objects, _check_provider, _check_recognition),
)
DEPLOYMENT_CHECKS: tuple[Check, ...] = (_check_passwords, _check_encryption, _check_durability, _check_operation)


def _not_set(subject: str, setting: str, patient: Patient) -> Finding:
    text = f"not checked: nothing runs in {patient.home.folder}, and {setting} is not set"
    return Finding(Level.WARN, subject, text, "start the local stack by 'make run', or set the address")


def _libpq(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
