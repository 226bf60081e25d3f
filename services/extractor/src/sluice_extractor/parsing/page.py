"""What every reader yields: pages of text with the places of its lines and headings."""

from collections.abc import Iterator
from dataclasses import dataclass

from sluice_extractor.parsing.media import Media


@dataclass(frozen=True, slots=True)
class TextSpan:
    """The rectangle that `text[start:end]` of a page covers.

    PDF points (1/72 inch), origin at the top left of the page as displayed, rounded to 0.1.
    """

    start: int
    end: int
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading that begins at offset `start` of the page's text; level 1 is the outermost."""

    start: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Remark:
    """What a person should know about a document that was read: a stable code, our own words, and the page if one."""

    code: str
    detail: str
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page's text stands in a document that is not made of paper.

    The name of a sheet, the number of a slide (from 1), or the seconds from the beginning of a recording between
    which the text is said or shown: both or none of them.
    """

    sheet: str | None = None
    slide: int | None = None
    time_start: float | None = None
    time_end: float | None = None


NOWHERE = Place()
SHEET_CHARS = 255
"""The longest name of a sheet; a reader cuts what is longer."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page, or a part of a document that has no pages (`number` is None then).

    The text is valid Unicode without NUL, C0 controls (but tab and newline), surrogates, U+FFFE and U+FFFF.
    Spans and headings are in the order of the text. A failed page could not be read and has no text. Media are there
    only where they were asked for, in the order of the text too.
    """

    number: int | None
    text: str
    spans: tuple[TextSpan, ...] = ()
    headings: tuple[Heading, ...] = ()
    failed: bool = False
    place: Place = NOWHERE
    media: tuple[Media, ...] = ()


TITLE_CHARS = 200
"""So much of a heading is kept in the path of a section."""

PART_CHARS = 1 << 18
"""A document without pages is handed on in parts of this size, so that nobody holds it twice."""


def parts_of(text: str, headings: tuple[Heading, ...] = (), place: Place = NOWHERE) -> Iterator[Page]:
    """Cut a text without pages into parts that, one directly after the other, are *text* again."""
    first_heading = 0
    for start in range(0, max(len(text), 1), PART_CHARS):
        end = start + PART_CHARS
        last_heading = first_heading
        while last_heading < len(headings) and headings[last_heading].start < end:
            last_heading += 1
        own = tuple(Heading(h.start - start, h.level, h.title) for h in headings[first_heading:last_heading])
        first_heading = last_heading
        yield Page(None, text[start:end], headings=own, place=place)
