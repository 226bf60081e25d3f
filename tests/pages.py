"""Reads the pages of the documentation, for the tests that compare them with the code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = tuple(sorted([*ROOT.glob("libs/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")]))

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    before: str
    """The last line above it that is not empty."""


def pages() -> list[Path]:
    """Every page that belongs to the documentation."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section_of(name: str, heading: str) -> str:
    """What stands under a heading, up to the next one of the same or a higher level."""
    found = re.search(rf"^(#+) {re.escape(heading)}$", text_of(name), re.MULTILINE)
    assert found, f"{name} has no heading {heading!r}"
    rest = text_of(name)[found.end() :]
    following = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: following.start()] if following else rest


def table_of(name: str, heading: str) -> list[tuple[str, ...]]:
    """The rows of the first table under a heading, without its head."""
    lines = section_of(name, heading).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    table: list[str] = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append(line)
    return [tuple(cell.strip() for cell in _CELL.split(line.strip()[1:-1])) for line in table[2:]]


def blocks_of(name: str) -> Iterator[Block]:
    """The fenced blocks of a page in order, each without the indentation of its fence."""
    text = text_of(name)
    for found in _FENCE.finditer(text):
        above = [line for line in text[: found.start()].splitlines() if line.strip()]
        body = "\n".join(line.removeprefix(found[1]) for line in found[3].splitlines())
        yield Block(found[2], body, above[-1] if above else "")


def word(code: str) -> str:
    """*code* as a page shows it."""
    return f"`{code}`"
