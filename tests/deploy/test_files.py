"""The files of the deployment are valid, and agree with the code."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from conftest import missing

from sluice_common.settings import SECTIONS, TimesSettings
from sluice_common.times import times_of
from sluice_local.services import CLOSING_S

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILES = sorted([*ROOT.glob("services/*/Dockerfile"), ROOT / "deploy/compose/embeddings/Dockerfile"])
SHELL_SCRIPTS = sorted(
    [*ROOT.glob("scripts/*.sh"), *ROOT.glob("deploy/**/*.sh"), *ROOT.glob("tests/**/*.sh"), ROOT / ".ci" / "run"]
)
LOCKS = sorted([*ROOT.glob("services/*/requirements*.lock"), *ROOT.glob("deploy/compose/**/*.lock")])
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


def test_defaults_in_the_compose_file_are_those_of_the_code():
    text = COMPOSE.read_text(encoding="utf-8")
    given = re.findall(r"SLUICE_([A-Z]+)__([A-Z_]+): \$\{SLUICE_\1__\2:-([^}]*)\}", text)
    own = {"BASE_URL", "MODEL", "PUBLIC_URL", "CHILDREN"}  # what compose itself provides, and fits into its limits

    assert given
    for section, name, default in given:
        if name not in own:
            known = SECTIONS[section.lower()].model_fields[name.lower()].default
            assert float(default) == known if isinstance(known, int | float) else default == known, name


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

    assert "# syntax" not in text
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"python:3.11-slim"}
    assert text.count("--require-hashes") == 2


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
