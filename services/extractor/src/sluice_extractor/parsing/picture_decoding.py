"""Decodes pictures that nobody trusts, with Pillow: how large one is, is checked before a pixel of it is decoded."""

import struct
import warnings
from dataclasses import dataclass
from io import BytesIO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from sluice_common.errors import CorruptDocument, DocumentTooLarge
from sluice_extractor.parsing.media import Picture

MOST_PIXELS = 50_000_000
_MOST_JPEG_PIXELS, _MOST_PROGRESSIVE_PIXELS = 250_000_000, 100_000_000
"""A JPEG can be decoded at a half, a quarter or an eighth of its size; a progressive one is whole in memory first."""
_MOST_SHRINKING = 8
_DPI_RANGE = range(100, 2_401)
"""What is less is what programs write that do not know."""
_LONGEST_INCHES = 48
_ORIENTATION = 0x0112
_TURN_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST_ON_ITS_SIDE = 5
# What Pillow raises on damaged files; it has no error of its own for them.
_DAMAGES = (
    OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError,
    ZeroDivisionError, RuntimeError, struct.error, AssertionError,
)  # fmt: skip


@dataclass(frozen=True)
class PictureKind:
    """A format of pictures; `name` is Pillow's."""

    name: str
    called: str
    media_type: str


_PNG = PictureKind("PNG", "a PNG image", "image/png")
_JPEG = PictureKind("JPEG", "a JPEG image", "image/jpeg")
_GIF = PictureKind("GIF", "a GIF image", "image/gif")
_TIFF = PictureKind("TIFF", "a TIFF image", "image/tiff")
_WEBP = PictureKind("WEBP", "a WebP image", "image/webp")
_BMP = PictureKind("BMP", "a BMP image", "image/bmp")
_JPEG_2000 = PictureKind("JPEG2000", "a JPEG 2000 image", "image/jp2")
_AVIF = PictureKind("AVIF", "an AVIF image", "image/avif")

_MAGICS = (
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"\xff\xd8\xff", _JPEG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"II*\x00", _TIFF),
    (b"MM\x00*", _TIFF),
    (b"II+\x00", _TIFF),
    (b"MM\x00+", _TIFF),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", _JPEG_2000),
    (b"\xff\x4f\xff\x51\x00", _JPEG_2000),
)
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_FACTORIES = (
    AvifImagePlugin.AvifImageFile, BmpImagePlugin.BmpImageFile, GifImagePlugin.GifImageFile,
    Jpeg2KImagePlugin.Jpeg2KImageFile, JpegImagePlugin.jpeg_factory, MpoImagePlugin.MpoImageFile,
    PngImagePlugin.PngImageFile, TiffImagePlugin.TiffImageFile, WebPImagePlugin.WebPImageFile,
)  # fmt: skip
"""Named so that they are loaded with this module: Pillow would load them late."""


def kind_of(content: bytes) -> PictureKind | None:
    """The format that the first bytes prove; None where it is none that is decoded."""
    found = next((kind for magic, kind in _MAGICS if content.startswith(magic)), None)
    if found is not None:
        return found
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _WEBP
    if content[4:8] == b"ftyp" and content[8:12] in _AVIF_BRANDS:
        return _AVIF
    is_bmp = content[:2] == b"BM" and content[6:10] == bytes(4) and int.from_bytes(content[14:18], "little")
    return _BMP if is_bmp in _BMP_HEADERS else None


def contrast_of(picture: Picture) -> int:
    """How far the lightest and the darkest of its pixels are apart, from 0 to 255, in the colour that shows most."""
    mode = "L" if picture.channels == 1 else "RGB"
    raster = Image.frombuffer(mode, (picture.width, picture.height), picture.pixels)
    extrema = [channel.getextrema() for channel in raster.split()]
    return max(int(lightest) - int(darkest) for darkest, lightest in extrema)  # type: ignore[arg-type]  # numbers: one channel each


