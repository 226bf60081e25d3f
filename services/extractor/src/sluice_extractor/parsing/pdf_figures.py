"""Finds the raster figures on a PDF page that has text, and renders them as they look there, without the text."""

import ctypes
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # generated bindings, without types

from sluice_extractor.parsing.figures import (
    MOST_FIGURE_PIXELS,
    PAGE_BYTES,
    PAGE_PICTURES,
    can_show_text,
    shows_nothing,
)
from sluice_extractor.parsing.media import Picture
from sluice_extractor.parsing.original import FigureAllowance, Original
from sluice_extractor.parsing.page import IMAGES_NOT_READ, Page, Remark, TextSpan
from sluice_extractor.parsing.pdf_canvas import Canvas, pixels_of
from sluice_extractor.parsing.pdf_lines import PageFrame, shown_rect
from sluice_extractor.parsing.picture_decoding import MOST_PIXELS

_DEEPEST_FORM = 5
_MOST_OBJECTS = 10_000
_MOST_IMAGES = 300
_POINTS_PER_INCH = 72
_MOST_DPI = 300.0
_LEAST_SIDE, _LEAST_AREA = 10.0, 1_500.0
"""Of what is shown, in points."""
_TOUCHING = 2.0
_MOST_CHARS_PER_INCH2 = 5.0
"""With more text than that over it, a figure is the scan that the text was recognised in, or a background."""
_INSIDE = 0.9
_LEFT_OUT = Remark(IMAGES_NOT_READ, "Some images on the pages were not read: they are beyond the limits.")


