"""The files of the deployment are valid, and agree with the code."""

import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from conftest import missing

from sluice_api.reconciler import ReconcilerServiceSettings
from sluice_api.settings import ApiSettings
from sluice_common.settings import SECTIONS, DatabaseOnlySettings, TimesSettings, known_names
from sluice_common.times import times_of
from sluice_embedder.settings import EmbedderSettings
from sluice_extractor.settings import ExtractorSettings
from sluice_local.services import CLOSING_S

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILES = sorted([*ROOT.glob("services/*/Dockerfile"), ROOT / "deploy/compose/embeddings/Dockerfile"])
SHELL_SCRIPTS = sorted(
    [*ROOT.glob("scripts/*.sh"), *ROOT.glob("deploy/**/*.sh"), *ROOT.glob("tests/**/*.sh"), ROOT / ".ci" / "run"]
)
LOCKS = sorted([*ROOT.glob("services/*/requirements*.lock"), *ROOT.glob("deploy/compose/**/*.lock")])
READS = {
    "api": ApiSettings,
    "reconciler": ReconcilerServiceSettings,
    "extractor": ExtractorSettings,
    "embedder": EmbedderSettings,
}
DECIDED = {
    "SLUICE_BROKER__SENTINEL_PASSWORD",
    "SLUICE_QDRANT__GRPC_PORT",
    "SLUICE_OBJECTS__BUCKET",
    "SLUICE_OBJECTS__PREFIX",
    "SLUICE_OBJECTS__ENDPOINT_URL",
    "SLUICE_OBJECTS__REGION",
    "SLUICE_OBJECTS__ACCESS_KEY",
    "SLUICE_OBJECTS__SECRET_KEY",
    "SLUICE_METRICS__HOST",
    "SLUICE_METRICS__PORT",
    "SLUICE_HTTP__HOST",
    "SLUICE_HTTP__PORT",
    "SLUICE_HTTP__CURSOR_SECRET",  # kept in the table
}
"""What docker-compose.yml leaves to nobody: one Redis, one folder of originals, and the ports inside."""
OURS = ("migrate", "api", "reconciler", "extractor", "embedder", "nginx", "postgres", "redis", "qdrant", "embeddings")


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))


def test_the_compose_file_fits_the_schema_of_the_specification():
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]

    assert subprocess.run(check, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", OURS)
def test_every_container_has_its_walls_and_its_limits(compose, name):
    service = compose["services"][name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]


def test_every_setting_of_a_service_can_be_given_but_what_containers_decide(compose):
    for name, settings_type in READS.items():
        environment = compose["services"][name]["environment"]
        for variable in variables_of(settings_type) - DECIDED:
            assert variable in environment or f"{variable}_FILE" in environment, f"{name}: {variable}"


def test_no_service_is_given_what_is_no_setting_or_has_another_default(compose):
    # what compose itself provides, and what fits into its limits
    own = {"BASE_URL", "MODEL", "PUBLIC_URL", "CHILDREN", "AT_ONCE"}
    for name in READS:
        for variable, value in compose["services"][name]["environment"].items():
            assert variable.removesuffix("_FILE") in known_names(), f"{name}: {variable}"
            if str(value).startswith("${"):
                assert variable.partition("__")[2] in own, f"{name}: {variable}"


def variables_of(settings_type: type[DatabaseOnlySettings]) -> set[str]:
    return {
        f"SLUICE_{section}__{field}".upper()
        for section in settings_type.model_fields
        if section in SECTIONS
        for field in SECTIONS[section].model_fields
    }


def test_workers_get_as_long_to_stop_as_their_lease_asks_for(compose):
    grace = times_of(TimesSettings()).stop_grace + timedelta(seconds=CLOSING_S)

    for name in ("extractor", "embedder"):
        assert compose["services"][name]["stop_grace_period"].endswith(f":-{grace.total_seconds():.0f}s}}")


def test_no_secret_stands_in_a_variable(compose):
    for name, service in compose["services"].items():
        for variable in service.get("environment", {}):
            if re.search(r"PASSWORD|API_KEY|DATABASE__URL|BROKER__URL", variable):
                assert variable.endswith("_FILE"), f"{name}: {variable}"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_a_dockerfile_begins_from_the_canonical_base_and_asks_for_hashes(path):
    text = path.read_text(encoding="utf-8")
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", text, re.MULTILINE)
    commands = [command for line in text.replace("\\\n", "").splitlines() for command in line.split("&&")]
    installs = [command for command in commands if re.search(r"/pip .*\binstall\b", command)]

    assert "# syntax" not in text
    assert {base for base, _ in stages} - {name for _, name in stages} == {"python:3.11-slim"}
    assert installs
    assert [install for install in installs if not re.search("--require-hashes|--no-index", install)] == []


def make_secrets(folder: Path, **given: str) -> Path:
    script = folder / "make_secrets.sh"
    shutil.copy(ROOT / "deploy/compose/make_secrets.sh", script)
    subprocess.run(["sh", str(script)], env={"PATH": os.environ["PATH"], **given}, check=True)
    return folder / "secrets"


def test_a_key_that_is_given_later_takes_the_place_of_none_and_of_nothing_else(tmp_path):
    secrets = make_secrets(tmp_path, SLUICE_EMBEDDINGS__API_KEY="sk-first")
    password = (secrets / "postgres-password").read_text()

    make_secrets(tmp_path, SLUICE_EMBEDDINGS__API_KEY="sk-second", SLUICE_TRANSCRIPTION__API_KEY="sk-listens")

    assert (secrets / "embeddings-api-key").read_text() == "sk-first"
    assert (secrets / "transcription-api-key").read_text() == "sk-listens"
    assert (secrets / "postgres-password").read_text() == password


def test_every_secret_of_the_compose_file_is_made_and_a_service_can_read_it(tmp_path, compose):
    secrets = make_secrets(tmp_path)

    assert {Path(secret["file"]).name for secret in compose["secrets"].values()} == {
        file.name for file in secrets.iterdir()
    }
    assert {file.stat().st_mode & 0o777 for file in secrets.iterdir()} == {0o444}
    assert secrets.stat().st_mode & 0o777 == 0o700


def lint(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a linter that pip brings; there are wheels of it for few kinds of machines."""
    command = Path(sys.executable).parent / program
    if not command.exists():
        missing(f"{program} is not there for this kind of machine")
    return subprocess.run([str(command), *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_hadolint_finds_nothing_in_a_dockerfile(path):
    done = lint("hadolint", "--no-color", str(path))

    assert done.returncode == 0, done.stdout


def test_shellcheck_finds_nothing_in_any_script():
    done = lint("shellcheck", "--color=never", *map(str, SHELL_SCRIPTS))

    assert SHELL_SCRIPTS
    assert done.returncode == 0, done.stdout


def test_the_locks_of_the_images_are_parts_of_the_one_lock(tmp_path):
    before = {path: path.read_bytes() for path in LOCKS}

    subprocess.run([sys.executable, str(ROOT / "scripts/lock_images.py")], check=True)

    assert {path: path.read_bytes() for path in LOCKS} == before
