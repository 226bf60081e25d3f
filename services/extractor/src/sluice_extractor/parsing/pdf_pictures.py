"""Pages of a PDF as pictures, for those that are read by what they look like."""

import math

import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # generated bindings, without types

from sluice_extractor.parsing.media import Picture
from sluice_extractor.parsing.pdf_canvas import Canvas, pixels_of

_DPI = 300.0
_LEAST_DPI = 36.0
_POINTS_PER_INCH = 72.0
_MOST_PIXELS = 32_000_000
_LONGEST_SIDE = 32_000


def is_read_as_picture(page: pdfium.FPDF_PAGE, text: str) -> bool:
    """Whether what a page says must be recognised: something is drawn on it, and none of it is text."""
    return not text.strip() and pdfium.FPDFPage_CountObjects(page) > 0


def picture_of(page: pdfium.FPDF_PAGE) -> Picture | None:
    """The page as it is displayed, in grey; None where it shows nothing, or cannot be drawn.

    The resolution is lower for pages that would have too many pixels.
    """
    width_pt, height_pt = float(pdfium.FPDF_GetPageWidthF(page)), float(pdfium.FPDF_GetPageHeightF(page))
    if not (0 < width_pt < math.inf and 0 < height_pt < math.inf):
        return None
    dpi = _dpi_for(width_pt, height_pt)
    if dpi < _LEAST_DPI:
        return None
    width, height = (max(round(side * dpi / _POINTS_PER_INCH), 1) for side in (width_pt, height_pt))
    pixels = pixels_of(page, Canvas(width, height, whole=(width, height)))
    if pixels is None or pixels.count(pixels[:1]) == len(pixels):
        return None
    rect = (0.0, 0.0, width_pt, height_pt)
    return Picture(pixels, width, height, channels=1, at=0, is_whole_page=True, dpi=dpi, rect=rect)


def _dpi_for(width_pt: float, height_pt: float) -> float:
    by_area = _POINTS_PER_INCH * math.sqrt(_MOST_PIXELS / (width_pt * height_pt))
    by_side = _POINTS_PER_INCH * _LONGEST_SIDE / max(width_pt, height_pt)
    return min(_DPI, by_area, by_side)
