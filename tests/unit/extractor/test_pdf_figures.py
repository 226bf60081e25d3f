import zlib

import pytest
from unit.extractor import hostile_texts, picture_files
from unit.extractor.hostile_files import one_page, pages_of, stream

from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.original import Original
from sluice_extractor.sandbox import ReadLimits, ReadRequest, Sandbox

LIMITS = ReadLimits(1 << 30, 60, 5, 120, 5_000, 50_000_000)
WORDS = b"BT /F 12 Tf 50 700 Td (words above) Tj ET BT /F 12 Tf 50 100 Td (words below) Tj ET "
SHOWS = b"q 400 0 0 120 100 400 cm /X Do Q "
RECT = (100.0, 280.0, 500.0, 400.0)
"""Of what `SHOWS` on a page of 600 by 800 points."""
RESOURCES = b"/XObject<</X 10 0 R>>"


def image(text: str = "figure", size: tuple[int, int] = (800, 240), *, colours: str = "L") -> bytes:
    """An image object."""
    drawn = picture_files.drawing(text, size, colours)
    space = b"DeviceGray" if colours == "L" else b"DeviceRGB"
    entries = b"/Type/XObject/Subtype/Image/Width %d/Height %d/BitsPerComponent 8/ColorSpace/%b" % (*size, space)
    return stream(zlib.compress(drawn.tobytes()), entries + b"/Filter/FlateDecode")


def claimed_image(width: int, height: int) -> bytes:
    entries = b"/Type/XObject/Subtype/Image/Width %d/Height %d/BitsPerComponent 8/ColorSpace/DeviceGray"
    return stream(picture_files.deflated_zeros(1 << 20), entries % (width, height) + b"/Filter/FlateDecode")


def pdf(content: bytes = WORDS + SHOWS, **objects: bytes) -> bytes:
    more = {10: image(), **{int(number[1:]): value for number, value in objects.items()}}
    return one_page(stream(content), resources=RESOURCES, more=more)


def opened(content: bytes, **how: object):
    document = open_document(Original(content, "a.pdf", wants_media=True, **how))
    return list(document.pages), document.remarks


def pictures_of(pages):
    return [picture for page in pages for picture in page.media]


def shade_at(picture, x: float, y: float) -> int:
    column, row = int(x * picture.width), int(y * picture.height)
    return picture.pixels[(row * picture.width + column) * picture.channels]


def test_a_figure_stands_between_the_lines_around_it_with_its_rectangle():
    (page,), remarks = opened(pdf())

    (picture,) = page.media
    assert page.text[: picture.at].strip() == "words above"
    assert page.text[picture.at :].strip() == "words below"
    assert (picture.rect, picture.is_whole_page, picture.channels) == (RECT, False, 1)
    assert (picture.width, picture.height, round(picture.dpi)) == (800, 240, 144)
    assert (shade_at(picture, 0.05, 0.05), shade_at(picture, 0.95, 0.95)) == (0, 255)
    assert remarks == []


def test_without_a_wish_for_media_no_page_has_any():
    document = open_document(Original(pdf(), "a.pdf"))

    assert pictures_of(document.pages) == []


def test_colours_are_kept_where_they_are_wanted():
    content = pdf(WORDS + b"1 0 0 rg " + SHOWS, o10=image(colours="RGB"))

    (picture,) = pictures_of(opened(content, wants_colour=True)[0])

    assert picture.channels == 3
    assert len(picture.pixels) == 3 * picture.width * picture.height


def test_a_figure_that_every_page_shows_comes_once():
    pages, _ = opened(pages_of([stream(WORDS + SHOWS)] * 5, resources=RESOURCES, more={10: image()}))

    assert [len(page.media) for page in pages] == [1, 0, 0, 0, 0]


def test_strips_of_one_figure_come_as_one():
    strips = b"".join(b"q 400 0 0 20 100 %d cm /X%d Do Q " % (480 - 20 * at, at) for at in range(4))
    names = b"".join(b"/X%d %d 0 R" % (at, 10 + at) for at in range(4))
    images = {10 + at: image(f"strip {at}", (800, 40)) for at in range(4)}
    content = one_page(stream(WORDS + strips), resources=b"/XObject<<%b>>" % names, more=images)

    (picture,) = pictures_of(opened(content)[0])

    assert picture.rect == (100.0, 300.0, 500.0, 380.0)
    assert (picture.width, picture.height) == (800, 160)


