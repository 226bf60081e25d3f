"""Pages of a PDF that can only be read by what they look like come as pictures, where that is wanted."""

from pathlib import Path

import numpy as np
import pytest
from unit.extractor import hostile_files as hostile
from unit.extractor.scans import HEIGHT, WIDTH, looks_of, scanned, written
from unit.extractor.test_page_ranges import IN_RANGES
from unit.extractor.test_sandbox import LIMITS

from sluice_common.errors import NoText, OcrRequired
from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.media import Picture
from sluice_extractor.parsing.original import Original
from sluice_extractor.parsing.page import Page
from sluice_extractor.sandbox import ReadRequest, Sandbox

LINE = "The weir tells of four rivers."
TEXT = b"BT /F 12 Tf 50 700 Td (A page with text) Tj ET"
BLANK = b""


def pages_of(content: bytes, *, wants_media: bool = True) -> list[Page]:
    return list(open_document(Original(content, "scan.pdf", wants_media=wants_media)).pages)


def picture_on(page: Page) -> Picture:
    (found,) = page.media
    assert isinstance(found, Picture)
    return found


def shades_of(found: Picture) -> np.ndarray:
    return np.frombuffer(found.pixels, np.uint8).reshape(found.height, found.width)


def test_a_scanned_page_comes_as_a_grey_picture_of_the_whole_page():
    (page,) = pages_of(scanned([looks_of(written([LINE]), dpi=100)]))

    found = picture_on(page)
    assert page.text == ""
    assert (found.width, found.height, found.channels) == (2500, 3333, 1)
    assert (found.is_whole_page, found.at, found.dpi) == (True, 0, 300)
    assert found.rect == (0, 0, WIDTH, HEIGHT)


def test_the_picture_shows_what_the_page_shows():
    looks = looks_of(written([LINE]), dpi=100)

    shades = shades_of(picture_on(pages_of(scanned([looks]))[0]))

    rows, columns = np.nonzero(shades < 128)
    expected_rows, expected_columns = np.nonzero(looks < 128)
    assert abs(rows.mean() / 3 - expected_rows.mean()) < 2
    assert abs(columns.mean() / 3 - expected_columns.mean()) < 2


def test_what_is_drawn_by_lines_alone_is_a_picture_too():
    (page,) = pages_of(scanned([b"100 100 m 300 500 l 5 w S"]))

    assert picture_on(page).is_whole_page


def test_only_pages_without_text_come_as_pictures_and_blank_ones_do_not():
    pages = pages_of(scanned([TEXT, looks_of(written([LINE]), dpi=50), BLANK]))

    assert [(page.text, len(page.media)) for page in pages] == [("A page with text", 0), ("", 1), ("", 0)]


def test_nothing_is_drawn_where_nobody_wants_pictures():
    pages = pages_of(scanned([TEXT, looks_of(written([LINE]), dpi=50)]), wants_media=False)

    assert [page.media for page in pages] == [(), ()]


def test_a_rotated_page_is_drawn_as_it_is_displayed():
    page = hostile.one_page(hostile.stream(b"100 100 m 300 500 l 5 w S"), page=b"/Rotate 90")

    found = picture_on(pages_of(page)[0])

    assert found.rect == (0, 0, HEIGHT, WIDTH)
    assert found.width > found.height


def test_a_huge_page_is_drawn_with_fewer_pixels_an_inch():
    page = hostile.one_page(hostile.stream(b"100 100 m 3000 5000 l 500 w S")).replace(
        b"[0 0 600 800]", b"[0 0 9999 9999]"
    )

    found = picture_on(pages_of(page)[0])

    assert found.width * found.height <= 32_100_000
    assert found.dpi == pytest.approx(found.width / (9999 / 72), rel=0.01)


def test_a_scan_without_media_says_that_it_must_be_recognised():
    with pytest.raises(OcrRequired):
        pages_of(scanned([looks_of(written([LINE]), dpi=50)]), wants_media=False)


def test_pictures_that_show_nothing_are_no_text():
    with pytest.raises(NoText):
        pages_of(scanned([np.full((100, 100), 255, np.uint8)]))


@pytest.mark.parametrize("width", [13_000, 60_000])
def test_a_picture_of_far_too_many_pixels_ends_with_a_code(tmp_path, width):
    path = tmp_path / "huge.pdf"
    path.write_bytes(hostile.picture_only(width))

    with Sandbox(LIMITS) as sandbox, pytest.raises(NoText):
        list(sandbox.read(ReadRequest(path, path.name, wants_media=True)))


def test_a_long_scan_is_read_in_page_ranges_and_no_page_is_lost(tmp_path: Path):
    path = tmp_path / "long.pdf"
    looks = looks_of(written([LINE]), dpi=30)
    path.write_bytes(scanned([looks, TEXT, looks, looks, BLANK, looks, looks]))

    with Sandbox(IN_RANGES) as sandbox, sandbox.read(ReadRequest(path, path.name, wants_media=True)) as reading:
        found = [(page.number, page.text, len(page.media)) for page in reading]

    assert found == [
        (1, "", 1),
        (2, "A page with text", 0),
        (3, "", 1),
        (4, "", 1),
        (5, "", 0),
        (6, "", 1),
        (7, "", 1),
    ]
