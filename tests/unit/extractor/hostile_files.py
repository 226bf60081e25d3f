"""Small hostile and broken files, made in memory."""

import random
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO

HELLO = b"BT /F 12 Tf 50 700 Td (Hello world) Tj ET"
FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def pdf(objects: dict[int, bytes], trailer: bytes = b"") -> bytes:
    """A well-formed PDF of numbered objects; 1 is the catalogue."""
    out = bytearray(b"%PDF-1.7\n")
    offsets = {}
    for number, body in objects.items():
        offsets[number] = len(out)
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start, size = len(out), max(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n" % size
    for number in range(1, size):
        out += b"%010d 00000 n \n" % offsets.get(number, 0)
    return bytes(out) + b"trailer\n<</Size %d/Root 1 0 R%b>>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, start)


def stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<<%b/Length %d>>\nstream\n%b\nendstream" % (entries, len(content), content)


def one_page(content: bytes, *, resources: bytes = b"", page: bytes = b"", font: bytes = FONT, more=None) -> bytes:
    """A PDF of one page with the content stream *content* (object 4) and the font F (object 9)."""
    return pdf(
        {
            1: b"<</Type/Catalog/Pages 2 0 R>>",
            2: b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            3: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R"
            b"/Resources<</Font<</F 9 0 R>>%b>>%b>>" % (resources, page),
            4: content,
            9: font,
            **(more or {}),
        }
    )


def plain_pdf() -> bytes:
    return one_page(stream(HELLO))


def many_pages(count: int) -> bytes:
    return pdf(
        {
            1: b"<</Type/Catalog/Pages 2 0 R>>",
            2: b"<</Type/Pages/Kids[%b]/Count %d>>" % (b"3 0 R " * count, count),
            3: b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</Font<</F 9 0 R>>>>>>",
            4: stream(HELLO),
            9: FONT,
        }
    )


BOX = b"/MediaBox[0 0 600 800]"


def pages_of(
    streams: Sequence[bytes],
    *,
    resources: bytes = b"",
    more: Mapping[int, bytes] | None = None,
    boxes: Mapping[int, bytes] | None = None,
) -> bytes:
    """A PDF with a page for each of these content streams; *more* are objects from 10 to 99.

    *boxes* are those of pages, counted from 1, that have another box than `BOX`.
    """
    numbers = range(100, 100 + 2 * len(streams), 2)
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: b"<</Type/Pages/Kids[%b]/Count %d>>" % (b" ".join(b"%d 0 R" % number for number in numbers), len(streams)),
        9: FONT,
        **(more or {}),
    }
    for place, (number, content) in enumerate(zip(numbers, streams, strict=True), start=1):
        objects[number] = b"<</Type/Page/Parent 2 0 R%b/Contents %d 0 R/Resources<</Font<</F 9 0 R>>%b>>>>" % (
            (boxes or {}).get(place, BOX),
            number + 1,
            resources,
        )
        objects[number + 1] = content
    return pdf(objects)


