"""Reads reStructuredText, AsciiDoc and Org: the text as written, its headings as sections."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sluice_extractor.parsing.cleaning import clean_text
from sluice_extractor.parsing.encodings import decode
from sluice_extractor.parsing.markdown import TITLE_CHARS
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import Heading, parts_of
from sluice_extractor.parsing.text import checked_text, remarks_on

_RST_TITLE = re.compile(
    r"""
    ^(?:(?P<over>([!-/:-@\[-`{-~])\2{2,})[ \t]*\n)?  # a line of one mark, or none
    (?P<title>\S.*|[ \t]+\S.*)\n
    (?P<under>([!-/:-@\[-`{-~])\5{2,})[ \t]*$        # a line of one mark
    """,
    re.MULTILINE | re.VERBOSE,
)
_ASCIIDOC_LINE = re.compile(
    r"""
    ^(?:(?P<fence>-{4,}|={4,}|\.{4,}|\+{4,}|/{4,}|_{4,}|\*{4,}|```+)[ \t]*$  # begins or ends a block
    |(?P<marks>={1,6}|\#{1,6})[ \t]+(?P<title>\S.*)$)
    """,
    re.MULTILINE | re.VERBOSE,
)
_ORG_LINE = re.compile(
    r"^(?:(?P<block>#\+(?:begin|end)_\w+)|(?P<stars>\*{1,20})[ \t]+(?P<title>\S.*)$)", re.MULTILINE | re.IGNORECASE
)
_ORG_TITLE_MARKS = re.compile(r"\A(?:TODO|DONE)[ \t]+|[ \t]+:[\w@#%:]+:[ \t]*\Z")


@dataclass(frozen=True)
class _Markup:
    media_type: str
    headings: Callable[[str], Iterator[Heading]]


def fits_outline(original: Original) -> bool:
    """The name or the sender says so; nothing in a text proves it."""
    return _markup_of(original) is not None


def read_outline(original: Original) -> OpenDocument:
    """Open a text with headings.

    Raises:
        EmptyDocument: nothing but white space.
        DocumentTooLarge: more characters than the limit.
    """
    decoded = decode(original.content)
    text = checked_text(clean_text(decoded.text), original)
    markup = _markup_of(original) or _MARKUPS[".rst"]
    pages = parts_of(text, tuple(markup.headings(text)))
    return OpenDocument(markup.media_type, decoded.encoding, None, pages, remarks_on(decoded))


def _rst_headings(text: str) -> Iterator[Heading]:
    """Lines over a line of one mark, as long at least; each kind of mark is a level, in the order of appearance."""
    kinds: list[str] = []
    for found in _RST_TITLE.finditer(text):
        title, over, under = found["title"].strip(), found["over"], found["under"]
        is_level = len(under) >= len(title) and (over is None or over[0] == under[0])
        if not is_level or len(title) > TITLE_CHARS or not any(map(str.isalnum, title)):
            continue
        kind = f"{(over or '')[:1]}{under[0]}"
        if kind not in kinds:
            kinds.append(kind)
        yield Heading(found.start("title"), min(kinds.index(kind) + 1, 99), title)


def _asciidoc_headings(text: str) -> Iterator[Heading]:
    """Lines that begin with marks, outside of delimited blocks."""
    fence = ""
    for found in _ASCIIDOC_LINE.finditer(text):
        if found["fence"]:
            fence = "" if found["fence"] == fence else fence or found["fence"]
        elif not fence:
            yield Heading(found.start(), len(found["marks"]), found["title"].strip()[:TITLE_CHARS])


def _org_headings(text: str) -> Iterator[Heading]:
    """Lines that begin with stars, outside of blocks."""
    is_in_block = False
    for found in _ORG_LINE.finditer(text):
        if found["block"]:
            is_in_block = found["block"].lower().startswith("#+begin")
        elif not is_in_block:
            title = _ORG_TITLE_MARKS.sub("", found["title"][: 2 * TITLE_CHARS]).strip()[:TITLE_CHARS]
            if title:
                yield Heading(found.start(), len(found["stars"]), title)


_RST = _Markup("text/x-rst", _rst_headings)
_ASCIIDOC = _Markup("text/asciidoc", _asciidoc_headings)
_ORG = _Markup("text/org", _org_headings)
_MARKUPS = {
    ".rst": _RST,
    ".rest": _RST,
    ".adoc": _ASCIIDOC,
    ".asciidoc": _ASCIIDOC,
    ".asc": _ASCIIDOC,
    ".org": _ORG,
    "text/x-rst": _RST,
    "text/prs.fallenstein.rst": _RST,
    "text/asciidoc": _ASCIIDOC,
    "text/org": _ORG,
}


def _markup_of(original: Original) -> _Markup | None:
    return _MARKUPS.get(original.suffix) or (_MARKUPS.get(original.hinted_type) if not original.suffix else None)
