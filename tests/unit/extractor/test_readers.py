import unicodedata
from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter
from unit.extractor import hostile_files as hostile

from sluice_common.errors import EmptyDocument, Encrypted, OcrRequired, UnsupportedFormat
from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.cleaning import clean_text
from sluice_extractor.parsing.original import Original
from sluice_extractor.parsing.page import PART_CHARS, Page, parts_of

READERS = ["pdfium", "pypdf"]


def pages_of(content: bytes, name: str = "", **hints) -> list[Page]:
    return list(open_document(Original(content, name, **hints)).pages)


def text_of(content: bytes, name: str = "", **hints) -> str:
    return "\n\n".join(page.text for page in pages_of(content, name, **hints))


def type_of(content: bytes, name: str = "", declared_type: str | None = None) -> str:
    return open_document(Original(content, name, declared_type)).media_type


def test_the_content_decides_and_not_the_name():
    assert type_of(hostile.plain_pdf(), "letter.txt") == "application/pdf"
    assert type_of(b"<!doctype html><p>Hi", "letter.pdf") == "text/html"
    assert type_of(b"just words", "letter.pdf", "application/pdf") == "text/plain"


def test_markdown_is_what_the_name_or_the_sender_calls_so():
    assert type_of(b"# Title", "a.md") == "text/markdown"
    assert type_of(b"# Title", "a", "text/markdown; charset=utf-8") == "text/markdown"
    assert type_of(b"# a shell comment", "a.txt") == "text/plain"


@pytest.mark.parametrize("name", ["a.log", "a.srt", "a.vtt", "a.rst", "a.adoc", "a.org"])
def test_lines_without_their_markup_are_read_as_written(name):
    assert text_of("제목,값\n1,2".encode("cp949"), name) == "제목,값\n1,2"


@pytest.mark.parametrize(
    ("content", "name", "named"),
    [
        (b"\x00\x00\x00\x18ftypheic", "a.pdf", "HEIF"),
        (b"\x1f\x8b....", "a.txt", "gzip"),
        (bytes(range(256)) * 10, "a.txt", "binary"),
    ],
)
def test_a_format_without_a_reader_is_refused_by_its_name(content, name, named):
    with pytest.raises(UnsupportedFormat, match=named):
        open_document(Original(content, name))


@pytest.mark.parametrize("content", [b"", b" \n", "\u3000 \n".encode("utf-16")])
def test_nothing_but_white_space_is_empty(content):
    with pytest.raises(EmptyDocument):
        open_document(Original(content, "a.txt"))


def test_lines_of_a_pdf_have_their_rectangles():
    (page,) = pages_of(hostile.plain_pdf())

    (span,) = page.spans
    assert page.text[span.start : span.end] == "Hello world"
    assert 49 < span.x0 < 52 < span.x1 < 130
    assert 85 < span.y0 < span.y1 < 105  # the baseline is at 700 of 800 points from below


def test_rectangles_of_a_rotated_page_are_those_of_the_page_as_displayed():
    (page,) = pages_of(hostile.rotated_page())

    (span,) = page.spans
    assert span.y1 - span.y0 > span.x1 - span.x0  # a line of a page turned by a quarter stands upright
    assert 690 < span.x0 < span.x1 < 720
    assert 49 < span.y0 < 52


@pytest.mark.parametrize("reader", READERS)
def test_text_of_form_fields_and_notes_is_taken(reader):
    text = text_of(hostile.with_form_and_note(), pdf_reader=reader)

    assert "Hello world" in text
    assert "Filled in value" in text
    assert "A sticky note" in text


@pytest.mark.parametrize("reader", READERS)
def test_the_outline_of_a_pdf_becomes_headings_at_their_place(reader):
    (page,) = pages_of(hostile.with_outline(), pdf_reader=reader)

    assert [(heading.level, heading.title) for heading in page.headings] == [(1, "Chapter"), (2, "Hello")]
    assert [page.text[heading.start :].split()[0] for heading in page.headings] == ["Chapter", "Hello"]


