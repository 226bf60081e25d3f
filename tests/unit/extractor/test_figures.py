import pytest
from PIL import Image
from unit.extractor import figure_files, office_files, picture_files
from unit.extractor.figure_files import AFTER, BEFORE

from sluice_common.errors import OcrRequired, PermanentError
from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.figure_marks import MARK, without_marks
from sluice_extractor.parsing.media import FigureSource
from sluice_extractor.parsing.original import Original
from sluice_extractor.parsing.page import Heading
from sluice_extractor.sandbox import ReadLimits, ReadRequest, Sandbox

LIMITS = ReadLimits(1536 << 20, 60, 1, 120, 5_000, 50_000_000)
SHOWN = picture_files.picture("PNG", "a figure")


def opened(content: bytes, name: str, *, wants_media: bool = True):
    """All pages, and the remarks."""
    document = open_document(Original(content, name, wants_media=wants_media))
    return list(document.pages), document.remarks


def pictures_of(pages):
    return [picture for page in pages for picture in page.media]


def around(pages) -> tuple[str, str]:
    """The text before the only picture, and the text behind it."""
    whole, at = "", None
    for page in pages:
        for picture in page.media:
            assert at is None, "there are several pictures"
            at = len(whole) + picture.at
        whole += page.text
    assert at is not None, "there is no picture"
    return whole[:at], whole[at:]


@pytest.mark.parametrize("name", figure_files.MAKERS)
def test_a_picture_stands_at_its_place_in_the_text_of_every_format(name):
    pages, remarks = opened(figure_files.MAKERS[name](SHOWN), name)

    before, after = around(pages)
    assert (BEFORE in before, AFTER in before) == (True, False)
    assert (AFTER in after, BEFORE in after) == (True, False)
    (picture,) = pictures_of(pages)
    assert (picture.width, picture.height, picture.channels) == (*picture_files.TRUE_SIZE, 1)
    assert remarks == []


@pytest.mark.parametrize("name", figure_files.MAKERS)
def test_the_text_is_the_same_whether_pictures_are_wanted_or_not(name):
    content = figure_files.MAKERS[name](SHOWN)

    with_pictures, _ = opened(content, name)
    without, _ = opened(content, name, wants_media=False)

    assert "".join(page.text for page in with_pictures).split() == "".join(page.text for page in without).split()
    assert pictures_of(without) == []


def test_marks_leave_headings_at_their_words_and_figures_at_the_end_of_their_line():
    text = f"one{MARK}{MARK} line\nTitle\n{MARK}two\nEnd{MARK}"
    headings = (Heading(text.index("Title"), 1, "Title"), Heading(text.index("End"), 2, "End"))

    plain, moved, figures = without_marks(text, headings, [FigureSource(str(at), bytes) for at in range(4)])

    assert plain == "one line\nTitle\ntwo\nEnd"
    assert [plain[heading.start :].split("\n")[0] for heading in moved] == ["Title", "End"]
    assert [(figure.at, figure.source.name) for figure in figures] == [(8, "0"), (8, "1"), (14, "2"), (22, "3")]


def test_a_picture_that_a_mail_shows_stands_behind_its_body():
    pages, _ = opened(figure_files.mail_that_shows(SHOWN), "a.eml")

    before, after = around(pages)
    assert BEFORE in before
    assert BEFORE not in after


def test_an_attached_picture_is_a_page_of_its_own_below_its_name():
    pages, _ = opened(figure_files.mail_with(SHOWN), "a.eml")

    at = next(number for number, page in enumerate(pages) if page.media)
    assert pages[at].media[0].is_whole_page
    assert pages[at - 1].text == "Attachment: one.png\n\n"


def test_each_distinct_picture_comes_once():
    pages, remarks = opened(figure_files.docx_with(SHOWN, times=40), "a.docx")

    assert len(pictures_of(pages)) == 1
    assert remarks == []


def test_the_same_bytes_under_two_names_come_once():
    pages, _ = opened(figure_files.docx_of_many([SHOWN, SHOWN]), "a.docx")

    assert len(pictures_of(pages)) == 1


@pytest.mark.parametrize(
    "decoration",
    [
        picture_files.picture(size=(60, 60)),
        picture_files.picture(size=(2_000, 8)),
        picture_files.saved(Image.new("RGB", (400, 400), (30, 60, 120)), "PNG"),
    ],
    ids=["icon", "rule", "one colour"],
)
def test_what_only_decorates_is_left_out_without_a_word(decoration):
    pages, remarks = opened(figure_files.docx_with(decoration), "a.docx")

    assert (pictures_of(pages), remarks) == ([], [])


