"""Small office documents, good and hostile, made in memory."""

import struct
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO

from unit.extractor.hostile_files import deflated_spaces

TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
DRAWING = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
SLIDES = f'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" {DRAWING} xmlns:r="{OFFICE}"'
CELLS = f'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="{OFFICE}"'
ODF_SPACES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for name in ("office", "text", "table", "presentation")
) + ' xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"'  # fmt: skip
ODF = "application/vnd.oasis.opendocument."
HANGUL = (
    'xmlns:hp="http://www.hancom.co.kr/hwpml/2011/paragraph" xmlns:hs="http://www.hancom.co.kr/hwpml/2011/section" '
    'xmlns:hh="http://www.hancom.co.kr/hwpml/2011/head"'
)
MAIN_TYPES = {
    "word/document.xml": "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml",
    "ppt/presentation.xml": "application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml",
    "xl/workbook.xml": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml",
}


def container(members: Mapping[str, str | bytes], *, mimetype: str = "") -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        if mimetype:
            archive.writestr("mimetype", mimetype, zipfile.ZIP_STORED)
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def relations(**target_by_kind: str) -> str:
    """Relationships whose ids are `r` and their place; `kind_2` is a second one of that kind."""
    found = "".join(
        f'<Relationship Id="r{at}" Type="{OFFICE}/{kind.partition("_")[0]}" Target="{target}"/>'
        for at, (kind, target) in enumerate(target_by_kind.items(), 1)
    )
    return f'<Relationships xmlns="{RELATIONSHIPS}">{found}</Relationships>'


def package(main: str, members: Mapping[str, str | bytes]) -> dict[str, str | bytes]:
    types = f'<Types xmlns="{TYPES}"><Override PartName="/{main}" ContentType="{MAIN_TYPES[main]}"/></Types>'
    return {"[Content_Types].xml": types, "_rels/.rels": relations(officeDocument=main), **members}


def docx_members(body: str | bytes, related: str = "", **parts: str) -> dict[str, str | bytes]:
    document = body if isinstance(body, bytes) else f"<w:document {WORD} {DRAWING}><w:body>{body}</w:body></w:document>"
    members: dict[str, str | bytes] = {"word/document.xml": document}
    if related:
        members["word/_rels/document.xml.rels"] = related
    return package("word/document.xml", members | {f"word/{name}.xml": part for name, part in parts.items()})


def docx(body: str | bytes, related: str = "", **parts: str) -> bytes:
    return container(docx_members(body, related, **parts))


def paragraph(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def word_table(rows: list[list[str]]) -> str:
    cells = ["".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows]
    return f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in cells)}</w:tbl>"


def pptx(slides: list[str], **beside: str) -> bytes:
    """A presentation; *beside* are parts of the first slide, by the kind of their relationship."""
    ids = "".join(f'<p:sldId id="{255 + at}" r:id="r{at}"/>' for at in range(1, len(slides) + 1))
    members: dict[str, str | bytes] = {
        "ppt/presentation.xml": f"<p:presentation {SLIDES}><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations(
            **{f"slide_{at}": f"slides/slide{at}.xml" for at in range(1, len(slides) + 1)}
        ),
    }
    for at, shapes in enumerate(slides, 1):
        members[f"ppt/slides/slide{at}.xml"] = f"<p:sld {SLIDES}><p:spTree>{shapes}</p:spTree></p:sld>"
    for kind, shapes in beside.items():
        members["ppt/slides/_rels/slide1.xml.rels"] = relations(**{kind: f"../{kind}/one.xml"})
        members[f"ppt/{kind}/one.xml"] = f"<p:notes {SLIDES}><p:spTree>{shapes}</p:spTree></p:notes>"
    return container(package("ppt/presentation.xml", members))


def shape(*lines: str, kind: str = "") -> str:
    placeholder = f'<p:nvPr><p:ph type="{kind}"/></p:nvPr>' if kind else ""
    paragraphs = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in lines)
    return f"<p:sp>{placeholder}<p:txBody>{paragraphs}</p:txBody></p:sp>"


def slide_table(rows: list[list[str]]) -> str:
    cells = ["".join(f"<a:tc><a:p><a:r><a:t>{cell}</a:t></a:r></a:p></a:tc>" for cell in row) for row in rows]
    return f"<p:graphicFrame><a:tbl>{''.join(f'<a:tr>{row}</a:tr>' for row in cells)}</a:tbl></p:graphicFrame>"


