"""Follows the page on adding a format, step by step."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sluice_common.errors import CorruptDocument
from sluice_extractor.parsing import by_type
from sluice_extractor.parsing.original import Original

PAGE = (Path(__file__).parents[3] / "docs" / "howto" / "add-a-file-format.md").read_text("utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def acme(monkeypatch):
    """The format of the page, registered where its second step says."""
    module = ModuleType("acme")
    exec(compile(block("python"), "acme.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "acme", module)
    (line,) = re.findall(r"^\+ +(.*),$", block("diff"), re.MULTILINE)
    new = eval(line, {"Format": by_type.Format, **module.__dict__})
    monkeypatch.setattr(by_type, "FORMATS", (by_type.FORMATS[0], new, *by_type.FORMATS[1:]))


def test_the_place_that_the_page_names_is_there():
    around = "".join(f"{line[1:]}\n" for line in block("diff").splitlines() if not line.startswith("+"))

    assert around in Path(by_type.__file__).read_text("utf-8")


@pytest.mark.usefixtures("acme")
def test_a_format_that_was_added_as_the_page_says_is_read():
    document = by_type.open_document(Original("ACME1\n쪽지\n우유를 산다\n".encode("cp949"), "a.acme"))

    (page,) = document.pages
    assert (document.media_type, page.text) == ("application/x-acme", "쪽지\n우유를 산다\n")
    assert [(heading.start, heading.title) for heading in page.headings] == [(0, "쪽지")]


@pytest.mark.usefixtures("acme")
def test_its_reader_refuses_what_the_page_says_it_does():
    with pytest.raises(CorruptDocument):
        by_type.open_document(Original(b"ACME1\n\nwords without a title"))
