"""The lines of a page as PDFium finds them, each with its rectangle."""

import ctypes
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, compress, repeat
from operator import add, and_, sub
from typing import Any

import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # generated bindings, without types

from sluice_extractor.parsing.cleaning import clean_text
from sluice_extractor.parsing.page import FARTHEST_TENTHS, NUMBERS_PER_SPAN, TextSpan, TextSpans

# PDFium ends its lines with CR LF, and joins a word over two lines with U+FFFE in place of hyphen and line end.
_END = "\r\n"
_HYPHEN = "\ufffe"
_UNCLEAN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufeff\uffff\ud800-\udfff\u1100-\u11ff]")
_LOST = re.compile("[\x00-\x08\x0e-\x1f\uffff]")
_BEHIND = ("\n", "")
# Keeping the GIL, and naming no types, so that ctypes has nothing to convert, is four times as fast as the bindings.
_INT_FUNCTION = ctypes.PYFUNCTYPE(ctypes.c_int)
_FUNCTION = ctypes.PYFUNCTYPE(None)
_FIRST_ROOM = 64
_ROOM = 8_192


@dataclass(frozen=True)
class PageFrame:
    """How a page is shown: the visible part of its coordinate system, and its quarter turns clockwise."""

    left: float
    bottom: float
    right: float
    top: float
    turns: int

    def shown(self, rects: "_Rects") -> tuple[list[int], list[int], list[int], list[int]]:
        """The rectangles in tenths of points from the top left of the page as displayed: all x0, y0, x1, y1."""
        if self.turns == 1:
            x0, x1 = _above(rects.bottoms, self.bottom), _above(rects.tops, self.bottom)
            y0, y1 = _above(rects.lefts, self.left), _above(rects.rights, self.left)
        elif self.turns == 2:  # noqa: PLR2004 - quarter turns
            x0, x1 = _below(rects.rights, self.right), _below(rects.lefts, self.right)
            y0, y1 = _above(rects.bottoms, self.bottom), _above(rects.tops, self.bottom)
        elif self.turns == 3:  # noqa: PLR2004 - quarter turns
            x0, x1 = _below(rects.tops, self.top), _below(rects.bottoms, self.top)
            y0, y1 = _below(rects.rights, self.right), _below(rects.lefts, self.right)
        else:
            x0, x1 = _above(rects.lefts, self.left), _above(rects.rights, self.left)
            y0, y1 = _below(rects.tops, self.top), _below(rects.bottoms, self.top)
        return x0, y0, x1, y1

    def shown_rect(self, left: float, top: float, right: float, bottom: float) -> tuple[int, int, int, int] | None:
        """One rectangle in tenths of points from the top left; None where it has no place on any page."""
        try:
            x0, y0, x1, y1 = (side[0] for side in self.shown(_Rects([left], [top], [right], [bottom])))
        except (OverflowError, ValueError):
            return None
        is_placed = x0 <= x1 and y0 <= y1 and max(map(abs, (x0, y0, x1, y1))) <= FARTHEST_TENTHS
        return (x0, y0, x1, y1) if is_placed else None


def _above(values: list[float], origin: float) -> list[int]:
    return [round((value - origin) * 10) for value in values]


def _below(values: list[float], origin: float) -> list[int]:
    return [round((origin - value) * 10) for value in values]


@dataclass(frozen=True)
class _Rects:
    """Rectangles in a page's own coordinates, one list for each side."""

    lefts: list[float]
    tops: list[float]
    rights: list[float]
    bottoms: list[float]

    def columns(self) -> tuple[list[float], ...]:
        return self.lefts, self.tops, self.rights, self.bottoms

    def extend(self, others: "_Rects") -> None:
        for side, other in zip(self.columns(), others.columns(), strict=True):
            side.extend(other)


@dataclass(frozen=True)
class _Lines:
    """All lines, in columns: where each stands among PDFium's characters, and in the text."""

    firsts: list[int]
    lengths: list[int]
    starts: list[int]
    ends: list[int]
    are_seen: list[bool]
    """Whether there is something to see in them."""