def xlsx(sheets: Mapping[str, str | bytes], strings: list[str] | None = None, styles: str = "") -> bytes:
    """A workbook; each sheet is the XML of its rows."""
    listed = "".join(f'<sheet name="{name}" sheetId="{at}" r:id="r{at}"/>' for at, name in enumerate(sheets, 1))
    kinds = {f"worksheet_{at}": f"worksheets/sheet{at}.xml" for at in range(1, len(sheets) + 1)}
    members: dict[str, str | bytes] = {
        "xl/workbook.xml": f"<workbook {CELLS}><sheets>{listed}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relations(**kinds, sharedStrings="sharedStrings.xml", styles="styles.xml"),
    }
    for at, rows in enumerate(sheets.values(), 1):
        content = rows if isinstance(rows, bytes) else f"<worksheet {CELLS}><sheetData>{rows}</sheetData></worksheet>"
        members[f"xl/worksheets/sheet{at}.xml"] = content
    if strings is not None:
        items = "".join(f"<si><t>{text}</t></si>" for text in strings)
        members["xl/sharedStrings.xml"] = f"<sst {CELLS}>{items}</sst>"
    if styles:
        members["xl/styles.xml"] = f"<styleSheet {CELLS}>{styles}</styleSheet>"
    return container(package("xl/workbook.xml", members))


def text_row(number: int, *texts: str) -> str:
    cells = "".join(f'<c t="inlineStr"><is><t>{text}</t></is></c>' for text in texts)
    return f'<row r="{number}">{cells}</row>'


def odf(kind: str, body: str, **members: str) -> bytes:
    """An OpenDocument file; *kind* is `text`, `spreadsheet` or `presentation`."""
    content = f"<office:document-content {ODF_SPACES}><office:body>{body}</office:body></office:document-content>"
    others = {f"META-INF/{name}.xml": member for name, member in members.items()}
    return container({"content.xml": content, **others}, mimetype=ODF + kind)


def epub(
    chapters: Mapping[str, str], *, title: str = "A book", spine: list[str] | None = None, **members: str
) -> bytes:
    items = "".join(f'<item id="{at}" href="{at}.xhtml" media-type="application/xhtml+xml"/>' for at in chapters)
    order = "".join(f'<itemref idref="{at}"/>' for at in spine or list(chapters))
    lists = f"<manifest>{items}</manifest><spine>{order}</spine>"
    book = f"<package><metadata><title>{title}</title></metadata>{lists}</package>"
    pages = {
        f"OEBPS/{at}.xhtml": f"<html><head><title>x</title></head><body>{body}</body></html>"
        for at, body in chapters.items()
    }
    found = '<container><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
    others = {f"META-INF/{name}.xml": member for name, member in members.items()}
    return container(
        {"META-INF/container.xml": found, "OEBPS/book.opf": book, **pages, **others}, mimetype="application/epub+zip"
    )


def hwpx(section: str, header: str = "", **members: str) -> bytes:
    others = {f"META-INF/{name}.xml": member for name, member in members.items()}
    return container(
        {
            "Contents/header.xml": f"<hh:head {HANGUL}>{header}</hh:head>",
            "Contents/section0.xml": f"<hs:sec {HANGUL}>{section}</hs:sec>",
            **others,
        },
        mimetype="application/hwp+zip",
    )


def hangul_paragraph(text: str, inside: str = "", style: str = "0") -> str:
    return f'<hp:p styleIDRef="{style}"><hp:run><hp:t>{text}</hp:t>{inside}</hp:run></hp:p>'


def hangul_table(rows: list[list[str]]) -> str:
    cells = [
        "".join(f"<hp:tc><hp:subList>{hangul_paragraph(cell)}</hp:subList></hp:tc>" for cell in row) for row in rows
    ]
    return f"<hp:tbl>{''.join(f'<hp:tr>{row}</hp:tr>' for row in cells)}</hp:tbl>"


