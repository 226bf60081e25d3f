"""What wheels bring beside Python is named with its licence."""

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
from pages import ROOT, table_of

LOCKS = sorted(ROOT.glob("services/*/requirements*.lock"))
PACKAGES = Path(metadata.distribution("pydantic").locate_file("."))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="wheels have other libraries elsewhere")


def bundled() -> set[tuple[str, str]]:
    """The wheel and the library, of every wheel that an image of ours has."""
    wheels = {name for lock in LOCKS for name in re.findall(r"^(\S+)==", lock.read_text("utf-8"), re.MULTILINE)}
    folders = [PACKAGES / f"{re.sub(r'[-.]', '_', wheel)}.libs" for wheel in wheels]
    return {
        (folder.stem, re.sub(r"_?(-[0-9a-f]{8})*\.so.*$", "", library.name))
        for folder in folders
        if folder.is_dir()
        for library in folder.iterdir()
    }


def test_every_library_that_a_wheel_brings_has_a_row_with_its_licence():
    named = {
        (wheel, library)
        for libraries, wheels, licence in table_of("docs/reference/licences.md", "Libraries inside of wheels")
        for library in re.findall(r"`([^`]+)`", libraries)
        for wheel in re.findall(r"`([^`]+)`", wheels)
        if licence
    }

    assert ("av", "libavcodec") in bundled()
    assert bundled() - named == set()
