"""One child as the extractor sees it: the pipe that frames come from, and the socket that its death is asked by."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from sluice_common.errors import CrashError, DocumentTooLarge, ExtractionTimeout, ExtractorCrashed
from sluice_extractor.parsing.media import Media
from sluice_extractor.parsing.page import Page
from sluice_extractor.sandbox.frames import LENGTH, MalformedFrame, OtherFrame, parse_frame
from sluice_extractor.sandbox.requests import STATUS, WHOLE, Part

_PIECE_BYTES = 1 << 20
_BURIAL_S = 10.0


class ChildHandle:
    """A child that was ordered; it may still wait for its turn."""

    def __init__(self, results: int, owner: socket.socket, part: Part = WHOLE) -> None:
        self.part = part
        self._results = results
        self._owner = owner
        self._buffer = bytearray()
        self._lock = threading.Lock()
        self._is_closed = False

    def next_frame(self, wait_for: Callable[[int], None], *, most_bytes: int) -> Page | Media | OtherFrame:
        """The next frame; *wait_for* is called to wait until a descriptor can be read, and may raise.

        Raises:
            DocumentTooLarge: a frame of more than *most_bytes*.
            CrashError: the child died before its last frame, or sent what is none.
        """
        size = LENGTH.unpack(self._take(LENGTH.size, wait_for))[0]
        if size > most_bytes:
            raise DocumentTooLarge(f"a page of {size} bytes, the limit is {most_bytes}")
        try:
            return parse_frame(self._take(size, wait_for))
        except MalformedFrame as error:
            raise ExtractorCrashed("the reader sent garbage", detail_code="malformed_frame") from error

    def ask_for_death(self) -> None:
        """From any thread; the fork server kills the child, or forgets one that has not begun."""
        with self._lock, suppress(OSError):
            if not self._is_closed:
                self._owner.send(b"K", socket.MSG_DONTWAIT)

    def close(self) -> None:
        """End the child and free the pipe; safe to call again."""
        self.ask_for_death()
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            os.close(self._results)
            self._owner.close()

    def _take(self, size: int, wait_for: Callable[[int], None]) -> bytes:
        while len(self._buffer) < size:
            wait_for(self._results)
            piece = os.read(self._results, _PIECE_BYTES)
            if not piece:
                raise self._how_it_died()
            self._buffer += piece
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken

    def _how_it_died(self) -> CrashError:
        """The pipe ended without a last frame: what the child's status says."""
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
