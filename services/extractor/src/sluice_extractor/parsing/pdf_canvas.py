"""The pixels of a PDF page, or of a part of it, as PDFium draws them on white."""

import ctypes
from dataclasses import dataclass

import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # generated bindings, without types

_WHITE = 0xFFFFFFFF


@dataclass(frozen=True)
class Canvas:
    """What is drawn, in pixels: a window of *width* by *height* onto a page that measures *whole*."""

    width: int
    height: int
    whole: tuple[int, int]
    start: tuple[int, int] = (0, 0)
    """Where the window begins on the page, from its top left."""
    in_colour: bool = False

    @property
    def channels(self) -> int:
        """3 is red, green, blue; 1 is grey."""
        return 3 if self.in_colour else 1


def pixels_of(
    page: pdfium.FPDF_PAGE, canvas: Canvas, *, flags: int = 0, form: pdfium.FPDF_FORMHANDLE | None = None
) -> bytes | None:
    """Rows from the top, without padding; None where PDFium makes nothing of it.

    Args:
        page: as it is shown, upright.
        canvas: what of it is wanted.
        flags: of PDFium's rendering, beside those of the colours.
        form: the document's, where its fields shall be drawn too.
    """
    kind = pdfium.FPDFBitmap_BGR if canvas.in_colour else pdfium.FPDFBitmap_Gray
    flags |= pdfium.FPDF_REVERSE_BYTE_ORDER if canvas.in_colour else pdfium.FPDF_GRAYSCALE
    stride = canvas.width * canvas.channels
    pixels = (ctypes.c_ubyte * (stride * canvas.height))()
    bitmap = pdfium.FPDFBitmap_CreateEx(canvas.width, canvas.height, kind, pixels, stride)
    if not bitmap:
        return None
    left, top = (-side for side in canvas.start)
    try:
        pdfium.FPDFBitmap_FillRect(bitmap, 0, 0, canvas.width, canvas.height, _WHITE)
        pdfium.FPDF_RenderPageBitmap(bitmap, page, left, top, *canvas.whole, 0, flags)
        if form:
            pdfium.FPDF_FFLDraw(form, bitmap, page, left, top, *canvas.whole, 0, flags)
    finally:
        pdfium.FPDFBitmap_Destroy(bitmap)
    return bytes(pixels)
