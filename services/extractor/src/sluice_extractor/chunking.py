"""Cuts the text of a document into chunks while its pages arrive."""

import itertools
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from sluice_extractor.parsing.page import NOWHERE, Heading, Page, Place, TextSpan
from sluice_extractor.tokens import estimate_tokens

PAGE_SEPARATOR = "\n\n"
SECTION_SEPARATOR = " > "

_SENTENCE_END = re.compile(
    r"[.!?\u2026]+[\"')\]\u2019\u201d]*[ \t\n]+|[\u3002\uff01\uff1f\uff0e\uff61]+[\u300d\u300f\u201d\u2019\uff09)]*"
)
_SPACE = re.compile(r"\s")
_VISIBLE = re.compile(r"\S")
_SPACE_BEFORE = re.compile(r"\s(?=\S)")
_NOT_BEFORE = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u064b-\u065f\u0900-\u0903\u093a-\u094f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
    "\u1160-\u11ff\u1ab0-\u1aff\u1dc0-\u1dff\u200d\u20d0-\u20ff\u302a-\u302f\u3099\u309a\ud7b0-\ud7fb\udc00-\udfff"
    "\ufe00-\ufe0f\ufe20-\ufe2f\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef]"
)
"""Characters that belong to the one before them: marks, vowels and finals of conjoining jamo, joiners, variations."""
_JOINER = "\u200d"
_LONGEST_CLUSTER = 32
_LEAST_FILLED = 2  # a chunk is cut in its second half where there is a border of the better kind


@dataclass(frozen=True)
class PageBoxes:
    """The rectangles `(x0, y0, x1, y1)` that a chunk covers on one page, in points from its top left corner."""

    page: int
    rects: tuple[tuple[float, float, float, float], ...]

    def as_fields(self) -> dict[str, object]:
        """As stored and as answered: `{"page": n, "rects": [[x0, y0, x1, y1], ...]}`."""
        return {"page": self.page, "rects": [list(rect) for rect in self.rects]}


@dataclass(frozen=True)
class Chunk:
    """A span of a document's text: the texts of its pages joined by two newlines, or its parts as they are.

    `text` is exactly `document_text[char_start:char_end]`. `section` is the path of headings at its start. No chunk
    has text of two sheets or of two slides; the times of `place` are those of its first and of its last page.
    """

    text: str
    char_start: int
    char_end: int
    page_start: int | None
    page_end: int | None
    section: str | None
    boxes: tuple[PageBoxes, ...]
    tokens: int
    place: Place = NOWHERE


@dataclass(frozen=True)
class _PlacedPage:
    """A page of which some text is not yet in a chunk, and where it begins in the document."""

    start: int
    page: Page

    @property
    def end(self) -> int:
        return self.start + len(self.page.text)


