"""Reads workbooks (XLSX): sheet by sheet, row by row, whatever the sheet says of its own size."""

from collections.abc import Callable, Iterator, Sequence

from sluice_common.errors import CorruptDocument, DocumentTooLarge, NoText, OcrRequired
from sluice_extractor.parsing.cleaning import clean_line
from sluice_extractor.parsing.descriptions import description_of
from sluice_extractor.parsing.flow import Flow
from sluice_extractor.parsing.media import FigureSource
from sluice_extractor.parsing.number_formats import NumberFormats, shown
from sluice_extractor.parsing.ooxml import Package
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import SHEET_CHARS, Page, Place
from sluice_extractor.parsing.sheet_rows import Cell, RowWriter
from sluice_extractor.parsing.xml_stream import Attributes, attribute, parse, parse_whole
from sluice_extractor.parsing.zipped import Archive

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_MOST_SHEETS = 10_000
_MOST_STRINGS = 5_000_000
_LAST_COLUMN = 16_384
_BASE = 26


def read_xlsx(original: Original, archive: Archive) -> OpenDocument:
    """Open a workbook.

    Raises:
        CorruptDocument: a part that it needs is missing or damaged.
        ArchiveBomb: a part inflates too far.
        NoText, OcrRequired: at the end of the sheets.
    """
    package = Package(archive)
    return OpenDocument(MEDIA_TYPE, "xlsx", None, _parts(package, original.max_text_chars))


def _parts(package: Package, most_chars: int) -> Iterator[Page]:
    book = _Workbook()
    parse_whole(package.archive.pieces(package.main), book)
    related = package.related(package.main)
    strings, formats = _strings_of(package, most_chars), _formats_of(package, book)
    left_chars, has_pictures = most_chars, False
    for name, found in book.sheets:
        part = related[found].target if found in related else ""
        if not package.archive.has(part) or related[found].kind != "worksheet":
            continue  # a sheet that is one chart, or was left out
        flow = Flow(left_chars, Place(sheet=clean_line(name)[:SHEET_CHARS]))
        sheet = _Sheet(RowWriter(flow), strings, formats)
        for _ in parse(package.archive.pieces(part), sheet):
            yield from flow.parts()
        has_pictures = _write_beside(package, part, flow) or has_pictures
        left_chars -= flow.length
        yield flow.end()
    if left_chars == most_chars:
        raise OcrRequired("pictures and no cells") if has_pictures else NoText("no cell has a value")


def _strings_of(package: Package, most_chars: int) -> Sequence[str]:
    shared = _SharedStrings(most_chars)
    for part in package.of_kind(package.main, "sharedStrings"):
        parse_whole(package.archive.pieces(part), shared)
    return shared.texts


def _formats_of(package: Package, book: "_Workbook") -> NumberFormats:
    formats = NumberFormats(counts_from_1904=book.counts_from_1904)
    for part in package.of_kind(package.main, "styles"):
        parse_whole(package.archive.pieces(part), formats)
    return formats


def _write_beside(package: Package, part: str, flow: Flow) -> bool:
    """Write comments and the texts of drawings below the rows; returns whether there are pictures."""
    has_pictures = False
    for other in package.of_kind(part, "comments", "drawing"):
        beside = _Beside(flow, package.figures_of(other))
        parse_whole(package.archive.pieces(other), beside)
        has_pictures = has_pictures or beside.has_pictures
    return has_pictures


class _Workbook:
    """A handler of the workbook: its sheets in their order, with the ids of their parts."""

    def __init__(self) -> None:
        self.sheets: list[tuple[str, str]] = []
        self.counts_from_1904 = False

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "sheet":
            if len(self.sheets) >= _MOST_SHEETS:
                raise CorruptDocument("it has sheets without end")
            found = attribute(attributes, "id", of="/relationships") or ""
            self.sheets.append((attribute(attributes, "name") or "", found))
        elif name == "workbookPr":
            self.counts_from_1904 = attribute(attributes, "date1904") in {"1", "true"}

    def end(self, name: str) -> None:
        pass

    def text(self, text: str) -> None:
        pass


