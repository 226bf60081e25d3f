"""Draws pages of PDFs as people see them, with PDFium."""

import math

import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # generated bindings, without types

from sluice_common.errors import CorruptDocument, DocumentTooLarge
from sluice_extractor.parsing.media import Picture
from sluice_extractor.parsing.pdf_canvas import Canvas, pixels_of

MOST_PIXELS = 8_000_000
"""Of one drawing; a page that would have more is drawn with fewer pixels per inch."""
_POINTS_PER_INCH = 72


def draw(page: pdfium.FPDF_PAGE, form: pdfium.FPDF_FORMHANDLE | None, dpi: float) -> Picture:
    """The page with its annotations and fields on white, upright as it is shown; with fewer *dpi* if it is very large.

    Raises:
        DocumentTooLarge: it has no size that can be drawn.
        CorruptDocument: PDFium makes nothing of it.
    """
    width_pt, height_pt = pdfium.FPDF_GetPageWidthF(page), pdfium.FPDF_GetPageHeightF(page)
    dpi = _affordable(width_pt, height_pt, dpi)
    width, height = (max(round(side * dpi / _POINTS_PER_INCH), 1) for side in (width_pt, height_pt))
    canvas = Canvas(width, height, whole=(width, height), in_colour=True)
    pixels = pixels_of(page, canvas, flags=pdfium.FPDF_ANNOT, form=form)
    if pixels is None:
        raise CorruptDocument("PDFium makes no picture of it")
    return Picture(pixels, width, height, canvas.channels, 0, is_whole_page=True, dpi=dpi)


def _affordable(width_pt: float, height_pt: float, dpi: float) -> float:
    area = width_pt * height_pt
    if not (math.isfinite(area) and width_pt > 0 and height_pt > 0):
        raise DocumentTooLarge("the page has no size that can be drawn")
    # Half a pixel is kept for rounding, and no side may be longer than a picture's.
    most = math.sqrt(MOST_PIXELS / area) * _POINTS_PER_INCH * 0.999
    longest = 0xFFFF / max(width_pt, height_pt) * _POINTS_PER_INCH
    return min(dpi, most, longest)
