"""Reads PDFs: PDFium first for its speed, pypdf for what PDFium cannot open or finds no text in; or pypdf alone."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Protocol

from sluice_common.errors import CorruptDocument, NoText, OcrRequired, PermanentError, TooManyPages
from sluice_extractor.parsing.media import Picture
from sluice_extractor.parsing.original import OpenDocument, Original, PageRange
from sluice_extractor.parsing.page import TEXT_GARBLED, Page, Remark
from sluice_extractor.parsing.pdf_figures import PdfFigures
from sluice_extractor.parsing.pdf_pdfium import PdfiumBook
from sluice_extractor.parsing.pdf_pypdf import PypdfBook

_HEADER = re.compile(rb"%PDF-\d")
_HEADER_WITHIN = 1024
_FOREIGN_STARTS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"{\\rtf", b"<")
_PROBED_PAGES = 20
_PROBED_PICTURES = 5


class PdfBook(Protocol):
    """An opened PDF."""

    pages_total: int

    def page(self, number: int) -> Page:
        """One page, its number beginning with 1; one that cannot be read comes as failed."""

    def has_images(self) -> bool:
        """Whether one of the first pages shows an image."""


def fits_pdf(original: Original) -> bool:
    """A header where the standard wants it, or within the first kilobyte of what is otherwise built like a PDF."""
    content = original.content
    if _HEADER.match(content[:64].lstrip(b"\xef\xbb\xbf \t\r\n\x00")):
        return True
    if content.startswith(_FOREIGN_STARTS):
        return False
    return bool(_HEADER.search(content, 0, _HEADER_WITHIN) or original.suffix == ".pdf") and b"endobj" in content


def read_pdf(original: Original) -> OpenDocument:
    """Open a PDF with the reader that the original asks for.

    PDFium begins at any page, so that a document with more pages than the wanted ones is read in ranges. Whether a
    document has any text at all is not known in one of them: then the pages come as they are.

    Raises:
        Encrypted: it needs a password.
        CorruptDocument: no reader can open it.
        TooManyPages: before one of them is read.
        NoText, OcrRequired: at the end of the pages.
    """
    name, book = _open_first(original)
    if book.pages_total > original.max_pages:
        raise TooManyPages(f"{book.pages_total} pages, the limit is {original.max_pages}")
    remarks: list[Remark] = []
    if original.wants_media and isinstance(book, PdfiumBook):
        book.figures = PdfFigures(original, remarks)
    look = _second_look(name, original)
    document = OpenDocument("application/pdf", name, book.pages_total, iter(()), remarks)
    part = _part_of(original.page_range, book.pages_total)
    if part is None or not isinstance(book, PdfiumBook):
        return replace(document, pages=_pages_with_text(book, look, remarks))
    outline = book.outline if part.first == 1 else ()
    pages = _seen_twice(_repaired(_read(book, part), look, remarks), look, remarks)
    return replace(document, pages=pages, page_range=part, outline=outline)


def draw_page(content: bytes, number: int, dpi: float) -> Picture | None:
    """How page *number*, beginning with 1, of a PDF looks; None where it has no such page.

    Raises:
        Encrypted, CorruptDocument, DocumentTooLarge: it cannot be drawn.
    """
    book = PdfiumBook(content)
    return book.picture(number, dpi) if 1 <= number <= book.pages_total else None


def _part_of(wanted: PageRange | None, pages_total: int) -> PageRange | None:
    """The wanted pages that there are; None when that is the whole document."""
    if wanted is None or (wanted.first <= 1 and wanted.last >= pages_total):
        return None
    return PageRange(max(wanted.first, 1), min(wanted.last, pages_total))


def _read(book: PdfBook, part: PageRange | None = None) -> Iterator[Page]:
    part = part or PageRange(1, book.pages_total)
    return (book.page(number) for number in range(part.first, part.last + 1))


def _open_first(original: Original) -> tuple[str, PdfBook]:
    if original.pdf_reader == "pypdf":
        return "pypdf", PypdfBook(original.content, max_pages=original.max_pages)
    try:
        return "pdfium", _pdfium_book(original)
    except CorruptDocument:
        return "pypdf", PypdfBook(original.content, max_pages=original.max_pages)


def _pdfium_book(original: Original) -> PdfiumBook:
    return PdfiumBook(
        original.content,
        original.outline,
        wants_pictures=original.wants_media,
        can_recognise=original.can_recognise,
    )


def _second_look(name: str, original: Original) -> Callable[[], PdfBook | None]:
    """Opens the document with the other reader when that is wanted, at most once."""
    opened: list[PdfBook | None] = []

    def look() -> PdfBook | None:
        if not opened:
            opened.append(_quietly_opened(original) if name == "pdfium" else None)
        return opened[0]

    return look


def _quietly_opened(original: Original) -> PdfBook | None:
    try:
        return PypdfBook(original.content, max_pages=original.max_pages)
    except PermanentError:
        return None


def _pages_with_text(book: PdfBook, second_look: Callable[[], PdfBook | None], remarks: list[Remark]) -> Iterator[Page]:
    """The pages, once it is sure that there is text: empty ones at the beginning wait for the first that has some."""
    waiting: list[Page] = []
    has_text = False
    for page in _seen_twice(_repaired(_read(book), second_look, remarks), second_look, remarks):
        if has_text:
            yield page
            continue
        waiting.append(page)
        if page.media or (page.text and not page.text.isspace()):
            has_text = True
            yield from waiting
    if not has_text:
        yield from _without_text(book, second_look(), waiting, remarks)


def _repaired(
    pages: Iterator[Page], second_look: Callable[[], PdfBook | None], remarks: list[Remark]
) -> Iterator[Page]:
    """Failed pages as the second reader sees them; what is wrong with a page and stays so is remarked.

    What becomes of a garbled page that comes with its picture, is said by whoever reads that.
    """
    for page in pages:
        if not page.failed or page.number is None:
            if page.is_garbled and not page.media:
                remarks.append(replace(TEXT_GARBLED, page=page.number))
            yield page
            continue
        other = second_look()
        second = other.page(page.number) if other and page.number <= other.pages_total else page
        if second.failed:
            remarks.append(Remark("page_unreadable", "The page could not be read.", page.number))
        yield replace(second, number=page.number)


def _seen_twice(
    pages: Iterator[Page], second_look: Callable[[], PdfBook | None], remarks: list[Remark]
) -> Iterator[Page]:
    """The pages; those that come as pictures with the text that the second reader finds where the first saw none."""
    looks = _PROBED_PICTURES
    for page in pages:
        other = second_look() if looks and page.media and page.number and not page.text.strip() else None
        if other is None or page.number is None or page.number > other.pages_total:
            yield page
            continue
        second = other.page(page.number)
        looks = _PROBED_PICTURES if second.text.strip() else looks - 1
        if second.text.strip():
            remarks.append(Remark("second_reader", "PDFium found no text; read by pypdf.", page.number))
        yield replace(page, text=second.text, spans=second.spans)


def _without_text(book: PdfBook, other: PdfBook | None, pages: list[Page], remarks: list[Remark]) -> Iterator[Page]:
    """Text that only the second reader finds, or the reason why there is none."""
    probe = list(islice(_read(other), _PROBED_PAGES)) if other else []
    if other and any(page.text.strip() for page in probe):
        remarks.append(Remark("second_reader", "PDFium found no text; read by pypdf."))
        yield from probe
        yield from (other.page(number) for number in range(len(probe) + 1, other.pages_total + 1))
        return
    if pages and all(page.failed for page in pages):
        raise CorruptDocument("none of its pages can be read")
    if book.has_images():
        raise OcrRequired(f"{book.pages_total} pages with images and no text")
    raise NoText(f"{book.pages_total} pages without text")