class Chunker:
    """Takes pages in order and returns chunks as soon as their ends are certain.

    It keeps no more of the document than the last page and what is not yet cut. The chunks are the same whether the
    text comes in many pages or few, but that a new sheet or slide begins a chunk.
    """

    def __init__(
        self, max_chars: int, overlap_chars: int, *, tokens_of: Callable[[str], int] = estimate_tokens
    ) -> None:
        """Set the longest chunk, and the most text that a chunk repeats of the one before; less than half of it."""
        if max_chars < 1:
            raise ValueError("max_chars must be positive")
        self._max_chars = max_chars
        self._overlap_chars = max(0, min(overlap_chars, max_chars // 2))
        self._tokens_of = tokens_of
        self._text = ""  # the document from _base on
        self._base = 0
        self._fresh = 0  # offset in the document of the first character that no chunk has
        self._last_start = -1
        self._pages: list[_PlacedPage] = []
        self._sections = _Sections()
        self._place = NOWHERE  # of the last page
        self._is_first_page = True

    def feed(self, page: Page) -> list[Chunk]:
        """Add a page, or a part of a document that has no pages.

        Returns:
            The chunks that became certain, in order.
        """
        ended = self._end_sheet_or_slide() if _is_elsewhere(page.place, self._place) else []
        if page.text and self._place.time_start is not None and page.place.time_start is None:
            ended += self._end_times()
        self._place = page.place
        if not self._is_first_page and page.number is not None:
            self._text += PAGE_SEPARATOR
        self._is_first_page = False
        start = self._base + len(self._text)
        self._text += page.text
        self._pages.append(_PlacedPage(start, page))
        self._sections.add(start, page.headings)
        return ended + list(self._cut(is_last=False))

    def finish(self) -> list[Chunk]:
        """End the document.

        Returns:
            The remaining chunks, in order.
        """
        return list(self._cut(is_last=True))

    def _end_sheet_or_slide(self) -> list[Chunk]:
        """Cut all there is; what follows repeats nothing of it and stands under none of its headings."""
        chunks = list(self._cut(is_last=True))
        self._last_start = -1
        self._sections = _Sections()
        return chunks

    def _end_times(self) -> list[Chunk]:
        """Cut all that is said at some time; what follows, of no time, stands below the same headings."""
        chunks = list(self._cut(is_last=True))
        self._last_start = -1
        return chunks

    def _cut(self, *, is_last: bool) -> Iterator[Chunk]:
        at = self._begin_of_next()
        # What is certain needs as much text ahead as decides the cut, and the character that follows.
        while at < len(self._text) and (is_last or len(self._text) - at > self._max_chars + _LONGEST_CLUSTER):
            end = self._end_of_chunk(at)
            chunk = self._chunk(at, end)
            if chunk:
                yield chunk
            self._fresh, self._last_start = self._base + end, self._base + at
            at = self._begin_of_next()
        self._forget(at)

    def _end_of_chunk(self, at: int) -> int:
        if len(self._text) - at <= self._max_chars:
            return len(self._text)
        least = max(at + self._max_chars // _LEAST_FILLED, self._fresh - self._base + 1)
        return best_border(self._text, least, at + self._max_chars)

    def _begin_of_next(self) -> int:
        """Where the next chunk begins: up to the overlap before the first fresh character, at a border."""
        fresh = _skip_space(self._text, self._fresh - self._base)
        self._fresh = self._base + fresh
        if not self._overlap_chars or self._last_start < 0 or fresh >= len(self._text):
            return fresh
        start = _skip_space(self._text, overlap_start(self._text, fresh, self._overlap_chars))
        return start if self._base + start > self._last_start else fresh

    def _chunk(self, start: int, end: int) -> Chunk | None:
        """The chunk without white space around it; None when nothing is left."""
        text = self._text[start:end]
        kept = text.strip()
        if not kept:
            return None
        start += len(text) - len(text.lstrip())
        char_start = self._base + start
        char_end = char_start + len(kept)
        pages = [placed for placed in self._pages if placed.start < char_end and placed.end > char_start]
        return Chunk(
            text=kept,
            char_start=char_start,
            char_end=char_end,
            page_start=pages[0].page.number if pages else None,
            page_end=pages[-1].page.number if pages else None,
            section=self._sections.path_at(self._first_words(char_start, char_end)),
            boxes=tuple(_boxes_of(pages, char_start, char_end)),
            tokens=self._tokens_of(kept),
            place=_place_of(pages),
        )

    def _first_words(self, start: int, end: int) -> int:
        """Offset of the first text of a chunk that is not a heading; *start* where it is nothing but headings.

        A chunk that begins with the headings of its section belongs to the innermost of them.
        """
        at = start
        while at < end:
            if not self._sections.is_heading_at(at):
                return at
            line_end = self._text.find("\n", at - self._base)
            if line_end < 0 or self._base + line_end >= end:
                return start
            at = self._base + _skip_space(self._text, line_end)
        return start

    def _forget(self, at: int) -> None:
        """Drop what no later chunk can need."""
        keep_from = max(0, min(at, self._fresh - self._base) - self._overlap_chars - _LONGEST_CLUSTER)
        self._text = self._text[keep_from:]
        self._base += keep_from
        self._pages = [placed for placed in self._pages if placed.end >= self._base]


def _is_elsewhere(place: Place, before: Place) -> bool:
    return (place.sheet, place.slide) != (before.sheet, before.slide)


def _place_of(pages: list[_PlacedPage]) -> Place:
    """The place of the first page, with the time at which the last one ends."""
    if not pages:
        return NOWHERE
    first, last = pages[0].page.place, pages[-1].page.place
    return first if first == last else replace(first, time_end=last.time_end)


class _Sections:
    """The headings seen so far: those still ahead, and the path of those that hold."""

    def __init__(self) -> None:
        self._ahead: list[tuple[int, Heading]] = []
        self._next = 0
        self._path: list[Heading] = []

    def add(self, page_start: int, headings: tuple[Heading, ...]) -> None:
        self._ahead = self._ahead[self._next :]
        self._next = 0
        self._ahead += [(page_start + heading.start, heading) for heading in headings]

    def is_heading_at(self, offset: int) -> bool:
        """Whether a heading that is still ahead begins at *offset*."""
        ahead = itertools.islice(self._ahead, self._next, None)
        starts = itertools.takewhile(lambda start: start <= offset, (start for start, _ in ahead))
        return offset in starts

    def path_at(self, offset: int) -> str | None:
        """The path at *offset*, which never falls from call to call but by an overlap."""
        while self._next < len(self._ahead) and self._ahead[self._next][0] <= offset:
            heading = self._ahead[self._next][1]
            self._path = [held for held in self._path if held.level < heading.level] + [heading]
            self._next += 1
        return SECTION_SEPARATOR.join(heading.title for heading in self._path) or None


def best_border(text: str, least: int, most: int) -> int:
    """Where to cut *text*: at most at *most*, and after *least* where a border of a better kind is there.

    Paragraphs before lines, lines before sentences, sentences before words; else a hard cut that splits no character.
    """
    least = min(least, most)
    for separator in ("\n\n", "\n"):
        found = text.rfind(separator, least, most)
        if found >= 0:
            return found + len(separator)
    return _sentence_border(text, least, most) or _word_border(text, least, most) or whole_character(text, most, least)


def _sentence_border(text: str, least: int, most: int) -> int | None:
    last = None
    for found in _SENTENCE_END.finditer(text, least, most):
        last = found.end()
    return last


def _word_border(text: str, least: int, most: int) -> int | None:
    for separator in (" ", "\t", "\u3000"):
        found = text.rfind(separator, least, most)
        if found >= 0:
            return found + 1
    return None


def whole_character(text: str, at: int, least: int) -> int:
    """*at*, or a little before it (not before *least*) where a cut would split a character from its marks."""
    least = max(least, at - _LONGEST_CLUSTER, 1)
    cut = at
    while cut >= least and cut < len(text) and _belongs_together(text, cut):
        cut -= 1
    return cut if cut >= least else at


def _belongs_together(text: str, cut: int) -> bool:
    return bool(_NOT_BEFORE.match(text, cut)) or text[cut - 1] == _JOINER


def overlap_start(text: str, fresh: int, overlap_chars: int) -> int:
    """Where a chunk begins that may repeat *overlap_chars* before *fresh*: at a sentence, else at a word."""
    earliest = max(0, fresh - overlap_chars)
    for found in _SENTENCE_END.finditer(text, earliest, fresh):
        if found.end() < fresh:
            return found.end()
    line = text.find("\n", earliest, fresh)
    if 0 <= line < fresh - 1:
        return _skip_space(text, line)
    word = _SPACE_BEFORE.search(text, earliest, fresh)
    if word and word.end() < fresh:
        return word.end()
    return fresh if _SPACE.search(text, earliest, fresh) else _later_whole_character(text, earliest, fresh)


def _later_whole_character(text: str, at: int, most: int) -> int:
    while 0 < at < most and _belongs_together(text, at):
        at += 1
    return at


def _skip_space(text: str, at: int) -> int:
    found = _VISIBLE.search(text, at)
    return found.start() if found else len(text)


def _boxes_of(pages: list[_PlacedPage], start: int, end: int) -> Iterator[PageBoxes]:
    for placed in pages:
        if placed.page.number is None or not placed.page.spans:
            continue
        rects = tuple(_rects_between(placed.page.spans, start - placed.start, end - placed.start))
        if rects:
            yield PageBoxes(placed.page.number, rects)


def _rects_between(spans: Sequence[TextSpan], start: int, end: int) -> Iterator[tuple[float, float, float, float]]:
    for at in range(bisect_left(spans, start + 1, key=lambda span: span.end), len(spans)):
        span = spans[at]
        if span.start >= end:
            return
        yield span.x0, span.y0, span.x1, span.y1
