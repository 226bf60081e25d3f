import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from unit.local.standins import stand_in

from sluice_local.main import main
from sluice_local.supervisor import Supervisor

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def running(folder):
    supervisor = Supervisor(folder / "home", on_event=print)
    supervisor.open()
    supervisor.start([stand_in(folder / "home", "postgres")])
    supervisor.wait_until_ready(["postgres"], timeout_s=20)
    yield supervisor
    supervisor.stop()


def test_status_says_that_nothing_runs(capsys):
    assert main(["status"]) == 3

    assert "nothing runs" in capsys.readouterr().out


def test_status_lists_what_runs(running, capsys):
    assert main(["status"]) == 0

    assert re.search(
        rf"postgres +{running.pid_of('postgres')} +running +http://127.0.0.1/postgres", capsys.readouterr().out
    )


def test_status_can_be_read_by_programs(running, folder, capsys):
    main(["status", "--json"])

    assert json.loads(capsys.readouterr().out) == json.loads((folder / "home" / "stack.json").read_text())


def test_the_home_may_stand_before_or_behind_the_command(running, folder, capsys, monkeypatch):
    monkeypatch.delenv("SLUICE_HOME")

    assert main(["--home", str(folder / "home"), "status"]) == 0
    assert main(["status", "--home", str(folder / "home")]) == 0


def test_a_second_start_is_refused_in_one_sentence(running, capsys):
    assert main(["up"]) == 1

    assert capsys.readouterr().err == (
        f"sluice-local: {os.environ['SLUICE_HOME']} is in use by process {os.getpid()}; "
        "see 'sluice-local status', or stop it by 'sluice-local stop'\n"
    )


def test_stopping_what_does_not_run_is_no_error(capsys):
    assert main(["stop"]) == 0

    assert "nothing runs" in capsys.readouterr().out


def test_a_key_needs_a_running_stack(capsys):
    assert main(["keys", "create", "--tenant", "acme"]) == 1

    assert "nothing runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["up", "--openai"], "--openai needs OPENAI_API_KEY"),
        (["up", "--no-redis"], "set SLUICE_BROKER__URL"),
        (["up", "--scale", "extractors=2"], "there is no extractors"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(arguments, sentence, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    assert main(arguments) == 1

    assert sentence in capsys.readouterr().err


def test_a_scale_without_a_number_is_a_usage_error(capsys):
    with pytest.raises(SystemExit):
        main(["up", "--scale", "extractor"])

    assert "is written like extractor=2" in capsys.readouterr().err


def test_make_alone_lists_every_target_with_a_sentence():
    targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    listed = subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory"], capture_output=True, text=True, check=True
    )

    for target in targets:
        assert re.search(rf"^  {target} +[A-Z]", listed.stdout, re.MULTILINE), target


def test_the_windows_starter_has_the_line_ends_of_windows_and_only_ascii():
    script = (ROOT / "scripts" / "start.bat").read_bytes()

    assert script.isascii()
    assert script.count(b"\r\n") == script.count(b"\n")
