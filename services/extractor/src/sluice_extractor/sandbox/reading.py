"""One document being read, as the extractor sees it: by one child, or in ranges of pages by several."""

import select
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Protocol, Self

from sluice_common.errors import (
    ArchiveBomb,
    ConflictError,
    CorruptDocument,
    CrashError,
    DecodeFailed,
    DocumentTooLarge,
    EmptyDocument,
    Encrypted,
    ExtractionTimeout,
    ExtractorCrashed,
    ExtractorOutOfMemory,
    NoText,
    OcrRequired,
    PipelineError,
    TooManyPages,
    UnsupportedFormat,
)
from sluice_extractor.parsing.media import Media, Picture, Recording, Sound
from sluice_extractor.parsing.original import PageRange
from sluice_extractor.parsing.page import OutlineEntry, Page, Remark
from sluice_extractor.sandbox.frames import MOST_REMARKS, BegunFrame, DoneFrame, ErrorFrame, HelloFrame, OtherFrame
from sluice_extractor.sandbox.handle import ChildHandle
from sluice_extractor.sandbox.media_frames import MOST_MEDIA, MOST_MEDIA_BYTES, size_of
from sluice_extractor.sandbox.requests import WHOLE, Part, ReadLimits

_LONGEST_WAIT_S = 1.0
_FRAME_ROOM_BYTES = 16 << 20
_UNPAGED_FRAMES = 100_000
_SOUND_ROOM_S = 5.0

_ERROR_BY_CODE: dict[str, type[PipelineError]] = {
    error.code: error
    for error in (
        UnsupportedFormat, Encrypted, CorruptDocument, EmptyDocument, NoText, OcrRequired, TooManyPages,
        DocumentTooLarge, ArchiveBomb, DecodeFailed, ExtractorOutOfMemory, ExtractorCrashed,
    )
}  # fmt: skip


class ReadingStopped(ConflictError):
    """The reading was killed by `Reading.kill`; the detail is the reason given there."""


class Source(Protocol):
    """Orders the children of one document."""

    def begin(self, part: Part) -> ChildHandle:
        """Order a child for *part*; it begins when there is a place for it."""

    def close(self) -> None:
        """No more children will be ordered."""


