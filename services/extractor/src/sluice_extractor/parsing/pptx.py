"""Reads presentations (PPTX): slide by slide, with tables, groups, notes and comments."""

from collections.abc import Callable, Iterator

from sluice_common.errors import CorruptDocument, NoText, OcrRequired, TooManyPages
from sluice_extractor.parsing.descriptions import description_of
from sluice_extractor.parsing.flow import Flow, Table
from sluice_extractor.parsing.media import FigureSource
from sluice_extractor.parsing.ooxml import Package
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import Page, Place, Remark
from sluice_extractor.parsing.xml_stream import Attributes, KnownElements, attribute, parse_whole
from sluice_extractor.parsing.zipped import Archive

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
_SHAPES = frozenset({"sp", "graphicFrame", "pic", "cxnSp"})
_TITLES = frozenset({"title", "ctrTitle"})
_FURNITURE = frozenset({"sldNum", "dt", "ftr", "hdr", "sldImg"})
_BESIDE = ("diagramData", "chart", "comments")


def read_pptx(original: Original, archive: Archive) -> OpenDocument:
    """Open a presentation.

    Raises:
        CorruptDocument: a part that it needs is missing or damaged.
        TooManyPages: before a slide is read.
        NoText, OcrRequired: at the end of the slides.
    """
    package = Package(archive)
    slides = _slides_of(package)
    if len(slides) > original.max_pages:
        raise TooManyPages(f"{len(slides)} slides, the limit is {original.max_pages}")
    remarks: list[Remark] = []
    pages = _pages(package, slides, original.max_text_chars, remarks)
    return OpenDocument(MEDIA_TYPE, "pptx", len(slides), pages, remarks)


def _slides_of(package: Package) -> list[str]:
    """The parts of the slides in the order in which they are shown."""
    order = _SlideOrder()
    parse_whole(package.archive.pieces(package.main), order)
    related = package.related(package.main)
    return [related[found].target for found in order.ids if found in related and related[found].kind == "slide"]


def _pages(package: Package, slides: list[str], most_chars: int, remarks: list[Remark]) -> Iterator[Page]:
    has_text = has_pictures = False
    left_chars = most_chars
    for number, part in enumerate(slides, 1):
        try:
            slide = _slide(package, part, number, left_chars)
        except CorruptDocument as error:
            if error.detail_code != "xml" and package.archive.has(part):
                raise
            remarks.append(Remark("page_unreadable", "The slide could not be read.", number))
            yield Page(number, "", failed=True, place=Place(slide=number))
            continue
        has_text, has_pictures = has_text or slide.flow.length > 0, has_pictures or slide.has_pictures
        left_chars -= slide.flow.length
        yield slide.flow.part(number)
    if not has_text:
        raise OcrRequired("slides with pictures and no text") if has_pictures else NoText("no slide has text")


def _slide(package: Package, part: str, number: int, most_chars: int) -> "_Slide":
    if not package.archive.has(part):
        raise CorruptDocument("a slide is missing")
    slide = _Slide(Flow(most_chars, Place(slide=number)), package.figures_of(part))
    parse_whole(package.archive.pieces(part), slide)
    slide.write()
    for beside in package.of_kind(part, *_BESIDE):
        _add(package, beside, slide, "")
    for notes in package.of_kind(part, "notesSlide"):
        _add(package, notes, slide, "Notes: ")
    return slide


def _add(package: Package, part: str, slide: "_Slide", mark: str) -> None:
    """What a part beside the slide says, each text that the slide does not have already."""
    beside = _Slide(Flow(slide.flow.most_chars))
    parse_whole(package.archive.pieces(part), beside)
    beside.write()
    text = beside.flow.part().text
    if text:
        slide.flow.paragraph(mark + text)