@pytest.mark.parametrize("reader", READERS)
def test_a_page_that_is_a_picture_needs_ocr(reader):
    with pytest.raises(OcrRequired):
        pages_of(hostile.picture_only(100), pdf_reader=reader)


@pytest.mark.parametrize("reader", READERS)
def test_only_a_pdf_that_needs_a_password_is_refused_as_encrypted(reader):
    assert "Hello" in text_of(encrypted(""), pdf_reader=reader)
    with pytest.raises(Encrypted):
        pages_of(encrypted("secret"), pdf_reader=reader)


def encrypted(password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(BytesIO(hostile.plain_pdf())))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="AES-256")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def test_html_gives_what_is_visible_with_its_blocks():
    markup = """<html><head><title>Prices</title><style>p{}</style></head><body><script>x()</script>
    <h1>All  <b>prices</b></h1><p>First<br>second</p><p hidden>no</p><div style="display: none">no</div>
    <table><tr><th>Fruit</th><th>Won</th></tr><tr><td>Apple</td><td>1,500</td></tr></table>
    <ul><li>one</li><li>two</li></ul><pre>a  b\n c</pre><noscript>no</noscript><template>no</template></body></html>"""

    (page,) = pages_of(markup.encode())

    assert page.text == (
        "Prices\n\nAll prices\n\nFirst\nsecond\n\nFruit | Won\nApple | 1,500\n\n- one\n- two\n\na  b\n c"
    )
    assert [(page.text[heading.start :][:10], heading.level) for heading in page.headings] == [("All prices", 1)]


def test_html_in_euc_kr_is_read_as_cp949():
    markup = '<html><head><meta charset="euc-kr"></head><body><p>똠방각하</p></body></html>'

    assert text_of(markup.encode("cp949")) == "똠방각하"


def test_html_without_a_charset_and_in_utf_16_is_read():
    markup = "<html><body><p>한국어 웹 문서입니다</p></body></html>"

    assert text_of(markup.encode("cp949")) == "한국어 웹 문서입니다"
    assert text_of(markup.encode("utf-16")) == "한국어 웹 문서입니다"


def test_markdown_headings_are_sections_and_code_is_not():
    source = "---\ntitle: x\n---\n# One\n\ntext\n\n```sh\n# no heading\n```\n\nTwo [link](u)\n---\n\n### `Three` ###\n"

    (page,) = pages_of(source.encode(), "a.md")

    assert page.text == source
    assert [(heading.level, heading.title) for heading in page.headings] == [(1, "One"), (2, "Two link"), (3, "Three")]


@pytest.mark.parametrize("text", [("line\n" * 60_000 + "\n") * 3, "one line without an end " * 50_000])
def test_a_long_text_comes_in_parts_of_bounded_size_that_together_are_the_text(text):
    parts = list(parts_of(text))

    assert len(parts) > 1
    assert max(len(part.text) for part in parts) <= PART_CHARS
    assert "".join(part.text for part in parts) == text


def test_text_is_cleaned_of_what_stores_refuse_and_otherwise_left_as_written():
    assert clean_text("a\0b\ud800c\ufffed\r\ne\rf\x07") == "ab\ufffdcd\ne\nf"
    assert clean_text("ﬁ e\u0301 ① Ａ") == "ﬁ e\u0301 ① Ａ"


def test_hangul_that_macos_took_apart_is_composed():
    assert clean_text(unicodedata.normalize("NFD", "한글 문서")) == "한글 문서"


@pytest.mark.parametrize("name", ["korean-text-with-tables.pdf"])
def test_a_real_korean_pdf_comes_out_as_written(name):
    content = (Path(__file__).parents[2] / "data" / name).read_bytes()

    text = text_of(content, name)

    assert sum("가" <= char <= "힣" for char in text) > 300
