"""Reads HWP 5, the older format of the Hangul word processor: records in the streams of an OLE container.

After Hancom's "HWP Document File Format 5.0", revision 1.3.
"""

import re
import struct
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from sluice_common.errors import ArchiveBomb, CorruptDocument, Encrypted, NoText
from sluice_extractor.parsing.cleaning import clean_line, clean_text
from sluice_extractor.parsing.compound import CompoundFile
from sluice_extractor.parsing.figure_marks import MARK, without_marks
from sluice_extractor.parsing.hwp_locked import unlocked
from sluice_extractor.parsing.media import Figure, FigureSource
from sluice_extractor.parsing.ole import streams_of
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import TITLE_CHARS, Heading, Remark, parts_of
from sluice_extractor.parsing.text import checked_text

_FLAGS_AT = 36
_COMPRESSED, _PASSWORD, _DISTRIBUTION, _RIGHTS, _CERTIFICATE = 1 << 0, 1 << 1, 1 << 2, 1 << 4, 1 << 8
_MOST_SECTION_BYTES = 256 << 20
_PARA_SHAPE, _PARA_HEADER, _PARA_TEXT, _CTRL_HEADER, _LIST_HEADER, _TABLE, _EQUATION = 25, 66, 67, 71, 72, 77, 88
_BIN_DATA, _PICTURE = 18, 85
_EMBEDDED = 1
_IMAGE_NUMBER_AT = 71
_LONG_SIZE = 0xFFF
_TABLE_CONTROL = b" lbt"  # 'tbl ' as the format writes its names
_CELL_PLACE = struct.Struct("<HH")
_CELL_PLACE_AT = 8
_SHAPE_ID_AT = 8
_OUTLINE = 1
_DEEPEST_TABLE = 64

# Controls are one unit of UTF-16 or eight; what those of eight stand for comes in records of its own.
_CONTROL = re.compile("(?P<tab>\t.{7})|[\x01-\x08\x0b\x0c\x0e-\x17].{7}|(?P<one>[\x00-\x1f])", re.DOTALL)
_TEXT_OF_CONTROL = {"\n": "\n", "\x18": "-", "\x1e": "\u00a0", "\x1f": " "}
_LINE_ENDS = re.compile(r"(?<!\s)\s*\n\s*")  # looks back, so that many spaces take no square of their time


def fits_hwp(original: Original) -> bool:
    """The container has the header of an HWP 5 document."""
    names = streams_of(original)
    return "fileheader" in names and bool(names & {"bodytext", "viewtext", "docinfo"})


def read_hwp(original: Original) -> OpenDocument:
    """Open an HWP 5 document.

    Raises:
        ArchiveBomb: a section expands beyond every document's size.
        CorruptDocument: there is nothing to be read in it.
        Encrypted: it needs a password, or the leave of a server.
        NoText: it has none.
    """
    file = CompoundFile(original.content)
    flags = _flags_of(file)
    remarks: list[Remark] = []
    text, headings, figures = _whole_text(file, flags, remarks, with_figures=original.wants_media)
    if not (text.strip() or figures):
        text, headings = _preview(file, remarks), ()
    text = checked_text(text, original, has_figures=bool(figures))
    return OpenDocument("application/x-hwp", "hwp", None, parts_of(text, headings, figures=figures), remarks)


def _flags_of(file: CompoundFile) -> int:
    header = file.stream("FileHeader")
    if len(header) < _FLAGS_AT + 4:
        raise CorruptDocument("the header of the HWP document is cut off")
    flags = int.from_bytes(header[_FLAGS_AT : _FLAGS_AT + 4], "little")
    if flags & (_PASSWORD | _RIGHTS | _CERTIFICATE):
        raise Encrypted("the HWP document is encrypted")
    return flags