def test_a_document_of_pictures_alone_is_read_by_them():
    content = figure_files.docx_with(SHOWN, texts=("", ""))

    pages, _ = opened(content, "a.docx")

    assert len(pictures_of(pages)) == 1
    with pytest.raises(OcrRequired):
        opened(content, "a.docx", wants_media=False)


BROKEN = {
    "cut off": SHOWN[:300],
    "a bomb of pixels": picture_files.huge_png(13_000),
    "a bomb of text": picture_files.png_with_endless_text(),
    "a drawing": b"\x01\x00\x00\x00\x6c\x00\x00\x00" + bytes(100),
    "zeros": bytes(80 << 20),
    "nothing": b"",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=list(BROKEN))
@pytest.mark.parametrize("name", ["a.docx", "a.hwp", "a.ods"])
def test_a_picture_that_cannot_be_read_is_remarked_and_the_text_stays(name, broken):
    pages, remarks = opened(figure_files.MAKERS[name](broken), name)

    text = "".join(page.text for page in pages)
    assert BEFORE in text
    assert AFTER in text
    assert [remark.code for remark in remarks] == ["images_not_read"]


def test_a_document_whose_only_picture_cannot_be_read_needs_ocr():
    with pytest.raises(OcrRequired):
        opened(figure_files.docx_with(b"no picture at all", texts=("", "")), "a.docx")


def test_more_pictures_than_one_part_may_have_come_in_several_with_their_text_and_headings():
    pictures = [picture_files.blot(at) for at in range(250)]

    pages, remarks = opened(figure_files.docx_of_many(pictures), "a.docx")

    assert len(pictures_of(pages)) == 250
    assert max(len(page.media) for page in pages) <= 100
    assert all(picture.at <= len(page.text) for page in pages for picture in page.media)
    titles = [page.text[heading.start :].splitlines()[0] for page in pages for heading in page.headings]
    assert titles == [f"Part {at}" for at in range(1, 251)]
    assert remarks == []


def test_pictures_beyond_the_limit_of_a_document_are_one_remark():
    pages, remarks = opened(figure_files.docx_of_many([picture_files.blot(at) for at in range(1_050)]), "a.docx")

    assert len(pictures_of(pages)) == 1_000
    assert [(remark.code, remark.detail) for remark in remarks] == [
        ("images_not_read", "Images that were not read: 50 beyond the limits.")
    ]


def test_a_large_figure_comes_smaller():
    (picture,) = pictures_of(opened(figure_files.docx_with(picture_files.blot(7, (6_000, 5_000))), "a.docx")[0])

    assert (picture.width, picture.height) == (3_000, 2_500)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(LIMITS) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", ["a.docx", "a.hwp", "a.rtf", "a.ipynb"])
def test_pictures_come_through_the_walls(sandbox, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(figure_files.MAKERS[name](SHOWN))

    with sandbox.read(ReadRequest(path, name, wants_media=True)) as reading:
        pages = list(reading)

    assert pictures_of(pages) == pictures_of(opened(path.read_bytes(), name)[0])


def test_a_document_of_bombs_ends_within_its_memory_and_the_next_one_is_read(sandbox, tmp_path):
    heavy = [picture_files.huge_png(7_000, at) for at in range(5)]
    path = tmp_path / "bombs.docx"
    path.write_bytes(figure_files.docx_of_many([*heavy, picture_files.huge_png(20_000)]))

    with sandbox.read(ReadRequest(path, path.name, wants_media=True)) as reading:
        pages = list(reading)

    assert "text 6" in "".join(page.text for page in pages)
    assert [remark.code for remark in reading.remarks] == ["images_not_read"]
    path.write_bytes(office_files.docx(office_files.paragraph("still reads")))
    with sandbox.read(ReadRequest(path, path.name)) as reading:
        assert "still reads" in next(reading).text


def test_a_picture_that_is_a_bomb_of_an_archive_does_not_end_the_document():
    zeros = figure_files.docx_with(b"BM" + bytes(60 << 20))

    try:
        pages, remarks = opened(zeros, "a.docx")
    except PermanentError as error:
        pytest.fail(f"the document failed with {error.code}")
    assert BEFORE in "".join(page.text for page in pages)
    assert [remark.code for remark in remarks] == ["images_not_read"]
