"""The frames of pictures, sounds and measures: a zero byte, the length of a header, it in JSON, then the bytes."""

import math
import struct
from typing import Any

import orjson

from sluice_extractor.parsing.media import Media, Picture, Recording, Sound
from sluice_extractor.sandbox.recording_frames import recording_fields, recording_of

MARK = b"\0"
"""JSON never begins with it."""
MOST_MEDIA = 200
"""Of one page."""
MOST_MEDIA_BYTES = 96 << 20
"""Of one page, all together; a child leaves out what is beyond."""
MOST_PIXELS = 50_000_000
_HEADER = struct.Struct("!I")
_MOST_SIDE = 1 << 16
_CHANNELS = (1, 3)
_RATES = range(8_000, 48_001)
_SAMPLE_BYTES = 2
_MOST_DPI = 10_000
_FARTHEST = 1e8


def encoded_media(media: Media) -> bytes:
    """The body of the frame of a picture, a sound or a recording's measures."""
    if isinstance(media, Picture):
        shape = (media.width, media.height, media.channels, media.at, media.is_whole_page, media.dpi, media.rect)
        return _joined({"picture": shape}, media.pixels)
    if isinstance(media, Recording):
        return _joined({"recording": recording_fields(media)}, b"")
    return _joined({"sound": media.rate}, media.samples)


def size_of(media: Media) -> int:
    """Bytes of pixels or samples."""
    if isinstance(media, Recording):
        return 0
    return len(media.pixels if isinstance(media, Picture) else media.samples)


def parse_media(body: bytes) -> Media:
    """The picture, sound or recording that *body* is.

    Raises:
        ValueError, TypeError, KeyError, struct.error: it is none; an honest child sends no such thing.
    """
    (length,) = _HEADER.unpack_from(body, len(MARK))
    start = len(MARK) + _HEADER.size + length
    fields = orjson.loads(body[len(MARK) + _HEADER.size : start])
    content = body[start:]
    if "recording" in fields:
        return recording_of(fields["recording"])
    if "sound" in fields:
        return _sound_of(fields["sound"], content)
    return _picture_of(fields["picture"], content)


def _joined(fields: dict[str, object], content: bytes) -> bytes:
    header = orjson.dumps(fields)
    return b"".join((MARK, _HEADER.pack(len(header)), header, content))


def _picture_of(shape: Any, pixels: bytes) -> Picture:  # Any: checked here
    width, height, channels, at, is_whole_page, dpi, rect = shape
    if {type(width), type(height), type(channels), type(at)} != {int} or type(is_whole_page) is not bool:
        raise ValueError("no picture")
    if not (0 < width <= _MOST_SIDE and 0 < height <= _MOST_SIDE and width * height <= MOST_PIXELS):
        raise ValueError("no picture of that size")
    if channels not in _CHANNELS or at < 0 or len(pixels) != width * height * channels:
        raise ValueError("no picture of that shape")
    return Picture(pixels, width, height, channels, at, is_whole_page, _dpi_of(dpi), _rect_of(rect))


def _dpi_of(dpi: Any) -> float | None:  # Any: checked here
    if dpi is not None and (type(dpi) not in (int, float) or not 0 < dpi <= _MOST_DPI):
        raise ValueError("no resolution")
    return dpi if dpi is None else float(dpi)


def _rect_of(rect: Any) -> tuple[float, float, float, float] | None:  # Any: checked here
    if rect is None:
        return None
    x0, y0, x1, y1 = (float(side) for side in rect)
    if not all(math.isfinite(side) and abs(side) <= _FARTHEST for side in (x0, y0, x1, y1)):
        raise ValueError("no rectangle on a page")
    return x0, y0, x1, y1


def _sound_of(rate: Any, samples: bytes) -> Sound:  # Any: checked here
    if type(rate) is not int or rate not in _RATES or len(samples) % _SAMPLE_BYTES:
        raise ValueError("no sound")
    return Sound(samples, rate)
