"""The systemd units are understood by systemd, harden their services, and agree with the code."""

import configparser
import importlib.util
import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from debian import require_programs

from sluice_common.settings import SECTIONS, TimesSettings, known_names
from sluice_common.times import times_of
from sluice_local.services import CLOSING_S, MODULES

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
SERVICES = sorted(FOLDER.glob("*.service"))
MOST_EXPOSED = 30
"""Of 100, as systemd counts them."""


class Unit(configparser.RawConfigParser):
    """An option may stand several times; the last one is enough for what is looked at here."""

    def __init__(self, file: Path) -> None:
        super().__init__(strict=False, delimiters=("=",), interpolation=None)
        self.read(file, encoding="utf-8")

    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.fixture(params=SERVICES, ids=lambda file: file.stem)
def unit(request) -> Path:
    return request.param


@pytest.fixture
def analyze(tmp_path):
    """Runs systemd-analyze on copies whose programs and users are there."""
    require_programs({"systemd-analyze": "systemd"})
    for file in FOLDER.iterdir():
        if file.suffix in {".service", ".target"}:
            text = file.read_text("utf-8").replace("/opt/sluice/.venv/bin/python", "/bin/true")
            (tmp_path / file.name).write_text(text, encoding="utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:", "SYSTEMD_COLORS": "0"}
        command = ["systemd-analyze", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def test_systemd_understands_every_unit(analyze, unit):
    done = analyze("verify", "--man=no", unit.name)

    ours = [line for line in done.stderr.splitlines() if "sluice" in line]
    assert ours == []


def test_a_service_is_hardly_exposed(analyze, unit):
    done = analyze("security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--json=short", unit.name)

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)


def test_a_unit_starts_a_module_that_exists_and_every_service_has_one():
    started = {Unit(file)["Service"]["ExecStart"].split(" -m ")[1] for file in SERVICES}

    assert started == {*MODULES.values(), "sluice_common.migrations"}
    assert all(importlib.util.find_spec(module) for module in started)


def test_no_service_goes_down_with_the_migration_and_each_waits_for_what_it_needs():
    """`Requires` would stop every service when the migration is restarted, and start none when it failed once."""
    for file in SERVICES:
        service = Unit(file)
        assert "Requires" not in service["Unit"], file.name
        assert service["Unit"]["StartLimitIntervalSec"] == "0", file.name
        assert service["Service"]["Restart"] in {"always", "on-failure"}, file.name
        if file.stem != "sluice-migrate":
            assert "sluice-migrate.service" in service["Unit"]["Wants"].split(), file.name


def test_a_worker_has_the_time_to_stop_that_follows_from_the_lease():
    needed = times_of(TimesSettings()).stop_grace + timedelta(seconds=CLOSING_S)
    for name in ("sluice-extractor", "sluice-embedder"):
        assert timedelta(seconds=int(Unit(FOLDER / f"{name}.service")["Service"]["TimeoutStopSec"])) >= needed


def test_an_extractor_has_memory_for_all_that_its_unit_lets_it_do_at_once():
    service = Unit(FOLDER / "sluice-extractor.service")["Service"]
    given = dict(pair.split("=") for pair in service["Environment"].split())
    extraction, ocr = SECTIONS["extraction"].model_fields, SECTIONS["ocr"].model_fields
    reading = int(given["SLUICE_EXTRACTION__CHILDREN"]) * extraction["memory_bytes"].default
    recognising = int(given["SLUICE_OCR__AT_ONCE"]) * ocr["memory_bytes"].default

    assert set(given) <= known_names()
    assert int(service["MemoryMax"].removesuffix("G")) * 2**30 >= reading + recognising + 512 * 2**20


def test_the_example_has_only_settings_that_exist():
    lines = (FOLDER / "sluice.env.example").read_text("utf-8").splitlines()
    names = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}

    assert names <= known_names()
