"""Which reader reads which ZIP container; a new one is a module and one line here.

What the container says of itself decides: its `mimetype` where the format has one, else its main part.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from sluice_common.errors import CorruptDocument, UnsupportedFormat
from sluice_extractor.parsing.docx import read_docx
from sluice_extractor.parsing.epub import read_epub
from sluice_extractor.parsing.hwpx import read_hwpx
from sluice_extractor.parsing.odf import media_type_of, read_odf
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.pptx import read_pptx
from sluice_extractor.parsing.xlsx import read_xlsx
from sluice_extractor.parsing.zipped import MAGICS, Archive

_TYPES_BYTES = 4 << 20


@dataclass(frozen=True)
class _Kind:
    """An OOXML format: the type of its main part, where that mostly is, and its reader."""

    mark: re.Pattern[bytes]
    main: str
    read: Callable[[Original, Archive], OpenDocument]


_OOXML_KINDS = (
    _Kind(re.compile(rb"(?:wordprocessingml|ms-word)[\w.]*\.main\+xml"), "word/document.xml", read_docx),
    _Kind(re.compile(rb"(?:presentationml|ms-powerpoint)[\w.]*\.main\+xml"), "ppt/presentation.xml", read_pptx),
    _Kind(re.compile(rb"(?:spreadsheetml|ms-excel\.(?!sheet\.binary))[\w.]*\.main\+xml"), "xl/workbook.xml", read_xlsx),
)
"""By the type of the main part, as `[Content_Types].xml` names it, or by the part itself where that is missing."""

_READER_BY_MIMETYPE = {
    "application/epub+zip": read_epub,
    "application/hwp+zip": read_hwpx,
    "application/vnd.oasis.opendocument.text": read_odf,
    "application/vnd.oasis.opendocument.spreadsheet": read_odf,
    "application/vnd.oasis.opendocument.presentation": read_odf,
}
"""By the beginning of what the member `mimetype` says."""
_MARK = re.compile(
    rb"\[Content_Types\]\.xml|mimetypeapplication/|(?:word/document|xl/workbook|ppt/presentation)\.xml|OEBPS/|META-INF/"
)
"""Names of members that tell a damaged document from a damaged archive of anything."""


def fits_zip(original: Original) -> bool:
    return original.content.startswith(MAGICS)


def read_zip(original: Original) -> OpenDocument:
    """Open the document in a ZIP container.

    Raises:
        UnsupportedFormat: it is none that has a reader.
        PermanentError: whatever the archive or its reader raises.
    """
    archive = _opened(original)
    types = archive.read("[Content_Types].xml", _TYPES_BYTES).replace(b"\0", b"")  # so that UTF-16 shows its words
    for kind in _OOXML_KINDS:
        if kind.mark.search(types) or (not types and archive.has(kind.main)):
            return kind.read(original, archive)
    media_type = media_type_of(archive)
    for name, read in _READER_BY_MIMETYPE.items():
        if media_type.startswith(name):
            return read(original, archive)
    raise UnsupportedFormat(f"this is {_name_of(types, media_type)}, which has no reader")


def _opened(original: Original) -> Archive:
    try:
        return Archive(original.content)
    except CorruptDocument:
        if _MARK.search(original.content):
            raise
        raise UnsupportedFormat("this is a ZIP archive, which has no reader") from None


def _name_of(types: bytes, media_type: str) -> str:
    if b"ms-excel.sheet.binary" in types:
        return "a binary Excel workbook (XLSB)"
    if media_type.startswith("application/vnd.oasis.opendocument."):
        return "an OpenDocument drawing, chart or formula"
    return "a ZIP archive"
