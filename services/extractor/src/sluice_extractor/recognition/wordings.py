"""Makes text of recognised lines, leaves out what is no text, and puts it where it belongs on its page."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from sluice_extractor.parsing.media import Picture
from sluice_extractor.parsing.page import Heading, Page, TextSpan
from sluice_extractor.recognition.sheets import Box
from sluice_extractor.recognition.tesseract import Recognised, confidence_of
from sluice_extractor.recognition.words import Line

_TEXT_PAGE = 75.0
"""Mean confidence of a picture that surely shows text."""
_LEAST_THERE, _LEAST_ELSEWHERE = 30.0, 60.0
"""Confidence of a line that is kept, in such a picture and in any other."""
_WORD_CHARS = re.compile(r"[^\W_]")
_SHORT = re.compile(r"[^\W\d_]|\W*")
"""A line of a single letter, or of signs alone, is a stroke of a drawing more often than not."""
_HYPHENATED, _GOES_ON = re.compile(r"[a-z]-$"), re.compile(r"[a-z]")
_LEAST_PART = 0.5


@dataclass(frozen=True)
class Wording:
    """Text with the places of its lines."""

    text: str
    spans: tuple[TextSpan, ...] = ()


def text_lines(recognised: Recognised) -> list[Line]:
    """The lines that are text; a photograph has none."""
    lines = [line for line in recognised.lines if not _SHORT.fullmatch(line.text)]
    least = _LEAST_THERE if confidence_of(lines) >= _TEXT_PAGE else _LEAST_ELSEWHERE
    return [line for line in lines if confidence_of([line]) >= least]


def wording_of(lines: Sequence[Line], picture: Picture) -> Wording:
    """The text of lines, paragraphs apart; with places where the picture has one on its page."""
    pieces: list[str] = []
    spans: list[TextSpan] = []
    length = 0
    for line, following in zip_longest(lines, lines[1:]):
        text, end = _joined(line, following)
        if picture.rect:
            spans.append(_span_of(line.box, picture, picture.rect, length, length + len(text)))
        pieces += (text, end)
        length += len(text) + len(end)
    return Wording("".join(pieces), tuple(spans))


def in_brackets(wording: Wording) -> Wording:
    """The wording as what a figure says, told apart from the text around it; nothing where it is empty."""
    return Wording(f"[{wording.text}]", tuple(_shifted(wording.spans, 1))) if wording.text else wording


def page_with(page: Page, wordings: Sequence[tuple[int, Wording]]) -> Page:
    """The page with wordings at offsets of its text, each as a block of its own."""
    text, spans, headings = page.text, list(page.spans), list(page.headings)
    for at, wording in sorted(wordings, key=lambda found: found[0], reverse=True):
        if not wording.text:
            continue
        before, after = _separator(text[:at]), _separator(text[at:])
        added = len(before) + len(wording.text) + len(after)
        text = f"{text[:at]}{before}{wording.text}{after}{text[at:]}"
        spans = [*_cut_before(spans, at), *_shifted(wording.spans, at + len(before)), *_cut_behind(spans, at, added)]
        headings = [replace(found, start=found.start + added) if found.start >= at else found for found in headings]
    return replace(page, text=text, spans=tuple(spans), headings=tuple(headings))


def page_as(page: Page, wording: Wording) -> Page:
    """The page with the wording in place of its text; its headings stand where their titles do."""
    headings = (Heading(max(wording.text.find(found.title), 0), found.level, found.title) for found in page.headings)
    in_order = tuple(sorted(headings, key=lambda heading: heading.start))
    return replace(page, text=wording.text, spans=wording.spans, headings=in_order, failed=False)


def is_better(lines: Sequence[Line], text: str) -> bool:
    """Whether what was recognised on a page is worth more than the text that the page has."""
    had = _visible(text)
    found = sum(_visible(line.text) for line in lines)
    return not had or (confidence_of(lines) >= _TEXT_PAGE and found >= _LEAST_PART * had)


def _visible(text: str) -> int:
    return len(_WORD_CHARS.findall(text))


def _joined(line: Line, following: Line | None) -> tuple[str, str]:
    """The line's text and what comes behind it; a word that was cut by a hyphen is put together."""
    text = line.text
    if following is None:
        return text, ""
    if _HYPHENATED.search(text) and _GOES_ON.match(following.text):
        return text[:-1], ""
    return text, "\n" if following.paragraph == line.paragraph else "\n\n"


def _span_of(box: Box, picture: Picture, rect: tuple[float, float, float, float], start: int, end: int) -> TextSpan:
    left, top, right, bottom = rect
    across, down = (right - left) / picture.width, (bottom - top) / picture.height
    x0, x1 = left + box.x0 * across, left + box.x1 * across
    y0, y1 = top + box.y0 * down, top + box.y1 * down
    return TextSpan(start, end, round(x0, 1), round(y0, 1), round(x1, 1), round(y1, 1))


def _separator(beside: str) -> str:
    return "\n\n" if beside and not beside.isspace() else ""


def _shifted(spans: Sequence[TextSpan], by: int) -> Iterator[TextSpan]:
    return (replace(span, start=span.start + by, end=span.end + by) for span in spans)


def _cut_before(spans: Sequence[TextSpan], at: int) -> Iterator[TextSpan]:
    return (replace(span, end=min(span.end, at)) for span in spans if span.start < at)


def _cut_behind(spans: Sequence[TextSpan], at: int, by: int) -> Iterator[TextSpan]:
    cut = (replace(span, start=max(span.start, at)) for span in spans if span.end > at)
    return _shifted(tuple(cut), by)
