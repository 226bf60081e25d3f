"""Where PDFium itself says that each character of a page stands, found without our reader's lines and rectangles."""

import ctypes
from dataclasses import dataclass

import pypdfium2.raw as pdfium

TENTHS = 10
INVISIBLE = {0xFFFE, 0xFFFF, 0x00AD}


@dataclass(frozen=True)
class PlacedChar:
    """A visible character, and its box in points from the top left of the page as shown."""

    char: str
    x0: float
    y0: float
    x1: float
    y1: float


def chars_of(content: bytes, most_pages: int = 100) -> list[list[PlacedChar]]:
    """The visible characters of each of the first pages."""
    pdfium.FPDF_InitLibrary()
    document = pdfium.FPDF_LoadMemDocument64(content, len(content), None)
    count = min(pdfium.FPDF_GetPageCount(document), most_pages)
    pages = [_chars_of_page(document, index) for index in range(count)]
    pdfium.FPDF_CloseDocument(document)
    return pages


def _chars_of_page(document, index: int) -> list[PlacedChar]:
    page = pdfium.FPDF_LoadPage(document, index)
    if pdfium.FPDFPage_GetAnnotCount(page) > 0:  # as the reader does: what they show is part of the page
        pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY)
        pdfium.FPDF_ClosePage(page)
        page = pdfium.FPDF_LoadPage(document, index)
    text_page = pdfium.FPDFText_LoadPage(page)
    found = [_placed(page, text_page, at) for at in range(pdfium.FPDFText_CountChars(text_page))]
    pdfium.FPDFText_ClosePage(text_page)
    pdfium.FPDF_ClosePage(page)
    return [one for one in found if one]


def _placed(page, text_page, at: int) -> PlacedChar | None:
    code = pdfium.FPDFText_GetUnicode(text_page, at)
    char = chr(code)
    if code in INVISIBLE or char.isspace() or not char.isprintable() or pdfium.FPDFText_IsGenerated(text_page, at):
        return None
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    pdfium.FPDFText_GetCharBox(text_page, at, left, right, bottom, top)
    corners = [_shown(page, x.value, y.value) for x in (left, right) for y in (bottom, top)]
    across, down = [x for x, _ in corners], [y for _, y in corners]
    return PlacedChar(char, min(across), min(down), max(across), max(down))


def _shown(page, x: float, y: float) -> tuple[float, float]:
    """By PDFium's own transformation, which knows of turned and cropped pages."""
    width, height = (
        round(side * TENTHS) for side in (pdfium.FPDF_GetPageWidthF(page), pdfium.FPDF_GetPageHeightF(page))
    )
    across, down = ctypes.c_int(), ctypes.c_int()
    pdfium.FPDF_PageToDevice(page, 0, 0, width, height, 0, x, y, across, down)
    return across.value / TENTHS, down.value / TENTHS
