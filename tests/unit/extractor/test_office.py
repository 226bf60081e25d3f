from pathlib import Path

import pytest
from unit.extractor import hostile_files
from unit.extractor import office_files as office

from sluice_common.errors import (
    ArchiveBomb,
    CorruptDocument,
    DocumentTooLarge,
    Encrypted,
    NoText,
    OcrRequired,
    TooManyPages,
    UnsupportedFormat,
)
from sluice_extractor.chunking import Chunker
from sluice_extractor.parsing.page import Page
from sluice_extractor.sandbox import ReadLimits, ReadRequest, Sandbox

LIMITS = ReadLimits(512 << 20, 60, 5, 90, 5_000, 3_000_000)
DATA = Path(__file__).parents[2] / "data"
KOREAN = "갑은 을에게 매월 임대료를 지급한다"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(LIMITS) as sandbox:
        yield sandbox


@pytest.fixture
def pages_of(sandbox, tmp_path):
    """Reads bytes through a real child."""

    def pages_of(content: bytes, name: str = "some.bin", within: Sandbox = sandbox) -> list[Page]:
        path = tmp_path / f"original-{len(list(tmp_path.iterdir()))}"
        path.write_bytes(content)
        with within.read(ReadRequest(path, name)) as reading:
            return list(reading)

    return pages_of


@pytest.fixture
def text_of(pages_of):
    return lambda content: "\n".join(page.text for page in pages_of(content)).strip()


GOOD = {
    "docx": (lambda: office.docx(office.paragraph(KOREAN)), "word/document.xml"),
    "pptx": (lambda: office.pptx([office.shape(KOREAN)]), "ppt/presentation.xml"),
    "xlsx": (lambda: office.xlsx({"시트": office.text_row(1, KOREAN)}), "xl/worksheets/sheet1.xml"),
    "odt": (lambda: office.odf("text", f"<office:text><text:p>{KOREAN}</text:p></office:text>"), "content.xml"),
    "ods": (
        lambda: office.odf(
            "spreadsheet",
            f"<table:table><table:table-row><table:table-cell><text:p>{KOREAN}</text:p></table:table-cell>"
            "</table:table-row></table:table>",
        ),
        "content.xml",
    ),
    "odp": (
        lambda: office.odf(
            "presentation", f"<draw:page><draw:text-box><text:p>{KOREAN}</text:p></draw:text-box></draw:page>"
        ),
        "content.xml",
    ),
    "epub": (lambda: office.epub({"one": f"<p>{KOREAN}</p>"}, title=""), "OEBPS/book.opf"),
    "hwpx": (lambda: office.hwpx(office.hangul_paragraph(KOREAN)), "Contents/section0.xml"),
}
EMPTY = {
    "docx": lambda: office.docx(office.paragraph(" ")),
    "pptx": lambda: office.pptx([office.shape(" "), ""]),
    "xlsx": lambda: office.xlsx({"a": "<row r='1'/>"}),
    "odt": lambda: office.odf("text", "<office:text><text:p/></office:text>"),
    "ods": lambda: office.odf("spreadsheet", "<table:table/>"),
    "odp": lambda: office.odf("presentation", "<draw:page/>"),
    "epub": lambda: office.epub({"one": " "}),
    "hwpx": lambda: office.hwpx(office.hangul_paragraph("")),
}


@pytest.mark.parametrize("kind", GOOD)
def test_korean_comes_out_as_written_whatever_the_name_says(text_of, kind):
    assert text_of(GOOD[kind][0]()) == KOREAN


@pytest.mark.parametrize("kind", GOOD)
def test_a_damaged_part_makes_the_document_corrupt(text_of, kind):
    make, member = GOOD[kind]

    with pytest.raises(CorruptDocument):
        text_of(office.damaged(make(), member))


