"""Reads books (EPUB): the chapters in the order of their spine, each with the reader of HTML."""

import posixpath
from collections.abc import Iterator
from functools import partial
from urllib.parse import unquote

from sluice_common.errors import CorruptDocument, Encrypted, NoText, OcrRequired
from sluice_extractor.parsing.flow import Flow
from sluice_extractor.parsing.html import embedded_source, read_markup
from sluice_extractor.parsing.media import FigureSource
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import Page
from sluice_extractor.parsing.xml_stream import Attributes, attribute, parse_whole
from sluice_extractor.parsing.zipped import Archive

MEDIA_TYPE = "application/epub+zip"
_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_CHAPTERS = frozenset({"application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document"})
_MOST_CHAPTER_BYTES = 64 << 20
_MOST_ITEMS = 100_000


def read_epub(original: Original, archive: Archive) -> OpenDocument:
    """Open a book.

    Raises:
        Encrypted: its chapters are protected.
        CorruptDocument: a part that it needs is missing or damaged.
        NoText, OcrRequired: at the end of the chapters.
    """
    book = _book_of(archive)
    if _Protected.of(archive) & set(book.chapters()):
        raise Encrypted("the chapters of the book are protected")
    return OpenDocument(MEDIA_TYPE, "epub", None, _parts(archive, book, original))


def _book_of(archive: Archive) -> "_Book":
    container = _Container()
    if archive.has(_CONTAINER):
        parse_whole(archive.pieces(_CONTAINER), container, may_name_dtd=True)
    path = container.path or next((name for name in archive.names if name.endswith(".opf")), "")
    if not archive.has(path):
        raise CorruptDocument("its list of chapters is missing")
    book = _Book(posixpath.dirname(path))
    parse_whole(archive.pieces(path), book, may_name_dtd=True)
    return book


def _parts(archive: Archive, book: "_Book", original: Original) -> Iterator[Page]:
    flow = Flow(original.max_text_chars)
    flow.heading(1, "".join(book.title))
    titled_chars = flow.length
    for chapter in book.chapters():
        markup = read_markup(archive.read(chapter, _MOST_CHAPTER_BYTES), with_images=original.wants_media)
        markup.into(flow, below=1, source_of=partial(_figure_in, archive, chapter))
        yield from flow.parts()
    yield flow.part()
    if flow.length == titled_chars:
        raise OcrRequired("pictures and no text") if book.has_pictures else NoText("no chapter has text")


def _figure_in(archive: Archive, chapter: str, reference: str) -> FigureSource | None:
    name = _resolved(posixpath.dirname(chapter), reference)
    return archive.figure(name) if archive.has(name) else embedded_source(reference)


def _resolved(folder: str, reference: str) -> str:
    """The member that an address in a part of the book names."""
    path = unquote(reference).partition("#")[0]
    return posixpath.normpath(posixpath.join("/", folder, path)).lstrip("/")


class _Container:
    """A handler of the container's own description: where the book's is."""

    def __init__(self) -> None:
        self.path = ""

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "rootfile" and not self.path:
            self.path = attribute(attributes, "full-path") or ""

    def end(self, name: str) -> None:
        pass

    def text(self, text: str) -> None:
        pass


class _Book:
    """A handler of the package document: title, items and spine."""

    def __init__(self, folder: str) -> None:
        self.title: list[str] = []
        self.has_pictures = False
        self._folder = folder
        self._path_by_id: dict[str, str] = {}
        self._spine: list[str] = []
        self._is_title = False
        self._has_title = False

    def chapters(self) -> list[str]:
        """The paths of the chapters in the order of reading, each once."""
        return list(dict.fromkeys(self._path_by_id[found] for found in self._spine if found in self._path_by_id))

    def start(self, name: str, attributes: Attributes) -> None:
        if len(self._path_by_id) + len(self._spine) > _MOST_ITEMS:
            raise CorruptDocument("its list of chapters has no end")
        if name == "item":
            self._take_item(attributes)
        elif name == "itemref":
            self._spine.append(attribute(attributes, "idref") or "")
        self._is_title = name == "title" and not self._has_title

    def end(self, name: str) -> None:
        if name == "title":
            self._is_title, self._has_title = False, True

    def text(self, text: str) -> None:
        if self._is_title:
            self.title.append(text)

    def _take_item(self, attributes: Attributes) -> None:
        kind = attribute(attributes, "media-type") or ""
        self.has_pictures = self.has_pictures or kind.startswith("image/")
        if kind in _CHAPTERS:
            path = _resolved(self._folder, attribute(attributes, "href") or "")
            self._path_by_id[attribute(attributes, "id") or ""] = path


class _Protected:
    """A handler of the list of encrypted members; fonts may be in it, and nobody needs them."""

    def __init__(self) -> None:
        self.paths: set[str] = set()

    @classmethod
    def of(cls, archive: Archive) -> set[str]:
        protected = cls()
        if archive.has(_ENCRYPTION):
            parse_whole(archive.pieces(_ENCRYPTION), protected)
        return protected.paths

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "CipherReference" and len(self.paths) < _MOST_ITEMS:
            self.paths.add(unquote(attribute(attributes, "URI") or "").lstrip("/"))

    def end(self, name: str) -> None:
        pass

    def text(self, text: str) -> None:
        pass
