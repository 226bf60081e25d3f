"""What every reader yields: pages of text with the places of its lines and headings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from sluice_extractor.parsing.media import Figure, Media

NUMBERS_PER_SPAN = 6
FARTHEST_TENTHS = 10**9
"""No side of a rectangle is farther from the corner of its page."""
_TENTHS = 10


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


class TextSpans(Sequence[TextSpan]):
    """The spans of one page as plain numbers: making an object of each costs as much as reading its line.

    `numbers` are six of each span: start, end, and the sides of its rectangle in tenths of points.
    """

    __slots__ = ("numbers",)
    __hash__ = None  # type: ignore[assignment]  # equal to a tuple of the same spans, which hashes otherwise

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers) // NUMBERS_PER_SPAN

    @overload
    def __getitem__(self, at: int) -> TextSpan: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[TextSpan, ...]: ...
    def __getitem__(self, at: int | slice) -> TextSpan | tuple[TextSpan, ...]:
        if isinstance(at, slice):
            return tuple(self[each] for each in range(*at.indices(len(self))))
        first = range(0, len(self.numbers), NUMBERS_PER_SPAN)[at]
        start, end, x0, y0, x1, y1 = self.numbers[first : first + NUMBERS_PER_SPAN]
        return TextSpan(start, end, x0 / _TENTHS, y0 / _TENTHS, x1 / _TENTHS, y1 / _TENTHS)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and numbers_of(self) == numbers_of(other)


def numbers_of(spans: Sequence[TextSpan]) -> list[int]:
    """The spans as `TextSpans` keeps them."""
    if isinstance(spans, TextSpans):
        return spans.numbers
    return [
        number
        for span in spans
        for number in (span.start, span.end, *(round(side * _TENTHS) for side in (span.x0, span.y0, span.x1, span.y1)))
    ]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading that begins at offset `start` of the page's text; level 1 is the outermost."""

    start: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class OutlineEntry:
    """An entry of a document's outline, which becomes a heading on its page."""

    page: int
    level: int
    title: str
    top: float | None
    """Distance of its place from the bottom of the page, in PDF points; None is the whole page."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What a person should know about a document that was read: a stable code, our own words, and the page if one."""

    code: str
    detail: str
    page: int | None = None


PAGE_NOT_READ = "page_not_read"
"""The remark on a page that is a picture which nobody has read."""
IMAGES_NOT_READ = "images_not_read"
"""The remark on pictures within a document which nobody has read."""


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
    only where they were asked for, in the order of the text too; so are figures, and none is left when the page of a
    document is handed on.
    """

    number: int | None
    text: str
    spans: Sequence[TextSpan] = ()
    headings: tuple[Heading, ...] = ()
    failed: bool = False
    place: Place = NOWHERE
    media: tuple[Media, ...] = ()
    figures: tuple[Figure, ...] = ()
    is_garbled: bool = False
    """Whether the text is surely not what the page shows; known to its reader, and not sent on."""


TEXT_GARBLED = Remark("text_garbled", "The text is not what the page shows.")
"""What is wrong with the text of a page; the page is to be named."""

TITLE_CHARS = 200
"""So much of a heading is kept in the path of a section."""

PART_CHARS = 1 << 18
"""A document without pages is handed on in parts of this size, so that nobody holds it twice."""


def parts_of(
    text: str, headings: tuple[Heading, ...] = (), place: Place = NOWHERE, figures: tuple[Figure, ...] = ()
) -> Iterator[Page]:
    """Cut a text without pages into parts that, one directly after the other, are *text* again."""
    first_heading = 0
    n_parts = len(range(0, max(len(text), 1), PART_CHARS))
    for start in range(0, n_parts * PART_CHARS, PART_CHARS):
        end = start + PART_CHARS
        last_heading = first_heading
        while last_heading < len(headings) and headings[last_heading].start < end:
            last_heading += 1
        own = tuple(Heading(h.start - start, h.level, h.title) for h in headings[first_heading:last_heading])
        first_heading = last_heading
        is_last = start == (n_parts - 1) * PART_CHARS
        shown = (figure for figure in figures if start <= figure.at and (figure.at < end or is_last))
        own_figures = tuple(Figure(figure.at - start, figure.source) for figure in shown)
        yield Page(None, text[start:end], headings=own, place=place, figures=own_figures)
