"""Reads Hangul documents (HWPX): its sections in order, with tables, notes, boxes, headers and footers."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from sluice_common.errors import CorruptDocument, Encrypted, NoText, OcrRequired
from sluice_extractor.parsing.flow import Flow, Table, line_of
from sluice_extractor.parsing.media import FigureSource
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import Page
from sluice_extractor.parsing.xml_stream import Attributes, KnownElements, attribute, parse, parse_whole
from sluice_extractor.parsing.zipped import Archive

MEDIA_TYPE = "application/hwp+zip"
_SECTION = re.compile(r"Contents/section(\d{1,6})\.xml", re.IGNORECASE)
_HEADER, _ITEMS, _MANIFEST = "Contents/header.xml", "Contents/content.hpf", "META-INF/manifest.xml"
_OUTLINE = re.compile(r"(?:개요|Outline) ?([1-9])")
_DROPPED = frozenset({"shapeComment", "secPr", "masterPage", "parameterset", "fieldBegin", "fieldEnd"})
_SIGNS = {"tab": "\t", "lineBreak": "\n", "nbSpace": " ", "fwSpace": " ", "hyphen": "-"}
_TEXTS = frozenset({"t", "script", "mainText", "subText"})
_ASIDES = frozenset({"header", "footer", "footNote", "endNote", "hiddenComment", "drawText", "caption"})
_OUTLINE_LEVELS = frozenset("0123456789")
_MOST_STYLES = 100_000
_MOST_COLUMNS = 1_000


def read_hwpx(original: Original, archive: Archive) -> OpenDocument:
    """Open a Hangul document.

    Raises:
        Encrypted: it needs a password.
        CorruptDocument: a part that it needs is missing or damaged.
        NoText, OcrRequired: at the end of the sections.
    """
    if b"encryption-data" in archive.read(_MANIFEST, 1 << 20):
        raise Encrypted("the Hangul document needs a password")
    numbers = {int(found[1]): name for name in archive.names if (found := _SECTION.fullmatch(name))}
    if not numbers:
        raise CorruptDocument("it has no section")
    sections = [numbers[number] for number in sorted(numbers)]
    return OpenDocument(MEDIA_TYPE, "hwpx", None, _parts(archive, sections, original.max_text_chars))


def _parts(archive: Archive, sections: list[str], most_chars: int) -> Iterator[Page]:
    styles = _Styles()
    if archive.has(_HEADER):
        parse_whole(archive.pieces(_HEADER), styles)
    flow = Flow(most_chars)
    story = _Story(flow, styles, _figures_of(archive))
    for section in sections:
        for _ in parse(archive.pieces(section), story):
            yield from flow.parts()
    yield flow.part()
    if not flow.length:
        raise OcrRequired("pictures and no text") if story.has_pictures else NoText("no paragraph has text")


def _figures_of(archive: Archive) -> Mapping[str, FigureSource]:
    """The pictures by the ids that the list of members gives them."""
    items = _Items()
    if archive.has(_ITEMS):
        parse_whole(archive.pieces(_ITEMS), items)
    return {found: archive.figure(name) for found, name in items.image_by_id.items() if archive.has(name)}


class _Items:
    """A handler of the list of members."""

    def __init__(self) -> None:
        self.image_by_id: dict[str, str] = {}

    def start(self, name: str, attributes: Attributes) -> None:
        kind = attribute(attributes, "media-type") or ""
        if name == "item" and kind.startswith("image/") and len(self.image_by_id) < _MOST_STYLES:
            self.image_by_id[attribute(attributes, "id") or ""] = attribute(attributes, "href") or ""

    def end(self, name: str) -> None:
        pass

    def text(self, text: str) -> None:
        pass


class _Styles:
    """A handler of the document's header: which styles and which shapes of paragraphs are those of headings."""

    def __init__(self) -> None:
        self.level_by_style: dict[str, int] = {}
        self.level_by_shape: dict[str, int] = {}
        self._shape = ""

    def start(self, name: str, attributes: Attributes) -> None:
        if len(self.level_by_style) + len(self.level_by_shape) >= _MOST_STYLES:
            return
        if name == "paraPr":
            self._shape = attribute(attributes, "id") or ""
        elif name == "heading" and attribute(attributes, "type") == "OUTLINE":
            level = attribute(attributes, "level") or ""
            self.level_by_shape[self._shape] = int(level) + 1 if level in _OUTLINE_LEVELS else 1
        elif name == "style":
            self._take_style(attributes)

    def end(self, name: str) -> None:
        pass

    def text(self, text: str) -> None:
        pass

    def level_of(self, attributes: Attributes) -> int | None:
        """The level of a paragraph that is a heading."""
        by_style = self.level_by_style.get(attribute(attributes, "styleIDRef") or "")
        return by_style or self.level_by_shape.get(attribute(attributes, "paraPrIDRef") or "")

    def _take_style(self, attributes: Attributes) -> None:
        names = (attribute(attributes, "name") or "", attribute(attributes, "engName") or "")
        found = next((found for written in names if (found := _OUTLINE.match(written))), None)
        if found:
            self.level_by_style[attribute(attributes, "id") or ""] = int(found[1])


