"""Puts what is said about pictures into the text of their page, each as a block of its own at its picture's place."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sluice_extractor.parsing.media import Media, Picture
from sluice_extractor.parsing.page import Page, TextSpan


@dataclass(frozen=True)
class _Insertion:
    """A text that came in at an offset of the page as it was."""

    at: int
    text: str
    start: int
    """Where what it says begins in the new text, behind white space."""
    picture: Picture


def with_blocks(page: Page, block_by_place: Mapping[int, str]) -> Page:
    """The page with blocks, by the place of their picture in its media; pictures stand behind their own.

    On a page that has spans, a block has the rectangle of its picture.
    """
    insertions: list[_Insertion] = []
    media: list[Media] = []
    added = 0
    for place, each in enumerate(page.media):
        if not isinstance(each, Picture):
            media.append(each)
            continue
        if place in block_by_place:
            block = block_by_place[place]
            left = insertions[-1].text if insertions and insertions[-1].at == each.at else page.text[: each.at]
            right = page.text[each.at :]
            before = _missing(len(left) - len(left.rstrip("\n"))) if left.strip() else ""
            after = _missing(len(right) - len(right.lstrip("\n"))) if right.strip() else ""
            start = each.at + added + len(before)
            insertions.append(_Insertion(each.at, f"{before}{block}{after}", start, each))
            added += len(before) + len(block) + len(after)
        media.append(replace(each, at=each.at + added))
    headings = tuple(replace(found, start=_moved(found.start, insertions)) for found in page.headings)
    spans = sorted(_spans_of(page.spans, insertions, page), key=lambda span: span.start)
    return replace(page, text=_text_of(page.text, insertions), spans=spans, headings=headings, media=tuple(media))


def _missing(line_ends: int) -> str:
    """What makes an empty line of so many line ends."""
    return "\n" * max(2 - line_ends, 0)


def _text_of(text: str, insertions: Sequence[_Insertion]) -> str:
    pieces, last = [], 0
    for insertion in insertions:
        pieces += [text[last : insertion.at], insertion.text]
        last = insertion.at
    return "".join([*pieces, text[last:]])


def _moved(offset: int, insertions: Sequence[_Insertion]) -> int:
    return offset + sum(len(insertion.text) for insertion in insertions if insertion.at <= offset)


def _spans_of(spans: Sequence[TextSpan], insertions: Sequence[_Insertion], page: Page) -> Iterator[TextSpan]:
    for span in spans:
        end = min((insertion.at for insertion in insertions if span.start < insertion.at < span.end), default=span.end)
        start = _moved(span.start, insertions)
        yield replace(span, start=start, end=start + end - span.start)
    for insertion in insertions:
        if page.number is not None and insertion.picture.rect:
            length = len(insertion.text.strip("\n"))
            yield TextSpan(insertion.start, insertion.start + length, *insertion.picture.rect)
