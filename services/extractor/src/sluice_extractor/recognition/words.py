"""The words that Tesseract found, taken from what it writes as if a stranger had written it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from sluice_extractor.parsing.cleaning import clean_line
from sluice_extractor.recognition.sheets import Box

_FIELDS = 12
_WORD_LEVEL = 5
_FARTHEST = 1 << 20
_LONGEST_WORD = 200


@dataclass(frozen=True, slots=True)
class Word:
    """A word where it stands."""

    text: str
    confidence: float
    """From 0 to 100."""
    box: Box
    stands_apart: bool = True
    """Whether there is white between it and the word before it in the line."""


@dataclass(frozen=True, slots=True)
class Line:
    """Words from left to right; lines with the same number belong to one paragraph."""

    words: tuple[Word, ...]
    paragraph: int = 0

    @property
    def text(self) -> str:
        """The words with what stands between them."""
        return "".join(f" {word.text}" if word.stands_apart else word.text for word in self.words).strip()

    @property
    def box(self) -> Box:
        """The rectangle around the words."""
        boxes = [word.box for word in self.words]
        return Box(
            min(box.x0 for box in boxes),
            min(box.y0 for box in boxes),
            max(box.x1 for box in boxes),
            max(box.y1 for box in boxes),
        )


@dataclass(frozen=True, slots=True)
class _Row:
    """A row about a word: the block, the paragraph and the line that it is in, and the word."""

    place: tuple[int, int, int]
    word: Word


def parse_words(written: str) -> list[Line]:
    """The lines in a table (TSV) and the plain text behind it; what is no such thing is left out.

    The table has the places, and only the text says where words stand apart: a syllable of Hangul is often a row.
    """
    rows: list[_Row] = []
    at = 0
    for line in written.splitlines(keepends=True):
        fields = line.rstrip("\n").split("\t")
        if len(fields) != _FIELDS:
            break
        at += len(line)
        rows += _row_of(fields)
    return list(_spaced(_lines_of(rows), written[at:].splitlines()))


def _row_of(fields: list[str]) -> Iterator[_Row]:
    numbers = [_number(field) for field in fields[:10]]
    text = clean_line(fields[-1]).strip()[:_LONGEST_WORD]
    confidence = _confidence(fields[10])
    if None in numbers or confidence is None or numbers[0] != _WORD_LEVEL or not text:
        return
    _, _, block, paragraph, line, _, left, top, width, height = (number or 0 for number in numbers)
    yield _Row((block, paragraph, line), Word(text, confidence, Box(left, top, left + width, top + height)))


def _number(field: str) -> int | None:
    is_number = field.isascii() and field.isdigit() and len(field) < 10  # noqa: PLR2004 - fits into any integer
    return int(field) if is_number and int(field) <= _FARTHEST else None


def _confidence(field: str) -> float | None:
    try:
        confidence = float(field)
    except ValueError:
        return None
    return min(max(confidence, 0.0), 100.0) if math.isfinite(confidence) else None


def _lines_of(rows: Sequence[_Row]) -> Iterator[Line]:
    paragraph, before = -1, (-1, -1)
    for place, found in groupby(rows, key=lambda row: row.place):
        if place[:2] != before:
            paragraph, before = paragraph + 1, place[:2]
        yield Line(tuple(row.word for row in found), paragraph)


def _spaced(lines: Iterator[Line], texts: Sequence[str]) -> Iterator[Line]:
    """The lines as the text spaces them; one that the text does not have keeps every word apart."""
    waiting = iter([text for text in texts if text.strip()])
    text = next(waiting, None)
    for line in lines:
        if text is not None and "".join(text.split()) == "".join(word.text for word in line.words):
            yield replace(line, words=tuple(_as_in(text, line.words)))
            text = next(waiting, None)
        else:
            yield line


def _as_in(text: str, words: Sequence[Word]) -> Iterator[Word]:
    at = 0
    for word in words:
        start = text.index(word.text[0], at)
        yield replace(word, stands_apart=start > at)
        at = start + len(word.text) + sum(char.isspace() for char in text[start : start + len(word.text)])
