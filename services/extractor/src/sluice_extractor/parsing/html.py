"""Reads HTML: the text a person would see, with its blocks, tables and headings; it never fetches anything."""

import base64
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote

from selectolax.lexbor import LexborHTMLParser, LexborNode

from sluice_common.errors import CorruptDocument
from sluice_extractor.parsing.cleaning import clean_line, clean_text
from sluice_extractor.parsing.encodings import Decoded, decode
from sluice_extractor.parsing.flow import Flow
from sluice_extractor.parsing.media import Figure, FigureSource
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import TITLE_CHARS, Heading, parts_of
from sluice_extractor.parsing.text import checked_text, remarks_on

SUFFIXES = frozenset({".html", ".htm", ".xhtml", ".shtml"})
_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_HEAD_BYTES = 4096

_DOCUMENT_START = re.compile(
    rb"\A(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?(?:\s|<\?xml[^>]*>|<!--.*?-->)*<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_FRAGMENT_START = re.compile(
    rb"\A(?:\s|<!--.*?-->)*<(?:title|meta|script|style|link|div|table|p|h[1-6]|br|ul|ol|a|b|font|iframe|center)\b",
    re.IGNORECASE | re.DOTALL,
)
_ANY_TAG = re.compile(rb"<(?:!doctype|/?[a-z][a-z0-9]*)\b[^<>]*>", re.IGNORECASE)
_CHARSET = re.compile(rb"""<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)

_INVISIBLE = frozenset(
    {
        "script",
        "style",
        "template",
        "noscript",
        "head",
        "iframe",
        "object",
        "embed",
        "canvas",
        "audio",
        "video",
        "svg",
        "datalist",
        "noembed",
        "noframes",
    }
)
_PARAGRAPHS = frozenset(
    {
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "table",
        "ul",
        "ol",
        "dl",
        "pre",
        "blockquote",
        "figure",
        "hr",
        "section",
        "article",
    }
)
_LINES = frozenset(
    {
        "html",
        "body",
        "div",
        "tr",
        "li",
        "dt",
        "dd",
        "header",
        "footer",
        "main",
        "nav",
        "aside",
        "form",
        "fieldset",
        "address",
        "caption",
        "figcaption",
        "legend",
        "summary",
        "details",
        "option",
        "center",
        "thead",
        "tbody",
        "tfoot",
        "br",
    }
)
_HIDING_STYLE = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_DEEPEST = 500  # as in browsers
_NESTING_TAG = re.compile(
    r"<(/?)(?:div|section|article|span|blockquote|ul|ol|dl|table|center|main|header|footer|nav|aside|fieldset|details|"
    r"figure|form|address|b|i|u|em|strong|font|small|big|a|code|sub|sup)\b[^<>]*>",
    re.IGNORECASE,
)
_SPACES = re.compile(r"[ \t\n\r\f]+")
_EMBEDDED = re.compile(r"\s*data:image/[\w.+-]+(?:;[\w=-]+)*;base64,", re.IGNORECASE)
_MOST_IMAGES = 10_000

SourceOf = Callable[[str], FigureSource | None]
"""Finds the picture at an address."""


def fits_html(original: Original) -> bool:
    """A document's beginning proves it; a fragment's only where the name does not say that it is another text."""
    head = original.content[:_HEAD_BYTES].replace(b"\0", b"")  # so that UTF-16 shows its tags too
    if _DOCUMENT_START.match(head):
        return True
    if original.suffix in SUFFIXES or original.hinted_type in _TYPES:
        return bool(_ANY_TAG.search(original.content.replace(b"\0", b"")))
    return (
        not original.suffix
        and original.hinted_type in {"", "application/octet-stream"}
        and bool(_FRAGMENT_START.match(head))
    )


def read_html(original: Original) -> OpenDocument:
    decoded = _decoded(original.content)
    visible = _visible_text(clean_text(decoded.text), with_images=original.wants_media)
    text = visible.text()
    figures = tuple(visible.figures_in(text, embedded_source))
    text = checked_text(text, original, has_figures=bool(figures))
    pages = parts_of(text, tuple(visible.headings), figures=figures)
    return OpenDocument("text/html", decoded.encoding, None, pages, remarks_on(decoded))


def read_markup(content: bytes, *, with_images: bool = False) -> "Visible":
    """What is visible in a page that is a part of another document; its title is left to that."""
    return _visible_text(clean_text(_decoded(content).text), with_title=False, with_images=with_images)


def embedded_source(reference: str) -> FigureSource | None:
    """The picture that a `data:` address is itself; what any other address means, only its document knows."""
    found = _EMBEDDED.match(reference)
    return FigureSource("", partial(_unpacked, reference, found.end())) if found else None


def _unpacked(reference: str, start: int) -> bytes:
    try:
        return base64.b64decode(unquote(reference[start:]))
    except ValueError as error:
        raise CorruptDocument("a picture in the page is no base64") from error


def _decoded(content: bytes) -> Decoded:
    found = _CHARSET.search(content[:_HEAD_BYTES])
    return decode(content, declared=found[1].decode("ascii", "ignore") if found else None)


@dataclass
class Visible:
    """The text so far; white space is owed until something visible follows it."""

    pieces: list[str] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    length: int = 0
    owed: str = ""
    preformatted: int = 0
    with_images: bool = False
    images: list[tuple[int, str]] = field(default_factory=list)
    """Where they stand, and their addresses."""

    def owe(self, space: str) -> None:
        """A stronger break replaces a weaker one: blank line, line, cell, space."""
        if _STRENGTH[space] > _STRENGTH[self.owed]:
            self.owed = space

    def write(self, text: str) -> None:
        if self.length and self.owed:
            self._append(self.owed)
        self.owed = ""
        self._append(text)

    def position(self) -> int:
        """Where the next visible text will begin."""
        return self.length + (len(self.owed) if self.length else 0)

    def text(self) -> str:
        return "".join(self.pieces)

    def figures_in(self, text: str, source_of: SourceOf) -> Iterator[Figure]:
        """The images that *source_of* knows, each at the end of the line that it stands in."""
        for at, reference in self.images:
            source = source_of(reference)
            end = text.find("\n", max(at - 1, 0))
            if source:
                yield Figure(end if end >= 0 else len(text), source)

    def into(self, flow: Flow, *, below: int, source_of: SourceOf = embedded_source) -> None:
        """Add the text to a flow, with its headings *below* levels deeper."""
        text, at = self.text(), 0
        figures = deque(self.figures_in(text, source_of))
        for heading in self.headings:
            if heading.start < at:
                continue
            end = text.find("\n", heading.start)
            end = end if end >= 0 else len(text)
            _write_between(flow, text, (at, heading.start), figures)
            flow.heading(heading.level + below, text[heading.start : end])
            at = end
        _write_between(flow, text, (at, len(text)), figures)

    def _append(self, text: str) -> None:
        self.pieces.append(text)
        self.length += len(text)


def _write_between(flow: Flow, text: str, ends: tuple[int, int], figures: deque[Figure]) -> None:
    """Write the text between *ends*, with the figures that stand in it or before it."""
    start, end = ends
    while figures and figures[0].at <= end:
        figure = figures.popleft()
        flow.paragraph(text[start : max(figure.at, start)])
        flow.figure(figure.source)
        start = max(figure.at, start)
    flow.paragraph(text[start:end])


_STRENGTH = {"": 0, " ": 1, " | ": 2, "\n": 3, "\n\n": 4}


def _visible_text(markup: str, *, with_title: bool = True, with_images: bool = False) -> Visible:
    tree = LexborHTMLParser(_flattened(markup))
    visible = Visible(with_images=with_images)
    title = tree.css_first("head > title") if with_title else None
    if title and title.text(strip=True):
        visible.write(_SPACES.sub(" ", clean_line(title.text(strip=True))))
        visible.owe("\n\n")
    if tree.body:
        _walk(tree.body, visible)
    return visible


def _flattened(markup: str) -> str:
    """The markup without what is nested absurdly deep: the parser's time grows with the square of the depth."""
    if markup.count("<") < _DEEPEST:
        return markup
    depth = 0

    def keep(found: re.Match[str]) -> str:
        nonlocal depth
        was, depth = depth, max(depth + (-1 if found[1] else 1), 0)
        return found[0] if max(was, depth) <= _DEEPEST else "<br>"

    return _NESTING_TAG.sub(keep, markup)


def _walk(root: LexborNode, visible: Visible) -> None:
    """Depth first without recursion: a document may nest its tags as deep as it likes."""
    path: list[LexborNode] = []
    node: LexborNode | None = root
    while node is not None:
        child = _enter(node, visible)
        if child is not None:
            path.append(node)
            node = child
            continue
        _leave(node, visible)
        while path and node.next is None:
            node = path.pop()
            _leave(node, visible)
        node = node.next if path else None


def _enter(node: LexborNode, visible: Visible) -> LexborNode | None:
    """Write what stands at the beginning of the node; returns the first child to visit."""
    tag = node.tag or ""
    if tag == "-text":
        _write_text(node.text_content or "", visible)
        return None
    if visible.with_images and tag in {"img", "svg"}:
        _note_images(node, visible)
    if tag.startswith(("-", "_")) or tag in _INVISIBLE or _is_hidden(node):
        return None
    _break_around(tag, visible)
    if tag == "pre":
        visible.preformatted += 1
        if node.child is None:
            visible.preformatted -= 1
    elif tag == "li":
        visible.write("- ")
    elif tag[:1] == "h" and tag[1:].isdigit():
        _note_heading(node, visible)
    return node.child


def _leave(node: LexborNode, visible: Visible) -> None:
    tag = node.tag or ""
    if tag == "pre" and node.child is not None:
        visible.preformatted -= 1
    if tag not in _INVISIBLE:
        _break_around(tag, visible)


def _break_around(tag: str, visible: Visible) -> None:
    if tag in _PARAGRAPHS:
        visible.owe("\n\n")
    elif tag in _LINES:
        visible.owe("\n")
    elif tag in {"td", "th"}:
        visible.owe(" | ")


def _is_hidden(node: LexborNode) -> bool:
    attributes = node.attributes
    if not attributes:
        return False
    return "hidden" in attributes or bool(_HIDING_STYLE.search(attributes.get("style") or ""))


def _note_images(node: LexborNode, visible: Visible) -> None:
    """An image, or those that a drawing shows; covers of books are made so."""
    shown = [node] if node.tag == "img" else node.css("image")
    for each in shown[: _MOST_IMAGES - len(visible.images)]:
        written = each.attributes
        reference = written.get("src") or written.get("xlink:href") or written.get("href")
        if reference and not _is_hidden(node):
            visible.images.append((visible.length, reference))


def _note_heading(node: LexborNode, visible: Visible) -> None:
    title = _SPACES.sub(" ", node.text(deep=True)).strip()[:TITLE_CHARS]
    if title:
        visible.headings.append(Heading(visible.position(), int((node.tag or "h1")[1:]), clean_line(title)))


def _write_text(text: str, visible: Visible) -> None:
    if visible.preformatted:
        visible.write(text)
        return
    words = _SPACES.sub(" ", text)
    if words[:1] == " ":
        visible.owe(" ")
    if words.strip(" "):
        visible.write(words.strip(" "))
        if words[-1] == " ":
            visible.owe(" ")
