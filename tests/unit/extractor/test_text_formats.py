import json

import pytest

from sluice_common.errors import CorruptDocument, EmptyDocument, UnsupportedFormat
from sluice_extractor.chunking import Chunker
from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.original import Original


def text_of(content: bytes, name: str) -> str:
    return "".join(page.text for page in open_document(Original(content, name)).pages)


def headings_of(content: bytes, name: str) -> list[tuple[int, str]]:
    return [(h.level, h.title) for page in open_document(Original(content, name)).pages for h in page.headings]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "cp949", "utf-16"])
def test_a_table_is_read_whatever_its_delimiter_and_encoding(delimiter, encoding):
    rows = [["이름", "부서", "비고"], ["홍길동", "총무과", "회의, 출장"], ["김철수", "인사과", "휴가"]]
    lines = (delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in rows)

    text = text_of("\r\n".join(lines).encode(encoding), "a.csv")

    assert text == "이름 | 부서 | 비고\n홍길동 | 총무과 | 회의, 출장\n김철수 | 인사과 | 휴가"


def test_line_ends_in_quotes_do_not_end_a_row():
    assert (
        text_of(b'name,note\nKim,"first\nsecond, ""third"""\n', "a.csv") == 'name | note\nKim | first second, "third"'
    )


def test_every_chunk_of_a_table_shows_what_its_columns_mean():
    content = "이름,부서,전화\n" + "".join(f"직원{n},총무과,02-{n:08}\n" for n in range(300))
    chunker = Chunker(1000, 200)

    chunks = [c for page in open_document(Original(content.encode(), "a.csv")).pages for c in chunker.feed(page)]
    chunks += chunker.finish()

    assert len(chunks) > 5
    assert all("이름 | 부서 | 전화" in chunk.text for chunk in chunks[:-1])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (rb"{\rtf1\ansi\ansicpg949 \'c7\'d1\'b1\'db \'b9\'ae\'bc\'ad\par next}", "한글 문서\nnext"),
        (
            rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}{\f1\fcharset129 Batang;}}\f0 a \f1 \'c7\'d1\'b1\'db}",
            "a 한글",
        ),
        (rb"{\rtf1\uc1 \u-10916?\u44544? \u55357?\u56832?}", "핝글 😀".replace("핝", chr(65536 - 10916))),
        (rb"{\rtf1\uc2 \u54620\'c7\'d1\u44544\'b1\'db}", "한글"),
        (rb"{\rtf1 a{\*\secret hidden}b{\pict 0102}c{\v unseen}d\bin3 xyze}", "abcde"),
        (
            rb"{\rtf1 \trowd\intbl one\par two\cell b\cell\row\trowd\intbl c\cell d\cell\row\pard after}",
            "one two | b\nc | d\nafter",
        ),
        (rb"{\rtf1\ansi {\*\htmltag <b>}shown\htmlrtf \b not \htmlrtf0 too}", "showntoo"),
    ],
)
def test_rtf_gives_its_words_and_none_of_its_markup(written, meant):
    assert text_of(written, "a.rtf") == meant


def test_rtf_without_words_is_empty():
    with pytest.raises(EmptyDocument):
        text_of(rb"{\rtf1{\fonttbl{\f0 Arial;}}}", "a.rtf")


def test_values_of_json_stand_beside_the_names_that_lead_to_them_as_they_are_written():
    content = json.dumps({"주문": {"번호": 12345678901234567890123, "값": 1.10, "태그": ["가", "나"], "빈": None}})

    text = text_of(content.replace("1.1", "1.10").encode(), "a.json")

    assert text == "주문.번호: 12345678901234567890123\n주문.값: 1.10\n주문.태그: 가, 나"


@pytest.mark.parametrize("content", [b'[{"a": 1}, {"a": 2}]', b'{"a": 1}\n{"a": 2}\n'])
def test_records_of_json_stand_apart(content):
    assert text_of(content, "a.json") == "a: 1\n\na: 2"


def test_json_is_known_by_its_content_and_damaged_json_by_its_name():
    assert open_document(Original(b'{"a": "b"}')).media_type == "application/json"
    assert open_document(Original(b"{not json", "a.txt")).media_type == "text/plain"
    with pytest.raises(CorruptDocument):
        open_document(Original(b'{"a": ', "a.json"))


@pytest.mark.parametrize("encoding", ["euc-kr", "utf-8", "utf-16"])
def test_xml_is_read_in_the_encoding_that_it_names(encoding):
    content = f'<?xml version="1.0" encoding="{encoding}"?><목록><항목 번호="1"><이름>홍길동</이름></항목></목록>'

    assert text_of(content.encode(encoding), "a.xml") == "목록\n\n항목 (번호: 1)\n이름: 홍길동"


