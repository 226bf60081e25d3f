"""Marks the places of figures within a text while it is put together, and takes the marks out again."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from sluice_extractor.parsing.media import Figure, FigureSource
from sluice_extractor.parsing.page import Heading

MARK = "\x01"
"""No clean text has it, and no part of Python takes it for white space."""


def without_marks(
    text: str, headings: Sequence[Heading], sources: Sequence[FigureSource]
) -> tuple[str, tuple[Heading, ...], tuple[Figure, ...]]:
    """The text without its marks, its headings, and the figures: the first mark is the place of the first source.

    A figure within a line stands at the end of it.
    """
    if MARK not in text:
        return text, tuple(headings), ()
    pieces = text.split(MARK)
    plain = "".join(pieces).rstrip() if text.endswith(MARK) else "".join(pieces)
    places = [0]
    for piece in pieces[:-1]:
        places.append(places[-1] + len(piece))
    figures = []
    for at, source in zip(places[1:], sources, strict=False):
        end = plain.find("\n", max(min(at, len(plain)) - 1, 0))
        figures.append(Figure(end if end >= 0 else len(plain), source))
    marks = [place + number for number, place in enumerate(places[1:])]
    moved = (replace(heading, start=heading.start - bisect_left(marks, heading.start)) for heading in headings)
    return plain, tuple(moved), tuple(figures)