class Reading(Iterator[Page]):
    """Iterate it for the pages, once.

    `media_type`, `reader`, `pages_total` and `walls` are known when it is open, `remarks` when the pages are
    exhausted. Leaving the `with` block ends every child in any case. Iteration raises the document's `PermanentError`,
    a `CrashError` that says how a child died, or `ReadingStopped`.

    What comes is the same whether one child reads the document or several do: a child that reads some pages knows
    nothing of the others, so what is true of the document as a whole is found out here.
    """

    def __init__(self, source: Source, limits: ReadLimits, *, ahead: int = 0) -> None:
        """Read from *source* within *limits*, up to *ahead* ranges of pages beside the one whose pages are taken."""
        self.media_type = ""
        self.reader = ""
        self.pages_total: int | None = None
        self.walls: tuple[str, ...] = ()
        self.remarks: tuple[Remark, ...] = ()
        self._source = source
        self._limits = limits
        self._ahead = ahead
        self._pages: Iterator[Page] = iter(())
        self._children: list[ChildHandle] = []
        self._waited_s = 0.0
        self._text_chars = 0
        self._last_number = 0
        self._parts = 0
        self._sound_s = 0.0
        self._stop_reason: str | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __next__(self) -> Page:
        """The next page; pages come in ascending order."""
        if self._stop_reason is not None:  # pages that had arrived before are not wanted either
            raise ReadingStopped(self._stop_reason)
        return next(self._pages)

    def open(self) -> None:
        """Begin the document; returns when its type and its number of pages are known.

        Raises:
            PermanentError, CrashError, ReadingStopped: as iteration does.
        """
        first = self._begin(Part(PageRange(1, self._limits.first_range_pages)))
        hello = self._hello_of(first)
        if hello.pages_total is not None and hello.pages_total > self._limits.max_pages:
            raise TooManyPages(f"{hello.pages_total} pages, the limit is {self._limits.max_pages}")
        self.media_type, self.reader = hello.media_type, hello.reader
        self.pages_total, self.walls = hello.pages_total, tuple(hello.walls)
        self._pages = self._whole(first) if hello.page_range is None else self._in_ranges(first, hello)

    def kill(self, reason: str) -> None:
        """Kill all children from any thread; whoever opens or iterates gets `ReadingStopped` with *reason*."""
        with self._lock:
            self._stop_reason = self._stop_reason or reason
            children = tuple(self._children)
        for child in children:
            child.ask_for_death()

    def close(self) -> None:
        """End all children and free their pipes; safe to call again."""
        for child in tuple(self._children):
            self._end(child)
        self._source.close()

    def _whole(self, child: ChildHandle) -> Iterator[Page]:
        yield from self._pages_of(child, None)
        self.close()

    def _in_ranges(self, first: ChildHandle, hello: HelloFrame) -> Iterator[Page]:
        """The pages of a divided document, once it is sure that there is text.

        Where no range has any, one child reads it whole: what such a document is, is a question about all its pages.
        """
        waiting: list[Page] = []
        has_text = False
        for page in self._pages_of_ranges(first, hello):
            has_text = has_text or bool(page.media) or bool(page.text and not page.text.isspace())
            waiting.append(page)
            if has_text:
                yield from waiting
                waiting.clear()
        if not has_text:
            self._last_number, self.remarks = 0, ()
            child = self._begin(WHOLE)
            self._check_same(self._hello_of(child), hello, WHOLE)
            yield from self._pages_of(child, None)
        self.close()

    def _pages_of_ranges(self, first: ChildHandle, hello: HelloFrame) -> Iterator[Page]:
        self._check_same(hello, hello, first.part)
        parts = self._further_parts(hello)
        begun = deque([first])
        while begun:
            child = begun.popleft()
            begun.extend(map(self._begin, islice(parts, self._ahead - len(begun))))
            if child is not first:
                self._check_same(self._hello_of(child), hello, child.part)
            yield from self._pages_of(child, child.part.page_range)
            if not begun:
                begun.extend(map(self._begin, islice(parts, 1)))

    def _further_parts(self, hello: HelloFrame) -> Iterator[Part]:
        size, total = self._limits.range_pages, self.pages_total or 0
        entries = [OutlineEntry(**field.model_dump()) for field in hello.outline]
        for first in range(self._limits.first_range_pages + 1, total + 1, size):
            last = min(first + size - 1, total)
            yield Part(PageRange(first, last), [entry for entry in entries if first <= entry.page <= last])

    def _check_same(self, hello: HelloFrame, first: HelloFrame, part: Part) -> None:
        """All children of a document say the same of it, and each reads what it was told to."""
        facts = (hello.media_type, hello.reader, hello.pages_total)
        agrees = facts == (first.media_type, first.reader, first.pages_total)
        wanted = part.page_range and [part.page_range.first, part.page_range.last]
        if not agrees or hello.page_range != wanted:
            raise ExtractorCrashed("the readers do not agree", detail_code="malformed_frame")

    def _begin(self, part: Part) -> ChildHandle:
        child = self._source.begin(part)
        with self._lock:
            self._children.append(child)
            stop_reason = self._stop_reason
        if stop_reason is not None:  # killed before there was this child to kill
            raise ReadingStopped(stop_reason)
        return child

    def _end(self, child: ChildHandle) -> None:
        child.close()
        with self._lock:
            self._children.remove(child)

    def _hello_of(self, child: ChildHandle) -> HelloFrame:
        frame = self._frame_of(child, until=float("inf"))  # its place is given by others' documents
        if isinstance(frame, BegunFrame):
            frame = self._next_frame(child)
        if not isinstance(frame, HelloFrame):
            raise self._failure_of(frame)
        return frame

    def _pages_of(self, child: ChildHandle, page_range: PageRange | None) -> Iterator[Page]:
        while True:
            media, frame = self._next_with_media(child)
            if isinstance(frame, Page):
                yield self._checked(replace(frame, media=media) if media else frame, page_range)
            elif isinstance(frame, DoneFrame):
                self._add_remarks([Remark(field.code, field.detail, field.page) for field in frame.remarks])
                self._end(child)
                return
            else:
                raise self._failure_of(frame)

    def _add_remarks(self, remarks: list[Remark]) -> None:
        """What several children say of the document as a whole is said once."""
        known = set(self.remarks)
        self.remarks = (*self.remarks, *(remark for remark in remarks if remark not in known))[:MOST_REMARKS]

    def _next_with_media(self, child: ChildHandle) -> tuple[tuple[Media, ...], Page | OtherFrame]:
        """The next frame that is no media, and the media before it, which are the page's when it is one."""
        media: list[Media] = []
        size_bytes = 0
        while isinstance(frame := self._next_frame(child), Picture | Sound | Recording):
            media.append(frame)
            size_bytes += size_of(frame)
            if len(media) > MOST_MEDIA or size_bytes > MOST_MEDIA_BYTES:
                raise ExtractorCrashed("the reader sent too many media", detail_code="malformed_frame")
        return tuple(media), frame

    def _next_frame(self, child: ChildHandle) -> Page | Media | OtherFrame:
        started = time.monotonic()
        try:
            return self._frame_of(child, until=started + self._allowed_s - self._waited_s)
        finally:
            self._waited_s += time.monotonic() - started

    def _frame_of(self, child: ChildHandle, *, until: float) -> Page | Media | OtherFrame:
        most_bytes = 4 * self._limits.max_text_chars + _FRAME_ROOM_BYTES
        try:
            return child.next_frame(partial(self._wait, child, until), most_bytes=most_bytes)
        except CrashError as error:
            if self._stop_reason is not None:
                raise ReadingStopped(self._stop_reason) from error
            raise

    @property
    def _allowed_s(self) -> float:
        """Of a document without pages each part that has come allows as much as a page."""
        return self._limits.allowed_s(self._parts if self.pages_total is None else self.pages_total)

    def _wait(self, child: ChildHandle, until: float, results: int) -> None:
        """Wait for bytes, or for the end of the pipe."""
        poll = select.poll()
        poll.register(results, select.POLLIN)
        while not poll.poll(1000 * max(min(until - time.monotonic(), _LONGEST_WAIT_S), 0)):
            if time.monotonic() >= until:
                child.ask_for_death()
                if self._stop_reason is None:
                    raise ExtractionTimeout(f"{self._allowed_s:g} s were not enough")
        if self._stop_reason is not None:
            raise ReadingStopped(self._stop_reason)

    def _checked(self, page: Page, page_range: PageRange | None) -> Page:
        """The page, if it is one that an honest child could have sent here.

        Raises:
            DocumentTooLarge: the text of all pages passes the limit.
            ExtractorCrashed: pages out of order, more of them than there are, or more sound than a recording has.
        """
        self._text_chars += len(page.text)
        if self._text_chars > self._limits.max_text_chars:
            raise DocumentTooLarge(f"more than {self._limits.max_text_chars} characters of text")
        self._sound_s += sum(len(media.samples) / 2 / media.rate for media in page.media if isinstance(media, Sound))
        if self._sound_s > self._limits.max_audio_s + _SOUND_ROOM_S:  # it would be paid for
            raise ExtractorCrashed("the reader sent more sound than it may", detail_code="malformed_frame")
        self._parts += 1
        if self.pages_total is None:
            fits = page.number is None and self._parts <= _UNPAGED_FRAMES
        else:
            last = min(self.pages_total, page_range.last) if page_range else self.pages_total
            fits = page.number is not None and self._last_number < page.number <= last
            self._last_number = page.number or 0
        if not fits or any(isinstance(media, Picture) and media.at > len(page.text) for media in page.media):
            raise ExtractorCrashed("the reader sent pages out of order", detail_code="malformed_frame")
        return page

    def _failure_of(self, frame: OtherFrame | Page | Media) -> PipelineError:
        if self._stop_reason is not None:
            return ReadingStopped(self._stop_reason)
        if isinstance(frame, ErrorFrame):
            return error_of(frame)
        return ExtractorCrashed("the reader sent frames out of order", detail_code="malformed_frame")


def error_of(frame: ErrorFrame) -> PipelineError:
    """What a child says of its end, if it is something that an honest one could say."""
    if frame.code not in _ERROR_BY_CODE:
        return ExtractorCrashed("the reader sent frames out of order", detail_code="malformed_frame")
    detail = "".join(char for char in frame.detail if char.isprintable())
    return _ERROR_BY_CODE[frame.code](detail, detail_code=frame.detail_code)