def test_a_figure_on_a_turned_page_is_upright_as_the_page_is_looked_at():
    content = one_page(
        stream(WORDS + b"q 0 400 -120 0 400 100 cm /X Do Q "),
        resources=RESOURCES,
        page=b"/Rotate 90",
        more={10: image()},
    )

    (picture,) = pictures_of(opened(content)[0])

    assert picture.rect == (100.0, 280.0, 500.0, 400.0)
    assert (shade_at(picture, 0.05, 0.05), shade_at(picture, 0.95, 0.95)) == (0, 255)


def test_a_figure_within_a_form_has_its_place_on_the_page():
    entries = b"/Type/XObject/Subtype/Form/BBox[0 0 1000 1000]/Resources<</XObject<</Y 11 0 R>>>>/Matrix[2 0 0 2 0 0]"
    form = stream(b"q 200 0 0 60 50 200 cm /Y Do Q", entries)

    (picture,) = pictures_of(opened(pdf(WORDS + b"/X Do ", o10=form, o11=image()))[0])

    assert picture.rect == RECT
    assert shade_at(picture, 0.05, 0.05) == 0


def test_the_text_over_a_figure_is_no_part_of_it():
    over = b"BT /F 40 Tf 300 420 Td (MM) Tj ET "
    (plain,) = pictures_of(opened(pdf())[0])

    (picture,) = pictures_of(opened(pdf(WORDS + SHOWS + over))[0])

    assert picture.pixels == plain.pixels


def test_a_scan_below_its_recognised_text_is_no_figure():
    lines = b"".join(b"BT 3 Tr /F 10 Tf 60 %d Td (%b) Tj ET " % (720 - 12 * at, b"words " * 14) for at in range(50))
    content = b"q 600 0 0 800 0 0 cm /X Do Q " + lines

    assert pictures_of(opened(pdf(content, o10=image("a scan", (1_200, 1_600))))[0]) == []


@pytest.mark.parametrize(
    "content",
    [
        WORDS + b"q 12 0 0 12 100 400 cm /X Do Q ",
        WORDS + b"q 400 0 0 2 100 400 cm /X Do Q ",
        WORDS + b"q 0 0 0 0 9 9 cm /X Do Q ",
    ],
    ids=["icon", "rule", "no size"],
)
def test_what_is_shown_too_small_for_words_is_left_out_without_a_word(content):
    pages, remarks = opened(pdf(content))

    assert (pictures_of(pages), remarks) == ([], [])


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(LIMITS) as sandbox:
        yield sandbox


@pytest.mark.parametrize("side", [13_000, 60_000])
def test_an_image_of_too_many_pixels_is_remarked_and_the_page_is_read(sandbox, tmp_path, side):
    path = tmp_path / "huge.pdf"
    path.write_bytes(pdf(o10=claimed_image(side, side)))

    with sandbox.read(ReadRequest(path, path.name, wants_media=True)) as reading:
        (page,) = reading

    assert page.text.split() == ["words", "above", "words", "below"]
    assert page.media == ()
    assert [remark.code for remark in reading.remarks] == ["images_not_read"]


def test_figures_come_through_the_walls_and_in_page_ranges(tmp_path):
    images = {10 + at: image(f"number {at}") for at in range(6)}
    streams = [stream(WORDS + SHOWS.replace(b"/X", b"/X%d" % at)) for at in range(6)]
    names = b"".join(b"/X%d %d 0 R" % (at, 10 + at) for at in range(6))
    path = tmp_path / "six.pdf"
    path.write_bytes(pages_of(streams, resources=b"/XObject<<%b>>" % names, more=images))
    limits = ReadLimits(1 << 30, 60, 5, 120, 5_000, 50_000_000, first_range_pages=2, range_pages=2)

    with Sandbox(limits) as sandbox, sandbox.read(ReadRequest(path, path.name, wants_media=True)) as reading:
        pages = list(reading)

    assert [len(page.media) for page in pages] == [1] * 6
    assert len({picture.pixels for picture in pictures_of(pages)}) == 6


def test_a_form_that_draws_itself_ends():
    entries = b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<</XObject<</X 10 0 R>>>>"

    pages, _ = opened(pdf(WORDS + b"/X Do ", o10=stream(b"/X Do", entries)))

    assert pictures_of(pages) == []


def test_a_figure_of_an_attached_pdf_has_no_rectangle_as_its_page_has_no_number():
    content = hostile_texts.mail_with(("a.pdf", "application/pdf", pdf()))

    (picture,) = pictures_of(open_document(Original(content, "a.eml", wants_media=True)).pages)

    assert picture.rect is None
