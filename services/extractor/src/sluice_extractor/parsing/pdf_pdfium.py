"""PDFium as a reader of PDFs, called at its C interface, because wrapping objects costs a sixth of the speed."""

import ctypes
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # generated bindings, without types

from sluice_common.errors import CorruptDocument, Encrypted
from sluice_extractor.parsing.cleaning import clean_line, clean_text
from sluice_extractor.parsing.page import (
    FARTHEST_TENTHS,
    NUMBERS_PER_SPAN,
    TITLE_CHARS,
    Heading,
    Page,
    TextSpan,
    TextSpans,
)

# PDFium ends its lines with CR LF, and joins a word over two lines with U+FFFE in place of hyphen and line end.
_LINE_ENDS = re.compile("(\r\n|[\ufffe\r\n])")
_HYPHEN = "\ufffe"
_UNCLEAN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufeff\uffff\ud800-\udfff\u1100-\u11ff]")
_IMAGE_PAGES = 50
_OUTLINE_ENTRIES = 10_000
_OUTLINE_DEPTH = 10
_LINE_RECTS = 2_000
_ANNOTATIONS = 10_000
_FORM_DEPTH = 5
_HEADING_TOLERANCE = 4.0  # points by which a destination may stand below the top of its line

_PLACED_FROM_TOP = frozenset({pdfium.PDFDEST_VIEW_XYZ, pdfium.PDFDEST_VIEW_FITH, pdfium.PDFDEST_VIEW_FITBH})
_SHOWN_ANNOTATIONS = frozenset({pdfium.FPDF_ANNOT_WIDGET, pdfium.FPDF_ANNOT_FREETEXT, pdfium.FPDF_ANNOT_STAMP})
_SILENT_ANNOTATIONS = frozenset({pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_POPUP})
_TEXT_FIELDS = frozenset(
    {pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX}
)


@dataclass(frozen=True)
class _OutlineEntry:
    level: int
    title: str
    top: float | None
    """Distance of the destination from the bottom of the page, in PDF points; None is the whole page."""


@dataclass(frozen=True)
class _Frame:
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


class PdfiumBook:
    """A PDF opened by PDFium; one thread per process, and one book at a time."""

    def __init__(self, content: bytes) -> None:
        """Open *content*, with the empty password where it is encrypted.

        Raises:
            Encrypted: it needs a password.
            CorruptDocument: PDFium cannot open it.
        """
        pdfium.FPDF_InitLibrary()
        self._content = content  # PDFium reads from this memory as long as the document is open
        self._document = pdfium.FPDF_LoadMemDocument64(content, len(content), None)
        if not self._document:
            raise _why_not_opened()
        self.pages_total = int(pdfium.FPDF_GetPageCount(self._document))
        if self.pages_total < 1:
            raise CorruptDocument("it has no pages")
        self._form = _open_form(self._document)
        self._outline: dict[int, list[_OutlineEntry]] | None = None
        self._rect = _RectReader()

    def page(self, number: int) -> Page:
        page = pdfium.FPDF_LoadPage(self._document, number - 1)
        notes = _notes_of(page, self._form) if page and pdfium.FPDFPage_GetAnnotCount(page) > 0 else _NO_NOTES
        if notes.are_shown:
            # What annotations and fields show becomes page content, so that it is read at its place.
            pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY)
            pdfium.FPDF_ClosePage(page)
            page = pdfium.FPDF_LoadPage(self._document, number - 1)
        if not page:
            return Page(number, "", failed=True)
        try:
            return self._read(page, number, notes)
        finally:
            pdfium.FPDF_ClosePage(page)

    def has_images(self) -> bool:
        return any(self._shows_image(index) for index in range(min(self.pages_total, _IMAGE_PAGES)))

    def _read(self, page: pdfium.FPDF_PAGE, number: int, notes: "_Notes") -> Page:
        frame = _frame_of(page)
        text, spans = self._rect.read(page, frame)
        text = _with_notes(text, notes)
        return Page(number, text, spans, self._headings(number, text, spans, frame))

    def _headings(self, number: int, text: str, spans: Sequence[TextSpan], frame: _Frame) -> tuple[Heading, ...]:
        if self._outline is None:
            self._outline = _outline_of(self._document)
        entries = self._outline.get(number, [])
        found = [Heading(_start_of(entry, text, spans, frame), entry.level, entry.title) for entry in entries]
        return tuple(sorted(found, key=lambda heading: heading.start))

    def _shows_image(self, index: int) -> bool:
        page = pdfium.FPDF_LoadPage(self._document, index)
        if not page:
            return False
        objects = (pdfium.FPDFPage_GetObject(page, at) for at in range(pdfium.FPDFPage_CountObjects(page)))
        found = any(_is_image(shown, depth=0) for shown in objects)
        pdfium.FPDF_ClosePage(page)
        return found