def deflated_spaces(size: int) -> bytes:
    """Spaces, deflated; made of one block over and over, because deflating gigabytes takes its time."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = squeezer.compress(b" " * (1 << 20)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\xda" + block * (size >> 20) + b"\x03\x00" + bytes(4)


def inflating() -> bytes:
    return one_page(stream(deflated_spaces(1 << 30), b"/Filter/FlateDecode"))


def twice_inflating() -> bytes:
    return one_page(stream(zlib.compress(deflated_spaces(1 << 32), 9), b"/Filter[/FlateDecode/FlateDecode]"))


DRAWS_TOWER = stream(b"/X Do /X Do")
TOWER = b"/XObject<</X 10 0 R>>"


def tower(depth: int = 30) -> dict[int, bytes]:
    """Forms that draw the next one twice each; the resources `TOWER` name the first."""
    forms = {}
    for level in range(depth):
        last = level == depth - 1
        inner = b"/Font<</F 9 0 R>>" if last else b"/XObject<</X %d 0 R>>" % (11 + level)
        entries = b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<<%b>>" % inner
        forms[10 + level] = stream(HELLO if last else b"/X Do /X Do", entries)
    return forms


def nested_forms() -> bytes:
    return one_page(DRAWS_TOWER, resources=TOWER, more=tower())


def form_in_itself() -> bytes:
    entries = b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<</XObject<</X 10 0 R>>>>"
    return one_page(stream(b"/X Do"), resources=b"/XObject<</X 10 0 R>>", more={10: stream(b"/X Do", entries)})


ENDLESS_BOX = b"/MediaBox[0 0 1000000000 1000000000]"
BOX_IN_A_CIRCLE = b"/MediaBox[0 0 10 0 R 800]"
CIRCLE = {10: b"11 0 R", 11: b"10 0 R"}


def page_without_measure() -> bytes:
    return pages_of([stream(HELLO)], boxes={1: ENDLESS_BOX})


def box_in_a_circle() -> bytes:
    return pages_of([stream(HELLO)], boxes={1: BOX_IN_A_CIRCLE}, more=CIRCLE)


def millions_of_operators() -> bytes:
    """A content stream of six million pieces of text, which is small."""
    compressor = zlib.compressobj(9)
    piece = b"(a) Tj " * 60_000
    body = compressor.compress(b"BT /F 12 Tf ") + b"".join(compressor.compress(piece) for _ in range(100))
    return one_page(stream(body + compressor.compress(b"ET") + compressor.flush(), b"/Filter/FlateDecode"))


def pdf_that_is_a_zip_too() -> bytes:
    """A PDF with a ZIP container behind it, whose text is another one."""
    container = BytesIO()
    with zipfile.ZipFile(container, "w") as archive:
        archive.writestr("word/document.xml", "<w:document><w:t>the other text</w:t></w:document>")
    return plain_pdf() + container.getvalue()


def invisible_text() -> bytes:
    """Nearly all of its text is drawn in no way, or in white."""
    hidden = (
        b"3 Tr (Nobody sees this sentence) Tj 0 -20 Td 0 Tr 1 1 1 rg (nor this one) Tj 0 -20 Td 0 0 0 rg (but this) Tj"
    )
    return one_page(stream(b"BT /F 12 Tf 50 700 Td " + hidden + b" ET"))


def lying_font(words: bytes) -> bytes:
    """A page that shows *words* in a font that says that its letters are characters of private use."""
    table = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def 1 begincodespacerange <00> <ff>"
        b" endcodespacerange 1 beginbfrange <21> <7e> <e021> endbfrange endcmap end end"
    )
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 10 0 R>>"
    return one_page(stream(b"BT /F 12 Tf 50 700 Td (%b) Tj ET" % words), font=font, more={10: stream(table)})


def page_tree_cycle() -> bytes:
    return pdf({1: b"<</Type/Catalog/Pages 2 0 R>>", 2: b"<</Type/Pages/Kids[2 0 R]/Count 1>>"})


def previous_table_is_itself() -> bytes:
    whole = plain_pdf()
    return whole.replace(b"/Root 1 0 R", b"/Root 1 0 R/Prev %d" % whole.rfind(b"xref\n0"))


def nested_arrays() -> bytes:
    return one_page(stream(HELLO), more={10: b"[" * 200_000 + b"]" * 200_000})


def picture_only(width: int = 60_000) -> bytes:
    entries = b"/Type/XObject/Subtype/Image/Width %d/Height %d/BitsPerComponent 8/ColorSpace/DeviceGray" % (
        width,
        width,
    )
    picture = stream(zlib.compress(bytes(1000)), entries + b"/Filter/FlateDecode")
    return one_page(stream(b"600 0 0 800 0 0 cm /I Do"), resources=b"/XObject<</I 10 0 R>>", more={10: picture})


def forbidden_characters() -> bytes:
    table = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def 1 begincodespacerange <00> "
        b"<FF> endcodespacerange 4 beginbfchar <61> <0000> <62> <D800> <63> <FFFE> <64> <0041> endbfchar "
        b"endcmap end end"
    )
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 10 0 R>>"
    return one_page(stream(b"BT /F 12 Tf 50 700 Td (dadbdcd) Tj ET"), font=font, more={10: stream(table)})


def rotated_page() -> bytes:
    return one_page(stream(b"BT /F 12 Tf 50 700 Td (Hello world) Tj ET"), page=b"/Rotate 90")


def with_form_and_note() -> bytes:
    more = {
        10: b"<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/V(Filled in value)/Rect[50 600 300 620]/P 3 0 R>>",
        11: b"<</Type/Annot/Subtype/Text/Contents(A sticky note)/Rect[50 500 70 520]/P 3 0 R>>",
    }
    whole = one_page(stream(HELLO), page=b"/Annots[10 0 R 11 0 R]", more=more)
    return whole.replace(b"/Type/Catalog", b"/Type/Catalog/AcroForm<</Fields[10 0 R]>>", 1)


def with_outline() -> bytes:
    more = {
        10: b"<</Type/Outlines/First 11 0 R/Last 11 0 R/Count 1>>",
        11: b"<</Title(Chapter)/Parent 10 0 R/First 12 0 R/Last 12 0 R/Count 1/Dest[3 0 R/XYZ 0 800 0]>>",
        12: b"<</Title(Hello)/Parent 11 0 R/Dest[3 0 R/XYZ 0 712 0]>>",
    }
    content = b"BT /F 12 Tf 50 750 Td (Chapter) Tj 0 -50 Td (Hello world) Tj ET"
    whole = one_page(stream(content), more=more)
    return whole.replace(b"/Type/Catalog", b"/Type/Catalog/Outlines 10 0 R", 1)


def truncated() -> bytes:
    return plain_pdf()[: len(plain_pdf()) // 2]


def random_after_header() -> bytes:
    return b"%PDF-1.7\n" + random.Random(1).randbytes(20_000)