def _whole_text(
    file: CompoundFile, flags: int, remarks: list[Remark], *, with_figures: bool
) -> tuple[str, tuple[Heading, ...], tuple[Figure, ...]]:
    doc_info = _inflated(file.stream("DocInfo"), flags)
    images = list(_images_of(doc_info)) if with_figures else []
    writing = _Writing(list(_outline_levels(doc_info)), images)
    storage = "ViewText" if flags & _DISTRIBUTION else "BodyText"
    for name in sorted(file.names_in(storage), key=lambda name: (len(name), name)):
        try:
            section = file.stream(storage, name)
            opened = unlocked(section) if flags & _DISTRIBUTION else section
            for record in _records(_inflated(opened, flags)):
                writing.take(record)
        except CorruptDocument:
            remarks.append(Remark("part_unreadable", f"A part of the document ({name}) is damaged; text is missing."))
        writing.close_tables(0)
    sources = [FigureSource(image.stream, partial(_image_in, file, flags, image)) for image in writing.shown]
    return without_marks("".join(writing.pieces), writing.headings, sources)


def _image_in(file: CompoundFile, flags: int, image: "_Image") -> bytes:
    content = file.stream("BinData", image.stream)
    is_compressed = bool(flags & _COMPRESSED) if image.is_compressed is None else image.is_compressed
    return _inflated(content, _COMPRESSED) if is_compressed else content


def _preview(file: CompoundFile, remarks: list[Remark]) -> str:
    """The beginning of the text, which the program keeps for its file dialog; better than nothing of a damaged one."""
    if not remarks and _has_sections(file):
        raise NoText("the document has no words")
    text = clean_text(file.stream("PrvText").decode("utf-16-le", "replace"))
    if not text.strip():
        raise CorruptDocument("no section of the document can be read")
    remarks.append(Remark("preview_only", "Only the preview that is stored with the document could be read."))
    return text


def _has_sections(file: CompoundFile) -> bool:
    return any(True for storage in ("BodyText", "ViewText") for _ in file.names_in(storage))


def _inflated(content: bytes, flags: int) -> bytes:
    if not flags & _COMPRESSED:
        return content
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflating.decompress(content, _MOST_SECTION_BYTES)
    except zlib.error as error:
        raise CorruptDocument("a stream cannot be inflated") from error
    if inflating.unconsumed_tail:
        raise ArchiveBomb(f"a section of more than {_MOST_SECTION_BYTES} bytes")
    return inflated


@dataclass(frozen=True, slots=True)
class _Record:
    tag: int
    level: int
    content: memoryview


def _records(stream: bytes) -> Iterator[_Record]:
    view, at = memoryview(stream), 0
    while at + 4 <= len(view):
        header = int.from_bytes(view[at : at + 4], "little")
        at += 4
        size = header >> 20
        if size == _LONG_SIZE:
            size = int.from_bytes(view[at : at + 4], "little")
            at += 4
        if at + size > len(view):
            raise CorruptDocument("a record is cut off")
        yield _Record(header & 0x3FF, header >> 10 & 0x3FF, view[at : at + size])
        at += size


def _outline_levels(doc_info: bytes) -> Iterator[int | None]:
    """For each shape of paragraphs, its level in the outline; None where it is no heading."""
    for record in _records(doc_info):
        if record.tag == _PARA_SHAPE:
            attributes = int.from_bytes(record.content[:4], "little")
            yield (attributes >> 25 & 7) + 1 if attributes >> 23 & 3 == _OUTLINE else None


@dataclass(frozen=True, slots=True)
class _Image:
    """Where a picture lies."""

    stream: str
    is_compressed: bool | None
    """None is as the rest of the document."""


def _images_of(doc_info: bytes) -> Iterator[_Image | None]:
    """The pictures in the order of their numbers; None for what is kept elsewhere, or is no picture."""
    for record in _records(doc_info):
        if record.tag != _BIN_DATA:
            continue
        attributes, number, length = (int.from_bytes(record.content[at : at + 2], "little") for at in (0, 2, 4))
        suffix = bytes(record.content[6 : 6 + 2 * length]).decode("utf-16-le", "replace")
        compression = {1: True, 2: False}.get(attributes >> 4 & 3)
        is_image = attributes & 0xF == _EMBEDDED
        yield _Image(f"BIN{number:04X}.{suffix}", compression) if is_image else None


