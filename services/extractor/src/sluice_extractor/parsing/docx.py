"""Reads Word documents (DOCX): the body in its order, with what stands around, below and beside it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sluice_common.errors import NoText, OcrRequired
from sluice_extractor.parsing.docx_story import Story, StoryContext
from sluice_extractor.parsing.docx_styles import Numbering, StyleSheet
from sluice_extractor.parsing.flow import Flow
from sluice_extractor.parsing.ooxml import Package
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import Page
from sluice_extractor.parsing.xml_stream import Attributes, XmlHandler, attribute, parse, parse_whole
from sluice_extractor.parsing.zipped import Archive

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_NOTES = ("footnote", "endnote", "comment")
_MOST_NOTES = 100_000


def read_docx(original: Original, archive: Archive) -> OpenDocument:
    """Open a Word document.

    Raises:
        CorruptDocument: a part that it needs is missing or damaged.
        ArchiveBomb: a part inflates too far.
        NoText, OcrRequired: at the end of the pages.
    """
    package = Package(archive)
    context = _context_of(package, original.max_text_chars)
    return OpenDocument(MEDIA_TYPE, "docx", None, _parts(package, context, original.max_text_chars))


def _parts(package: Package, context: StoryContext, most_chars: int) -> Iterator[Page]:
    flow = Flow(most_chars)
    for line in _lines_around(package, context, most_chars, "header"):
        flow.paragraph(line)
    story = Story(flow, replace(context, figure_of=package.figures_of(package.main)))
    for _ in parse(package.archive.pieces(package.main), story):
        yield from flow.parts()
    for line in _lines_around(package, context, most_chars, "footer"):
        flow.paragraph(line)
    yield flow.part()
    if not flow.length:
        raise OcrRequired("pictures and no text") if story.has_pictures else NoText("no paragraph has text")


def _context_of(package: Package, most_chars: int) -> StoryContext:
    sheet, numbering = StyleSheet(), Numbering()
    for part in package.of_kind(package.main, "styles"):
        parse_whole(package.archive.pieces(part), sheet)
    for part in package.of_kind(package.main, "numbering"):
        parse_whole(package.archive.pieces(part), numbering)
    bare = StoryContext(sheet.resolved(), numbering, {})
    return StoryContext(bare.styles, numbering, _notes_of(package, bare, most_chars))


def _notes_of(package: Package, context: StoryContext, most_chars: int) -> Mapping[tuple[str, str], str]:
    notes = _Notes(context, most_chars)
    for part in package.of_kind(package.main, *(f"{kind}s" for kind in _NOTES)):
        parse_whole(package.archive.pieces(part), notes)
    return notes.by_id


def _lines_around(package: Package, context: StoryContext, most_chars: int, kind: str) -> list[str]:
    """What the headers or the footers say, each text once; bare page numbers are left out."""
    lines: dict[str, None] = {}
    for part in package.of_kind(package.main, kind):
        flow = Flow(most_chars)
        parse_whole(package.archive.pieces(part), Story(flow, context))
        text = flow.part().text
        if any(char.isalpha() for char in text):
            lines[text] = None
    return list(lines)


class _Notes(XmlHandler):
    """A handler of footnotes, endnotes and comments: each of them is a small story."""

    def __init__(self, context: StoryContext, most_chars: int) -> None:
        self.by_id: dict[tuple[str, str], str] = {}
        self._context = context
        self._most_chars = most_chars
        self._left_chars = most_chars
        self._key = ("", "")
        self._author = ""
        self._story: Story | None = None

    def start(self, name: str, attributes: Attributes) -> None:
        if name in _NOTES and self._story is None and len(self.by_id) < _MOST_NOTES:
            self._key = (name, attribute(attributes, "id") or "")
            self._author = attribute(attributes, "author") or ""
            self._story = Story(Flow(max(self._left_chars, 0)), self._context)
        elif self._story:
            self._story.start(name, attributes)

    def end(self, name: str) -> None:
        if name in _NOTES and self._story:
            text = " ".join(self._story.flow.part().text.split())
            self._left_chars -= len(text)
            if text:
                self.by_id[self._key] = f"{self._author}: {text}" if self._author else text
            self._story = None
        elif self._story:
            self._story.end(name)

    def text(self, text: str) -> None:
        if self._story:
            self._story.text(text)
