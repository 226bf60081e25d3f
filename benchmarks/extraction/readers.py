"""Each reader as a function from a path to the texts of its pages, or to one text where there are no pages."""

# ruff: noqa: PLC0415 - a reader's own imports are no part of its time, and not all are installed everywhere
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Read = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Reader:
    """A reader, which formats it is for, and whether it needs the environment of the others."""

    make: Callable[[], Read]
    """Imports what it needs, so that imports are not measured."""
    suffixes: frozenset[str]
    is_ours: bool = False
    is_slow: bool = False
    """Read once, and not in every round."""


def _sluice() -> Read:
    from sluice_extractor.parsing.by_type import open_document
    from sluice_extractor.parsing.original import Original
    from sluice_extractor.sandbox.frames import encoded_page

    def read(path: Path) -> list[str]:
        pages = []
        for page in open_document(Original(path.read_bytes(), path.name)).pages:
            encoded_page(page)  # what its child does with it
            pages.append(page.text)
        return pages

    return read


def _pypdfium2() -> Read:
    import pypdfium2

    def read(path: Path) -> list[str]:
        pages = []
        with pypdfium2.PdfDocument(path) as document:
            for number in range(len(document)):
                page = document[number]
                text_page = page.get_textpage()
                pages.append(text_page.get_text_range())
                text_page.close()
                page.close()
        return pages

    return read


def _pypdf() -> Read:
    import pypdf

    return lambda path: [page.extract_text() for page in pypdf.PdfReader(path).pages]


def _pymupdf() -> Read:
    import pymupdf

    pymupdf.TOOLS.mupdf_display_errors(on=False)

    def read(path: Path) -> list[str]:
        with pymupdf.open(path) as document:
            return [page.get_text() for page in document]

    return read


def _pdfminer() -> Read:
    from pdfminer.high_level import extract_text

    return lambda path: extract_text(path).split("\f")


def _pdftotext() -> Read:
    def read(path: Path) -> list[str]:
        done = subprocess.run(["pdftotext", str(path), "-"], capture_output=True, check=True)
        return done.stdout.decode("utf-8", "replace").removesuffix("\f").split("\f")

    return read


def _markitdown() -> Read:
    from markitdown import MarkItDown

    converter = MarkItDown(enable_plugins=False)
    return lambda path: [converter.convert(path).text_content]


def _docx() -> Read:
    import docx
    from docx.table import Table

    def blocks(container: object) -> Iterator[str]:
        for block in container.iter_inner_content():  # type: ignore[attr-defined]  # a document or a cell
            if isinstance(block, Table):
                for row in block.rows:
                    for cell in row.cells:
                        yield from blocks(cell)
            else:
                yield block.text

    return lambda path: ["\n".join(blocks(docx.Document(str(path))))]


def _pptx() -> Read:
    import pptx

    def texts(shapes: object) -> Iterator[str]:
        for shape in shapes:  # type: ignore[attr-defined]  # python-pptx has no types
            if shape.has_text_frame:
                yield shape.text_frame.text
            elif getattr(shape, "has_table", False) and shape.has_table:
                yield from (cell.text for row in shape.table.rows for cell in row.cells)
            elif hasattr(shape, "shapes"):
                yield from texts(shape.shapes)

    return lambda path: ["\n".join(texts(slide.shapes)) for slide in pptx.Presentation(str(path)).slides]


def _openpyxl() -> Read:
    import openpyxl

    def read(path: Path) -> list[str]:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        for sheet in book.worksheets:
            sheet.reset_dimensions()
        rows = (row for sheet in book.worksheets for row in sheet.iter_rows(values_only=True))
        return ["\n".join("\t".join(str(value) for value in row if value is not None) for row in rows)]

    return read


def _xlrd() -> Read:
    import xlrd

    def read(path: Path) -> list[str]:
        sheets = xlrd.open_workbook(path).sheets()
        return ["\n".join(str(cell.value) for row in sheet.get_rows() for cell in row) for sheet in sheets]

    return read


def _soup(markup: bytes | str) -> str:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(markup, "lxml")
    for hidden in soup(["script", "style", "template", "noscript"]):
        hidden.decompose()
    return soup.get_text("\n")


def _beautifulsoup() -> Read:
    return lambda path: [_soup(path.read_bytes())]


def _ebooklib() -> Read:
    import ebooklib
    from ebooklib import epub

    def read(path: Path) -> list[str]:
        book = epub.read_epub(str(path), {"ignore_ncx": True})
        return [_soup(item.get_content()) for item in book.get_items_of_type(ebooklib.ITEM_DOCUMENT)]

    return read


def _email() -> Read:
    from email import message_from_bytes, policy

    def read(path: Path) -> list[str]:
        body = message_from_bytes(path.read_bytes(), policy=policy.default).get_body(("html", "plain"))
        text = body.get_content() if body else ""
        return [_soup(text) if body and body.get_content_type() == "text/html" else text]

    return read


def _extract_msg() -> Read:
    import extract_msg

    return lambda path: [extract_msg.openMsg(path).body or ""]


def _odfpy() -> Read:
    from odf import opendocument, teletype, text

    def read(path: Path) -> list[str]:
        document = opendocument.load(str(path))
        return [
            "\n".join(
                teletype.extractText(each) for kind in (text.H, text.P) for each in document.getElementsByType(kind)
            )
        ]

    return read


def _striprtf() -> Read:
    from striprtf.striprtf import rtf_to_text

    return lambda path: [rtf_to_text(path.read_text("cp1252", "replace"), errors="ignore")]


_PDF = frozenset({".pdf"})

READERS: dict[str, Reader] = {
    "sluice": Reader(
        _sluice,
        frozenset(
            {".pdf", ".docx", ".pptx", ".xlsx", ".xls", ".html", ".htm", ".epub", ".eml", ".msg", ".odt", ".rtf"}
        ),
        is_ours=True,
    ),
    "pypdfium2": Reader(_pypdfium2, _PDF),
    "pdftotext": Reader(_pdftotext, _PDF),
    "pymupdf": Reader(_pymupdf, _PDF),
    "pypdf": Reader(_pypdf, _PDF, is_slow=True),
    "pdfminer.six": Reader(_pdfminer, _PDF, is_slow=True),
    "python-docx": Reader(_docx, frozenset({".docx"})),
    "python-pptx": Reader(_pptx, frozenset({".pptx"})),
    "openpyxl": Reader(_openpyxl, frozenset({".xlsx"})),
    "xlrd": Reader(_xlrd, frozenset({".xls"})),
    "beautifulsoup4": Reader(_beautifulsoup, frozenset({".html", ".htm"})),
    "ebooklib": Reader(_ebooklib, frozenset({".epub"})),
    "email": Reader(_email, frozenset({".eml"})),
    "extract-msg": Reader(_extract_msg, frozenset({".msg"})),
    "odfpy": Reader(_odfpy, frozenset({".odt"})),
    "striprtf": Reader(_striprtf, frozenset({".rtf"})),
    "markitdown": Reader(
        _markitdown, frozenset({".docx", ".pptx", ".xlsx", ".xls", ".html", ".htm", ".epub", ".msg"}), is_slow=True
    ),
}
