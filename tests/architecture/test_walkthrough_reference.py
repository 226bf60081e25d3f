"""The walkthrough quotes the code as it is."""

import re
import textwrap

import pytest
from pages import ROOT, Block, blocks_of

PAGE = "docs/walkthrough.md"
_SOURCE = re.compile(r"<!-- from (\S+) -->")
QUOTES = [block for block in blocks_of(PAGE) if block.language == "python"]


def source_of(quote: Block) -> str:
    found = _SOURCE.search(quote.before)
    assert found, f"nothing says where this is from:\n{quote.text}"
    return found[1]


def parts_of(quote: Block) -> list[list[str]]:
    """What is quoted in one go; a line of three dots leaves something out."""
    parts: list[list[str]] = [[]]
    for line in quote.text.splitlines():
        if line.strip() == "...":
            parts.append([])
        else:
            parts[-1].append(line)
    return [part for part in parts if part]


def as_written(lines: list[str]) -> str:
    return textwrap.dedent("\n".join(lines)).strip("\n")


@pytest.mark.parametrize("quote", QUOTES, ids=source_of)
def test_a_quote_stands_in_its_file_word_for_word(quote):
    lines = (ROOT / source_of(quote)).read_text(encoding="utf-8").splitlines()
    start = 0
    for part in parts_of(quote):
        wanted = as_written(part)
        places = range(start, len(lines) - len(part) + 1)
        found = next((at for at in places if as_written(lines[at : at + len(part)]) == wanted), None)
        assert found is not None, f"{source_of(quote)} has not, or not in this order:\n{wanted}"
        start = found + len(part)


def test_the_walkthrough_goes_through_the_eight_files_in_order():
    order = list(dict.fromkeys(source_of(quote).rpartition("src/")[2] for quote in QUOTES))

    assert order == [
        "sluice_api/routes/documents.py",
        "sluice_api/submission.py",
        "sluice_common/documents.py",
        "sluice_common/contract.py",
        "sluice_extractor/actors.py",
        "sluice_extractor/handlers.py",
        "sluice_embedder/handlers.py",
        "sluice_api/searching.py",
    ]
