"""Reads OpenDocument files (ODT, ODS, ODP): texts with headings, sheets with rows, and slides."""

from collections.abc import Callable, Iterator
from urllib.parse import unquote

from sluice_common.errors import CorruptDocument, Encrypted, NoText, OcrRequired, TooManyPages
from sluice_extractor.parsing.cleaning import clean_line
from sluice_extractor.parsing.flow import Flow
from sluice_extractor.parsing.media import FigureSource
from sluice_extractor.parsing.odf_story import OdfStory
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import SHEET_CHARS, Page, Place
from sluice_extractor.parsing.xml_stream import Attributes, attribute, parse, parse_whole
from sluice_extractor.parsing.zipped import Archive

_CONTENT, _STYLES, _MANIFEST = "content.xml", "styles.xml", "META-INF/manifest.xml"
_DRAWINGS = (".svg", ".svm", ".wmf", ".emf")


def read_odf(original: Original, archive: Archive) -> OpenDocument:
    """Open an OpenDocument text, spreadsheet or presentation; which one it is, its `mimetype` says.

    Raises:
        Encrypted: it needs a password.
        CorruptDocument: its content is missing or damaged.
        NoText, OcrRequired: at the end of the pages.
    """
    media_type = media_type_of(archive)
    _refuse_encrypted(archive)
    if not archive.has(_CONTENT):
        raise CorruptDocument("its content is missing")
    kind = media_type.removesuffix("-template").rpartition(".")[2]
    if kind == "presentation":
        return _open_slides(original, archive, media_type)
    parts = _sheet_parts if kind == "spreadsheet" else _text_parts
    return OpenDocument(media_type, "odf", None, parts(archive, original.max_text_chars))


def media_type_of(archive: Archive) -> str:
    """What the container's `mimetype` says; empty when it has none."""
    return archive.read("mimetype", 1 << 16).decode("ascii", "ignore").strip()[:100].lower()


def _refuse_encrypted(archive: Archive) -> None:
    manifest = _Manifest()
    if archive.has(_MANIFEST):
        parse_whole(archive.pieces(_MANIFEST), manifest, may_name_dtd=True)
    if manifest.is_encrypted:
        raise Encrypted("the OpenDocument file needs a password")


def _text_parts(archive: Archive, most_chars: int) -> Iterator[Page]:
    flow = Flow(most_chars)
    margins = _Margins(most_chars)
    if archive.has(_STYLES):
        parse_whole(archive.pieces(_STYLES), margins)
    for line in margins.lines:
        flow.paragraph(line)
    story = OdfStory(flow, figure_of=_figures_in(archive))
    for _ in parse(archive.pieces(_CONTENT), story):
        yield from flow.parts()
    yield flow.part()
    if not flow.length:
        raise OcrRequired("pictures and no text") if story.has_pictures else NoText("no paragraph has text")


def _figures_in(archive: Archive) -> Callable[[str], FigureSource | None]:
    """What finds the picture that a frame refers to; drawings are left alone, their frames mostly show both."""

    def found(reference: str) -> FigureSource | None:
        name = unquote(reference).removeprefix("./")
        is_drawing = name.lower().endswith(_DRAWINGS)
        return archive.figure(name) if name and not is_drawing and archive.has(name) else None

    return found


def _sheet_parts(archive: Archive, most_chars: int) -> Iterator[Page]:
    flows = _Flows(most_chars)
    story = OdfStory(
        Flow(most_chars),
        sheet=lambda name: flows.begin(Place(sheet=clean_line(name)[:SHEET_CHARS])),
        figure_of=_figures_in(archive),
    )
    for _ in parse(archive.pieces(_CONTENT), story):
        yield from flows.ended()
    yield from flows.rest()
    if not flows.length:
        raise OcrRequired("pictures and no cells") if story.has_pictures else NoText("no cell has a value")


def _open_slides(original: Original, archive: Archive, media_type: str) -> OpenDocument:
    """Slides are read at once, because only the end of the content says how many there are."""
    flows = _Flows(original.max_text_chars)
    story = OdfStory(
        Flow(original.max_text_chars),
        slide=lambda number: flows.begin(Place(slide=number)),
        figure_of=_figures_in(archive),
    )
    parse_whole(archive.pieces(_CONTENT), story)
    slides = flows.all
    if len(slides) > original.max_pages:
        raise TooManyPages(f"{len(slides)} slides, the limit is {original.max_pages}")
    if not flows.length and not (story.has_pictures and original.wants_media):
        raise OcrRequired("slides with pictures and no text") if story.has_pictures else NoText("no slide has text")
    pages = (flow.part(number) for number, flow in enumerate(slides, 1))
    return OpenDocument(media_type, "odf", len(slides), pages)


class _Flows:
    """The flows of the sheets or slides of a document, one after the other, with one bound for all."""

    def __init__(self, most_chars: int) -> None:
        self.all: list[Flow] = []
        self._most_chars = most_chars
        self._done = 0

    @property
    def length(self) -> int:
        return sum(flow.length for flow in self.all)

    def begin(self, place: Place) -> Flow:
        self.all.append(Flow(self._most_chars - self.length, place))
        return self.all[-1]

    def ended(self) -> Iterator[Page]:
        """What can be handed on while the last flow is still being written."""
        while self._done < len(self.all) - 1:
            yield self.all[self._done].end()
            self._done += 1
        if self.all:
            yield from self.all[-1].parts()

    def rest(self) -> Iterator[Page]:
        yield from self.ended()
        if self.all:
            yield self.all[-1].end()


class _Manifest:
    """A handler of the manifest: whether a member is encrypted."""

    def __init__(self) -> None:
        self.is_encrypted = False

    def start(self, name: str, _attributes: Attributes) -> None:
        self.is_encrypted = self.is_encrypted or name == "encryption-data"

    def end(self, name: str) -> None:
        pass

    def text(self, text: str) -> None:
        pass


class _Margins:
    """A handler of the styles: what the headers and footers of pages say, each text once."""

    _AREAS = ("header", "footer", "header-left", "footer-left", "header-first", "footer-first")

    def __init__(self, most_chars: int) -> None:
        self._most_chars = most_chars
        self._texts: dict[str, None] = {}
        self._story: OdfStory | None = None

    @property
    def lines(self) -> list[str]:
        return list(self._texts)

    def start(self, name: str, attributes: Attributes) -> None:
        if name in self._AREAS and attribute(attributes, "display") != "false":
            self._story = OdfStory(Flow(self._most_chars))
        elif self._story:
            self._story.start(name, attributes)

    def end(self, name: str) -> None:
        if name in self._AREAS and self._story:
            text = self._story.flow.part().text
            if any(char.isalpha() for char in text):
                self._texts[text] = None
            self._story = None
        elif self._story:
            self._story.end(name)

    def text(self, text: str) -> None:
        if self._story:
            self._story.text(text)
