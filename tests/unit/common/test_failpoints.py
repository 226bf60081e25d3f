"""A fail point does nothing until a test says so, and then exactly that."""

import ast
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from oracle import wait_until

from sluice_common import failpoints
from sluice_common.errors import TransientError
from sluice_common.failpoints import POINTS, FailPointRaised, FolderTrap, around, marked, reach

SOURCES = [path for part in ("libs", "services") for path in (Path(__file__).parents[3] / part).glob("*/src/**/*.py")]


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    failpoints.set_trap(FolderTrap(tmp_path))
    yield tmp_path
    failpoints.set_trap(None)


def arm(folder: Path, *lines: str) -> None:
    (folder / "armed").write_text("\n".join(lines), encoding="utf-8")


def hits(folder: Path) -> list[str]:
    return [line.rpartition(" ")[0] for line in (folder / "hits").read_text("utf-8").splitlines()]


def names_in(source: Path) -> Iterator[str]:
    """The points that one file marks."""
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            name = node.args[0]
            if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
                continue
            if node.func.id == "reach":
                yield name.value
            elif node.func.id in ("marked", "around"):
                yield from (f"{name.value}.before", f"{name.value}.after")


def test_the_catalogue_names_exactly_the_points_that_the_code_marks():
    assert {name for source in SOURCES for name in names_in(source)} == POINTS


def test_without_a_trap_nothing_happens():
    reach("vectors.upsert.before")
    with around("vectors.upsert"):
        pass


def test_a_point_that_is_not_armed_lets_everything_pass(folder):
    arm(folder, "vectors.upsert.after=raise")

    reach("vectors.upsert.before")

    assert not (folder / "hits").exists()


def test_an_armed_point_raises_what_it_is_told_to(folder):
    arm(folder, "cancel.before=raise", "delete.before=raise:transient")

    with pytest.raises(FailPointRaised):
        reach("cancel.before")
    with pytest.raises(TransientError):
        reach("delete.before")
    assert hits(folder) == ["cancel.before raise", "delete.before raise"]


def test_a_point_fires_only_as_often_as_it_was_armed_for(folder):
    arm(folder, "cancel.before=raise*1")

    with pytest.raises(FailPointRaised):
        reach("cancel.before")
    reach("cancel.before")

    assert hits(folder) == ["cancel.before raise"]


def test_a_point_with_probability_zero_never_fires(folder):
    arm(folder, "cancel.before=raise@0")

    for _ in range(100):
        reach("cancel.before")


def test_a_held_point_waits_until_its_line_is_gone(folder):
    arm(folder, "cancel.before=hold")
    waiting = threading.Thread(target=reach, args=("cancel.before",))
    waiting.start()
    wait_until((folder / "hits").exists, seconds=10, message="the point was not reached")
    assert waiting.is_alive()

    (folder / "armed").unlink()

    waiting.join(timeout=10)
    assert not waiting.is_alive()


def test_a_killed_point_ends_the_process_at_once(tmp_path):
    arm(tmp_path, "cancel.before=kill")
    program = (
        "import pathlib, sys; from sluice_common import failpoints as f;"
        "f.set_trap(f.FolderTrap(pathlib.Path(sys.argv[1]))); f.reach('cancel.before'); print('alive')"
    )

    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, check=False)

    assert (ended.returncode, ended.stdout) == (-9, b"")
    assert hits(tmp_path) == ["cancel.before kill"]


def test_marks_stand_on_both_sides_of_what_they_mark(folder):
    reached: list[str] = []
    failpoints.set_trap(reached.append)

    @marked("cancel")
    def act() -> str:
        reached.append("acted")
        return "result"

    assert act() == "result"
    assert reached == ["cancel.before", "acted", "cancel.after"]


def test_what_failed_does_not_reach_the_point_behind_it(folder):
    reached: list[str] = []
    failpoints.set_trap(reached.append)

    with pytest.raises(ZeroDivisionError), around("cancel"):
        _ = 1 / 0

    assert reached == ["cancel.before"]


@pytest.mark.parametrize("line", ["nowhere=kill", "cancel.before=dance"])
def test_a_point_or_an_action_that_does_not_exist_is_refused(folder, line):
    arm(folder, line)

    with pytest.raises(ValueError, match="no such"):
        reach("cancel.before")
