"""Reads XML that nobody trusts as a stream of calls: no DTD, no entity, bounded depth and bounded memory."""

import re
import xml.parsers.expat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Protocol

from sluice_common.errors import CorruptDocument

Attributes = Mapping[str, str]
_DEEPEST = 256  # as in libxml2
_LONGEST_TOKEN_BYTES = 4 << 20
_SEPARATOR = " "
_ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?<\?xml[^>]{0,100}?encoding\s*=\s*["']([\w.:-]+)""")
_ENCODINGS = frozenset({b"utf-8", b"utf-16", b"us-ascii", b"ascii", b"iso-8859-1"})


class XmlHandler(Protocol):
    """What is called with the parts of a document, in order; names come without their namespace."""

    def start(self, name: str, attributes: Attributes) -> None:
        """An element begins; the keys of *attributes* still have their namespaces, see `attribute`."""

    def end(self, name: str) -> None:
        """An element ends."""

    def text(self, text: str) -> None:
        """Some characters, not necessarily all that stand together."""


class KnownElements:
    """The part of a handler that has a method for each element it knows; what a dropped one holds is passed over."""

    def __init__(
        self,
        starts: Mapping[str, Callable[[Attributes], None]],
        ends: Mapping[str, Callable[[], None]],
        dropped: Collection[str] = (),
    ) -> None:
        self._starts = starts
        self._ends = ends
        self._dropped = dropped
        self._dropping = 0

    @property
    def is_dropping(self) -> bool:
        """Whether what comes now is to be passed over."""
        return self._dropping > 0

    def start(self, name: str, attributes: Attributes) -> None:
        if self._dropping or name in self._dropped:
            self._dropping += 1
        elif name in self._starts:
            self._starts[name](attributes)

    def end(self, name: str) -> None:
        if self._dropping:
            self._dropping -= 1
        elif name in self._ends:
            self._ends[name]()


def attribute(attributes: Attributes, name: str, of: str = "") -> str | None:
    """The attribute with that local name; *of* is the end of its namespace where another has the same name."""
    if not of and name in attributes:
        return attributes[name]
    wanted = of + _SEPARATOR + name
    return next((value for key, value in attributes.items() if key.endswith(wanted)), None)


def parse(pieces: Iterable[bytes], handler: XmlHandler, *, may_name_dtd: bool = False) -> Iterator[None]:
    """Feed *pieces* to *handler*; yields after each, so that the caller can hand on what has been read by then.

    `may_name_dtd` lets a document name a DTD, which is never fetched; one that brings its own is refused always.

    Raises:
        CorruptDocument: not well-formed, nested too deeply, with a DTD, or with a token without end.
    """
    parser = _parser_for(handler, may_name_dtd=may_name_dtd)
    fed = 0
    try:
        for piece in pieces:
            if not fed:
                _check_encoding(piece)
            parser.Parse(piece, False)  # noqa: FBT003 - expat's own signature
            fed += len(piece)
            if fed - parser.CurrentByteIndex > _LONGEST_TOKEN_BYTES:
                raise CorruptDocument("its XML has a name or a value without end", detail_code="xml_token")
            yield
        parser.Parse(b"", True)  # noqa: FBT003 - expat's own signature
    except xml.parsers.expat.ExpatError as error:
        raise CorruptDocument("its XML is not well-formed", detail_code="xml") from error
    yield


def parse_whole(pieces: Iterable[bytes], handler: XmlHandler, *, may_name_dtd: bool = False) -> None:
    """As `parse`, to the end."""
    for _ in parse(pieces, handler, may_name_dtd=may_name_dtd):
        pass


def _check_encoding(start: bytes) -> None:
    declared = _ENCODING.match(start)
    if declared and declared[1].lower() not in _ENCODINGS:
        raise CorruptDocument("its XML is in an encoding that the format does not have", detail_code="xml_encoding")


def _parser_for(handler: XmlHandler, *, may_name_dtd: bool) -> xml.parsers.expat.XMLParserType:
    parser = xml.parsers.expat.ParserCreate(namespace_separator=_SEPARATOR)
    parser.buffer_text = True
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise CorruptDocument("its XML is nested too deeply", detail_code="too_deep")
        handler.start(name[name.rfind(_SEPARATOR) + 1 :], attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        handler.end(name[name.rfind(_SEPARATOR) + 1 :])

    def refuse_dtd(_name: str, _system: str | None, _public: str | None, has_own: int) -> None:
        if has_own or not may_name_dtd:
            raise CorruptDocument("its XML has a DTD", detail_code="unsafe_xml")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = handler.text
    parser.StartDoctypeDeclHandler = refuse_dtd
    return parser
