"""The lines of a page as PDFium finds them, each with its rectangle."""

import ctypes
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # generated bindings, without types

from sluice_extractor.parsing.cleaning import clean_text
from sluice_extractor.parsing.page import FARTHEST_TENTHS, NUMBERS_PER_SPAN, TextSpan, TextSpans

# PDFium ends its lines with CR LF, and joins a word over two lines with U+FFFE in place of hyphen and line end.
_LINE_ENDS = re.compile("(\r\n|[\ufffe\r\n])")
_HYPHEN = "\ufffe"
_UNCLEAN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufeff\uffff\ud800-\udfff\u1100-\u11ff]")
_LINE_RECTS = 2_000


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


def _above(values: list[float], origin: float) -> list[int]:
    return [round((value - origin) * 10) for value in values]


def _below(values: list[float], origin: float) -> list[int]:
    return [round((origin - value) * 10) for value in values]


@dataclass
class _Rects:
    """Rectangles in a page's own coordinates, one list for each side."""

    lefts: list[float] = field(default_factory=list)
    tops: list[float] = field(default_factory=list)
    rights: list[float] = field(default_factory=list)
    bottoms: list[float] = field(default_factory=list)

    def add(self, left: float, top: float, right: float, bottom: float) -> None:
        self.lefts.append(left)
        self.tops.append(top)
        self.rights.append(right)
        self.bottoms.append(bottom)


class LineReader:
    """Reads text and line rectangles of pages; keeps the memory for results, which ctypes is slow to make."""

    def __init__(self) -> None:
        self._sides = [(ctypes.c_double * _LINE_RECTS)() for _ in range(4)]
        size = ctypes.sizeof(ctypes.c_double)
        self._places = [[ctypes.byref(side, size * at) for at in range(_LINE_RECTS)] for side in self._sides]
        self._first = (ctypes.c_double * 4)()
        self._first_place = [ctypes.byref(self._first, size * at) for at in range(4)]
        # Called for every line and every run of characters. Keeping the GIL, and naming no types, so that ctypes has
        # nothing to convert, is four times as fast as the bindings.
        self._count_rects = ctypes.PYFUNCTYPE(ctypes.c_int)(_address_of(pdfium.FPDFText_CountRects))
        self._get_rect = ctypes.PYFUNCTYPE(None)(_address_of(pdfium.FPDFText_GetRect))

    def read(self, page: pdfium.FPDF_PAGE, frame: PageFrame) -> tuple[str, Sequence[TextSpan]]:
        text_page = pdfium.FPDFText_LoadPage(page)
        if not text_page:
            return "", ()
        try:
            return self._lines(text_page, frame)
        finally:
            pdfium.FPDFText_ClosePage(text_page)

    def _lines(self, text_page: pdfium.FPDF_TEXTPAGE, frame: PageFrame) -> tuple[str, Sequence[TextSpan]]:
        count = max(pdfium.FPDFText_CountChars(text_page), 0)
        raw = _text_of(text_page, count)
        handle = ctypes.c_void_p(ctypes.addressof(text_page.contents))
        index_of = None if len(raw) == count else _char_index(text_page)
        is_clean = not _UNCLEAN.search(raw)
        pieces: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        rects = _Rects()
        at_raw = at = 0
        for piece in _LINE_ENDS.split(raw):
            length = len(piece)
            if piece in _ENDS:
                kept = "" if piece == _HYPHEN else "\n"
            else:
                kept = piece if is_clean else _clean_piece(piece)
                if kept and not kept.isspace():
                    first, last = at_raw, at_raw + length - 1
                    if index_of:
                        first, last = index_of(first), index_of(last)
                    if self._add_rect(handle, first, last - first + 1, rects):
                        starts.append(at)
                        ends.append(at + len(kept))
            pieces.append(kept)
            at_raw += length
            at += len(kept)
        return "".join(pieces), _spans_of(starts, ends, frame.shown(rects))

    def _add_rect(self, text_page: ctypes.c_void_p, first: int, length: int, rects: _Rects) -> bool:
        """Add the rectangle around the characters; whether there is one."""
        count = self._count_rects(text_page, first, length)
        if count == 1:
            self._get_rect(text_page, 0, *self._first_place)
            rects.add(*self._first)
        elif count > 1:
            # A formula has a run for each sign: a loop of Python's own would cost more than PDFium does.
            count = min(count, _LINE_RECTS)
            deque(map(self._get_rect, repeat(text_page, count), range(count), *self._places), 0)
            lefts, tops, rights, bottoms = self._sides
            rects.add(min(lefts[:count]), max(tops[:count]), max(rights[:count]), min(bottoms[:count]))
        return bool(count > 0)


def _address_of(function: Any) -> int:  # Any: one of the generated bindings
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _spans_of(starts: list[int], ends: list[int], sides: Sequence[list[int]]) -> Sequence[TextSpan]:
    numbers = [0] * (NUMBERS_PER_SPAN * len(starts))
    for at, column in enumerate((starts, ends, *sides)):
        numbers[at::NUMBERS_PER_SPAN] = column
    if numbers and (max(numbers) > FARTHEST_TENTHS or min(numbers) < -FARTHEST_TENTHS):
        numbers = [max(-FARTHEST_TENTHS, min(number, FARTHEST_TENTHS)) for number in numbers]
    return TextSpans(numbers)


_ENDS = frozenset({"\r\n", "\r", "\n", _HYPHEN})


def _text_of(text_page: pdfium.FPDF_TEXTPAGE, count: int) -> str:
    # Twice the room, because a character beyond the basic plane takes two units.
    units = (ctypes.c_ushort * (2 * count + 1))()
    written = pdfium.FPDFText_GetText(text_page, 0, 2 * count, units)
    return bytes(units)[: 2 * max(written - 1, 0)].decode("utf-16-le", "surrogatepass")


def _char_index(text_page: pdfium.FPDF_TEXTPAGE) -> Callable[[int], int]:
    """Finds PDFium's number of the character that stands at an offset of its text."""

    def index_of(offset: int) -> int:
        index = pdfium.FPDFText_GetCharIndexFromTextIndex(text_page, offset)
        return int(index) if index >= 0 else offset

    return index_of


def _clean_piece(piece: str) -> str:
    return clean_text(piece.replace("\x0b", "").replace("\x0c", "")).replace("\n", "")


def frame_of(page: pdfium.FPDF_PAGE) -> PageFrame:
    box = pdfium.FS_RECTF()
    if not pdfium.FPDF_GetPageBoundingBox(page, box):
        return PageFrame(0, 0, pdfium.FPDF_GetPageWidthF(page), pdfium.FPDF_GetPageHeightF(page), 0)
    return PageFrame(box.left, box.bottom, box.right, box.top, pdfium.FPDFPage_GetRotation(page))
