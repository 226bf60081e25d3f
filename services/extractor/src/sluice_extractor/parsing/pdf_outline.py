"""The outline of a PDF, and where its entries begin on their pages."""

import ctypes
import math
from collections.abc import Sequence

import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # generated bindings, without types

from sluice_extractor.parsing.cleaning import clean_line
from sluice_extractor.parsing.page import TITLE_CHARS, OutlineEntry, TextSpan, numbers_of
from sluice_extractor.parsing.pdf_lines import PageFrame
from sluice_extractor.parsing.pdf_strings import string_of

_OUTLINE_ENTRIES = 10_000
_OUTLINE_DEPTH = 10
_HEADING_TOLERANCE = 4.0  # points by which a destination may stand below the top of its line
_PLACED_FROM_TOP = frozenset({pdfium.PDFDEST_VIEW_XYZ, pdfium.PDFDEST_VIEW_FITH, pdfium.PDFDEST_VIEW_FITBH})


def outline_of(document: pdfium.FPDF_DOCUMENT) -> list[OutlineEntry]:
    """The outline's entries in its own order; what points nowhere is left out."""
    entries: list[OutlineEntry] = []
    seen: set[int] = set()
    path = [pdfium.FPDFBookmark_GetFirstChild(document, None)]
    if path[0]:
        _find_all_pages(document)
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


def _find_all_pages(document: pdfium.FPDF_DOCUMENT) -> None:
    """Let PDFium find the pages in order, once; for each destination it would search the whole tree anew."""
    size = pdfium.FS_SIZEF()
    for index in range(pdfium.FPDF_GetPageCount(document)):
        pdfium.FPDF_GetPageSizeByIndexF(document, index, size)


def _note_entry(
    document: pdfium.FPDF_DOCUMENT, bookmark: pdfium.FPDF_BOOKMARK, level: int, entries: list[OutlineEntry]
) -> None:
    title = clean_line(string_of(lambda buffer, size: pdfium.FPDFBookmark_GetTitle(bookmark, buffer, size)))
    destination = pdfium.FPDFBookmark_GetDest(document, bookmark)
    if not destination:
        action = pdfium.FPDFBookmark_GetAction(bookmark)
        destination = pdfium.FPDFAction_GetDest(document, action) if action else None
    index = pdfium.FPDFDest_GetDestPageIndex(document, destination) if destination else -1
    if title and index >= 0:
        entries.append(OutlineEntry(index + 1, level, title[:TITLE_CHARS], _top_of(destination)))


def _top_of(destination: pdfium.FPDF_DEST) -> float | None:
    count = ctypes.c_ulong()
    values = (ctypes.c_float * 4)()
    view = pdfium.FPDFDest_GetView(destination, count, values)
    if view not in _PLACED_FROM_TOP or not count.value:
        return None
    top = float(values[1 if view == pdfium.PDFDEST_VIEW_XYZ else 0])
    return top if top and math.isfinite(top) else None


def start_of(entry: OutlineEntry, text: str, spans: Sequence[TextSpan], frame: PageFrame) -> int:
    """Where the entry's section begins: at its title, or at the first line below its destination."""
    found = text.find(entry.title)
    if found >= 0:
        return found
    if entry.top is None or frame.turns:
        return 0
    # In plain numbers, because a page may have a thousand entries: start, end, x0, y0, x1, y1 of each span.
    numbers = numbers_of(spans)
    lowest = (frame.top - entry.top + _HEADING_TOLERANCE) * 10
    return next((start for start, y1 in zip(numbers[0::6], numbers[5::6], strict=True) if y1 > lowest), 0)
