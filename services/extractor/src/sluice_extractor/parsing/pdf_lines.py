"""The lines of a page as PDFium finds them, each with its rectangle."""

import ctypes
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, compress, repeat
from operator import add, call, sub
from typing import Any

import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # generated bindings, without types

from sluice_extractor.parsing.cleaning import clean_text
from sluice_extractor.parsing.page import FARTHEST_TENTHS, NUMBERS_PER_SPAN, TextSpan, TextSpans

# PDFium ends its lines with CR LF, and joins a word over two lines with U+FFFE in place of hyphen and line end.
_END = "\r\n"
_HYPHEN = "\ufffe"
_UNCLEAN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufeff\uffff\ud800-\udfff\u1100-\u11ff]")
_LOST = re.compile("[\x00-\x08\x0e-\x1f\uffff]")
_LINE_RECTS = 2_000
_FIRST_ROOM = 128
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


@dataclass(frozen=True)
class _Lines:
    """Lines with something to see, in columns: where each stands among PDFium's characters, and in the text."""

    firsts: list[int]
    lengths: list[int]
    starts: list[int]
    ends: list[int]


@dataclass(frozen=True)
class _Several:
    """Lines whose rectangles were counted, in columns."""

    firsts: list[int]
    lengths: list[int]
    counts: list[int]


class LineReader:
    """Reads text and line rectangles of pages; keeps the memory for results, which ctypes is slow to make.

    PDFium has one call for the number of rectangles of a line and one for each rectangle. A loop of Python's own
    around them costs three times as much as PDFium needs, so `map` makes the calls of a whole page.
    """

    def __init__(self) -> None:
        self.lost_chars = 0
        """Of the page that was read last: characters that can stand in no text, and mean that its fonts say nothing."""
        # Keeping the GIL, and naming no types, so that ctypes has nothing to convert, is four times as fast as the
        # bindings.
        self._count_rects = ctypes.PYFUNCTYPE(ctypes.c_int)(_address_of(pdfium.FPDFText_CountRects))
        self._get_rect = ctypes.PYFUNCTYPE(None)(_address_of(pdfium.FPDFText_GetRect))
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
        numbers: list[int] = []
        for at in range(0, len(lines.firsts), _ROOM):
            batch = slice(at, at + _ROOM)
            counts, rects = self._rects_of(text_page, lines.firsts[batch], lines.lengths[batch])
            try:
                columns = (lines.starts[batch], lines.ends[batch], *frame.shown(rects))
            except (OverflowError, ValueError):  # on an infinite page nothing has a place
                return TextSpans([])
            numbers += _interleaved([list(compress(column, counts)) for column in columns])
        return TextSpans(numbers)

    def _rects_of(self, text_page: ctypes.c_void_p, firsts: list[int], lengths: list[int]) -> tuple[list[int], _Rects]:
        """For each line the number of its rectangles, and the one around all of them."""
        self._make_room(len(firsts))
        counted = map(self._count_rects, repeat(text_page), firsts, lengths)
        fetched = map(self._get_rect, repeat(text_page), repeat(0), *self._places)
        in_turn = zip(counted, fetched, strict=False)  # PDFium keeps the rectangles of what was counted last
        counts = [min(max(count, 0), _LINE_RECTS) for count, _ in in_turn]
        rects = _Rects(*(side[: len(firsts)] for side in self._sides))
        for group in _groups(counts):
            self._join_rects(text_page, group, _Several(firsts, lengths, counts), rects)
        return counts, rects

    def _join_rects(self, text_page: ctypes.c_void_p, group: list[int], lines: _Several, rects: _Rects) -> None:
        """Put the rectangle around all of its rectangles in place of the first one of each line of *group*."""
        sizes = [1 + lines.counts[line] for line in group]
        begins = list(accumulate(sizes, initial=0))
        total = begins.pop()
        self._make_room(total)
        lefts, tops, rights, bottoms = self._places
        calls: list[Any] = [self._get_rect] * total  # Any: functions of other shapes; who gets too much ignores it
        firsts: list[int] = []
        seconds = lefts[:total]
        for line, begin in zip(group, begins, strict=True):
            calls[begin] = self._count_rects
            firsts += (lines.firsts[line], *range(lines.counts[line]))
            seconds[begin] = lines.lengths[line]
        deque(map(call, calls, repeat(text_page), firsts, seconds, tops, rights, bottoms), 0)
        sides = _Rects(*(side[:total] for side in self._sides))
        for line, begin, size in zip(group, begins, sizes, strict=True):
            own = slice(begin + 1, begin + size)
            rects.lefts[line], rects.tops[line] = min(sides.lefts[own]), max(sides.tops[own])
            rects.rights[line], rects.bottoms[line] = max(sides.rights[own]), min(sides.bottoms[own])

    def _make_room(self, rects: int) -> None:
        have = len(self._sides[0]) if self._sides else 0
        if rects > have:
            size = ctypes.sizeof(ctypes.c_double)
            self._sides = [(ctypes.c_double * max(rects, 2 * have))() for _ in range(4)]
            self._places = [[ctypes.byref(side, size * at) for at in range(len(side))] for side in self._sides]


def _address_of(function: Any) -> int:  # Any: one of the generated bindings
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _groups(counts: list[int]) -> Iterator[list[int]]:
    """The lines of several rectangles, in groups for which there is room."""
    group: list[int] = []
    needed = 0
    for line, count in enumerate(counts):
        if count > 1:
            if needed + 1 + count > _ROOM:
                yield group
                group, needed = [], 0
            group.append(line)
            needed += 1 + count
    if group:
        yield group


def _interleaved(columns: list[list[int]]) -> list[int]:
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
    pieces = raw.replace(_HYPHEN, _HYPHEN + _END).split(_END)
    is_cut = [piece[-1:] == _HYPHEN for piece in pieces] if _HYPHEN in raw else [False] * len(pieces)
    lengths = list(map(sub, map(len, pieces), is_cut))
    kept = [piece.removesuffix(_HYPHEN) for piece in pieces] if _HYPHEN in raw else pieces
    if not is_clean:
        kept = [_clean_piece(piece) for piece in kept]
    text = "".join(chain.from_iterable(zip(kept, ("" if cut else "\n" for cut in is_cut), strict=True)))
    firsts = accumulate(map(add, lengths, map(sub, repeat(len(_END)), is_cut)), initial=0)
    kept_lengths = list(map(len, kept))
    starts = accumulate(map(add, kept_lengths, map(sub, repeat(1), is_cut)), initial=0)
    shown = list(map(str.strip, kept))
    columns = [list(compress(column, shown)) for column in (firsts, lengths, starts, kept_lengths)]
    ends = list(map(add, columns[2], columns[3]))
    return text[:-1].replace("\r", "\n"), _Lines(columns[0], columns[1], columns[2], ends)


def _renumbered(lines: _Lines, text_page: pdfium.FPDF_TEXTPAGE) -> _Lines:
    """Where PDFium's characters and the units of its text are not the same."""
    lasts = map(add, lines.firsts, lines.lengths)
    firsts = [_char_index(text_page, first) for first in lines.firsts]
    lengths = [_char_index(text_page, last - 1) + 1 - first for first, last in zip(firsts, lasts, strict=True)]
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
