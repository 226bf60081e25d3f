"""Prepares a picture for recognition: upright, straight, large enough, its columns one below the other.

Tesseract's own search for columns loses whole lines of Hangul, and without it lines run across the columns. So the
columns are found here, by the white between them, and laid below each other on a sheet that is read from top to bottom.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sluice_extractor.parsing.media import Picture
from sluice_extractor.recognition.columns import columns_of
from sluice_extractor.recognition.ink import Ink, ink_of
from sluice_extractor.recognition.skew import Shear, skew_of

Grey = NDArray[np.uint8]

_SMALL_PIXELS = 2_500_000
_LOW_DPI = 140
_LONGEST_SIDE = 32_000
"""Tesseract takes no picture of more than 32,767 pixels in a row or a column."""
_USUAL_DPI = 96.0
_PAGE_INCHES = 11.7
_DPI_RANGE = (60.0, 400.0)
_LEAST_INCHES = 3.0
_MARGIN_INCHES = 0.15
_DARK = 100
_EVERY = 7
"""What is found out about shades is found out of every so many rows and columns."""
_LUMA = np.array([77, 150, 29], dtype=np.uint16)
"""Weights of red, green and blue in 256ths, after ITU-R BT.601."""


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, from the top left."""

    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class Strip:
    """A part of the straightened picture, and how far down the sheet it was laid."""

    left: int
    top: int
    right: int
    bottom: int
    sheet_top: int


@dataclass(frozen=True)
class Sheet:
    """What is given to be recognised, and where its parts come from."""

    pixels: Grey
    dpi: float
    turns: int
    """Quarter turns, counter-clockwise, by which the picture was set upright."""
    scale: float
    shear: Shear
    strips: tuple[Strip, ...]
    """In the order of reading; none where the sheet is the whole picture."""
    size: tuple[int, int]
    """Width and height of the upright picture."""

    def in_picture(self, box: Box) -> Box:
        """Where a box of the sheet lies in the picture as it came."""
        straight = self._off_strip(box) if self.strips else box
        upright = self.shear.undone(straight.x0, straight.y0, straight.x1, straight.y1)
        x0, y0, x1, y1 = (side / self.scale for side in upright)
        return _turned_back(Box(x0, y0, x1, y1), self.turns, *self.size)

    def _off_strip(self, box: Box) -> Box:
        middle = (box.y0 + box.y1) / 2
        strip = next((strip for strip in reversed(self.strips) if strip.sheet_top <= middle), self.strips[0])
        right, down = strip.left, strip.top - strip.sheet_top
        return Box(box.x0 + right, box.y0 + down, box.x1 + right, box.y1 + down)


def sheet_of(picture: Picture, turns: int = 0) -> Sheet:
    """The sheet for a picture that is upright after so many quarter turns, counter-clockwise."""
    grey = np.ascontiguousarray(np.rot90(_dark_on_light(_grey(picture)), turns))
    size = (grey.shape[1], grey.shape[0])
    dpi = _dpi_of(picture)
    scale = 1.0
    if grey.size <= _SMALL_PIXELS and dpi < _LOW_DPI and 2 * max(size) <= _LONGEST_SIDE:
        grey, scale = _doubled(grey), 2.0
    while max(grey.shape) > _LONGEST_SIDE:
        grey, scale = _halved(grey), scale / 2
    dpi *= scale
    whole = Sheet(grey, dpi, turns, scale, Shear(), (), size)
    return _in_columns(whole) if min(grey.shape) >= _LEAST_INCHES * dpi else whole


