"""Writes pictures as PNG."""

import struct
import zlib

from sluice_extractor.parsing.media import Picture

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2}
_INCHES_PER_METRE = 39.3701
_LEVEL = 6


def png_of(picture: Picture) -> bytes:
    """The picture as a PNG, with its pixels per inch where they are known."""
    head = struct.pack("!IIBBBBB", picture.width, picture.height, 8, _COLOUR_TYPES[picture.channels], 0, 0, 0)
    chunks = [_chunk(b"IHDR", head)]
    if picture.dpi:
        per_metre = max(round(picture.dpi * _INCHES_PER_METRE), 1)
        chunks.append(_chunk(b"pHYs", struct.pack("!IIB", per_metre, per_metre, 1)))
    chunks += [_chunk(b"IDAT", _compressed(picture)), _chunk(b"IEND", b"")]
    return _SIGNATURE + b"".join(chunks)


def _compressed(picture: Picture) -> bytes:
    """The rows, each after a byte that says that it is as it is: text on white needs no filter."""
    compressor = zlib.compressobj(_LEVEL)
    size = picture.width * picture.channels
    pixels = memoryview(picture.pixels)
    parts: list[bytes] = []
    for start in range(0, len(pixels), size):
        parts += (compressor.compress(b"\0"), compressor.compress(pixels[start : start + size]))
    return b"".join((*parts, compressor.flush()))


def _chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack("!I", len(content)) + body + struct.pack("!I", zlib.crc32(body))
