import struct
from io import BytesIO

import pytest
from PIL import Image
from unit.extractor import hostile_files, picture_files

from sluice_common.errors import CorruptDocument, DocumentTooLarge, OcrRequired, PermanentError, TooManyPages
from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.media import Picture
from sluice_extractor.parsing.original import Original
from sluice_extractor.sandbox import ReadLimits, ReadRequest, Sandbox

KINDS = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "GIF": "image/gif",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "JPEG2000": "image/jp2",
    "AVIF": "image/avif",
}
LIMITS = ReadLimits(1536 << 20, 60, 1, 120, 5_000, 50_000_000)
WHITE, BLACK = 255, 0
STRIP_OFFSETS, STRIP_BYTES = 273, 279


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
def read(sandbox, tmp_path):
    """Reads bytes in a real child, with media; returns the type, the pages, and the remarks."""

    def read(content: bytes, name: str = "picture"):
        path = tmp_path / "original"
        path.write_bytes(content)
        with sandbox.read(ReadRequest(path, name, wants_media=True)) as reading:
            pages = list(reading)
            return reading.media_type, pages, reading.remarks

    return read


def picture_on(page) -> Picture:
    (picture,) = page.media
    return picture


def grey_at(picture: Picture, x: float, y: float) -> int:
    """The pixel at a part of the width and of the height."""
    column, row = int(x * picture.width), int(y * picture.height)
    return picture.pixels[(row * picture.width + column) * picture.channels]


def is_upright(picture: Picture) -> bool:
    corner, opposite = grey_at(picture, 0.05, 0.05), grey_at(picture, 0.95, 0.95)
    return corner < 60 and opposite > 200 and picture.width > picture.height


@pytest.mark.parametrize(("kind", "media_type"), KINDS.items(), ids=list(KINDS))
def test_a_picture_is_a_page_that_shows_it_behind_the_walls_too(read, kind, media_type):
    found_type, (page,), remarks = read(picture_files.picture(kind))

    picture = picture_on(page)
    assert (found_type, page.number, page.text, remarks) == (media_type, 1, "", ())
    assert (picture.width, picture.height, picture.channels) == (*picture_files.TRUE_SIZE, 1)
    assert (picture.is_whole_page, picture.at, picture.rect) == (True, 0, (0, 0, *picture_files.TRUE_SIZE))
    assert is_upright(picture)


def test_without_a_wish_for_media_a_picture_needs_ocr():
    with pytest.raises(OcrRequired, match="a PNG image"):
        open_document(Original(picture_files.picture()))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_upright_however_the_camera_was_held(orientation):
    assert is_upright(decoded(picture_files.turned(orientation)))


def decoded(content: bytes, name: str = "") -> Picture:
    (page,) = open_document(Original(content, name, wants_media=True)).pages
    return picture_on(page)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_is_white(mode):
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 10, 10))
    content = picture_files.saved(image.convert("LA" if mode == "LA" else "RGBA"), "PNG")
    if mode == "PA":
        content = picture_files.saved(image.quantize(), "PNG")

    picture = decoded(content)

    assert (grey_at(picture, 0.1, 0.1), grey_at(picture, 0.9, 0.9)) == (BLACK, WHITE)


def test_a_picture_of_sixteen_bits_keeps_its_shades():
    image = Image.frombytes("I;16", (2, 1), struct.pack("<HH", 1_000, 60_000)).resize((20, 10))

    picture = decoded(picture_files.saved(image, "PNG"))

    assert (grey_at(picture, 0.1, 0.5), grey_at(picture, 0.9, 0.5)) == (BLACK, WHITE)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_a_picture_of_any_mode_comes_in_grey(mode):
    picture = decoded(picture_files.saved(picture_files.drawing(mode=mode), "TIFF", compression="tiff_lzw"))

    assert picture.channels == 1
    assert is_upright(picture)


def test_the_frames_of_a_tiff_are_pages(read):
    media_type, pages, _ = read(picture_files.tiff_of(3))

    assert media_type == "image/tiff"
    assert [page.number for page in pages] == [1, 2, 3]
    assert len({picture_on(page).pixels for page in pages}) == 3