@dataclass
class _Paragraph:
    """A paragraph being read; `below` are the texts of what is anchored in it, tables as lines of their rows."""

    level: int | None = None
    pieces: list[str] = field(default_factory=list)
    below: list[str | list[list[str]]] = field(default_factory=list)


class _Story(KnownElements):
    """A handler of a section."""

    def __init__(self, flow: Flow, styles: _Styles, figures_by_id: Mapping[str, FigureSource]) -> None:
        self.flow = flow
        self.has_pictures = False
        self._styles = styles
        self._figures_by_id = figures_by_id
        self._figures: list[FigureSource] = []
        self._paragraphs: list[_Paragraph] = []
        self._tables: list[list[list[str]]] = []
        self._inner: list[list[str]] = []  # the lines of the cell, box or note that is being read
        self._is_text = 0
        self._is_deleted = False
        starts: dict[str, Callable[[Attributes], None]] = {
            "p": self._begin_paragraph, "tbl": self._begin_table, "tr": self._begin_row, "tc": self._begin_inner,
            "pic": self._take_picture, "img": self._take_image, "compose": self._take_composed,
            "deleteBegin": self._begin_deleted, "deleteEnd": self._end_deleted,
            **dict.fromkeys(_ASIDES, self._begin_inner), **dict.fromkeys(_TEXTS, self._begin_text),
            **{name: self._take_sign(sign) for name, sign in _SIGNS.items()},
        }  # fmt: skip
        ends: dict[str, Callable[[], None]] = {
            "p": self._end_paragraph, "tc": self._end_cell, "tbl": self._end_table,
            **dict.fromkeys(_ASIDES, self._end_aside), **dict.fromkeys(_TEXTS, self._end_text),
        }  # fmt: skip
        super().__init__(starts, ends, _DROPPED)

    def text(self, text: str) -> None:
        if self._is_text and self._paragraphs and not (self.is_dropping or self._is_deleted):
            self._paragraphs[-1].pieces.append(text)

    def _begin_deleted(self, _: Attributes) -> None:
        self._is_deleted = True

    def _end_deleted(self, _: Attributes) -> None:
        self._is_deleted = False

    def _take_sign(self, sign: str) -> Callable[[Attributes], None]:
        return lambda _: self.text(sign)

    def _take_picture(self, _: Attributes) -> None:
        self.has_pictures = True

    def _take_image(self, attributes: Attributes) -> None:
        figure = self._figures_by_id.get(attribute(attributes, "binaryItemIDRef") or "")
        if figure:
            self._figures.append(figure)

    def _take_composed(self, attributes: Attributes) -> None:
        if self._paragraphs:
            self._paragraphs[-1].pieces.append(attribute(attributes, "composeText") or "")

    def _begin_text(self, _: Attributes) -> None:
        self._is_text += 1

    def _end_text(self) -> None:
        self._is_text -= 1

    def _begin_paragraph(self, attributes: Attributes) -> None:
        self._paragraphs.append(_Paragraph(self._styles.level_of(attributes)))

    def _end_paragraph(self) -> None:
        if not self._paragraphs:
            return
        paragraph = self._paragraphs.pop()
        text = "".join(paragraph.pieces).strip()
        if text and self._inner:
            self._inner[-1].append(text)
        elif text and paragraph.level is not None:
            self.flow.heading(paragraph.level, text)
        elif text:
            self.flow.paragraph(text)
        for below in paragraph.below:
            self._say_below(below)
        if not (self._paragraphs or self._inner):
            for figure in self._figures:
                self.flow.figure(figure)
            self._figures = []

    def _say_below(self, below: str | list[list[str]]) -> None:
        if isinstance(below, str):
            (self._inner[-1].append if self._inner else self.flow.paragraph)(below)
        elif self._inner:
            self._inner[-1] += [line for row in below if (line := line_of(row))]
        else:
            table = Table(self.flow)
            for row in below:
                table.row(row)

    def _begin_inner(self, _: Attributes) -> None:
        self._inner.append([])

    def _end_aside(self) -> None:
        lines = self._inner.pop() if self._inner else []
        if self._paragraphs:
            self._paragraphs[-1].below += lines

    def _begin_table(self, _: Attributes) -> None:
        self._tables.append([])

    def _begin_row(self, _: Attributes) -> None:
        if self._tables:
            self._tables[-1].append([])

    def _end_cell(self) -> None:
        lines = self._inner.pop() if self._inner else []
        if self._tables and self._tables[-1] and len(self._tables[-1][-1]) < _MOST_COLUMNS:
            self._tables[-1][-1].append("\n".join(lines))

    def _end_table(self) -> None:
        rows = self._tables.pop() if self._tables else []
        if not self._paragraphs:
            return
        is_frame = all(len(row) == 1 for row in rows)  # a frame around text, and no table
        self._paragraphs[-1].below += [cell for row in rows for cell in row] if is_frame else [rows]
