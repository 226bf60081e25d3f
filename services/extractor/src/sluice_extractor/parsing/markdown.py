"""Reads Markdown: the text as written, its headings as sections."""

import re
from collections.abc import Iterator

from sluice_extractor.parsing.cleaning import clean_text
from sluice_extractor.parsing.encodings import decode
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import Heading, parts_of
from sluice_extractor.parsing.text import checked_text, remarks_on

SUFFIXES = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mkdn", ".mdx"})
TITLE_CHARS = 200

_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(?:.*\n)*?\1[ \t]*(?:\n|\Z)")
_MARKED_LINE = re.compile(
    r"^ {0,3}(?:(?P<fence>`{3,}|~{3,})|(?P<hashes>#{1,6})(?=[ \t]|$)[ \t]*(?P<title>.*)|(?P<underline>=+|-+)[ \t]*$)",
    re.MULTILINE,
)
_CLOSING_HASHES = re.compile(r"[ \t]+#+[ \t]*$")
_MARKUP = re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)|[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}")
_NOT_A_PARAGRAPH = re.compile(r"\s*$|\s{0,3}(?:>|[-*+] |\d+[.)] |\||#{1,6} )| {4}|\t")


def fits_markdown(original: Original) -> bool:
    """The name or the sender says so; nothing in a text proves that it is Markdown."""
    return original.suffix in SUFFIXES or original.hinted_type in {"text/markdown", "text/x-markdown"}


def read_markdown(original: Original) -> OpenDocument:
    decoded = decode(original.content)
    text = checked_text(clean_text(decoded.text), original)
    headings = tuple(headings_of(text))
    return OpenDocument("text/markdown", decoded.encoding, None, parts_of(text, headings), remarks_on(decoded))


def headings_of(text: str) -> Iterator[Heading]:
    """ATX and setext headings outside of front matter and fenced code, in order."""
    front = _FRONT_MATTER.match(text)
    fence = ""
    for found in _MARKED_LINE.finditer(text, front.end() if front else 0):
        if found["fence"]:
            fence = _fence_after(fence, found, text)
        elif not fence:
            heading = _atx_heading(found) if found["hashes"] else _setext_heading(found, text)
            if heading and heading.title:
                yield heading


def _fence_after(fence: str, found: re.Match[str], text: str) -> str:
    """The fence that is open behind this line: only a line of the same character, as long, closes one."""
    if not fence:
        return found["fence"]
    end = text.find("\n", found.end())
    rest = text[found.end() : end if end >= 0 else len(text)]
    closes = found["fence"].startswith(fence) and not rest.strip()
    return "" if closes else fence


def _atx_heading(found: re.Match[str]) -> Heading:
    return Heading(found.start(), len(found["hashes"]), _title(_CLOSING_HASHES.sub("", found["title"])))


def _setext_heading(found: re.Match[str], text: str) -> Heading | None:
    end = found.start() - 1
    start = text.rfind("\n", 0, max(end, 0)) + 1
    line = text[start : max(end, 0)]
    if end <= 0 or _NOT_A_PARAGRAPH.match(line):
        return None
    return Heading(start, 1 if found["underline"].startswith("=") else 2, _title(line))


def _title(written: str) -> str:
    return _MARKUP.sub(lambda found: found[1] or "", written).strip()[:TITLE_CHARS]
