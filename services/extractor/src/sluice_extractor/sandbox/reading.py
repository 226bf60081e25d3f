"""One document being read by its child, as the extractor sees it."""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from sluice_common.errors import (
    ArchiveBomb,
    ConflictError,
    CorruptDocument,
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
from sluice_extractor.parsing.page import Page, Remark
from sluice_extractor.sandbox.frames import (
    LENGTH,
    DoneFrame,
    ErrorFrame,
    HelloFrame,
    MalformedFrame,
    OtherFrame,
    parse_frame,
)
from sluice_extractor.sandbox.media_frames import MOST_MEDIA, MOST_MEDIA_BYTES, size_of
from sluice_extractor.sandbox.requests import STATUS, ReadLimits

_PIECE_BYTES = 1 << 20
_LONGEST_WAIT_S = 1.0
_BURIAL_S = 10.0
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


class Reading(Iterator[Page]):
    """Iterate it for the pages, once.

    `media_type`, `reader`, `pages_total` and `walls` are known from the beginning, `remarks` when the pages are
    exhausted. Leaving the `with` block ends the child in any case. Iteration raises the document's `PermanentError`,
    a `CrashError` that says how its child died, or `ReadingStopped`.
    """

    def __init__(self, results: int, owner: socket.socket, limits: ReadLimits) -> None:
        self.media_type = ""
        self.reader = ""
        self.pages_total: int | None = None
        self.walls: tuple[str, ...] = ()
        self.remarks: tuple[Remark, ...] = ()
        self._results = results
        self._owner = owner
        self._limits = limits
        self._buffer = bytearray()
        self._waited_s = 0.0
        self._text_chars = 0
        self._last_number = 0
        self._parts = 0
        self._sound_s = 0.0
        self._is_done = False
        self._stop_reason: str | None = None
        self._kill_lock = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __next__(self) -> Page:
        """The next page; pages come in ascending order."""
        if self._stop_reason is not None:  # pages that had arrived before are not wanted either
            raise ReadingStopped(self._stop_reason)
        if self._is_done:
            raise StopIteration
        media, frame = self._next_with_media()
        if isinstance(frame, Page):
            return self._checked(replace(frame, media=media) if media else frame)
        if isinstance(frame, DoneFrame):
            self._is_done = True
            self.remarks = tuple(Remark(field.code, field.detail, field.page) for field in frame.remarks)
            self.close()
            raise StopIteration
        raise self._failure_of(frame)

    def kill(self, reason: str) -> None:
        """Kill the child from any thread; whoever iterates gets `ReadingStopped` with *reason*."""
        self._stop_reason = self._stop_reason or reason
        self._ask_for_death()

    def close(self) -> None:
        """End the child and free the pipe; safe to call again."""
        self._ask_for_death()
        with self._kill_lock:
            if self._is_closed:
                return
            self._is_closed = True
            os.close(self._results)
            self._owner.close()

    def await_hello(self) -> None:
        """Wait until the child has opened the document, so that its type and its number of pages are known.

        Raises:
            PermanentError, CrashError: as iteration does.
        """
        frame = self._next_frame()
        if not isinstance(frame, HelloFrame):
            raise self._failure_of(frame)
        if frame.pages_total is not None and frame.pages_total > self._limits.max_pages:
            raise TooManyPages(f"{frame.pages_total} pages, the limit is {self._limits.max_pages}")
        self.media_type, self.reader = frame.media_type, frame.reader
        self.pages_total, self.walls = frame.pages_total, tuple(frame.walls)

    def _ask_for_death(self) -> None:
        with self._kill_lock, suppress(OSError):
            if not self._is_closed:
                self._owner.send(b"K", socket.MSG_DONTWAIT)

    def _next_with_media(self) -> tuple[tuple[Media, ...], Page | OtherFrame]:
        """The next frame that is no media, and the media before it, which are the page's when it is one."""
        media: list[Media] = []
        size_bytes = 0
        while isinstance(frame := self._next_frame(), Picture | Sound | Recording):
            media.append(frame)
            size_bytes += size_of(frame)
            if len(media) > MOST_MEDIA or size_bytes > MOST_MEDIA_BYTES:
                raise ExtractorCrashed("the reader sent too many media", detail_code="malformed_frame")
        return tuple(media), frame

    def _next_frame(self) -> Page | Media | OtherFrame:
        started = time.monotonic()
        allowed_s = self._allowed_s - self._waited_s
        try:
            size = LENGTH.unpack(self._take(LENGTH.size, started + allowed_s))[0]
            if size > 4 * self._limits.max_text_chars + _FRAME_ROOM_BYTES:
                raise DocumentTooLarge(f"a page of {size} bytes, the limit is {self._limits.max_text_chars} characters")
            return parse_frame(self._take(size, started + allowed_s))
        except MalformedFrame as error:
            raise ExtractorCrashed("the reader sent garbage", detail_code="malformed_frame") from error
        finally:
            self._waited_s += time.monotonic() - started

    @property
    def _allowed_s(self) -> float:
        """Of a document without pages each part that has come allows as much as a page."""
        return self._limits.allowed_s(self._parts if self.pages_total is None else self.pages_total)

    def _take(self, size: int, until: float) -> bytes:
        while len(self._buffer) < size:
            self._wait(until)
            piece = os.read(self._results, _PIECE_BYTES)
            if not piece:
                raise self._how_it_died()
            self._buffer += piece
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken

    def _wait(self, until: float) -> None:
        """Wait for bytes, or for the end of the pipe."""
        poll = select.poll()
        poll.register(self._results, select.POLLIN)
        while not poll.poll(1000 * max(min(until - time.monotonic(), _LONGEST_WAIT_S), 0)):
            if time.monotonic() >= until:
                self._ask_for_death()
                if self._stop_reason is None:
                    raise ExtractionTimeout(f"{self._allowed_s:g} s were not enough")
        if self._stop_reason is not None:
            raise ReadingStopped(self._stop_reason)

    def _checked(self, page: Page) -> Page:
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
            fits = page.number is not None and self._last_number < page.number <= self.pages_total
            self._last_number = page.number or 0
        if not fits or any(isinstance(media, Picture) and media.at > len(page.text) for media in page.media):
            raise ExtractorCrashed("the reader sent pages out of order", detail_code="malformed_frame")
        return page

    def _failure_of(self, frame: OtherFrame | Page | Media) -> PipelineError:
        if self._stop_reason is not None:
            return ReadingStopped(self._stop_reason)
        if isinstance(frame, ErrorFrame) and frame.code in _ERROR_BY_CODE:
            detail = "".join(char for char in frame.detail if char.isprintable())
            return _ERROR_BY_CODE[frame.code](detail, detail_code=frame.detail_code)
        return ExtractorCrashed("the reader sent frames out of order", detail_code="malformed_frame")

    def _how_it_died(self) -> PipelineError:
        """The pipe ended without a last frame: what the child's status says."""
        if self._stop_reason is not None:
            return ReadingStopped(self._stop_reason)
        status = self._status()
        if status is None:
            return ExtractorCrashed("the fork server died", detail_code="fork_server_died")
        if not os.WIFSIGNALED(status):
            return ExtractorCrashed(f"the reader ended with {os.waitstatus_to_exitcode(status)}")
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return ExtractionTimeout("the processor time was used up", detail_code="cpu_limit")
        return ExtractorCrashed(f"the reader died of signal {number}", detail_code="signal")

    def _status(self) -> int | None:
        self._owner.settimeout(_BURIAL_S)
        with suppress(OSError):
            status = self._owner.recv(STATUS.size)
            if len(status) == STATUS.size:
                return int(STATUS.unpack(status)[0])
        return None