@dataclass(frozen=True)
class _Rect:
    """In points from the top left of the page as displayed."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        return max(self.width, 0.0) * max(self.height, 0.0)

    def common(self, other: "_Rect") -> "_Rect":
        return _Rect(max(self.x0, other.x0), max(self.y0, other.y0), min(self.x1, other.x1), min(self.y1, other.y1))

    def around(self, other: "_Rect") -> "_Rect":
        return _Rect(min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1))

    def goes_on_in(self, other: "_Rect") -> bool:
        """Whether the two share a whole edge, as the strips and tiles of one picture do."""
        is_below = _near(self.x0, other.x0) and _near(self.x1, other.x1) and _near(self.y1, other.y0)
        is_beside = _near(self.y0, other.y0) and _near(self.y1, other.y1) and _near(self.x1, other.x0)
        return is_below or is_beside


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= _TOUCHING


@dataclass(frozen=True)
class _Figure:
    """A region of the page that one image covers, or several that go on in each other."""

    rect: _Rect
    dpi: float
    pixels: int
    digest: bytes
    size_bytes: int

    def with_next(self, other: "_Figure") -> "_Figure":
        digest = hashlib.blake2b(self.digest + other.digest, digest_size=16).digest()
        pixels, size_bytes = self.pixels + other.pixels, self.size_bytes + other.size_bytes
        return _Figure(self.rect.around(other.rect), max(self.dpi, other.dpi), pixels, digest, size_bytes)


class PdfFigures:
    """The figures of one document, each distinct one once."""

    def __init__(self, original: Original, remarks: list[Remark]) -> None:
        self._allowance = original.allowance.figures if original.allowance else FigureAllowance()
        self._in_colour = original.wants_colour
        self._remarks = remarks

    def added(self, page: Page, handle: pdfium.FPDF_PAGE, frame: PageFrame) -> Page:
        """The page with its figures; what is drawn beside them is gone from *handle* then."""
        images = list(_images_on(handle, frame))
        kept = _without_nested([figure for figure in _joined(images) if _is_wanted(figure, page.spans)])
        pictures: list[Picture] = []
        for figure in kept:
            picture = self._picture_of(figure, handle)
            if picture and not shows_nothing(picture):
                room = PAGE_BYTES - sum(len(other.pixels) for other in pictures)
                if len(pictures) >= PAGE_PICTURES or len(picture.pixels) > room:
                    self._note_left_out()
                    break
                pictures.append(replace(picture, at=_place_of(figure.rect, page)))
        pictures.sort(key=lambda picture: picture.at)
        return replace(page, media=tuple(pictures))

    def _picture_of(self, figure: _Figure, handle: pdfium.FPDF_PAGE) -> Picture | None:
        if not self._allowance.is_new(figure.digest, figure.size_bytes):
            return None
        if figure.pixels > MOST_PIXELS or not self._allowance.has_room():
            self._note_left_out()
            return None
        self._allowance.take(figure.pixels)
        return _rendered(figure, handle, in_colour=self._in_colour)

    def _note_left_out(self) -> None:
        if _LEFT_OUT not in self._remarks:
            self._remarks.append(_LEFT_OUT)


def _images_on(page: pdfium.FPDF_PAGE, frame: PageFrame) -> Iterator[_Figure]:
    """The images of the page; every other thing that it draws is switched off, so that only images are rendered."""
    bounds = _Rect(0, 0, pdfium.FPDF_GetPageWidthF(page), pdfium.FPDF_GetPageHeightF(page))
    count = min(max(pdfium.FPDFPage_CountObjects(page), 0), _MOST_OBJECTS)
    found = 0
    for shown in [pdfium.FPDFPage_GetObject(page, at) for at in range(count)]:
        has_image = False
        for image, matrices in _images_in(shown, (), depth=0):
            has_image = True
            figure = _figure_of(image, matrices, frame, bounds) if found < _MOST_IMAGES else None
            if figure:
                found += 1
                yield figure
        if not has_image:
            pdfium.FPDFPageObj_SetIsActive(shown, False)  # noqa: FBT003 - PDFium's own signature


def _images_in(
    shown: pdfium.FPDF_PAGEOBJECT, matrices: tuple[pdfium.FS_MATRIX, ...], *, depth: int
) -> Iterator[tuple[pdfium.FPDF_PAGEOBJECT, tuple[pdfium.FS_MATRIX, ...]]]:
    """The images in an object, each with the matrices of the forms around it, the innermost first."""
    kind = pdfium.FPDFPageObj_GetType(shown)
    if kind == pdfium.FPDF_PAGEOBJ_IMAGE:
        yield shown, matrices
    elif kind == pdfium.FPDF_PAGEOBJ_FORM and depth < _DEEPEST_FORM:
        matrix = pdfium.FS_MATRIX()
        if not pdfium.FPDFPageObj_GetMatrix(shown, matrix):
            return
        for at in range(min(max(pdfium.FPDFFormObj_CountObjects(shown), 0), _MOST_IMAGES)):
            yield from _images_in(pdfium.FPDFFormObj_GetObject(shown, at), (matrix, *matrices), depth=depth + 1)


def _figure_of(
    image: pdfium.FPDF_PAGEOBJECT, matrices: Sequence[pdfium.FS_MATRIX], frame: PageFrame, bounds: _Rect
) -> _Figure | None:
    """Where the image is shown and how finely; None where it has no room for words."""
    width, height = ctypes.c_uint(), ctypes.c_uint()
    if not pdfium.FPDFImageObj_GetImagePixelSize(image, width, height) or not can_show_text(width.value, height.value):
        return None
    sides = [ctypes.c_float() for _ in range(4)]
    if not pdfium.FPDFPageObj_GetBounds(image, *sides):
        return None
    left, bottom, right, top = (side.value for side in sides)
    for matrix in matrices:
        left, bottom, right, top = _moved(matrix, left, bottom, right, top)
    rect = _Rect(*shown_rect(frame, left, bottom, right, top)).common(bounds)
    if min(rect.width, rect.height) < _LEAST_SIDE / 4 or rect.area <= 0:
        return None
    dpi = _POINTS_PER_INCH * (width.value * height.value / rect.area) ** 0.5
    content = _bytes_of(image)
    digest = hashlib.blake2b(content, digest_size=16).digest()
    return _Figure(rect, min(dpi, _MOST_DPI), width.value * height.value, digest, len(content))


def _moved(matrix: pdfium.FS_MATRIX, left: float, bottom: float, right: float, top: float) -> tuple[float, ...]:
    corners = ((left, bottom), (left, top), (right, bottom), (right, top))
    xs = [matrix.a * x + matrix.c * y + matrix.e for x, y in corners]
    ys = [matrix.b * x + matrix.d * y + matrix.f for x, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _bytes_of(image: pdfium.FPDF_PAGEOBJECT) -> bytes:
    """As they lie in the file."""
    size = pdfium.FPDFImageObj_GetImageDataRaw(image, None, 0)
    buffer = ctypes.create_string_buffer(max(int(size), 1))
    pdfium.FPDFImageObj_GetImageDataRaw(image, buffer, size)
    return buffer.raw


def _joined(figures: Sequence[_Figure]) -> list[_Figure]:
    """The figures, with what was cut into strips or tiles put together again."""
    rows = _joined_in_order(figures)
    return _joined_in_order(rows) if len(rows) < len(figures) else rows


def _joined_in_order(figures: Sequence[_Figure]) -> list[_Figure]:
    joined: list[_Figure] = []
    for figure in sorted(figures, key=lambda figure: (round(figure.rect.y0 / _TOUCHING), figure.rect.x0)):
        at = next((at for at, other in enumerate(joined) if other.rect.goes_on_in(figure.rect)), None)
        if at is None:
            joined.append(figure)
        else:
            joined[at] = joined[at].with_next(figure)
    return joined


def _is_wanted(figure: _Figure, spans: Sequence[TextSpan]) -> bool:
    """Whether it is shown large enough, and no text lies over it that says what it shows."""
    rect = figure.rect
    if min(rect.width, rect.height) < _LEAST_SIDE or rect.area < _LEAST_AREA:
        return False
    chars = sum(span.end - span.start for span in spans if _is_over(span, rect))
    return chars <= _MOST_CHARS_PER_INCH2 * rect.area / _POINTS_PER_INCH**2


def _is_over(span: TextSpan, rect: _Rect) -> bool:
    x, y = (span.x0 + span.x1) / 2, (span.y0 + span.y1) / 2
    return rect.x0 <= x <= rect.x1 and rect.y0 <= y <= rect.y1


def _without_nested(figures: Sequence[_Figure]) -> list[_Figure]:
    """What lies in a larger one is seen there."""
    kept: list[_Figure] = []
    for figure in sorted(figures, key=lambda figure: -figure.rect.area):
        rect = figure.rect
        if not any(rect.common(other.rect).area > _INSIDE * rect.area for other in kept):
            kept.append(figure)
    return sorted(kept, key=lambda figure: (figure.rect.y0, figure.rect.x0))


def _rendered(figure: _Figure, page: pdfium.FPDF_PAGE, *, in_colour: bool) -> Picture | None:
    rect = figure.rect
    inches2 = rect.area / _POINTS_PER_INCH**2
    dpi = min(figure.dpi, (MOST_FIGURE_PIXELS / inches2) ** 0.5)
    scale = dpi / _POINTS_PER_INCH
    width, height = max(round(rect.width * scale), 1), max(round(rect.height * scale), 1)
    whole = [round(side * scale) for side in (pdfium.FPDF_GetPageWidthF(page), pdfium.FPDF_GetPageHeightF(page))]
    start = (round(rect.x0 * scale), round(rect.y0 * scale))
    canvas = Canvas(width, height, (whole[0], whole[1]), start, in_colour)
    pixels = pixels_of(page, canvas)
    if pixels is None:
        return None
    return Picture(pixels, width, height, canvas.channels, at=0, dpi=dpi, rect=(rect.x0, rect.y0, rect.x1, rect.y1))


def _place_of(rect: _Rect, page: Page) -> int:
    """The end of the line above the figure, in its column where there is one; else the beginning of that below."""
    in_column = [span for span in page.spans if span.x0 < rect.x1 and span.x1 > rect.x0]
    middle = (rect.y0 + rect.y1) / 2
    for spans in (in_column, page.spans):
        above = [span.end for span in spans if (span.y0 + span.y1) / 2 <= middle]
        if above:
            end = page.text.find("\n", max(above))
            return end if end >= 0 else len(page.text)
        if spans:
            return min(span.start for span in spans)
    return len(page.text)