def _why_not_opened() -> Encrypted | CorruptDocument:
    reason = pdfium.FPDF_GetLastError()
    if reason == pdfium.FPDF_ERR_PASSWORD:
        return Encrypted("it needs a password")
    if reason == pdfium.FPDF_ERR_SECURITY:
        return Encrypted("it is protected in a way that PDFium does not know", detail_code="unknown_protection")
    return CorruptDocument("PDFium cannot open it")


def _open_form(document: pdfium.FPDF_DOCUMENT) -> pdfium.FPDF_FORMHANDLE | None:
    if pdfium.FPDF_GetFormType(document) == pdfium.FORMTYPE_NONE:
        return None
    callbacks = pdfium.FPDF_FORMFILLINFO(version=2)
    handle = pdfium.FPDFDOC_InitFormFillEnvironment(document, callbacks)
    if handle:
        handle.callbacks = callbacks  # PDFium keeps a pointer to them
    return handle or None


class _RectReader:
    """Reads text and line rectangles of pages; keeps the memory for results, which ctypes is slow to make."""

    def __init__(self) -> None:
        self._sides = [(ctypes.c_double * _LINE_RECTS)() for _ in range(4)]
        size = ctypes.sizeof(ctypes.c_double)
        self._places = [[ctypes.byref(side, size * at) for at in range(_LINE_RECTS)] for side in self._sides]
        # Called for every line and every run of characters. Keeping the GIL, and naming no types, so that ctypes has
        # nothing to convert, is four times as fast as the bindings.
        self._count_rects = ctypes.PYFUNCTYPE(ctypes.c_int)(_address_of(pdfium.FPDFText_CountRects))
        self._get_rect = ctypes.PYFUNCTYPE(None)(_address_of(pdfium.FPDFText_GetRect))

    def read(self, page: pdfium.FPDF_PAGE, frame: _Frame) -> tuple[str, Sequence[TextSpan]]:
        text_page = pdfium.FPDFText_LoadPage(page)
        if not text_page:
            return "", ()
        try:
            return self._lines(text_page, frame)
        finally:
            pdfium.FPDFText_ClosePage(text_page)

    def _lines(self, text_page: pdfium.FPDF_TEXTPAGE, frame: _Frame) -> tuple[str, Sequence[TextSpan]]:
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
        count = min(self._count_rects(text_page, first, length), _LINE_RECTS)
        if count < 1:
            return False
        # A formula has a run for each sign: a loop of Python's own would cost more than PDFium does.
        deque(map(self._get_rect, repeat(text_page, count), range(count), *self._places), 0)
        lefts, tops, rights, bottoms = self._sides
        if count == 1:
            rects.lefts.append(lefts[0])
            rects.tops.append(tops[0])
            rects.rights.append(rights[0])
            rects.bottoms.append(bottoms[0])
        else:
            rects.lefts.append(min(lefts[:count]))
            rects.tops.append(max(tops[:count]))
            rects.rights.append(max(rights[:count]))
            rects.bottoms.append(min(bottoms[:count]))
        return True


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


def _frame_of(page: pdfium.FPDF_PAGE) -> _Frame:
    box = pdfium.FS_RECTF()
    if not pdfium.FPDF_GetPageBoundingBox(page, box):
        return _Frame(0, 0, pdfium.FPDF_GetPageWidthF(page), pdfium.FPDF_GetPageHeightF(page), 0)
    return _Frame(box.left, box.bottom, box.right, box.top, pdfium.FPDFPage_GetRotation(page))


@dataclass(frozen=True)
class _Notes:
    """What the annotations and fields of a page say."""

    are_shown: bool
    texts: tuple[str, ...]


_NO_NOTES = _Notes(are_shown=False, texts=())


def _notes_of(page: pdfium.FPDF_PAGE, form: pdfium.FPDF_FORMHANDLE | None) -> _Notes:
    texts: list[str] = []
    are_shown = False
    for at in range(min(pdfium.FPDFPage_GetAnnotCount(page), _ANNOTATIONS)):
        annotation = pdfium.FPDFPage_GetAnnot(page, at)
        if not annotation:
            continue
        kind = pdfium.FPDFAnnot_GetSubtype(annotation)
        if kind not in _SILENT_ANNOTATIONS:
            are_shown = are_shown or kind in _SHOWN_ANNOTATIONS or pdfium.FPDFAnnot_GetObjectCount(annotation) > 0
            texts.append(_text_of_annotation(annotation, kind, form))
        pdfium.FPDFPage_CloseAnnot(annotation)
    return _Notes(are_shown, tuple(text for text in texts if text))