def test_of_an_animation_the_first_frame_is_read():
    frames = [Image.new("L", (60, 60), shade) for shade in (10, 100, 200)]
    content = picture_files.saved(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert grey_at(decoded(content), 0.5, 0.5) == 10


@pytest.mark.parametrize(("stated", "believed"), [((300, 300), 300), ((72, 72), None), ((100_000, 100_000), None)])
def test_a_resolution_is_believed_where_it_can_be_true(stated, believed):
    dpi = decoded(picture_files.picture("JPEG", dpi=stated)).dpi

    assert dpi == believed


def test_a_photograph_beyond_the_limit_is_decoded_smaller():
    picture = decoded(picture_files.huge_jpeg(10_000, 6_000))

    assert (picture.width, picture.height) == (5_000, 3_000)
    assert picture.rect == (0, 0, 10_000, 6_000)


HOSTILE = {
    "PNG of 60,000 x 60,000": (lambda: picture_files.png(60_000, 60_000), DocumentTooLarge, "limit_pixels"),
    "PNG of 13,000 x 13,000": (lambda: picture_files.huge_png(13_000), DocumentTooLarge, "limit_pixels"),
    "JPEG of 65,000 x 65,000": (
        lambda: picture_files.with_jpeg_size(picture_files.picture("JPEG"), 65_000, 65_000),
        DocumentTooLarge,
        "limit_pixels",
    ),
    "WebP of 16,000 x 16,000": (
        lambda: picture_files.webp_of_claimed_size(16_000, 16_000),
        DocumentTooLarge,
        "limit_pixels",
    ),
    "PNG with a gigabyte of text": (picture_files.png_with_endless_text, CorruptDocument, None),
    "TIFF of 100,000 frames": (lambda: picture_files.tiff_of_headers(100_000), TooManyPages, None),
    "PNG cut off": (lambda: picture_files.picture(size=(900, 900))[:-400], CorruptDocument, None),
    "JPEG cut off": (lambda: picture_files.picture("JPEG")[:-900], CorruptDocument, None),
    "TIFF cut off": (lambda: picture_files.picture("TIFF")[: 9 << 10], CorruptDocument, None),
    "GIF cut off": (lambda: picture_files.picture("GIF")[:200], CorruptDocument, None),
    "WebP cut off": (lambda: picture_files.picture("WEBP")[:-200], CorruptDocument, None),
    "JPEG 2000 cut off": (lambda: picture_files.picture("JPEG2000")[:200], CorruptDocument, None),
    "AVIF cut off": (lambda: picture_files.picture("AVIF")[:-400], CorruptDocument, None),
    "magic alone": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(64), CorruptDocument, None),
    "PNG without pixels": (lambda: picture_files.png(0, 0), CorruptDocument, None),
}


@pytest.mark.parametrize("case", HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_picture_ends_with_its_code_and_the_next_one_is_read(read, case):
    make, error, detail_code = case

    with pytest.raises(PermanentError) as caught:
        read(make())

    assert (type(caught.value), caught.value.detail_code) == (error, detail_code)
    assert is_upright(picture_on(read(picture_files.picture())[1][0]))


def test_a_tiff_whose_frames_lead_back_to_the_first_ends():
    document = open_document(Original(picture_files.tiff_of_headers(3, loops=True), wants_media=True))

    assert [page.number for page in document.pages] == [1, 2, 3]


def test_a_page_that_is_damaged_is_named_and_the_others_are_read(read):
    content = picture_files.tiff_of(3, compression="tiff_adobe_deflate")
    at, size = pixels_of_frame(content, 1)
    broken = content[:at] + bytes(size) + content[at + size :]

    _, pages, remarks = read(broken)

    assert [page.failed for page in pages] == [False, True, False]
    assert [(remark.code, remark.page) for remark in remarks] == [("page_unreadable", 2)]


def pixels_of_frame(content: bytes, number: int) -> tuple[int, int]:
    image = Image.open(BytesIO(content))
    image.seek(number)
    return image.tag_v2[STRIP_OFFSETS][0], image.tag_v2[STRIP_BYTES][0]


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (picture_files.picture() + hostile_files.plain_pdf(), "image/png"),
        (picture_files.picture("GIF") + b"<html><body>words of a page</body></html>", "image/gif"),
        (picture_files.picture("JPEG") + b"PK\x03\x04 and more of an archive", "image/jpeg"),
    ],
)
def test_what_is_two_things_at_once_is_read_as_one_of_them(read, content, media_type):
    found_type, (page,), _ = read(content)

    assert (found_type, page.text) == (media_type, "")


def test_a_text_that_begins_like_a_bitmap_is_a_text():
    document = open_document(Original(b"BMW and other cars, and what they cost to repair.", "cars.txt"))

    assert document.media_type == "text/plain"