class _SharedStrings:
    """A handler of the strings that cells refer to by their numbers."""

    def __init__(self, most_chars: int) -> None:
        self.texts: list[str] = []
        self._left_chars = most_chars
        self._pieces: list[str] = []
        self._is_text = False
        self._reading_aid = 0

    def start(self, name: str, _attributes: Attributes) -> None:
        if name == "rPh":  # how the characters are spoken, which is not shown
            self._reading_aid += 1
        self._is_text = name == "t" and not self._reading_aid

    def end(self, name: str) -> None:
        self._is_text = False
        if name == "rPh":
            self._reading_aid -= 1
        elif name == "si":
            self.texts.append("".join(self._pieces))
            self._pieces = []
            if len(self.texts) > _MOST_STRINGS:
                raise DocumentTooLarge(f"more than {_MOST_STRINGS} texts in cells")

    def text(self, text: str) -> None:
        if self._is_text:
            self._pieces.append(text)
            self._left_chars -= len(text)
            if self._left_chars < 0:
                raise DocumentTooLarge("the texts of its cells pass the limit of characters")


class _Sheet:
    """A handler of one sheet; a row is written when it ends."""

    def __init__(self, rows: RowWriter, strings: Sequence[str], formats: NumberFormats) -> None:
        self._rows = rows
        self._strings = strings
        self._formats = formats
        self._row = -1
        self._column = -1
        self._kind = "n"
        self._style = 0
        self._cells: list[Cell] = []
        self._pieces: list[str] = []
        self._is_value = False
        self._starts: dict[str, Callable[[Attributes], None]] = {
            "row": self._begin_row, "c": self._begin_cell, "v": self._begin_value, "t": self._begin_value,
        }  # fmt: skip

    def start(self, name: str, attributes: Attributes) -> None:
        if name in self._starts:
            self._starts[name](attributes)

    def end(self, name: str) -> None:
        if name == "c":
            self._end_cell()
        elif name == "row":
            self._rows.write(self._row, self._cells)
            self._cells = []
        self._is_value = False

    def text(self, text: str) -> None:
        if self._is_value:
            self._pieces.append(text)

    def _begin_row(self, attributes: Attributes) -> None:
        named = attributes.get("r", "")
        self._row = int(named) - 1 if _is_small(named) else self._row + 1
        self._column = -1

    def _begin_cell(self, attributes: Attributes) -> None:
        self._column = column_of(attributes.get("r", ""), self._column + 1)
        self._kind = attributes.get("t", "n")
        style = attributes.get("s", "0")
        self._style = int(style) if _is_small(style) else 0
        self._pieces = []

    def _begin_value(self, _: Attributes) -> None:
        self._is_value = True

    def _end_cell(self) -> None:
        value = "".join(self._pieces)
        if not value or len(self._cells) >= _LAST_COLUMN:
            return
        if self._kind == "s":
            number = int(value) if _is_small(value.strip()) else -1
            value = self._strings[number] if 0 <= number < len(self._strings) else ""
        elif self._kind == "b":
            value = "TRUE" if value == "1" else "FALSE"
        elif self._kind == "n":
            value = shown(value, self._formats.of_style(self._style), is_1904=self._formats.counts_from_1904)
        self._cells.append(Cell(self._column, value.strip(), is_text=self._kind in {"s", "str", "inlineStr"}))


class _Beside:
    """A handler of comments and of drawings: one line for each comment or paragraph."""

    def __init__(self, flow: Flow, figure_of: Callable[[Attributes], FigureSource | None]) -> None:
        self.has_pictures = False
        self._flow = flow
        self._figure_of = figure_of
        self._mark = ""
        self._pieces: list[str] = []
        self._is_text = False

    def start(self, name: str, attributes: Attributes) -> None:
        self._is_text = name == "t"
        if name == "comment":
            self._mark = f"{attributes.get('ref', '')}: "
        elif name == "blip":
            self.has_pictures = True
            figure = self._figure_of(attributes)
            if figure:
                self._flow.figure(figure)
        elif name == "cNvPr":
            self._flow.paragraph(description_of(attributes))

    def end(self, name: str) -> None:
        self._is_text = False
        if name in {"comment", "p"}:
            text = " ".join("".join(self._pieces).split())
            if text:
                self._flow.paragraph(f"[{self._mark}{text}]" if self._mark else text)
            self._pieces, self._mark = [], ""

    def text(self, text: str) -> None:
        if self._is_text:
            self._pieces.append(text)


def column_of(reference: str, otherwise: int) -> int:
    """The column of a cell such as `AB12`, counted from 0; *otherwise* where it names none."""
    column = 0
    for char in reference:
        if not "A" <= char <= "Z":
            break
        column = column * _BASE + ord(char) - ord("A") + 1
        if column > _LAST_COLUMN:
            return otherwise
    return column - 1 if column else otherwise


def _is_small(number: str) -> bool:
    return number.isascii() and number.isdigit() and len(number) < 10  # noqa: PLR2004 - fits into any integer
