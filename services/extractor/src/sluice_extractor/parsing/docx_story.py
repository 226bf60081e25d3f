"""Follows the paragraphs and tables of one part of a Word document as its XML goes by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sluice_extractor.parsing.descriptions import description_of
from sluice_extractor.parsing.docx_styles import Numbering, Style
from sluice_extractor.parsing.flow import Flow, Table, line_of
from sluice_extractor.parsing.media import FigureSource
from sluice_extractor.parsing.xml_stream import Attributes, KnownElements, attribute

_DROPPED = frozenset({"del", "moveFrom", "Fallback", "delText", "instrText"})
_SIGNS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "ptab": "\t"}
_PICTURES = frozenset({"blip", "imagedata"})
_MOST_COLUMNS = 1_000


@dataclass
class _Paragraph:
    """A paragraph being read; `below` are the texts of its boxes, notes and comments."""

    pieces: list[str] = field(default_factory=list)
    style_id: str = ""
    number: tuple[str, int] | None = None
    level: int | None = None
    below: list[str] = field(default_factory=list)


@dataclass
class _Rows:
    """A table being read, inside or outside of others."""

    table: Table | None
    cells: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    merged: dict[int, str] = field(default_factory=dict)
    column: int = 0
    span: int = 1
    merge: str | None = None


@dataclass(frozen=True)
class StoryContext:
    """What the paragraphs of a document refer to."""

    styles: Mapping[str, Style]
    numbering: Numbering
    notes: Mapping[tuple[str, str], str]
    """The texts of footnotes, endnotes and comments by kind and id."""
    figure_of: Callable[[Attributes], FigureSource | None] = lambda _: None
    """Finds the picture that an element shows."""


class Story(KnownElements):
    """A handler of the XML of a body, a header, a footer or notes; what it finds goes into `flow`."""

    def __init__(self, flow: Flow, context: StoryContext) -> None:
        self.flow = flow
        self.has_pictures = False
        self._context = context
        self._paragraphs: list[_Paragraph] = []
        self._rows: list[_Rows] = []
        self._inner: list[list[str]] = []  # the lines of the cell or text box that is being read
        self._figures: list[FigureSource] = []
        self._is_text = False
        starts: dict[str, Callable[[Attributes], None]] = {
            "p": self._begin_paragraph, "t": self._begin_text, "pStyle": self._take_style, "numId": self._take_list,
            "ilvl": self._take_level, "outlineLvl": self._take_outline, "tbl": self._begin_table,
            "tc": self._begin_cell,
            "gridSpan": self._take_span, "vMerge": self._take_merge, "txbxContent": self._begin_inner,
            "docPr": self._take_description, "sym": self._take_symbol,
            "footnoteReference": self._take_note("footnote"), "endnoteReference": self._take_note("endnote"),
            "commentReference": self._take_note("comment"),
            **{name: self._take_sign(sign) for name, sign in _SIGNS.items()},
            **dict.fromkeys(_PICTURES, self._take_picture),
        }  # fmt: skip
        ends: dict[str, Callable[[], None]] = {
            "p": self._end_paragraph, "t": self._end_text, "tc": self._end_cell, "tr": self._end_row,
            "tbl": self._end_table, "txbxContent": self._end_box,
        }  # fmt: skip
        super().__init__(starts, ends, _DROPPED)

    def text(self, text: str) -> None:
        if self._is_text and not self.is_dropping:
            self._write(text)

    def _write(self, text: str) -> None:
        if self._paragraphs:
            self._paragraphs[-1].pieces.append(text)

    def _take_sign(self, sign: str) -> Callable[[Attributes], None]:
        return lambda _: self._write(sign)

    def _take_picture(self, attributes: Attributes) -> None:
        self.has_pictures = True
        figure = self._context.figure_of(attributes)
        if figure:
            self._figures.append(figure)

    def _show_figures(self) -> None:
        """Put the pictures below the paragraph or the row that they stand in."""
        for figure in self._figures:
            self.flow.figure(figure)
        self._figures = []

    def _begin_text(self, _: Attributes) -> None:
        self._is_text = True

    def _end_text(self) -> None:
        self._is_text = False

    def _begin_paragraph(self, _: Attributes) -> None:
        self._paragraphs.append(_Paragraph())

    def _take_style(self, attributes: Attributes) -> None:
        if self._paragraphs:
            self._paragraphs[-1].style_id = attribute(attributes, "val") or ""

    def _take_list(self, attributes: Attributes) -> None:
        if self._paragraphs:
            _, level = self._paragraphs[-1].number or ("", 0)
            self._paragraphs[-1].number = (attribute(attributes, "val") or "0", level)

    def _take_level(self, attributes: Attributes) -> None:
        if self._paragraphs:
            list_id, _ = self._paragraphs[-1].number or ("", 0)
            self._paragraphs[-1].number = (list_id, _number(attribute(attributes, "val")))

    def _take_outline(self, attributes: Attributes) -> None:
        if self._paragraphs:
            self._paragraphs[-1].level = _number(attribute(attributes, "val"))

    def _take_description(self, attributes: Attributes) -> None:
        description = description_of(attributes)
        if description and self._paragraphs:
            self._paragraphs[-1].below.append(description)

    def _take_symbol(self, attributes: Attributes) -> None:
        code = attribute(attributes, "char") or ""
        if len(code) == 4 and not code.upper().startswith(("F", "E")):  # noqa: PLR2004 - private ones mean a font's own pictures
            self._write(chr(int(code, 16)))

    def _take_note(self, kind: str) -> Callable[[Attributes], None]:
        def take(attributes: Attributes) -> None:
            note = self._context.notes.get((kind, attribute(attributes, "id") or ""))
            if note and self._paragraphs:
                self._paragraphs[-1].below.append(f"[{note}]")

        return take

    def _end_paragraph(self) -> None:
        if not self._paragraphs:
            return
        paragraph = self._paragraphs.pop()
        text = "".join(paragraph.pieces).strip()
        style = self._context.styles.get(paragraph.style_id, Style())
        if text:
            level = style.level if paragraph.level is None else paragraph.level + 2
            self._say(self._context.numbering.mark(paragraph.number, style) + text, level)
        for below in paragraph.below:
            self._say(below, None)
        if not (self._paragraphs or self._inner):
            self._show_figures()

    def _say(self, text: str, level: int | None) -> None:
        if self._inner:
            self._inner[-1].append(text)
        elif level is not None:
            self.flow.heading(level, text)
        else:
            self.flow.paragraph(text)

    def _begin_inner(self, _: Attributes) -> None:
        self._inner.append([])

    def _end_box(self) -> None:
        lines = self._inner.pop() if self._inner else []
        if self._paragraphs:
            self._paragraphs[-1].below += lines

    def _begin_table(self, _: Attributes) -> None:
        self._rows.append(_Rows(None if self._inner else Table(self.flow)))

    def _begin_cell(self, attributes: Attributes) -> None:
        self._begin_inner(attributes)
        if self._rows:
            self._rows[-1].span, self._rows[-1].merge = 1, None

    def _take_span(self, attributes: Attributes) -> None:
        if self._rows:
            self._rows[-1].span = min(max(_number(attribute(attributes, "val")), 1), _MOST_COLUMNS)

    def _take_merge(self, attributes: Attributes) -> None:
        if self._rows:
            self._rows[-1].merge = attribute(attributes, "val") or "continue"

    def _end_cell(self) -> None:
        lines = self._inner.pop() if self._inner else []
        if not self._rows:
            return
        rows = self._rows[-1]
        text = " ".join(lines)
        if rows.merge == "continue":  # a cell that reaches over several rows says the same in each of them
            text = text or rows.merged.get(rows.column, "")
        rows.merged[rows.column] = text if rows.merge else ""
        rows.cells.append(text)
        rows.lines = lines
        rows.column += rows.span

    def _end_row(self) -> None:
        if not self._rows:
            return
        rows = self._rows[-1]  # a table without a writer stands in a cell or a box, whose lines it adds to
        is_layout = len(rows.cells) == 1  # a frame around text, and no table
        if rows.table is None:
            self._inner[-1] += rows.lines if is_layout else [line_of(rows.cells)]
        elif is_layout and len(rows.lines) > 1:
            for line in rows.lines:
                self.flow.paragraph(line)
        else:
            rows.table.row(rows.cells)
        if rows.table is not None:
            self._show_figures()
        rows.cells, rows.lines, rows.column = [], [], 0

    def _end_table(self) -> None:
        if self._rows:
            self._rows.pop()


def _number(written: str | None) -> int:
    return int(written) if written and written.isascii() and written.isdigit() and len(written) < 10 else 0  # noqa: PLR2004 - fits into any integer