def raw_zip(
    members: list[tuple[str, bytes, int]], *, flags: int = 0, claimed_bytes: int | None = None, at: int | None = None
) -> bytes:
    """A ZIP of raw deflate streams with their CRCs; *claimed_bytes* are what each is said to inflate to.

    With *at* every entry of the directory points to that offset.
    """
    out, directory = bytearray(), bytearray()
    for name, deflated, crc in members:
        size = len(deflated) if claimed_bytes is None else claimed_bytes
        fields = struct.pack("<HHHHHLLLHH", 20, flags, 8, 0, 33, crc, len(deflated), size, len(name), 0)
        offset = len(out) if at is None else at
        directory += (
            b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHLL", 0, 0, 0, 0, offset) + name.encode()
        )
        out += b"PK\3\4" + fields + name.encode() + deflated
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(members), len(members), len(directory), len(out), 0)
    return bytes(out + directory + end)


def raw_member(name: str, content: str | bytes) -> tuple[str, bytes, int]:
    encoded = content.encode() if isinstance(content, str) else content
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return name, squeezer.compress(encoded) + squeezer.flush(), zlib.crc32(encoded)


def with_raw_body(deflated: bytes, **how: int) -> bytes:
    """A Word document whose body is a raw deflate stream."""
    members = [raw_member(name, content) for name, content in docx_members("").items() if "document" not in name]
    return raw_zip([*members, ("word/document.xml", deflated, 0)], **how)


def gigabytes_of_spaces(claimed_bytes: int = 2 << 30) -> bytes:
    return with_raw_body(deflated_spaces(2 << 30)[2:], claimed_bytes=claimed_bytes)


def millions_of_paragraphs() -> bytes:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = f"<w:document {WORD}><w:body>".encode()
    body = squeezer.compress(start + b"<w:p/>" * 20_000_000) + squeezer.flush()
    return with_raw_body(body, claimed_bytes=120_000_000)


def deeply_nested() -> bytes:
    return docx(f"<w:document {WORD}>".encode() + b"<a>" * 200_000)


def billion_laughs() -> bytes:
    entities = "".join(f'<!ENTITY l{at} "{f"&l{at - 1};" * 10}">' for at in range(1, 10))
    return docx(f'<!DOCTYPE x [<!ENTITY l0 "lol">{entities}]><w:document {WORD}>&l9;</w:document>'.encode())


def foreign_entity() -> bytes:
    return docx(f'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><w:document {WORD}>&e;</w:document>'.encode())


def foreign_dtd() -> bytes:
    return docx(f'<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><w:document {WORD}/>'.encode())


def names_that_are_paths() -> bytes:
    return container({**docx_members(paragraph("kept")), "../../tmp/pwned": "x", "/etc/pwned": "x"})


def too_many_members() -> bytes:
    empty = raw_member("", "")
    return raw_zip(
        [
            *map(raw_member, *zip(*docx_members("").items(), strict=True)),
            *[(f"{n}", *empty[1:]) for n in range(300_000 // 16)],
        ]
    )


def overlapping_members() -> bytes:
    return raw_zip([raw_member(name, content) for name, content in docx_members("").items()], at=0)


def encrypted_member() -> bytes:
    return raw_zip([raw_member(name, content) for name, content in docx_members("").items()], flags=1)


def endless_value() -> bytes:
    value = "".join(f"{number:08x}" for number in range(2_500_000))
    return docx(f'<w:document {WORD} a="{value}"/>'.encode())


def damaged(whole: bytes, member: str) -> bytes:
    """The same container with one member cut off in the middle of its XML."""
    with zipfile.ZipFile(BytesIO(whole)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[member] = members[member][: len(members[member]) * 2 // 3]
    return container(members)


def ole(*streams: str) -> bytes:
    """An OLE container with empty streams of these names."""
    free, end, fat = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    head += struct.pack("<LLLLLLLLL", 0, 1, 1, 0, 4096, end, 0, end, 0)
    head += struct.pack("<L", 0) + struct.pack("<L", free) * 108
    table = struct.pack("<LL", fat, end) + struct.pack("<L", free) * 126
    names = ["Root Entry", *streams]
    entries = b""
    for at, name in enumerate(names):
        following = at + 1 if 0 < at < len(names) - 1 else free
        child = 1 if at == 0 and streams else free
        entry = (name + "\0").encode("utf-16-le").ljust(64, b"\0") + struct.pack(
            "<HBB", 2 * len(name) + 2, 5 if at == 0 else 2, 1
        )
        entries += entry + struct.pack("<LLL", free, following, child) + bytes(36) + struct.pack("<LQ", end, 0)
    return head + table + entries.ljust(512, b"\0") + bytes(512)