class _SlideOrder:
    """A handler of the presentation's main part."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "sldId":
            self.ids.append(attribute(attributes, "id", of="/relationships") or "")

    def end(self, name: str) -> None:
        pass

    def text(self, text: str) -> None:
        pass


class _Slide(KnownElements):
    """A handler of one slide, or of a part beside it; `write` puts its title before the rest."""

    def __init__(self, flow: Flow, figure_of: Callable[[Attributes], FigureSource | None] = lambda _: None) -> None:
        self.flow = flow
        self.has_pictures = False
        self._figure_of = figure_of
        self._titles: list[str] = []
        self._blocks: list[str | FigureSource | list[list[str]]] = []  # texts of shapes, pictures, and tables
        self._kind = ""
        self._lines: list[str] = []
        self._figures: list[FigureSource] = []
        self._pieces: list[str] = []
        self._rows: list[list[str]] | None = None
        self._is_below = False  # the cell belongs to the one above it
        self._is_text = False
        starts: dict[str, Callable[[Attributes], None]] = {
            "ph": self._take_kind, "cNvPr": self._take_description, "blip": self._take_picture,
            "t": self._begin_text, "v": self._begin_text, "text": self._begin_text, "br": self._break,
            "tbl": self._begin_table, "tr": self._begin_row, "tc": self._begin_cell,
            **dict.fromkeys(_SHAPES, self._begin_shape),
        }  # fmt: skip
        ends: dict[str, Callable[[], None]] = {
            "p": self._end_paragraph, "pt": self._end_paragraph, "cm": self._end_paragraph, "t": self._end_text,
            "v": self._end_text, "text": self._end_text, "tc": self._end_cell, "tbl": self._end_table,
            **dict.fromkeys(_SHAPES, self._end_shape),
        }  # fmt: skip
        super().__init__(starts, ends, {"Fallback"})

    def text(self, text: str) -> None:
        if self._is_text and not self.is_dropping:
            self._pieces.append(text)

    def write(self) -> None:
        """Put all that was read into the flow."""
        self._end_paragraph()
        self._end_shape()
        for title in self._titles:
            self.flow.heading(1, title)
        for block in self._blocks:
            if isinstance(block, str):
                self.flow.paragraph(block)
            elif isinstance(block, FigureSource):
                self.flow.figure(block)
            else:
                table = Table(self.flow)
                for row in block:
                    table.row(row)

    def _take_kind(self, attributes: Attributes) -> None:
        self._kind = attribute(attributes, "type") or "body"

    def _take_picture(self, attributes: Attributes) -> None:
        self.has_pictures = True
        figure = self._figure_of(attributes)
        if figure:
            self._figures.append(figure)

    def _take_description(self, attributes: Attributes) -> None:
        description = description_of(attributes)
        if description:
            self._lines.append(description)

    def _begin_text(self, _: Attributes) -> None:
        self._is_text = True

    def _end_text(self) -> None:
        self._is_text = False

    def _break(self, _: Attributes) -> None:
        self._pieces.append("\n")

    def _begin_table(self, _: Attributes) -> None:
        self._rows = []

    def _begin_row(self, _: Attributes) -> None:
        if self._rows is not None:
            self._rows.append([])

    def _begin_cell(self, attributes: Attributes) -> None:
        self._is_below = attributes.get("vMerge") in {"1", "true"}

    def _end_paragraph(self) -> None:
        line = "".join(self._pieces).strip()
        self._pieces = []
        if line:
            self._lines.append(line)

    def _end_cell(self) -> None:
        if self._rows:
            text, column = " ".join(self._lines), len(self._rows[-1])
            if self._is_below and not text and len(self._rows) > 1 and column < len(self._rows[-2]):
                text = self._rows[-2][column]  # a cell that reaches over several rows says the same in each of them
            self._rows[-1].append(text)
        self._lines = []

    def _end_table(self) -> None:
        if self._rows:
            self._blocks.append(self._rows)
        self._rows = None

    def _begin_shape(self, _: Attributes) -> None:
        self._end_shape()  # what a group has said so far is a shape of its own

    def _end_shape(self) -> None:
        """A shape, a table or a picture of a group ends; what belongs to every slide alike is left out."""
        text = "\n".join(self._lines)
        if text and self._kind in _TITLES:
            self._titles.append(text)
        elif text and self._kind not in _FURNITURE:
            self._blocks.append(text)
        self._blocks += self._figures
        self._lines, self._figures, self._kind = [], [], ""
