"""PDFium as a reader of PDFs, called at its C interface, because wrapping objects costs a sixth of the speed."""

from collections.abc import Sequence
from dataclasses import replace

import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # generated bindings, without types

from sluice_common.errors import CorruptDocument, Encrypted
from sluice_extractor.parsing.garbling import is_garbled
from sluice_extractor.parsing.media import Picture
from sluice_extractor.parsing.page import Heading, OutlineEntry, Page, TextSpan
from sluice_extractor.parsing.pdf_drawing import draw
from sluice_extractor.parsing.pdf_figures import PdfFigures
from sluice_extractor.parsing.pdf_lines import LineReader, PageFrame, frame_of
from sluice_extractor.parsing.pdf_notes import NO_NOTES, Notes, notes_of, with_notes
from sluice_extractor.parsing.pdf_outline import outline_of, start_of
from sluice_extractor.parsing.pdf_pictures import is_read_as_picture, picture_of

_IMAGE_PAGES = 50
_FORM_DEPTH = 5
_MOST_OBJECTS = 10_000


class PdfiumBook:
    """A PDF opened by PDFium; one thread per process, and one book at a time."""

    def __init__(
        self,
        content: bytes,
        outline: Sequence[OutlineEntry] | None = None,
        *,
        wants_pictures: bool = False,
        can_recognise: bool = False,
    ) -> None:
        """Open *content*, with the empty password where it is encrypted, and with what is known of its outline.

        Pages that can only be read by what they look like come with a picture where that is wanted, and those with
        garbled text also where somebody *can_recognise* it.

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
        self._outline = outline
        self._entries: dict[int, list[OutlineEntry]] | None = None
        self._lines = LineReader()
        self._wants_pictures = wants_pictures
        self._can_recognise = can_recognise
        self.figures: PdfFigures | None = None
        """Who finds the figures on pages with text, where they are wanted."""

    def page(self, number: int) -> Page:
        page = pdfium.FPDF_LoadPage(self._document, number - 1)
        notes = notes_of(page, self._form) if page and pdfium.FPDFPage_GetAnnotCount(page) > 0 else NO_NOTES
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

    def picture(self, number: int, dpi: float) -> Picture:
        """One page as it looks.

        Raises:
            CorruptDocument, DocumentTooLarge: it cannot be drawn.
        """
        page = pdfium.FPDF_LoadPage(self._document, number - 1)
        if not page:
            raise CorruptDocument("PDFium cannot open the page")
        try:
            return draw(page, self._form, dpi)
        finally:
            pdfium.FPDF_ClosePage(page)

    @property
    def outline(self) -> Sequence[OutlineEntry]:
        """The entries of the outline; reading one of a thousand entries takes as long as twenty pages."""
        if self._outline is None:
            self._outline = outline_of(self._document)
        return self._outline

    def has_images(self) -> bool:
        if self._wants_pictures:  # what they show was drawn already, and it was nothing
            return False
        return any(self._shows_image(index) for index in range(min(self.pages_total, _IMAGE_PAGES)))

    def _read(self, page: pdfium.FPDF_PAGE, number: int, notes: Notes) -> Page:
        frame = frame_of(page)
        text, spans = self._lines.read(page, frame)
        garbled = is_garbled(text, self._lines.lost_chars)
        text, spans = with_notes(text, spans, notes, frame)
        read = Page(number, text, spans, self._headings(number, text, spans, frame), is_garbled=garbled)
        if self._is_drawn(page, text, is_garbled=garbled):
            picture = picture_of(page)
            return replace(read, media=(picture,)) if picture else read
        return self.figures.added(read, page, frame) if self.figures and text.strip() else read

    def _is_drawn(self, page: pdfium.FPDF_PAGE, text: str, *, is_garbled: bool) -> bool:
        """Whether what the page says must be recognised, and somebody will."""
        if is_garbled:
            return self._wants_pictures or self._can_recognise
        return self._wants_pictures and is_read_as_picture(page, text)

    def _headings(self, number: int, text: str, spans: Sequence[TextSpan], frame: PageFrame) -> tuple[Heading, ...]:
        if self._entries is None:
            self._entries = {}
            for entry in self.outline:
                self._entries.setdefault(entry.page, []).append(entry)
        own = self._entries.get(number, ())
        found = [Heading(start_of(entry, text, spans, frame), entry.level, entry.title) for entry in own]
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


def _is_image(shown: pdfium.FPDF_PAGEOBJECT, *, depth: int) -> bool:
    kind = pdfium.FPDFPageObj_GetType(shown)
    if kind != pdfium.FPDF_PAGEOBJ_FORM or depth >= _FORM_DEPTH:
        return bool(kind == pdfium.FPDF_PAGEOBJ_IMAGE)
    count = min(max(pdfium.FPDFFormObj_CountObjects(shown), 0), _MOST_OBJECTS)
    return any(_is_image(pdfium.FPDFFormObj_GetObject(shown, at), depth=depth + 1) for at in range(count))