class LineReader:
    """Reads text and line rectangles of pages; keeps the memory for results, which ctypes is slow to make.

    PDFium has one call for the number of rectangles of a line and one for each rectangle. A loop of Python's own
    around them costs three times as much as PDFium needs, so `map` makes the calls of a whole page. The rectangles of
    a page as a whole are those of its lines, one after the other, so they are not fetched line by line.
    """

    def __init__(self) -> None:
        self.lost_chars = 0
        """Of the page that was read last: characters that can stand in no text, and mean that its fonts say nothing."""
        self._count_rects = _INT_FUNCTION(_address_of(pdfium.FPDFText_CountRects))
        self._get_rect = _FUNCTION(_address_of(pdfium.FPDFText_GetRect))
        self._sides: list[ctypes.Array[ctypes.c_double]] = []
        self._places: list[list[Any]] = []  # Any: what `byref` gives has no name
        self._make_room(_FIRST_ROOM)

    def read(self, page: pdfium.FPDF_PAGE, frame: PageFrame) -> tuple[str, Sequence[TextSpan]]:
        self.lost_chars = 0
        text_page = pdfium.FPDFText_LoadPage(page)
        if not text_page:
            return "", ()
        try:
            count = max(pdfium.FPDFText_CountChars(text_page), 0)
            raw = _text_of(text_page, count)
            is_clean = _UNCLEAN.search(raw) is None
            self.lost_chars = 0 if is_clean else len(_LOST.findall(raw))
            text, lines = _split(raw, is_clean=is_clean)
            if len(raw) != count:
                lines = _renumbered(lines, text_page)
            return text, self._spans_of(lines, ctypes.c_void_p(ctypes.addressof(text_page.contents)), frame)
        finally:
            pdfium.FPDFText_ClosePage(text_page)

    def _spans_of(self, lines: _Lines, text_page: ctypes.c_void_p, frame: PageFrame) -> TextSpans:
        counts, rects = self._rects_of(text_page, lines)
        lasts = list(accumulate(counts))
        columns = [lines.starts, lines.ends, list(map(sub, lasts, counts)), lasts]
        are_placed = list(map(and_, map(bool, counts), lines.are_seen))
        if not all(are_placed):
            columns = [list(compress(column, are_placed)) for column in columns]
        starts, ends, firsts, lasts = columns
        try:
            return TextSpans(_interleaved((starts, ends, *frame.shown(_around(firsts, lasts, rects)))))
        except (OverflowError, ValueError):  # on an infinite page nothing has a place
            return TextSpans([])

    def _rects_of(self, text_page: ctypes.c_void_p, lines: _Lines) -> tuple[list[int], _Rects]:
        """For each line the number of its rectangles; and the rectangles of all, one line after the other."""
        counted = map(self._count_rects, repeat(text_page), lines.firsts, lines.lengths)
        counts = list(map(max, counted, repeat(0)))
        total = sum(counts)
        if self._count_rects(text_page, 0, -1) == total:
            return counts, self._fetched(text_page, total)
        # An end of a line that the PDF itself has in its text: it has a rectangle, or joins those before and behind.
        return counts, self._fetched_by_line(text_page, counts, lines)

    def _fetched(self, text_page: ctypes.c_void_p, count: int) -> _Rects:
        """The rectangles of what was counted last."""
        rects = _Rects([], [], [], [])
        for at in range(0, count, _ROOM):
            size = min(_ROOM, count - at)
            self._make_room(size)
            deque(map(self._get_rect, repeat(text_page), range(at, at + size), *self._places), 0)
            rects.extend(_Rects(*(side[:size] for side in self._sides)))
        return rects

    def _fetched_by_line(self, text_page: ctypes.c_void_p, counts: list[int], lines: _Lines) -> _Rects:
        rects = _Rects([], [], [], [])
        for count, first, length in zip(counts, lines.firsts, lines.lengths, strict=True):
            if count:
                self._count_rects(text_page, first, length)
                rects.extend(self._fetched(text_page, count))
        return rects

    def _make_room(self, rects: int) -> None:
        have = len(self._sides[0]) if self._sides else 0
        if rects > have:
            size = ctypes.sizeof(ctypes.c_double)
            self._sides = [(ctypes.c_double * max(rects, 2 * have))() for _ in range(4)]
            self._places = [[ctypes.byref(side, size * at) for at in range(len(side))] for side in self._sides]


