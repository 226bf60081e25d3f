"""Turns the figures of a document into pictures: each distinct one once, within limits for all of them together."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from sluice_common.errors import OcrRequired, PermanentError
from sluice_extractor.parsing.media import Figure, Picture
from sluice_extractor.parsing.original import FigureAllowance, OpenDocument, Original
from sluice_extractor.parsing.page import IMAGES_NOT_READ, Page, Remark
from sluice_extractor.parsing.picture_decoding import PictureFile, contrast_of, kind_of

MOST_FIGURE_PIXELS = 10_000_000
"""A page of A4 at 300 dpi has 8.7 million; what has more is made smaller."""
_SMALLEST_SIDE, _SMALLEST_PIXELS = 16, 8_000
"""What is smaller is a bullet, a rule or an icon, and has no room for words."""
_LEAST_CONTRAST = 16
PAGE_PICTURES, PAGE_BYTES = 100, 48 << 20
_NOT_DECODED, _DAMAGED, _TOO_MANY = "of a kind that is not decoded", "damaged or too large", "beyond the limits"


def with_pictures(document: OpenDocument, original: Original) -> OpenDocument:
    """The document with pictures in place of the figures on its pages, where media are wanted.

    A document without text is then no failure as long as one of its pictures comes.
    """
    if not original.wants_media:
        return document
    allowance = original.allowance.figures if original.allowance else FigureAllowance()
    return replace(document, pages=_Developing(original, allowance).pages(document.pages, document.remarks))


def can_show_text(width: int, height: int) -> bool:
    """Whether a figure of that size has room for words."""
    return min(width, height) >= _SMALLEST_SIDE and width * height >= _SMALLEST_PIXELS


def shows_nothing(picture: Picture) -> bool:
    """Whether all of it has nearly the same shade."""
    return contrast_of(picture) < _LEAST_CONTRAST


class _Developing:
    """The figures of one document, or of what is attached to one."""

    def __init__(self, original: Original, allowance: FigureAllowance) -> None:
        self._in_colour = original.wants_colour
        self._allowance = allowance
        self._seen: set[str] = set()
        self._left_out: Counter[str] = Counter()
        self._n_figures = 0
        self._n_pictures = 0

    def pages(self, pages: Iterator[Page], remarks: list[Remark]) -> Iterator[Page]:
        has_text = False
        try:
            for page in pages:
                has_text = has_text or bool(page.text and not page.text.isspace())
                yield from self._developed(page) if page.figures else (page,)
        except OcrRequired:  # the reader knows of pictures, and of no text
            if not self._n_pictures:
                raise
        if self._n_figures and not (has_text or self._n_pictures):
            raise OcrRequired("pictures that cannot be read, and no text")
        if self._left_out:
            counts = ", ".join(f"{count} {reason}" for reason, count in self._left_out.items())
            remarks.append(Remark(IMAGES_NOT_READ, f"Images that were not read: {counts}."))

    def _developed(self, page: Page) -> Iterator[Page]:
        """The page with its pictures; one without a number in parts, where it has more than a page may have."""
        start = 0
        pictures: list[Picture] = []
        for figure in page.figures:
            picture = self._picture_of(figure)
            if picture is None:
                continue
            is_full = len(pictures) >= PAGE_PICTURES or _size_of(pictures) + len(picture.pixels) > PAGE_BYTES
            if is_full and page.number is not None:
                self._left_out[_TOO_MANY] += 1
                continue
            if is_full:
                yield _part_of(page, start, figure.at, pictures)
                start, pictures = figure.at, []
            self._n_pictures += 1
            pictures.append(replace(picture, at=figure.at - start, rect=None))
        yield _part_of(page, start, len(page.text), pictures)

    def _picture_of(self, figure: Figure) -> Picture | None:
        """The figure, decoded; None where it was seen before, shows nothing, or cannot be had."""
        self._n_figures += 1
        name = figure.source.name
        if name in self._seen:
            return None
        if name:
            self._seen.add(name)
        if not self._allowance.has_room():
            self._left_out[_TOO_MANY] += 1
            return None
        try:
            return self._decoded(figure.source.load())
        except PermanentError:
            self._left_out[_DAMAGED] += 1
            return None

    def _decoded(self, content: bytes) -> Picture | None:
        kind = kind_of(content)
        if not self._allowance.is_new(hashlib.blake2b(content, digest_size=16).digest(), len(content)):
            return None
        if kind is None:
            self._left_out[_NOT_DECODED] += 1
            return None
        file = PictureFile(content, kind)
        if not can_show_text(*file.size):
            return None
        self._allowance.take(file.size[0] * file.size[1])
        picture = file.picture(most_pixels=MOST_FIGURE_PIXELS, in_colour=self._in_colour)
        return None if shows_nothing(picture) else picture


def _size_of(pictures: list[Picture]) -> int:
    return sum(len(picture.pixels) for picture in pictures)


def _part_of(page: Page, start: int, end: int, pictures: list[Picture]) -> Page:
    whole = start == 0 and end == len(page.text)
    headings = page.headings
    if not whole:
        is_last = end == len(page.text)
        own = (heading for heading in headings if start <= heading.start and (heading.start < end or is_last))
        headings = tuple(replace(heading, start=heading.start - start) for heading in own)
    text = page.text if whole else page.text[start:end]
    return replace(page, text=text, headings=headings, media=(*page.media, *pictures), figures=())
