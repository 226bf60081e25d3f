import struct

import pytest
from unit.extractor.hostile_texts import deflated, hwp_record
from unit.extractor.ole_files import compound_file

from sluice_common.errors import ArchiveBomb, CorruptDocument, Encrypted, NoText, UnsupportedFormat
from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.original import Original

COMPRESSED, PASSWORD = 1, 2
PARAGRAPH, WORDS, CONTROL, LIST, TABLE = 66, 67, 71, 72, 77


def opened(content: bytes):
    return open_document(Original(content, "a.hwp"))


def text_of(content: bytes) -> str:
    return "".join(page.text for page in opened(content).pages)


def hwp(section: bytes, *, flags: int = COMPRESSED, doc_info: bytes = b"", preview: str = "") -> bytes:
    packed = deflated if flags & COMPRESSED else bytes
    header = b"HWP Document File".ljust(32, b"\0") + struct.pack("<II", 0x05000300, flags)
    return compound_file(
        {
            "FileHeader": header,
            "DocInfo": packed(doc_info),
            "BodyText": {"Section0": packed(section)},
            "PrvText": preview.encode("utf-16-le"),
        }
    )


def paragraph(words: str, level: int = 0, shape: int = 0) -> bytes:
    head = struct.pack("<IIH", len(words) + 1, 0, shape).ljust(22, b"\0")
    return hwp_record(PARAGRAPH, level, head) + hwp_record(
        WORDS, level + 1, f"{words}\r".encode("utf-16-le", "surrogatepass")
    )


def cell(row: int, column: int, words: str, level: int) -> bytes:
    head = struct.pack("<HHIHHHH", 1, 0, 0, column, row, 1, 1)
    return hwp_record(LIST, level, head) + paragraph(words, level)


def table(rows: list[list[str]], level: int = 1) -> bytes:
    begin = hwp_record(CONTROL, level, b" lbt" + bytes(40)) + hwp_record(TABLE, level + 1, bytes(20))
    cells = (cell(y, x, words, level + 1) for y, row in enumerate(rows) for x, words in enumerate(row))
    return begin + b"".join(cells)


@pytest.mark.parametrize("flags", [0, COMPRESSED])
def test_korean_words_come_out_as_written(flags):
    content = hwp(paragraph("제1조(목적) 이 규정은") + paragraph("똠방각하 펲시콜라"), flags=flags)

    assert text_of(content) == "제1조(목적) 이 규정은\n똠방각하 펲시콜라\n"


def test_controls_between_the_words_leave_no_trace_but_tabs_and_breaks():
    extended = "\x0b" + "lbt \x00\x00" + "\x0b"
    tab = "\t" + "\x01\x02\ud83d\x03\x04\x05" + "\t"

    assert text_of(hwp(paragraph(f"가{extended}나{tab}다\n라\x18마"))) == "가나\t다\n라-마\n"


def test_a_table_is_read_row_by_row_between_the_paragraphs_around_it():
    rows = [["성명", "부서"], ["홍길동", "총무과"]]

    text = text_of(hwp(paragraph("앞") + table(rows) + paragraph("뒤")))

    assert text == "앞\n성명 | 부서\n홍길동 | 총무과\n\n뒤\n"


def test_a_table_of_one_cell_is_only_a_frame():
    assert text_of(hwp(table([["틀 안의 글"]]) + paragraph("뒤"))) == "틀 안의 글\n\n뒤\n"


def test_paragraphs_of_the_outline_are_sections():
    outline = 1 << 23 | 1 << 25
    shapes = hwp_record(25, 0, bytes(50)) + hwp_record(25, 0, outline.to_bytes(4, "little") + bytes(46))

    (page,) = opened(hwp(paragraph("글") + paragraph("총칙", shape=1), doc_info=shapes)).pages

    assert [(page.text[h.start :].strip(), h.level, h.title) for h in page.headings] == [("총칙", 2, "총칙")]


def test_a_document_with_a_password_is_encrypted():
    with pytest.raises(Encrypted):
        opened(hwp(b"locked", flags=COMPRESSED | PASSWORD))


def test_a_document_without_words_has_no_text():
    with pytest.raises(NoText):
        opened(hwp(paragraph("")))


def test_of_a_damaged_document_what_could_be_read_is_read_and_the_rest_remarked():
    document = opened(hwp(paragraph("남은 글") + b"\x43\x00\xf0\xff\xff\xff\x00\x00", flags=0))

    assert "".join(page.text for page in document.pages) == "남은 글\n"
    assert [remark.code for remark in document.remarks] == ["part_unreadable"]


def test_the_preview_is_read_only_where_nothing_else_can_be():
    broken = b"\xff" * 100
    document = opened(hwp(broken, flags=0, preview="미리 보기"))

    assert "".join(page.text for page in document.pages).strip() == "미리 보기"
    assert [remark.code for remark in document.remarks] == ["part_unreadable", "preview_only"]
    with pytest.raises(CorruptDocument):
        opened(hwp(broken, flags=0))


def test_a_section_that_expands_without_end_is_a_bomb(monkeypatch):
    monkeypatch.setattr("sluice_extractor.parsing.hwp._MOST_SECTION_BYTES", 1000)

    with pytest.raises(ArchiveBomb):
        opened(hwp(bytes(5000)))


def test_hwp_3_is_refused_with_the_way_out():
    with pytest.raises(UnsupportedFormat, match="save it as HWP 5"):
        opened(b"HWP Document File V3.00 \x1a\1\2\3\4\5")
