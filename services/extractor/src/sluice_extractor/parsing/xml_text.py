"""Reads XML of any kind: what elements say, beside their names where they are fields, as prose where they are prose."""

import html.entities
import re
from dataclasses import dataclass, field
from xml.parsers import expat

from sluice_common.errors import ArchiveBomb, CorruptDocument, DocumentTooLarge
from sluice_extractor.parsing.cleaning import clean_line
from sluice_extractor.parsing.encodings import decode
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import TITLE_CHARS, Heading, parts_of
from sluice_extractor.parsing.text import checked_text, remarks_on

_SUFFIXES = frozenset({".xml", ".svg", ".nxml", ".xsd", ".rss", ".atom", ".kml", ".gpx", ".plist", ".dita", ".xbrl"})
_HEAD_BYTES = 4096
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_ENCODING = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)""")
_DEEPEST = 1_000
_LONGEST_ATTRIBUTE = 300
_TITLES = frozenset({"title", "article-title", "heading", "head"})
_UNREAD = frozenset({"style", "script", "path"})
_SPACES = re.compile(r"\s+")
_AMPLIFICATION = expat.errors.codes[getattr(expat.errors, "XML_ERROR_AMPLIFICATION_LIMIT_BREACH", "out of memory")]


def fits_xml(original: Original) -> bool:
    """It has the declaration of XML, or an element at its beginning and a name that says so."""
    head = original.content[:_HEAD_BYTES].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    is_named = original.suffix in _SUFFIXES or original.hinted_type in {"application/xml", "text/xml", "image/svg+xml"}
    return head.startswith(b"<?xml") or (head[:1] == b"<" and is_named)


def read_xml(original: Original) -> OpenDocument:
    """Open an XML document; what it refers to outside of itself is left alone.

    Raises:
        ArchiveBomb: its entities expand far beyond its size.
        CorruptDocument: it is no XML, or nested too deeply (`too_deep`).
        DocumentTooLarge: more characters than the limit.
        EmptyDocument: it has no words.
    """
    found = _ENCODING.search(original.content[:_HEAD_BYTES])
    decoded = decode(original.content, declared=found[1].decode("ascii") if found else None)
    reading = _Reading(original.max_text_chars)
    _parse(_DECLARATION.sub("", decoded.text, count=1).encode("utf-8", "replace"), reading)
    text = checked_text("".join(reading.pieces).rstrip(), original)
    pages = parts_of(text, tuple(reading.headings))
    return OpenDocument(_media_type(reading), decoded.encoding, None, pages, remarks_on(decoded))


def _media_type(reading: "_Reading") -> str:
    return "image/svg+xml" if reading.root == "svg" else "application/xml"


def _parse(content: bytes, reading: "_Reading") -> None:
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = reading.start
    parser.EndElementHandler = reading.end
    parser.CharacterDataHandler = reading.say
    parser.SkippedEntityHandler = reading.skip_entity
    try:
        parser.Parse(content, True)  # noqa: FBT003 - the parser's own signature
    except expat.ExpatError as error:
        if error.code == _AMPLIFICATION:
            raise ArchiveBomb("the entities of the XML expand far beyond its size") from error
        raise CorruptDocument(f"the XML is damaged at line {error.lineno}") from error


@dataclass
class _Element:
    name: str
    attributes: dict[str, str]
    is_named: bool = False  # a line with its name was written
    is_prose: bool = False  # it has words of its own, so what is in it belongs to a sentence
    has_elements: bool = False
    words: list[str] = field(default_factory=list)


@dataclass
class _Reading:
    """Elements that hold only elements give a line with their name; those that hold words give `name: words`."""

    max_chars: int
    pieces: list[str] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    path: list[_Element] = field(default_factory=list)
    length: int = 0
    said: int = 0
    root: str = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self.path) >= _DEEPEST:
            raise CorruptDocument(f"the XML is nested more than {_DEEPEST} deep", detail_code="too_deep")
        local = name.rpartition(":")[2]
        self.root = self.root or local
        if self.path:
            self._enter(self.path[-1])
        self.path.append(_Element(local, attributes, is_prose=bool(self.path) and self.path[-1].is_prose))

    def end(self, _name: str) -> None:
        element = self.path.pop()
        text = _SPACES.sub(" ", clean_line("".join(element.words)))
        if element.name in _UNREAD:
            return
        if element.is_prose and self.path and self.path[-1].is_prose:
            self.path[-1].words.append(text)
        elif text.strip():
            self._write_words(element, text.strip())
        elif not element.has_elements:
            self._write_line(self._named(element, with_bare_name=False))

    def say(self, words: str) -> None:
        self.said += len(words)
        if self.said > self.max_chars:
            raise DocumentTooLarge(f"more than {self.max_chars} characters of text")
        if self.path:
            element = self.path[-1]
            element.words.append(words)
            element.is_prose = element.is_prose or not words.isspace()

    def skip_entity(self, name: str, is_parameter: bool) -> None:  # noqa: FBT001 - the parser calls it so
        if not is_parameter and name in html.entities.name2codepoint:
            self.say(chr(html.entities.name2codepoint[name]))

    def _enter(self, parent: _Element) -> None:
        """What is known of an element when the first one in it begins: whether it is prose, or a block of fields."""
        parent.has_elements = True
        if not parent.is_prose and not parent.is_named:
            parent.is_named = True
            self._write_line("")
            self._write_line(self._named(parent))

    def _write_words(self, element: _Element, text: str) -> None:
        if element.name.lower() in _TITLES and len(text) <= TITLE_CHARS:
            self.headings.append(Heading(self.length, min(len(self.path) + 1, 99), text))
            self._write_line(text)
        else:
            self._write_line(f"{self._named(element)}: {text}")

    def _named(self, element: _Element, *, with_bare_name: bool = True) -> str:
        kept = [
            f"{name.rpartition(':')[2]}: {clean_line(value)}"
            for name, value in element.attributes.items()
            if value and len(value) <= _LONGEST_ATTRIBUTE and not name.startswith(("xmlns", "xsi:", "xml:"))
        ]
        if self.root == "svg" or not kept:
            return element.name if with_bare_name and self.root != "svg" else ""
        return f"{element.name} ({', '.join(kept)})"

    def _write_line(self, line: str) -> None:
        is_second_blank = not line and (not self.pieces or self.pieces[-1] == "\n")
        if is_second_blank:
            return
        self.pieces.append(line + "\n")
        self.length += len(line) + 1
        if self.length > self.max_chars:
            raise DocumentTooLarge(f"more than {self.max_chars} characters of text")
