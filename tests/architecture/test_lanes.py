"""`make test` runs every test but those that a command of their own runs, and none twice."""

import runpy
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNNER = runpy.run_path(str(ROOT / "scripts/run_tests.py"))


def test_every_file_of_tests_stands_in_one_lane_or_has_a_command_of_its_own():
    folders = [folder for lane in RUNNER["LANES"].values() for run in lane for folder in run]
    chosen = Counter(path for folder in [*folders, *RUNNER["BY_THEMSELVES"]] for path in files_under(ROOT / folder))

    assert chosen == Counter(files_under(ROOT / "tests"))


def test_the_commands_of_what_runs_by_itself_are_targets():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert all(f"\n{command.removeprefix('make ')}:" in makefile for command in RUNNER["BY_THEMSELVES"].values())


@pytest.mark.parametrize("failure", ["E - Failed: a promise was broken", "tests/faults/protocol/test_x.py::test_y"])
def test_a_broken_promise_is_not_forgiven_by_a_second_run(failure, capsys):
    run = RUNNER["Run"]("tests/faults", 1, 0.0, [f"FAILED {failure}\n"])

    assert RUNNER["_alone"]([run], ["a-command-that-is-not-there"]) == 1
    assert "not repeated" in capsys.readouterr().out


def files_under(folder: Path) -> list[Path]:
    return [folder] if folder.is_file() else list(folder.rglob("test_*.py"))
