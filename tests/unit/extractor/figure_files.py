"""Documents of every format that show a picture between two texts, made in memory."""

import base64
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO

from unit.extractor import hostile_texts, office_files
from unit.extractor.hostile_texts import deflated, hwp_record
from unit.extractor.ole_files import compound_file

R = f'xmlns:r="{office_files.OFFICE}"'
LINK = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
BEFORE, AFTER = "words above", "words below"


def with_members(content: bytes, members: Mapping[str, str | bytes]) -> bytes:
    out = BytesIO(content)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return out.getvalue()


def docx_with(picture: bytes, *, texts: tuple[str, str] = (BEFORE, AFTER), times: int = 1) -> bytes:
    drawings = f'<w:p><w:r><w:drawing><a:blip {R} r:embed="r1"/></w:drawing></w:r></w:p>' * times
    body = office_files.paragraph(texts[0]) + drawings + office_files.paragraph(texts[1])
    related = office_files.relations(image="media/image1.png")
    return with_members(office_files.docx(body, related), {"word/media/image1.png": picture})


def docx_with_table(picture: bytes) -> bytes:
    """The picture stands in a cell of the first row."""
    shown = f'<w:p><w:r><w:drawing><a:blip {R} r:embed="r1"/></w:drawing></w:r></w:p>'
    rows = [f"<w:tc>{office_files.paragraph(BEFORE)}</w:tc><w:tc>{shown}</w:tc>"]
    rows.append(f"<w:tc>{office_files.paragraph(AFTER)}</w:tc><w:tc>{office_files.paragraph('x')}</w:tc>")
    body = f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in rows)}</w:tbl>"
    related = office_files.relations(image="media/image1.png")
    return with_members(office_files.docx(body, related), {"word/media/image1.png": picture})


def docx_of_many(pictures: list[bytes]) -> bytes:
    """A heading and a paragraph above each picture."""
    heading = "<w:outlineLvl w:val='0'/>"
    body = "".join(
        office_files.paragraph(f"Part {at}", heading)
        + f'<w:p><w:r><w:t>text {at}</w:t></w:r><w:r><w:drawing><a:blip {R} r:embed="r{at}"/></w:drawing></w:r></w:p>'
        for at in range(1, len(pictures) + 1)
    )
    related = office_files.relations(**{f"image_{at}": f"media/{at}.png" for at in range(1, len(pictures) + 1)})
    members = {f"word/media/{at}.png": picture for at, picture in enumerate(pictures, 1)}
    return with_members(office_files.docx(body, related), members)


def pptx_with(picture: bytes) -> bytes:
    shown = '<p:pic><p:blipFill><a:blip r:embed="r1"/></p:blipFill></p:pic>'
    slides = office_files.pptx([office_files.shape(BEFORE) + shown + office_files.shape(AFTER)])
    related = office_files.relations(image="../media/one.png")
    return with_members(slides, {"ppt/slides/_rels/slide1.xml.rels": related, "ppt/media/one.png": picture})


def xlsx_with(picture: bytes) -> bytes:
    book = office_files.xlsx({"First": office_files.text_row(1, BEFORE), "Second": office_files.text_row(1, AFTER)})
    drawing = f'<wsDr {office_files.DRAWING} {R}><pic><blipFill><a:blip r:embed="r1"/></blipFill></pic></wsDr>'
    return with_members(
        book,
        {
            "xl/worksheets/_rels/sheet1.xml.rels": office_files.relations(drawing="../drawings/drawing1.xml"),
            "xl/drawings/drawing1.xml": drawing,
            "xl/drawings/_rels/drawing1.xml.rels": office_files.relations(image="../media/one.png"),
            "xl/media/one.png": picture,
        },
    )


def odt_with(picture: bytes) -> bytes:
    frame = f'<draw:frame><draw:image {LINK} xlink:href="Pictures/one.png"/></draw:frame>'
    body = f"<text:p>{BEFORE}{frame}</text:p><text:p>{AFTER}</text:p>"
    return _odf_with(picture, "text", f"<office:text>{body}</office:text>")


def odp_with(picture: bytes) -> bytes:
    frame = f'<draw:frame><draw:image {LINK} xlink:href="./Pictures/one.png"/></draw:frame>'
    boxes = [
        f"<draw:frame><draw:text-box><text:p>{text}</text:p></draw:text-box></draw:frame>" for text in (BEFORE, AFTER)
    ]
    page = f"<draw:page>{boxes[0]}{frame}{boxes[1]}</draw:page>"
    return _odf_with(picture, "presentation", f"<office:presentation>{page}</office:presentation>")


def ods_with(picture: bytes) -> bytes:
    frame = f'<draw:frame><draw:image {LINK} xlink:href="Pictures/one.png"/></draw:frame>'
    cells = [f"<table:table-cell><text:p>{BEFORE}</text:p>{frame}</table:table-cell>"]
    cells.append(f"<table:table-cell><text:p>{AFTER}</text:p></table:table-cell>")
    rows = "".join(f"<table:table-row>{cell}</table:table-row>" for cell in cells)
    table = f'<table:table table:name="First">{rows}</table:table>'
    return _odf_with(picture, "spreadsheet", f"<office:spreadsheet>{table}</office:spreadsheet>")


def _odf_with(picture: bytes, kind: str, body: str) -> bytes:
    return with_members(office_files.odf(kind, body), {"Pictures/one.png": picture})


def epub_with(picture: bytes) -> bytes:
    chapter = f"<p>{BEFORE} <img src='images/one.png'/></p><h1>Next</h1><p>{AFTER}</p>"
    return _epub_of(chapter, picture)