def _text_of_annotation(annotation: pdfium.FPDF_ANNOTATION, kind: int, form: pdfium.FPDF_FORMHANDLE | None) -> str:
    if kind == pdfium.FPDF_ANNOT_WIDGET:
        if not form or pdfium.FPDFAnnot_GetFormFieldType(form, annotation) not in _TEXT_FIELDS:
            return ""
        return _string(lambda buffer, size: pdfium.FPDFAnnot_GetFormFieldValue(form, annotation, buffer, size))
    return _string(lambda buffer, size: pdfium.FPDFAnnot_GetStringValue(annotation, b"Contents", buffer, size))


def _with_notes(text: str, notes: _Notes) -> str:
    """The page's text, and below it what notes say that is not shown on the page."""
    if not notes.texts:
        return text
    seen = "".join(text.split())
    for note in notes.texts:
        key = "".join(note.split())
        if key and key not in seen:
            text = f"{text}\n{note}" if text else note
            seen += key
    return text


def _string(call: Callable[[Any, int], int]) -> str:  # Any: a ctypes array, or None
    """Ask PDFium for a UTF-16 string: first for its size in bytes, then for the string."""
    size = call(None, 0)
    if size <= 2:  # noqa: PLR2004 - nothing but the end mark
        return ""
    buffer = (ctypes.c_ushort * (size // 2 + 1))()
    call(buffer, size)
    return clean_text(bytes(buffer)[: size - 2].decode("utf-16-le", "surrogatepass")).strip()


def _outline_of(document: pdfium.FPDF_DOCUMENT) -> dict[int, list[_OutlineEntry]]:
    """The outline's entries by page number; what points nowhere is left out."""
    entries: dict[int, list[_OutlineEntry]] = {}
    seen: set[int] = set()
    path = [pdfium.FPDFBookmark_GetFirstChild(document, None)]
    while path and len(seen) < _OUTLINE_ENTRIES:
        bookmark = path[-1]
        if not bookmark or (key := ctypes.addressof(bookmark.contents)) in seen:
            path.pop()
            continue
        seen.add(key)
        _note_entry(document, bookmark, len(path), entries)
        path[-1] = pdfium.FPDFBookmark_GetNextSibling(document, bookmark)
        if len(path) < _OUTLINE_DEPTH:
            path.append(pdfium.FPDFBookmark_GetFirstChild(document, bookmark))
    return entries


def _note_entry(
    document: pdfium.FPDF_DOCUMENT, bookmark: pdfium.FPDF_BOOKMARK, level: int, entries: dict[int, list[_OutlineEntry]]
) -> None:
    title = clean_line(_string(lambda buffer, size: pdfium.FPDFBookmark_GetTitle(bookmark, buffer, size)))
    destination = pdfium.FPDFBookmark_GetDest(document, bookmark)
    if not destination:
        action = pdfium.FPDFBookmark_GetAction(bookmark)
        destination = pdfium.FPDFAction_GetDest(document, action) if action else None
    index = pdfium.FPDFDest_GetDestPageIndex(document, destination) if destination else -1
    if title and index >= 0:
        entries.setdefault(index + 1, []).append(_OutlineEntry(level, title[:TITLE_CHARS], _top_of(destination)))


def _top_of(destination: pdfium.FPDF_DEST) -> float | None:
    count = ctypes.c_ulong()
    values = (ctypes.c_float * 4)()
    view = pdfium.FPDFDest_GetView(destination, count, values)
    if view not in _PLACED_FROM_TOP or not count.value:
        return None
    return float(values[1 if view == pdfium.PDFDEST_VIEW_XYZ else 0]) or None


def _start_of(entry: _OutlineEntry, text: str, spans: Sequence[TextSpan], frame: _Frame) -> int:
    """Where the entry's section begins: at its title, or at the first line below its destination."""
    found = text.find(entry.title)
    if found >= 0:
        return found
    if entry.top is None or frame.turns:
        return 0
    shown_top = frame.top - entry.top
    return next((span.start for span in spans if span.y1 > shown_top + _HEADING_TOLERANCE), 0)


def _is_image(shown: pdfium.FPDF_PAGEOBJECT, *, depth: int) -> bool:
    kind = pdfium.FPDFPageObj_GetType(shown)
    if kind != pdfium.FPDF_PAGEOBJ_FORM or depth >= _FORM_DEPTH:
        return bool(kind == pdfium.FPDF_PAGEOBJ_IMAGE)
    count = min(max(pdfium.FPDFFormObj_CountObjects(shown), 0), _ANNOTATIONS)
    return any(_is_image(pdfium.FPDFFormObj_GetObject(shown, at), depth=depth + 1) for at in range(count))
