"""`make test` runs every test, and none twice."""

import runpy
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
A_RUN_OF_ITS_OWN = "containers"
"""See `norecursedirs` in pyproject.toml."""


def test_every_file_of_tests_stands_in_one_lane():
    lanes = runpy.run_path(str(ROOT / "scripts/run_tests.py"))["LANES"]
    folders = [folder for lane in lanes.values() for run in lane for folder in run]
    run = Counter(path for folder in folders for path in files_under(ROOT / folder))

    assert run == Counter(files_under(ROOT / "tests"))


def files_under(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    return [path for path in folder.rglob("test_*.py") if A_RUN_OF_ITS_OWN not in path.parts]
