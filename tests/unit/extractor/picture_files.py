"""Pictures of every kind, good and hostile, made in memory."""

import struct
import zlib
from io import BytesIO

from PIL import Image, ImageDraw

ORIENTATION = 0x0112
TRUE_SIZE = (400, 120)


def drawing(text: str = "Sluice", size: tuple[int, int] = TRUE_SIZE, mode: str = "RGB") -> Image.Image:
    """Black words on white, with a black corner at the top left that shows which way is up."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size[0] // 4, size[1] // 4), fill="black")
    draw.text((size[0] // 3, size[1] // 2), text, fill="black", font_size=max(min(size) // 5, 8))
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    written = BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def picture(kind: str = "PNG", text: str = "Sluice", size: tuple[int, int] = TRUE_SIZE, **options: object) -> bytes:
    """A file of that kind that shows *text*."""
    return saved(drawing(text, size), kind, **options)


def blot(number: int, size: tuple[int, int] = (100, 100)) -> bytes:
    """A picture that no other number has."""
    image = Image.new("L", size, 255)
    image.paste(0, (0, 0, 1 + number % 50, 1 + number // 50))
    return saved(image, "PNG", compress_level=1)


def turned(orientation: int) -> bytes:
    """A JPEG whose pixels lie in another way than it is to be looked at, as its EXIF says."""
    undone = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    image = drawing()
    image = image.transpose(undone[orientation]) if orientation in undone else image
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(image, "JPEG", exif=exif)


def tiff_of(count: int, size: tuple[int, int] = TRUE_SIZE, **options: object) -> bytes:
    pages = [drawing(f"page {number}", size) for number in range(1, count + 1)]
    return saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], **options)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, colours: int = 0, before: bytes = b"", rows: bytes = b"") -> bytes:
    """A PNG by its chunks; its pixels are *rows*, already deflated, which need not be what the header promises."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def deflated_zeros(size: int) -> bytes:
    """Made of one block over and over, because deflating gigabytes takes its time."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = squeezer.compress(bytes(1 << 20)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\xda" + block * (size >> 20) + b"\x03\x00" + bytes(4)


def huge_png(side: int, number: int = 0) -> bytes:
    """All its rows are there, and black; the number makes its bytes others."""
    comment = png_chunk(b"tEXt", b"Comment\0%d" % number)
    return png(side, side, before=comment, rows=deflated_zeros(side * (side + 1)))


def png_with_endless_text() -> bytes:
    """One gigabyte of compressed text before the pixels."""
    text = png_chunk(b"zTXt", b"Comment\0\0" + deflated_zeros(1 << 30))
    return png(8, 8, before=text, rows=zlib.compress(bytes(8 * 9)))


def tiff_of_headers(count: int, *, side: int = 8, loops: bool = False) -> bytes:
    """A TIFF of many frames which share their pixels."""
    out = bytearray(b"II*\x00" + struct.pack("<I", 8 + side * side)) + bytes(side * side)
    entries = (
        (256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, side),
        (279, 4, side * side),
    )  # fmt: skip
    for number in range(count):
        start = len(out)
        following = start + 2 + 12 * len(entries) + 4
        is_last = number == count - 1
        out += struct.pack("<H", len(entries))
        for tag, kind, value in entries:
            out += struct.pack("<HHII", tag, kind, 1, value)
        out += struct.pack("<I", (8 + side * side if loops else 0) if is_last else following)
    return bytes(out)


def huge_jpeg(width: int, height: int) -> bytes:
    """A JPEG of one colour; so large that it must be decoded smaller."""
    return saved(Image.new("L", (width, height), 200), "JPEG", quality=10)


def with_jpeg_size(content: bytes, width: int, height: int) -> bytes:
    """The JPEG whose header claims another size."""
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def webp_of_claimed_size(width: int, height: int) -> bytes:
    """A WebP whose canvas is claimed to be large."""
    body = saved(drawing(), "WEBP", lossless=True)[12:]
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (width - 1).to_bytes(3, "little")
    canvas += (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(body)) + b"WEBP" + canvas + body
