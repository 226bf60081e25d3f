"""Reads the text in the pictures of a document, several at once, and gives its pages back in their order."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace

import structlog

from sluice_common.errors import CrashError, ExtractionTimeout
from sluice_extractor.enriching import Findings
from sluice_extractor.parsing.media import Picture
from sluice_extractor.parsing.page import Page
from sluice_extractor.recognition.tesseract import Recogniser
from sluice_extractor.recognition.wordings import (
    in_brackets,
    is_better,
    page_as,
    page_with,
    text_lines,
    wording_of,
)
from sluice_extractor.recognition.words import Line

log = structlog.get_logger(__name__)

_MOST_AHEAD_BYTES = 64 << 20


@dataclass(frozen=True)
class _Read:
    """A picture, and the lines in it; None where they could not be recognised."""

    picture: Picture
    lines: list[Line] | None
    reason: str = ""


@dataclass(frozen=True)
class _Pending:
    """A page whose pictures are being recognised."""

    page: Page
    pictures: tuple[Picture, ...]
    readings: tuple[Future[_Read], ...]

    @property
    def is_ready(self) -> bool:
        return all(reading.done() for reading in self.readings)

    @property
    def size_bytes(self) -> int:
        return sum(len(picture.pixels) for picture in self.pictures)


@dataclass(frozen=True)
class Recognition:
    """The enrichment that turns pictures of text into text; pictures leave their page by it."""

    recogniser: Recogniser | None
    """None where there is nothing to recognise with: then pictures stay unread."""
    threads: Executor
    at_once: int
    """So many pictures of one document wait or are recognised, unless a single page has more."""
    missing: str = ""
    """What is not here, where there is no recogniser."""

    def enriched(self, pages: Iterator[Page], findings: Findings) -> Iterator[Page]:
        if self.recogniser is None:
            findings.cannot_read_pictures = self.missing
        given_up = threading.Event()

        def is_wanted() -> bool:
            return not (given_up.is_set() or findings.is_stopped())

        waiting: deque[_Pending] = deque()
        try:
            for page in pages:
                waiting.append(self._begun(page, is_wanted))
                while waiting and (waiting[0].is_ready or self._are_enough(waiting)):
                    yield _finished(waiting.popleft(), findings)
            while waiting:
                yield _finished(waiting.popleft(), findings)
        finally:
            given_up.set()
            for pending in waiting:
                for reading in pending.readings:
                    reading.cancel()

    def _begun(self, page: Page, is_wanted: Callable[[], bool]) -> _Pending:
        pictures = tuple(media for media in page.media if isinstance(media, Picture))
        others = tuple(media for media in page.media if not isinstance(media, Picture))
        page = replace(page, media=others) if pictures else page
        readings = tuple(self.threads.submit(self._read, picture, is_wanted) for picture in pictures)
        return _Pending(page, pictures, readings)

    def _are_enough(self, waiting: deque[_Pending]) -> bool:
        pictures = sum(len(pending.pictures) for pending in waiting)
        return pictures >= self.at_once or sum(pending.size_bytes for pending in waiting) >= _MOST_AHEAD_BYTES

    def _read(self, picture: Picture, is_wanted: Callable[[], bool]) -> _Read:
        if self.recogniser is None:
            return _Read(picture, None, "there is no text recognition on this server")
        try:
            return _Read(picture, text_lines(self.recogniser.recognise(picture, is_wanted)))
        except CrashError as error:
            log.warning("picture_not_recognised", code=error.code, detail_code=error.detail_code, detail=error.detail)
            too_slow = isinstance(error, ExtractionTimeout)
            return _Read(picture, None, "it took too long" if too_slow else "text recognition failed")


def _finished(pending: _Pending, findings: Findings) -> Page:
    """The page with what is in its pictures; raises what stopped the reading.

    Where the page as a whole was recognised, its figures were too.
    """
    page, wordings = pending.page, []
    for reading in pending.readings:
        read = reading.result()
        if read.lines is None:
            _note_unread(page, read, findings)
        elif not read.picture.is_whole_page:
            wordings.append((read.picture.at, in_brackets(wording_of(read.lines, read.picture))))
        elif is_better(read.lines, page.text):
            return page_as(page, wording_of(read.lines, read.picture))
        else:
            findings.page_garbled(page.number)
    return page_with(page, wordings) if wordings else page


def _note_unread(page: Page, read: _Read, findings: Findings) -> None:
    if not read.picture.is_whole_page:
        findings.picture_unread(read.reason)
    elif page.text.strip():  # a page comes with its text and with its picture where the text is garbled
        findings.page_garbled(page.number)
    else:
        findings.page_unread(page.number, read.reason)