def _address_of(function: Any) -> int:  # Any: one of the generated bindings
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _around(firsts: list[int], lasts: list[int], rects: _Rects) -> _Rects:
    """For each line the rectangle around its own, which are those from the first to before the last."""
    around = _Rects(*([side[first] for first in firsts] for side in rects.columns()))
    for line, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        if last - first > 1:
            own = slice(first, last)
            around.lefts[line], around.tops[line] = min(rects.lefts[own]), max(rects.tops[own])
            around.rights[line], around.bottoms[line] = max(rects.rights[own]), min(rects.bottoms[own])
    return around


def _interleaved(columns: Sequence[list[int]]) -> list[int]:
    numbers = [0] * (NUMBERS_PER_SPAN * len(columns[0]))
    for at, column in enumerate(columns):
        numbers[at::NUMBERS_PER_SPAN] = column
    if numbers and (max(numbers) > FARTHEST_TENTHS or min(numbers) < -FARTHEST_TENTHS):
        numbers = [max(-FARTHEST_TENTHS, min(number, FARTHEST_TENTHS)) for number in numbers]
    return numbers


def _text_of(text_page: pdfium.FPDF_TEXTPAGE, count: int) -> str:
    # Twice the room, because a character beyond the basic plane takes two units.
    units = (ctypes.c_ushort * (2 * count + 1))()
    written = pdfium.FPDFText_GetText(text_page, 0, 2 * count, units)
    return bytes(units)[: 2 * max(written - 1, 0)].decode("utf-16-le", "surrogatepass")


def _split(raw: str, *, is_clean: bool) -> tuple[str, _Lines]:
    """The text of a page, and its lines."""
    if _HYPHEN in raw:
        pieces = raw.replace(_HYPHEN, _HYPHEN + _END).split(_END)
        are_cut = [piece[-1:] == _HYPHEN for piece in pieces]
        kept = [piece.removesuffix(_HYPHEN) for piece in pieces]
    else:
        kept = raw.split(_END)
        are_cut = [False] * len(kept)
    lengths = list(map(len, kept))
    # What stands behind a line: among PDFium's characters its end, of two, or one hyphen; in the text a line feed.
    firsts = list(accumulate(map(sub, map(add, lengths, repeat(len(_END))), are_cut), initial=0))[:-1]
    if not is_clean:
        kept = [_clean_piece(piece) if _UNCLEAN.search(piece) else piece for piece in kept]
    kept_lengths = list(map(len, kept))
    starts = list(accumulate(map(sub, map(add, kept_lengths, repeat(1)), are_cut), initial=0))[:-1]
    text = "".join(chain.from_iterable(zip(kept, [_BEHIND[cut] for cut in are_cut], strict=True)))[:-1]
    are_seen = list(map(bool, map(str.strip, kept)))
    return text.replace("\r", "\n"), _Lines(firsts, lengths, starts, list(map(add, starts, kept_lengths)), are_seen)


def _renumbered(lines: _Lines, text_page: pdfium.FPDF_TEXTPAGE) -> _Lines:
    """Where PDFium's characters and the units of its text are not the same."""
    lasts = map(add, lines.firsts, lines.lengths)
    firsts = [_char_index(text_page, first) for first in lines.firsts]
    lengths = [max(_char_index(text_page, last - 1) + 1 - first, 0) for first, last in zip(firsts, lasts, strict=True)]
    return replace(lines, firsts=firsts, lengths=lengths)


def _char_index(text_page: pdfium.FPDF_TEXTPAGE, offset: int) -> int:
    index = pdfium.FPDFText_GetCharIndexFromTextIndex(text_page, offset)
    return int(index) if index >= 0 else offset


def _clean_piece(piece: str) -> str:
    return clean_text(piece.replace("\x0b", "").replace("\x0c", ""))


def shown_rect(frame: PageFrame, left: float, bottom: float, right: float, top: float) -> tuple[float, ...]:
    """A rectangle of the page's own coordinates as `PageFrame.shown` gives it, in points: x0, y0, x1, y1."""
    sides = frame.shown(_Rects([left], [top], [right], [bottom]))
    return tuple(tenths[0] / 10 for tenths in sides)


def frame_of(page: pdfium.FPDF_PAGE) -> PageFrame:
    box = pdfium.FS_RECTF()
    if not pdfium.FPDF_GetPageBoundingBox(page, box):
        return PageFrame(0, 0, pdfium.FPDF_GetPageWidthF(page), pdfium.FPDF_GetPageHeightF(page), 0)
    return PageFrame(box.left, box.bottom, box.right, box.top, pdfium.FPDFPage_GetRotation(page))