@dataclass
class _OpenTable:
    """A table whose cells are coming; the text of the cell that is open is in `cell`."""

    level: int
    has_begun: bool = False
    rows: dict[int, list[str]] = field(default_factory=dict)
    row: int = 0
    cell: list[str] | None = None

    def close_cell(self) -> None:
        if self.cell is not None:
            self.rows.setdefault(self.row, []).append("".join(self.cell).strip())
        self.cell = None

    def text(self) -> str:
        """A line for each row; the words themselves where the table is only a frame around them."""
        self.close_cell()
        cells = [cell for row in self.rows.values() for cell in row]
        if len(cells) == 1:
            return cells[0]
        lines = (" | ".join(_LINE_ENDS.sub(" ", cell) for cell in row) for _, row in sorted(self.rows.items()))
        return "\n".join(line for line in lines if line.strip(" |"))


@dataclass
class _Writing:
    """The text so far, and the tables that are still open around what comes next."""

    levels: list[int | None]
    images: list[_Image | None]
    shown: list[_Image] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    tables: list[_OpenTable] = field(default_factory=list)
    length: int = 0
    shape: int = -1

    def take(self, record: _Record) -> None:
        self.close_tables(record.level)
        if record.tag == _PARA_HEADER:
            self.shape = int.from_bytes(record.content[_SHAPE_ID_AT : _SHAPE_ID_AT + 2], "little")
        elif record.tag == _PARA_TEXT:
            self._take_paragraph(_words_of(record.content))
        elif record.tag == _EQUATION:
            self._write(_equation_of(record.content) + "\n")
        elif record.tag == _PICTURE:
            self._take_picture(record.content)
        else:
            self._take_structure(record)

    def _take_picture(self, content: memoryview) -> None:
        number = int.from_bytes(content[_IMAGE_NUMBER_AT : _IMAGE_NUMBER_AT + 2], "little")
        image = self.images[number - 1] if 1 <= number <= len(self.images) else None
        if image:
            self.shown.append(image)
            self._write(MARK)

    def close_tables(self, level: int) -> None:
        """Write the tables that end before a record of *level*."""
        while self.tables and level <= self.tables[-1].level:
            text = self.tables.pop().text()
            if text:
                self._write(text + "\n\n")

    def _take_structure(self, record: _Record) -> None:
        if record.tag == _CTRL_HEADER and bytes(record.content[:4]) == _TABLE_CONTROL:
            if len(self.tables) >= _DEEPEST_TABLE:
                raise CorruptDocument("tables are nested too deeply", detail_code="too_deep")
            self.tables.append(_OpenTable(record.level))
        elif record.tag == _TABLE and self.tables:
            self.tables[-1].has_begun = True
        elif record.tag == _LIST_HEADER and self.tables:
            self._open_cell(self.tables[-1], record)

    def _open_cell(self, table: _OpenTable, record: _Record) -> None:
        """A list directly in a table is a cell; one before the table itself is its caption."""
        if not table.has_begun or record.level != table.level + 1:
            return
        table.close_cell()
        table.cell = []
        place = record.content[_CELL_PLACE_AT : _CELL_PLACE_AT + _CELL_PLACE.size]
        if len(place) == _CELL_PLACE.size:
            _, table.row = _CELL_PLACE.unpack(place)

    def _take_paragraph(self, text: str) -> None:
        level = self.levels[self.shape] if 0 <= self.shape < len(self.levels) else None
        title = clean_line(text).strip()
        if level and title and not self.tables and len(title) <= TITLE_CHARS:
            self.headings.append(Heading(self.length, level, title))
        self._write(text.rstrip("\n") + "\n" if title else "")

    def _write(self, text: str) -> None:
        holder = next((table for table in reversed(self.tables) if table.cell is not None), None)
        if holder is not None and holder.cell is not None:
            holder.cell.append(text)
            return
        self.pieces.append(text)
        self.length += len(text)


def _words_of(content: memoryview) -> str:
    units = array("H")
    units.frombytes(content[: len(content) // 2 * 2])
    text = _CONTROL.sub(_text_of_control, "".join(map(chr, units)))
    return clean_text(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


def _text_of_control(found: re.Match[str]) -> str:
    if found["tab"]:
        return "\t"
    return _TEXT_OF_CONTROL.get(found["one"] or "", "")


def _equation_of(content: memoryview) -> str:
    """An equation as it was typed: attributes of four bytes, a length, the script."""
    length = int.from_bytes(content[4:6], "little")
    return clean_line(bytes(content[6 : 6 + 2 * length]).decode("utf-16-le", "replace"))
