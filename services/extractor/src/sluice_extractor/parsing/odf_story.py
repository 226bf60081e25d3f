"""Follows the paragraphs, tables and slides of an OpenDocument file as its XML goes by."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sluice_extractor.parsing.descriptions import described
from sluice_extractor.parsing.flow import Flow, Table, line_of
from sluice_extractor.parsing.media import FigureSource
from sluice_extractor.parsing.sheet_rows import Cell, RowWriter
from sluice_extractor.parsing.xml_stream import Attributes, KnownElements, attribute

_DROPPED = frozenset(
    {"tracked-changes", "forms", "ruby-text", "note-citation", "settings", "creator", "date", "scripts"}
)
_SIGNS = {"tab": "\t", "line-break": "\n"}
_BOXES = frozenset({"text-box", "note-body"})
_CELLS = frozenset({"table-cell", "covered-table-cell"})
_DESCRIPTIONS = frozenset({"title", "desc"})
_NUMBERS = frozenset({"float", "percentage", "currency", "date", "time", "boolean"})
_MOST_SPACES, _MOST_COLUMNS, _MOST_REPEATED_ROWS = 1_000, 16_384, 100


@dataclass
class _Paragraph:
    """A paragraph being read; `below` are the texts of its boxes, notes and comments."""

    level: int | None = None
    pieces: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)


@dataclass
class _Rows:
    """A table being read: on a sheet, in a text, or inside a cell or box."""

    sheet: RowWriter | None = None
    table: Table | None = None
    row: int = -1
    repeated_rows: int = 1
    column: int = 0
    repeated_cells: int = 1
    is_text: bool = True
    cells: list[Cell] = field(default_factory=list)


class OdfStory(KnownElements):
    """A handler of `content.xml`; a sheet or slide that begins asks `sheet` or `slide` for the flow to write into."""

    def __init__(
        self,
        flow: Flow,
        *,
        sheet: Callable[[str], Flow] | None = None,
        slide: Callable[[int], Flow] | None = None,
        figure_of: Callable[[str], FigureSource | None] = lambda _: None,
    ) -> None:
        self.flow = flow
        self.has_pictures = False
        self._figure_of = figure_of
        self._figures: list[FigureSource] = []
        self._sheet = sheet
        self._slide = slide
        self._slides = 0
        self._paragraphs: list[_Paragraph] = []
        self._rows: list[_Rows] = []
        self._inner: list[list[str]] = []  # the lines of the cell, box or note that is being read
        self._is_item_start = False
        self._is_title = False
        starts: dict[str, Callable[[Attributes], None]] = {
            "p": self._begin_paragraph, "h": self._begin_heading, "s": self._take_spaces, "table": self._begin_table,
            "table-row": self._begin_row, "page": self._begin_slide, "frame": self._begin_frame,
            "list-item": self._begin_item, "image": self._take_picture, "notes": self._begin_notes,
            **dict.fromkeys(_CELLS, self._begin_cell), **dict.fromkeys(_BOXES | {"annotation"}, self._begin_inner),
            **dict.fromkeys(_DESCRIPTIONS, self._begin_inner_paragraph),
            **{name: self._take_sign(sign) for name, sign in _SIGNS.items()},
        }  # fmt: skip
        ends: dict[str, Callable[[], None]] = {
            "p": self._end_paragraph, "h": self._end_paragraph, "table": self._end_table, "table-row": self._end_row,
            "frame": self._end_frame, "list-item": self._end_item, "text-box": self._end_box, "notes": self._end_notes,
            **dict.fromkeys(("note-body", "annotation"), self._end_aside), **dict.fromkeys(_CELLS, self._end_cell),
            **dict.fromkeys(_DESCRIPTIONS, self._end_description),
        }  # fmt: skip
        super().__init__(starts, ends, _DROPPED)

    def text(self, text: str) -> None:
        if not self.is_dropping:
            self._write(text)

    def _write(self, text: str) -> None:
        if self._paragraphs:
            self._paragraphs[-1].pieces.append(text)

    def _take_sign(self, sign: str) -> Callable[[Attributes], None]:
        return lambda _: self._write(sign)

    def _take_spaces(self, attributes: Attributes) -> None:
        self._write(" " * min(_count(attribute(attributes, "c")), _MOST_SPACES))

    def _take_picture(self, attributes: Attributes) -> None:
        self.has_pictures = True
        figure = self._figure_of(attribute(attributes, "href") or "")
        if figure:
            self._figures.append(figure)

    def _show_figures(self) -> None:
        """Put the pictures below the paragraph, the frame or the row that they stand in."""
        if self._paragraphs or self._inner:
            return
        for figure in self._figures:
            self.flow.figure(figure)
        self._figures = []

    def _begin_paragraph(self, _: Attributes) -> None:
        self._paragraphs.append(_Paragraph(level=1 if self._is_title and not self._inner[1:] else None))

    def _begin_heading(self, attributes: Attributes) -> None:
        self._paragraphs.append(_Paragraph(level=min(_count(attribute(attributes, "outline-level")), 10)))

    def _begin_item(self, _: Attributes) -> None:
        self._is_item_start = True

    def _end_item(self) -> None:
        self._is_item_start = False

    def _end_paragraph(self) -> None:
        if not self._paragraphs:
            return
        paragraph = self._paragraphs.pop()
        text = " ".join("".join(paragraph.pieces).split())
        if text and self._is_item_start and paragraph.level is None:
            text = f"- {text}"
        if text:
            self._is_item_start = False
            self._say(text, paragraph.level)
        for below in paragraph.below:
            self._say(below, None)
        self._show_figures()

    def _say(self, text: str, level: int | None) -> None:
        if level is not None and (not self._inner or self._is_title):
            self.flow.heading(level, text)
        elif self._inner:
            self._inner[-1].append(text)
        else:
            self.flow.paragraph(text)

    def _begin_inner(self, _: Attributes) -> None:
        self._inner.append([])

    def _end_box(self) -> None:
        lines = self._inner.pop() if self._inner else []
        if self._paragraphs:
            self._paragraphs[-1].below += lines
        else:
            self._say("\n".join(lines), None)

    def _end_aside(self) -> None:
        """A note or a comment stands below the paragraph that it is about."""
        text = " ".join(self._inner.pop()) if self._inner else ""
        if text and self._paragraphs:
            self._paragraphs[-1].below.append(f"[{text}]")
        elif text:
            self._say(f"[{text}]", None)

    def _begin_inner_paragraph(self, _: Attributes) -> None:
        self._paragraphs.append(_Paragraph())

    def _end_description(self) -> None:
        text = described("".join(self._paragraphs.pop().pieces)) if self._paragraphs else ""
        if text and self._paragraphs:
            self._paragraphs[-1].below.append(text)
        elif text:
            self._say(text, None)

    def _begin_frame(self, attributes: Attributes) -> None:
        self._is_title = attribute(attributes, "class") == "title"

    def _end_frame(self) -> None:
        self._is_title = False
        self._show_figures()

    def _begin_slide(self, _: Attributes) -> None:
        if self._slide:
            self._slides += 1
            self.flow = self._slide(self._slides)

    def _begin_notes(self, attributes: Attributes) -> None:
        self._begin_inner(attributes)

    def _end_notes(self) -> None:
        lines = [line for line in self._inner.pop() if line] if self._inner else []
        if lines:
            self.flow.paragraph("Notes: " + "\n".join(lines))

    def _begin_table(self, attributes: Attributes) -> None:
        rows = _Rows()
        if self._sheet and not self._rows and not self._inner:
            self.flow = self._sheet(attribute(attributes, "name") or "")
            rows.sheet = RowWriter(self.flow)
        elif not self._inner:
            rows.table = Table(self.flow)
        self._rows.append(rows)

    def _end_table(self) -> None:
        if self._rows:
            self._rows.pop()

    def _begin_row(self, attributes: Attributes) -> None:
        if self._rows:
            rows = self._rows[-1]
            rows.repeated_rows = _count(attribute(attributes, "number-rows-repeated"))
            rows.column, rows.cells = 0, []

    def _begin_cell(self, attributes: Attributes) -> None:
        self._inner.append([])
        if self._rows:
            rows = self._rows[-1]
            rows.repeated_cells = _count(attribute(attributes, "number-columns-repeated"))
            rows.is_text = attribute(attributes, "value-type", of=":office:1.0") not in _NUMBERS

    def _end_cell(self) -> None:
        text = " ".join(self._inner.pop()) if self._inner else ""
        if not self._rows:
            return
        rows = self._rows[-1]
        if text:
            last = min(rows.column + rows.repeated_cells, _MOST_COLUMNS)
            rows.cells += [Cell(column, text, rows.is_text) for column in range(rows.column, last)]
        elif not rows.sheet and rows.column < _MOST_COLUMNS:
            rows.cells.append(Cell(rows.column, "", is_text=True))
        rows.column += rows.repeated_cells

    def _end_row(self) -> None:
        if not self._rows:
            return
        rows = self._rows[-1]
        if rows.sheet:
            copies = min(rows.repeated_rows, _MOST_REPEATED_ROWS) if rows.cells else 0
            for copy in range(1, copies + 1):
                rows.sheet.write(rows.row + copy, rows.cells)
            rows.row += rows.repeated_rows
            self._show_figures()
            return
        texts = [cell.text for cell in rows.cells]
        if rows.table:
            rows.table.row(texts)
            self._show_figures()
        elif self._inner:
            self._inner[-1].append(line_of(texts))


def _count(written: str | None) -> int:
    return int(written) if written and written.isascii() and written.isdigit() and len(written) < 10 else 1  # noqa: PLR2004 - fits into any integer