def lines_only(sheet: Sheet, boxes: list[Box]) -> tuple[Sheet, list[int]]:
    """A sheet of these boxes' lines alone, one below the other; and the top of each on it."""
    gap = max(round(_MARGIN_INCHES * sheet.dpi), 1)
    rows = [(max(int(box.y0) - gap // 4, 0), min(int(box.y1) + gap // 4 + 1, len(sheet.pixels))) for box in boxes]
    white = white_of(sheet.pixels)
    pieces = [np.full((gap, sheet.pixels.shape[1]), white, np.uint8)]
    tops = []
    for first, last in rows:
        tops.append(sum(len(piece) for piece in pieces))
        pieces += [sheet.pixels[first:last], pieces[0]]
    return replace(sheet, pixels=np.vstack(pieces)), tops


def _grey(picture: Picture) -> Grey:
    pixels = np.frombuffer(picture.pixels, np.uint8).reshape(picture.height, picture.width, picture.channels)
    if picture.channels == 1:
        return pixels[:, :, 0]
    grey: Grey = (pixels @ _LUMA >> 8).astype(np.uint8)
    return grey


def _dark_on_light(grey: Grey) -> Grey:
    """Where most of a picture is dark, its text is light; then it is turned into its negative."""
    return 255 - grey if np.median(grey[::_EVERY, ::_EVERY]) < _DARK else grey


def _dpi_of(picture: Picture) -> float:
    """As stated, else what a page of ordinary size would have, else that of a screen."""
    guessed = max(picture.width, picture.height) / _PAGE_INCHES if picture.is_whole_page else _USUAL_DPI
    least, most = _DPI_RANGE
    return min(max(picture.dpi or guessed, least), most)


def _doubled(grey: Grey) -> Grey:
    """Twice as wide and high, with averages between the pixels: small letters are recognised better."""
    return _stretched(_stretched(grey).T).T.copy()


def _halved(grey: Grey) -> Grey:
    if min(grey.shape) == 1:
        return np.ascontiguousarray(grey[::2, ::2])
    height, width = grey.shape[0] // 2, grey.shape[1] // 2
    squares = grey[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    halved: Grey = squares.mean(axis=(1, 3)).astype(np.uint8)
    return halved


def _stretched(grey: Grey) -> Grey:
    rows = np.repeat(grey, 2, axis=0)
    rows[1:-1:2] = (grey[:-1].astype(np.uint16) + grey[1:] + 1) >> 1
    return rows


def _in_columns(sheet: Sheet) -> Sheet:
    ink = ink_of(sheet.pixels, sheet.dpi)
    degrees = skew_of(ink)
    if degrees:
        shear = Shear.by(degrees, width=sheet.pixels.shape[1], height=sheet.pixels.shape[0])
        sheet = replace(sheet, pixels=shear.done(sheet.pixels, white_of(sheet.pixels)), shear=shear)
        ink = ink_of(sheet.pixels, sheet.dpi)
    strips = tuple(_strips_of(ink, sheet))
    height = sum(strip.bottom - strip.top for strip in strips)
    if len(strips) < 2 or height > _LONGEST_SIDE // 2:  # noqa: PLR2004 - columns are more than one
        return sheet
    return replace(sheet, pixels=_laid_out(sheet, strips), strips=strips)


def _strips_of(ink: Ink, sheet: Sheet) -> Iterator[Strip]:
    margin = max(round(_MARGIN_INCHES * sheet.dpi / 2), 1)
    height, width = sheet.pixels.shape
    sheet_top = margin
    for area in columns_of(ink):
        left, right = max(area.left * ink.cell - margin, 0), min(area.right * ink.cell + margin, width)
        top, bottom = max(area.top * ink.cell - margin, 0), min(area.bottom * ink.cell + margin, height)
        yield Strip(left, top, right, bottom, sheet_top)
        sheet_top += bottom - top + margin


def _laid_out(sheet: Sheet, strips: tuple[Strip, ...]) -> Grey:
    width = max(strip.right - strip.left for strip in strips)
    last = strips[-1]
    height = last.sheet_top + last.bottom - last.top + strips[0].sheet_top
    pixels = np.full((height, width), white_of(sheet.pixels), np.uint8)
    for strip in strips:
        part = sheet.pixels[strip.top : strip.bottom, strip.left : strip.right]
        pixels[strip.sheet_top : strip.sheet_top + len(part), : part.shape[1]] = part
    return pixels


def white_of(pixels: Grey) -> int:
    """The shade of the paper."""
    return int(np.percentile(pixels[::_EVERY, ::_EVERY], 90))


def _turned_back(box: Box, turns: int, width: int, height: int) -> Box:
    """A box of a picture of this size that was turned counter-clockwise, in the picture before that."""
    for _ in range(turns % 4):
        box = Box(height - box.y1, box.x0, height - box.y0, box.x1)
        width, height = height, width
    return box