@pytest.mark.parametrize("kind", GOOD)
def test_a_truncated_container_is_corrupt(text_of, kind):
    whole = GOOD[kind][0]()

    with pytest.raises(CorruptDocument):
        text_of(whole[: len(whole) * 2 // 3])


@pytest.mark.parametrize("kind", EMPTY)
def test_a_document_without_a_word_has_no_text(text_of, kind):
    with pytest.raises(NoText):
        text_of(EMPTY[kind]())


@pytest.mark.parametrize("kind", GOOD)
def test_too_much_text_is_refused_by_the_child_itself(pages_of, kind):
    few = ReadLimits(512 << 20, 30, 0, 30, 5_000, 10)
    with Sandbox(few) as narrow, pytest.raises(DocumentTooLarge):
        pages_of(GOOD[kind][0](), within=narrow)


HOSTILE = {
    "two gibibytes of spaces": (office.gigabytes_of_spaces, ArchiveBomb, "ratio"),
    "the same behind a header that lies": (lambda: office.gigabytes_of_spaces(1000), CorruptDocument, None),
    "twenty million paragraphs": (office.millions_of_paragraphs, ArchiveBomb, "ratio"),
    "two hundred thousand nested elements": (office.deeply_nested, CorruptDocument, "too_deep"),
    "a billion laughs": (office.billion_laughs, CorruptDocument, "unsafe_xml"),
    "an entity from a file": (office.foreign_entity, CorruptDocument, "unsafe_xml"),
    "a DTD from elsewhere": (office.foreign_dtd, CorruptDocument, "unsafe_xml"),
    "members without end": (office.too_many_members, ArchiveBomb, "members"),
    "members that share their bytes": (office.overlapping_members, ArchiveBomb, "overlapping_members"),
    "a member with a password": (office.encrypted_member, Encrypted, None),
    "a value without end": (office.endless_value, CorruptDocument, "xml_token"),
    "an OLE container with an encrypted package": (
        lambda: office.ole("EncryptionInfo", "EncryptedPackage"),
        Encrypted,
        None,
    ),
    "an OLE container that is no workbook inside": (lambda: office.ole("Workbook"), CorruptDocument, None),
    "a workbook that names one long text again and again": (
        lambda: office.xlsx(
            {"a": "".join(f'<row r="{n}"><c t="s"><v>0</v></c></row>' for n in range(1, 5_000))}, ["x" * 1_000]
        ),
        DocumentTooLarge,
        None,
    ),
    "an ODF file with a password": (
        lambda: office.odf("text", "", manifest="<manifest><file-entry><encryption-data/></file-entry></manifest>"),
        Encrypted,
        None,
    ),
    "a book with protected chapters": (
        lambda: office.epub(
            {"one": "x"}, encryption='<encryption><CipherReference URI="OEBPS/one.xhtml"/></encryption>'
        ),
        Encrypted,
        None,
    ),
    "an HWPX file with a password": (
        lambda: office.hwpx("", manifest="<manifest><encryption-data/></manifest>"),
        Encrypted,
        None,
    ),
    "an archive of anything": (lambda: office.container({"a.txt": "text"}), UnsupportedFormat, None),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_container_ends_with_its_code_and_the_next_one_is_read(text_of, what):
    make, expected, detail_code = HOSTILE[what]

    with pytest.raises(expected) as raised:
        text_of(make())

    assert raised.value.detail_code == detail_code
    assert text_of(GOOD["docx"][0]()) == KOREAN


def test_names_of_members_are_never_paths(text_of):
    assert text_of(office.names_that_are_paths()) == "kept"
    assert not Path("/tmp/pwned").exists()
    assert not Path("/etc/pwned").exists()


def test_two_cells_at_the_far_corners_of_a_sheet_cost_nothing(text_of):
    corners = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>'

    assert text_of(office.xlsx({"a": corners})).split() == ["1", "2"]


def test_what_a_sheet_says_of_its_own_size_is_not_believed(text_of):
    rows = "".join(office.text_row(at, f"name {at}") for at in range(1, 20_001))
    sheet = f'<worksheet {office.CELLS}><dimension ref="A1:A1"/><sheetData>{rows}</sheetData></worksheet>'

    assert "name 20000" in text_of(office.xlsx({"a": sheet.encode()}))


def test_a_repeated_cell_of_an_ods_file_does_not_repeat_for_ever(text_of):
    row = (
        '<table:table-row table:number-rows-repeated="1048576"><table:table-cell table:number-columns-repeated="5">'
        "<text:p>a</text:p></table:table-cell></table:table-row>"
    )

    text = text_of(office.odf("spreadsheet", f"<table:table>{row}</table:table>"))

    assert 100 <= text.count("a | a | a | a | a") < 110


def test_a_word_document_keeps_the_order_of_its_blocks(text_of):
    body = (
        office.paragraph("Before")
        + office.word_table([["Name", "Age"], ["Kim", "30"]])
        + office.paragraph("After <![CDATA[& below]]>")
    )

    assert text_of(office.docx(body)) == "Before\n\nName | Age\nKim | 30\n\nAfter & below"


def test_headings_of_a_word_document_come_from_its_styles(pages_of):
    styles = (
        f'<w:styles {office.WORD}><w:style w:styleId="T"><w:name w:val="Title"/></w:style>'
        '<w:style w:styleId="1"><w:name w:val="heading 1"/></w:style>'
        '<w:style w:styleId="mine"><w:name w:val="제목 하나"/><w:basedOn w:val="1"/></w:style></w:styles>'
    )
    body = "".join(
        office.paragraph(text, f'<w:pStyle w:val="{style}"/>') for text, style in (("Doc", "T"), ("One", "mine"))
    ) + office.paragraph("Outlined", '<w:outlineLvl w:val="1"/>')

    (page,) = pages_of(office.docx(body, office.relations(styles="styles.xml"), styles=styles))

    assert [(heading.level, heading.title) for heading in page.headings] == [(1, "Doc"), (2, "One"), (3, "Outlined")]
    assert [page.text[heading.start :].split()[0] for heading in page.headings] == ["Doc", "One", "Outlined"]


def test_numbers_that_word_counts_by_itself_are_written(text_of):
    levels = "".join(
        f'<w:lvl w:ilvl="{at}"><w:start w:val="1"/><w:numFmt w:val="{form}"/><w:lvlText w:val="{text}"/></w:lvl>'
        for at, (form, text) in enumerate([("decimal", "제%1조"), ("ganada", "%2.")])
    )
    numbering = (
        f'<w:numbering {office.WORD}><w:abstractNum w:abstractNumId="7">{levels}</w:abstractNum>'
        '<w:num w:numId="3"><w:abstractNumId w:val="7"/></w:num></w:numbering>'
    )
    listed = [("목적", 0), ("계약", 1), ("해지", 1), ("기간", 0), ("시작", 1)]
    body = "".join(
        office.paragraph(text, f'<w:numPr><w:ilvl w:val="{at}"/><w:numId w:val="3"/></w:numPr>') for text, at in listed
    )

    text = text_of(office.docx(body, office.relations(numbering="numbering.xml"), numbering=numbering))

    assert text.split("\n\n") == ["제1조 목적", "가. 계약", "나. 해지", "제2조 기간", "가. 시작"]


def test_what_stands_around_below_and_beside_a_word_document_is_read(text_of):
    box = f"<wps:txbxContent xmlns:wps='x'>{office.paragraph('in a box')}</wps:txbxContent>"
    body = (
        "<w:p><w:ins><w:r><w:t>kept</w:t></w:r></w:ins><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
        "<w:moveFrom><w:r><w:t>moved away</w:t></w:r></w:moveFrom><w:r><w:footnoteReference w:id='2'/></w:r>"
        "<w:r><w:commentReference w:id='0'/></w:r>"
        "<w:r><wp:docPr xmlns:wp='x' id='1' descr='A map of the site'/></w:r>"
        f"<w:r><w:drawing>{box}</w:drawing></w:r></w:p>"
    )
    notes = f"<w:footnotes {office.WORD}><w:footnote w:id='2'>{office.paragraph('the note')}</w:footnote></w:footnotes>"
    comment = f"<w:comment w:id='0' w:author='Lee'>{office.paragraph('why')}</w:comment>"
    comments = f"<w:comments {office.WORD}>{comment}</w:comments>"
    header = f"<w:hdr {office.WORD}>{office.paragraph('Confidential')}</w:hdr>"
    related = office.relations(footnotes="footnotes.xml", comments="comments.xml", header="header1.xml")

    text = text_of(office.docx(body, related, footnotes=notes, comments=comments, header1=header))

    assert text.split("\n\n") == ["Confidential", "kept", "[the note]", "[Lee: why]", "[A map of the site]", "in a box"]


def test_a_cell_that_reaches_over_several_rows_says_the_same_in_each(text_of):
    merged = "<w:tc><w:tcPr><w:vMerge{}/></w:tcPr>{}</w:tc><w:tc>{}</w:tc>"
    rows = [
        merged.format(' w:val="restart"', office.paragraph("Seoul"), office.paragraph("Kim")),
        merged.format("", office.paragraph(""), office.paragraph("Lee")),
    ]
    table = "".join(f"<w:tr>{row}</w:tr>" for row in rows)

    assert text_of(office.docx(f"<w:tbl>{table}</w:tbl>")) == "Seoul | Kim\nSeoul | Lee"


def test_slides_are_numbered_and_begin_with_their_titles(pages_of):
    first = office.shape("body text") + office.shape("Prices", kind="title") + office.shape("7", kind="sldNum")
    group = f"<p:grpSp>{office.shape('inner one')}{office.shape('inner two')}</p:grpSp>"
    second = office.slide_table([["Fruit", "Won"], ["Apple", "1,500"]]) + group

    pages = pages_of(office.pptx([first, second], notesSlide=office.shape("say it slowly", kind="body")))

    assert [(page.number, page.place.slide) for page in pages] == [(1, 1), (2, 2)]
    assert pages[0].text == "Prices\n\nbody text\n\nNotes: say it slowly"
    assert [heading.title for heading in pages[0].headings] == ["Prices"]
    assert pages[1].text == "Fruit | Won\nApple | 1,500\n\ninner one\n\ninner two"


def test_a_cell_of_a_slide_that_reaches_over_several_rows_says_the_same_in_each(text_of):
    table = office.slide_table([["Seoul", "Kim"], ["", "Lee"]]).replace("<a:tc>", '<a:tc vMerge="1">')

    assert text_of(office.pptx([table])) == "Seoul | Kim\nSeoul | Lee"


def test_a_damaged_slide_costs_only_itself(sandbox, tmp_path):
    (tmp_path / "x").write_bytes(
        office.damaged(office.pptx([office.shape("first"), office.shape("second")]), "ppt/slides/slide1.xml")
    )

    with sandbox.read(ReadRequest(tmp_path / "x", "x")) as reading:
        pages = list(reading)

    assert [(page.failed, page.text) for page in pages] == [(True, ""), (False, "second")]
    assert [(remark.code, remark.page) for remark in reading.remarks] == [("page_unreadable", 1)]


def test_too_many_slides_are_refused_before_one_is_read(pages_of):
    few = ReadLimits(512 << 20, 30, 0, 30, 2, 1_000)
    with Sandbox(few) as narrow, pytest.raises(TooManyPages, match="3 slides"):
        pages_of(office.pptx(["", "", ""]), within=narrow)


def test_pictures_without_a_word_need_ocr(text_of):
    with pytest.raises(OcrRequired):
        text_of(office.pptx(['<p:pic><p:cNvPr id="1" descr="scan_01.png"/><a:blip/></p:pic>']))


def test_each_sheet_has_its_name_and_dates_and_numbers_are_readable(pages_of):
    styles = (
        '<numFmts><numFmt numFmtId="170" formatCode="yyyy&quot;년&quot; m&quot;월&quot; d&quot;일&quot;"/></numFmts>'
        '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="10"/><xf numFmtId="170"/><xf numFmtId="22"/>'
        "</cellXfs>"
    )
    cells = [("0", "0.30000000000000004"), ("1", "46112"), ("2", "0.125"), ("3", "46112"), ("4", "46112.5")]
    row = "".join(f'<c s="{style}"><v>{value}</v></c>' for style, value in cells)
    sheets = {"매출": f'<row r="1">{row}</row>', "b &amp; c": office.text_row(1, "x")}

    pages = pages_of(office.xlsx(sheets, styles=styles))

    assert [page.place.sheet for page in pages] == ["매출", "b & c"]
    assert pages[0].text.strip() == "0.3 | 2026-03-31 | 12.5% | 2026-03-31 | 2026-03-31 12:00"


def test_every_chunk_of_a_long_table_shows_its_header(pages_of):
    rows = office.text_row(1, "이름", "부서", "전화") + "".join(
        office.text_row(at, f"사람{at}", f"부서{at % 7}", f"02-{at:04}") for at in range(2, 800)
    )
    chunker = Chunker(1000, 200)

    pages = pages_of(office.xlsx({"직원": rows}))
    chunks = [chunk for page in pages for chunk in chunker.feed(page)] + chunker.finish()

    assert len(chunks) > 10
    assert all("이름 | 부서 | 전화" in chunk.text and chunk.place.sheet == "직원" for chunk in chunks)


@pytest.mark.parametrize("name", ["markitdown-test.xls"])
def test_an_old_workbook_is_read_with_its_sheets(pages_of, name):
    pages = pages_of((DATA / name).read_bytes())

    assert [page.place.sheet for page in pages] == ["Sheet1", "09060124-b5e7-4717-9d07-3c046eb"]
    assert pages[0].text.startswith("Alpha | Beta | Gamma | Delta\n89 | 82 | 100 | 12\n")


@pytest.mark.parametrize("kept_bytes", [2_000, 12_000, 26_000])
def test_a_truncated_old_workbook_is_corrupt(text_of, kept_bytes):
    with pytest.raises(CorruptDocument):
        text_of((DATA / "markitdown-test.xls").read_bytes()[:kept_bytes])


def test_an_odf_text_has_headings_lists_notes_and_no_deleted_text(pages_of):
    body = (
        "<office:text><text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        '<text:h text:outline-level="2">Scope</text:h><text:p>One<text:s text:c="2"/>two<text:note>'
        "<text:note-citation>1</text:note-citation><text:note-body><text:p>a note</text:p></text:note-body></text:note>"
        "</text:p>"
        "<text:list><text:list-item><text:p>item</text:p></text:list-item></text:list>"
        "<table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell>"
        "<table:table-cell><text:p>b</text:p></table:table-cell></table:table-row></table:table></office:text>"
    )

    (page,) = pages_of(office.odf("text", body))

    assert page.text == "Scope\n\nOne two\n\n[a note]\n\n- item\n\na | b"
    assert [(heading.level, heading.title) for heading in page.headings] == [(2, "Scope")]


def test_slides_of_an_odf_presentation_are_numbered(pages_of):
    def slide(title: str, body: str) -> str:
        return (
            f'<draw:page><draw:frame presentation:class="title"><draw:text-box><text:p>{title}</text:p></draw:text-box>'
            f"</draw:frame><draw:frame><draw:text-box><text:p>{body}</text:p></draw:text-box></draw:frame>"
            f"<presentation:notes><draw:text-box><text:p>note</text:p></draw:text-box></presentation:notes></draw:page>"
        )

    pages = pages_of(office.odf("presentation", slide("One", "first") + slide("Two", "second")))

    assert [(page.number, page.place.slide, page.text) for page in pages] == [
        (1, 1, "One\n\nfirst\n\nNotes: note"),
        (2, 2, "Two\n\nsecond\n\nNotes: note"),
    ]
    assert [page.headings[0].title for page in pages] == ["One", "Two"]


def test_a_book_is_read_in_the_order_of_its_spine(pages_of):
    chapters = {"b": "<h1>Second</h1><p>two</p>", "a": "<h1>First</h1><p>one</p>"}

    (page,) = pages_of(office.epub(chapters, title="책", spine=["a", "b"]))

    assert page.text == "책\n\nFirst\n\none\n\nSecond\n\ntwo"
    assert [(heading.level, heading.title) for heading in page.headings] == [(1, "책"), (2, "First"), (2, "Second")]


def test_a_hangul_document_has_tables_notes_headings_and_no_deleted_text(pages_of):
    inside = office.hangul_table([["이름", "점수"], ["김", "90"]]) + (
        f"<hp:ctrl><hp:footNote><hp:subList>{office.hangul_paragraph('각주')}</hp:subList></hp:footNote></hp:ctrl>"
    )
    changed = office.hangul_paragraph("남은<hp:deleteBegin/> 지운<hp:deleteEnd/> 글")
    section = office.hangul_paragraph("개요 제목", style="2") + office.hangul_paragraph("본문", inside) + changed

    (page,) = pages_of(office.hwpx(section, '<hh:style id="2" name="개요 1"/>'))

    assert page.text == "개요 제목\n\n본문\n\n이름 | 점수\n김 | 90\n\n각주\n\n남은 글"
    assert [(heading.level, heading.title) for heading in page.headings] == [(1, "개요 제목")]


def test_a_pdf_in_front_of_a_container_is_read_as_the_pdf(text_of):
    assert text_of(hostile_files.plain_pdf() + GOOD["docx"][0]()) == "Hello world"
