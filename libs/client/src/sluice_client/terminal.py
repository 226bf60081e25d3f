"""Printing so that every terminal, pipe and encoding can take it."""

import json
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from typing import Any, TextIO

from rich.cells import cell_len, set_cell_size

COLUMN_GAP = "  "


def make_printable(*streams: TextIO) -> None:
    """Let a terminal that lacks a character show `?` instead of ending the command with an error."""
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)  # replaced streams, as in tests, may lack it
        if reconfigure is not None:
            reconfigure(errors="replace")


def one_line(text: object) -> str:
    """*text* without control characters: names and passages come from documents and must not steer a terminal."""
    plain = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in str(text))
    return " ".join(plain.split())


def shortened(text: str, width: int) -> str:
    """*text* in at most *width* cells; a Korean syllable takes two."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 3)).rstrip() + "..."


def aligned(rows: Sequence[Sequence[object]]) -> Iterable[str]:
    """The rows as lines with columns of equal width, counted in cells."""
    lines = [[one_line(value) for value in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (set_cell_size(value, width) for value, width in zip(line, widths, strict=True))
        yield COLUMN_GAP.join(cells).rstrip()


@dataclass(frozen=True)
class Terminal:
    """Where a command prints: results to `out`, remarks to `err`."""

    out: TextIO
    err: TextIO
    as_json: bool = False

    @property
    def shows_bars(self) -> bool:
        """Whether somebody watches, so that lines may be drawn over."""
        return not self.as_json and self.out.isatty() and self.err.isatty()

    def say(self, text: str = "") -> None:
        print(text, file=self.out, flush=True)

    def remark(self, text: str) -> None:
        print(text, file=self.err, flush=True)

    def give(self, result: object) -> None:
        """One result as one line of JSON; other than ASCII is escaped where the encoding may lack it."""
        is_utf8 = (getattr(self.out, "encoding", None) or "").lower().replace("-", "").startswith("utf")
        self.say(json.dumps(_json_of(result), ensure_ascii=not is_utf8, default=_json_value))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        for line in aligned([head, *rows]):
            self.say(line)


def standard_terminal(*, as_json: bool) -> Terminal:
    make_printable(sys.stdout, sys.stderr)
    return Terminal(sys.stdout, sys.stderr, as_json)


def _json_of(result: object) -> object:
    return asdict(result) if is_dataclass(result) and not isinstance(result, type) else result


def _json_value(value: object) -> Any:  # what json asks for when it does not know a type
    return value.isoformat() if isinstance(value, datetime) else str(value)