class PictureFile:
    """An opened file of one picture, or of several that follow each other as pages do."""

    def __init__(self, content: bytes, kind: PictureKind) -> None:
        """Read the header.

        Raises:
            CorruptDocument: it cannot be read.
            DocumentTooLarge: more pixels than the limit.
        """
        self.kind = kind
        self._content = content
        self._image = self._opened()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the first picture, as its header says."""
        return self._image.size

    def frames(self, most: int) -> int:
        """How many pictures it has that are pages, counted to one more than *most*; of an animation only the first."""
        if self.kind is not _TIFF:
            return 1
        for number in range(1, most + 1):
            try:
                self._image.seek(number)
            except EOFError:
                return number
            except _DAMAGES:
                return number + 1  # whoever wants that one is told
        return most + 1

    def picture(self, frame: int = 0, *, most_pixels: int = MOST_PIXELS, in_colour: bool = False) -> Picture:
        """The picture as it is looked at: upright, on white where it is transparent, and not above *most_pixels*.

        Raises:
            CorruptDocument: it is damaged or cut off.
            DocumentTooLarge: more pixels than the limit.
        """
        image = self._frame(frame)
        _check_size(image, self.kind)
        size, dpi, turn = image.size, _dpi_of(image), _turn_of(image)
        if self.kind is _JPEG:
            _draft(image, most_pixels, in_colour=in_colour)
        try:
            flat = _shrunk(_flattened(image, in_colour=in_colour), most_pixels)
        except _DAMAGES as error:
            raise CorruptDocument("the picture is damaged or cut off") from error
        if turn is not None:
            flat = flat.transpose(turn)
            size = size[::-1] if turn in _ON_THEIR_SIDES else size
        dpi = dpi and dpi * flat.width / size[0]
        shape = (flat.width, flat.height, len(flat.getbands()))
        return Picture(flat.tobytes(), *shape, at=0, dpi=dpi, rect=(0.0, 0.0, *size))

    def _frame(self, number: int) -> Image.Image:
        if self.kind is not _TIFF:  # decoding changes it, so another look needs another file
            self._image = self._opened()
            return self._image
        try:
            self._image.seek(number)
        except _DAMAGES as error:
            raise CorruptDocument("the page is damaged or cut off") from error
        return self._image

    def _opened(self) -> ImageFile.ImageFile:
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # behind the walls no thread can be started
        most = _MOST_JPEG_PIXELS if self.kind is _JPEG else MOST_PIXELS
        Image.MAX_IMAGE_PIXELS = most // 2  # some decoders make room for the pixels when they are opened
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return Image.open(BytesIO(self._content), formats=(self.kind.name,))
            except Image.DecompressionBombError as error:
                raise _too_many_pixels(most) from error
            except _DAMAGES as error:
                raise CorruptDocument(f"this is {self.kind.called}, and a damaged one") from error


_ON_THEIR_SIDES = frozenset(turn for number, turn in _TURN_BY_ORIENTATION.items() if number >= _FIRST_ON_ITS_SIDE)


def _check_size(image: Image.Image, kind: PictureKind) -> None:
    most = MOST_PIXELS
    if kind is _JPEG:
        most = _MOST_PROGRESSIVE_PIXELS if "progressive" in image.info else _MOST_JPEG_PIXELS
    if image.width * image.height > most:
        raise _too_many_pixels(most)
    if image.width < 1 or image.height < 1:
        raise CorruptDocument("the picture has no pixels")


def _too_many_pixels(most: int) -> DocumentTooLarge:
    return DocumentTooLarge(f"a picture of more than {most} pixels", detail_code="limit_pixels")


def _draft(image: Image.Image, most_pixels: int, *, in_colour: bool) -> None:
    """Let the decoder leave out what would be thrown away: colours, and pixels beyond the limit."""
    scale = 1
    while image.width * image.height > most_pixels * scale**2 and scale < _MOST_SHRINKING:
        scale *= 2
    mode = "RGB" if in_colour else "L"
    image.draft(mode, (image.width // scale, image.height // scale) if scale > 1 else image.size)


def _flattened(image: Image.Image, *, in_colour: bool) -> Image.Image:
    """Red, green and blue or grey, eight bits each, without transparency."""
    mode = "RGB" if in_colour else "L"
    image.load()
    if image.mode.startswith(("I", "F")):
        return _stretched(image).convert(mode)
    if not image.has_transparency_data:
        return image.convert(mode)
    whole = image.convert("RGBA")
    alpha = whole.getchannel("A")
    return Image.composite(whole.convert(mode), Image.new(mode, whole.size, "white"), alpha)


def _stretched(image: Image.Image) -> Image.Image:
    """What has more than eight bits a pixel, in eight: its darkest is black and its lightest white."""
    image = image.convert("F")
    low, high = image.getextrema()
    assert isinstance(low, int | float), "one channel"
    assert isinstance(high, int | float), "as above"
    scale = 255 / (high - low) if high > low else 0.0
    return image.point(lambda value: value * scale + (0.0 - low * scale))


def _shrunk(image: Image.Image, most_pixels: int) -> Image.Image:
    factor = 1
    while image.width * image.height > most_pixels * factor**2:
        factor += 1
    return image.reduce(factor) if factor > 1 else image


def _dpi_of(image: Image.Image) -> float | None:
    """Its resolution, where it says one that can be true."""
    try:
        dpi = float(min(image.info.get("dpi", ())))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):  # whatever a file may say
        return None
    is_likely = _DPI_RANGE.start <= dpi < _DPI_RANGE.stop and max(image.size) <= _LONGEST_INCHES * dpi
    return dpi if is_likely else None


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    """What brings it upright, as the camera has noted it."""
    try:
        return _TURN_BY_ORIENTATION.get(image.getexif().get(_ORIENTATION, 1))
    except _DAMAGES:
        return None