def test_prose_in_xml_stays_prose_and_its_titles_are_sections():
    content = b"<article><sec><title>On bees</title><p>They <i>do</i> fly &amp; dance.</p></sec></article>"

    assert text_of(content, "a.xml") == "article\n\nsec\nOn bees\np: They do fly & dance."
    assert [title for _, title in headings_of(content, "a.xml")] == ["On bees"]


def test_a_notebook_is_its_prose_its_code_and_what_the_code_printed():
    cells = [
        {"cell_type": "markdown", "source": ["# 분석\n", "글"]},
        {
            "cell_type": "code",
            "source": "print(1)",
            "outputs": [
                {"output_type": "stream", "text": ["\u001b[31m1\u001b[0m\n"]},
                {"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": "<Figure>"}},
                {"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": []},
            ],
        },
    ]

    content = json.dumps({"cells": cells, "metadata": {}}).encode()

    assert text_of(content, "a.ipynb") == "# 분석\n글\n\n```python\nprint(1)\n```\n\n1\n\n<Figure>\n\nValueError: bad"
    assert headings_of(content, "a.ipynb") == [(1, "분석")]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (
            "1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>안녕하세요</i>\r\n\r\n00:01:00,000 --> 00:01:01,000\r\n네\r\n",
            "a.srt",
        ),
        (
            "WEBVTT\n\nintro\n00:01.000 --> 00:02.500 align:left\n<v 안>녕하세요\n\n01:00.000 --> 01:01.000\n네\n",
            "a.vtt",
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_subtitles_are_what_is_said_with_the_times_at_which_it_is(content, name, encoding):
    pages = list(open_document(Original(content.encode(encoding), name)).pages)

    assert [(page.place.time_start, page.place.time_end) for page in pages] == [(1.0, 2.5), (60.0, 61.0)]
    assert pages[0].text.replace(": ", "").strip() == "안녕하세요"
    assert pages[1].text.strip() == "네"


@pytest.mark.parametrize(
    ("name", "content", "headings"),
    [
        ("a.rst", "====\nBook\n====\n\nPart\n----\n\ntext\n\nNext\n----\n", [(1, "Book"), (2, "Part"), (2, "Next")]),
        ("a.adoc", "= Book\n\n----\n== no\n----\n\n=== Deep\n", [(1, "Book"), (3, "Deep")]),
        ("a.org", "* TODO Book :tag:\n#+begin_src\n* no\n#+end_src\n** Part\n", [(1, "Book"), (2, "Part")]),
    ],
)
def test_headings_of_other_markups_are_sections_and_the_text_stays_as_written(name, content, headings):
    assert headings_of(content.encode(), name) == headings
    assert text_of(content.encode(), name) == content


MISMATCHED = [
    (b"<!doctype html><p>Hi", "letter.pdf", None, "its name says PDF"),
    (b"just words", "letter.pdf", "application/pdf", "its name says PDF and its declared type says PDF"),
    (rb"{\rtf1 words}", "letter.doc", "application/msword", "its name says DOC"),
    (b"just words", "letter.txt", "image/png", "its declared type says image"),
]


@pytest.mark.parametrize(("content", "name", "declared", "said"), MISMATCHED)
def test_a_name_or_a_type_that_claims_something_else_is_remarked(content, name, declared, said):
    (remark,) = open_document(Original(content, name, declared)).remarks

    assert remark.code == "type_mismatch"
    assert said in remark.detail


@pytest.mark.parametrize(
    ("content", "name", "declared"),
    [
        (b"# Title", "a.md", "text/plain"),
        (b"# Title", "a.md", "application/octet-stream"),
        (b"a,b\n1,2", "a.csv", "application/vnd.ms-excel"),
        (b'{"a": 1}', "a.json", "text/plain; charset=utf-8"),
        (b"words", "README", "text/plain"),
        (b"words", "a.py", "text/x-python"),
        (b"<html><body>x</body></html>", "a.xhtml", "application/xhtml+xml"),
        (b"From: a@example.com\nSubject: b\n\nc", "a.eml", "message/rfc822"),
    ],
)
def test_what_fits_is_no_mismatch(content, name, declared):
    assert open_document(Original(content, name, declared)).remarks == []


@pytest.mark.parametrize(("mark", "remedy"), [("WordDocument", "DOCX"), ("PowerPoint Document", "PPTX")])
def test_old_office_documents_are_refused_with_the_way_out(mark, remedy):
    content = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + mark.encode("utf-16-le")

    with pytest.raises(UnsupportedFormat, match=f"save it as {remedy}"):
        open_document(Original(content, "a.doc"))