def epub_with_cover(picture: bytes) -> bytes:
    shown = f"<svg xmlns='http://www.w3.org/2000/svg' {LINK}><image xlink:href='images/one.png'/></svg>"
    return _epub_of(f"<p>{BEFORE}</p>{shown}<p>{AFTER}</p>", picture)


def _epub_of(chapter: str, picture: bytes) -> bytes:
    return with_members(office_files.epub({"one": chapter}), {"OEBPS/images/one.png": picture})


def hwpx_with(picture: bytes) -> bytes:
    core = 'xmlns:hc="http://www.hancom.co.kr/hwpml/2011/core"'
    shown = f'<hp:pic {core}><hc:img binaryItemIDRef="image1"/></hp:pic>'
    section = office_files.hangul_paragraph(BEFORE, shown) + office_files.hangul_paragraph(AFTER)
    items = '<opf:package xmlns:opf="http://www.idpf.org/2007/opf/"><opf:manifest>'
    items += '<opf:item id="image1" href="BinData/image1.png" media-type="image/png"/></opf:manifest></opf:package>'
    return with_members(office_files.hwpx(section), {"Contents/content.hpf": items, "BinData/image1.png": picture})


def hwp_with(picture: bytes, *, is_compressed: bool = True) -> bytes:
    def paragraph(words: str) -> bytes:
        head = struct.pack("<IIH", len(words) + 1, 0, 0).ljust(22, b"\0")
        return hwp_record(66, 0, head) + hwp_record(67, 1, f"{words}\r".encode("utf-16-le"))

    shown = hwp_record(71, 1, b" osg" + bytes(40)) + hwp_record(76, 2, bytes(40))
    shown += hwp_record(85, 3, bytes(71) + struct.pack("<H", 1) + bytes(5))
    attributes = 1 if is_compressed else 1 | 2 << 4
    doc_info = hwp_record(18, 1, struct.pack("<HHH", attributes, 1, 3) + "png".encode("utf-16-le"))
    return compound_file(
        {
            "FileHeader": b"HWP Document File".ljust(32, b"\0") + struct.pack("<II", 0x05000300, 1),
            "DocInfo": deflated(doc_info),
            "BinData": {"BIN0001.png": deflated(picture) if is_compressed else picture},
            "BodyText": {"Section0": deflated(paragraph(BEFORE) + shown + paragraph(AFTER))},
        }
    )


def rtf_with(picture: bytes) -> bytes:
    """The picture in digits, as programs write it: with an older form behind it."""
    lines = base64.b16encode(picture).lower()
    digits = b"\r\n".join(lines[at : at + 63] for at in range(0, len(lines), 63))
    shown = rb"{\*\shppict{\pict{\*\picprop{\sp{\sn x}{\sv 01}}}\pngblip\picw10\pich10 " + digits + rb"}}"
    shown += rb"{\nonshppict{\pict\wmetafile8 " + digits + rb"}}"
    return rb"{\rtf1\ansi " + BEFORE.encode() + rb"\par " + shown + rb"\par " + AFTER.encode() + rb"\par}"


def rtf_with_bytes(picture: bytes) -> bytes:
    """The picture as it is."""
    shown = rb"{\pict\pngblip\bin%d " % len(picture) + picture + b"}"
    return rb"{\rtf1\ansi " + BEFORE.encode() + shown + rb"\par " + AFTER.encode() + b"}"


def html_with(picture: bytes) -> bytes:
    shown = f"<img alt='x' src='data:image/png;base64,{base64.b64encode(picture).decode()}'>"
    return f"<!doctype html><html><body><p>{BEFORE}</p>{shown}<p>{AFTER}</p></body></html>".encode()


def notebook_with(picture: bytes) -> bytes:
    lines = base64.encodebytes(picture).decode()
    outputs = [{"output_type": "display_data", "data": {"image/png": lines, "text/plain": ["<Figure size 640x480>"]}}]
    cells = [
        {"cell_type": "markdown", "source": [BEFORE]},
        {"cell_type": "code", "source": "plot()", "outputs": outputs},
        {"cell_type": "markdown", "source": [AFTER]},
    ]
    return json.dumps({"nbformat": 4, "cells": cells}).encode()


def mail_with(picture: bytes) -> bytes:
    return hostile_texts.mail_with(
        ("one.png", "image/png", picture), ("notes.txt", "text/plain", AFTER.encode()), body=BEFORE
    )


def mail_that_shows(picture: bytes) -> bytes:
    """The picture is a part of the body, which refers to it."""
    boundary, encoded = b"frontier", base64.encodebytes(picture)
    parts = [
        b"Content-Type: text/html\r\n\r\n<p>%b</p><img src='cid:one'>" % BEFORE.encode(),
        b"Content-Type: image/png\r\nContent-ID: <one>\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded,
    ]
    head = b"Subject: A picture\r\nFrom: a@example.com\r\nTo: b@example.com\r\nMIME-Version: 1.0\r\n"
    head += b'Content-Type: multipart/related; boundary="%b"\r\n\r\n' % boundary
    return head + b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


MAKERS: dict[str, Callable[[bytes], bytes]] = {
    "a.docx": docx_with,
    "table.docx": docx_with_table,
    "a.pptx": pptx_with,
    "a.xlsx": xlsx_with,
    "a.odt": odt_with,
    "a.odp": odp_with,
    "a.ods": ods_with,
    "a.epub": epub_with,
    "cover.epub": epub_with_cover,
    "a.hwpx": hwpx_with,
    "a.hwp": hwp_with,
    "bare.hwp": lambda picture: hwp_with(picture, is_compressed=False),
    "a.rtf": rtf_with,
    "raw.rtf": rtf_with_bytes,
    "a.html": html_with,
    "a.ipynb": notebook_with,
    "a.eml": mail_with,
}
