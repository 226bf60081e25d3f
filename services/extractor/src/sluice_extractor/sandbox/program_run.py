"""One run of a program by a child that became it, as the extractor sees it: bytes in, bytes out, within limits."""

import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from sluice_common.errors import ExtractionTimeout, ExtractorCrashed
from sluice_extractor.sandbox.reading import ReadingStopped
from sluice_extractor.sandbox.requests import STATUS, Program

_PIECE_BYTES = 1 << 20
_LONGEST_WAIT_S = 0.25
_BURIAL_S = 10.0


class ProgramRun:
    """Holds the ends of the program's pipes, and the socket by which it is killed and its end is told."""

    def __init__(self, program: Program, input_fd: int, output_fd: int, owner: socket.socket) -> None:
        self._program = program
        self._input_fd: int | None = input_fd
        self._output_fd = output_fd
        self._owner = owner
        self._output = bytearray()
        self._until = time.monotonic() + program.wall_clock_s

    def answer(self, pieces: Iterable[bytes], is_wanted: Callable[[], bool]) -> bytes:
        """Give *pieces* to the program, and take all that it writes, until it ends by itself.

        Raises:
            ExtractionTimeout: it took too long.
            ExtractorCrashed: it failed, or wrote too much.
            ReadingStopped: *is_wanted*, which is asked a few times a second, said no.
        """
        self._converse(deque(memoryview(piece) for piece in pieces if piece), is_wanted)
        self._check_end()
        return bytes(self._output)

    def close(self) -> None:
        """Kill the program if it has not ended, and free the pipes; call it once, in any case."""
        self._owner.close()
        self._end_input()
        os.close(self._output_fd)

    def _converse(self, pieces: deque[memoryview], is_wanted: Callable[[], bool]) -> None:
        """Write and read by turns, whichever the program is ready for, until it closes its output."""
        assert self._input_fd is not None
        os.set_blocking(self._input_fd, False)
        while True:
            readable, writable = _ready(self._output_fd, self._input_fd)
            self._check(is_wanted)
            if writable and not self._write(pieces):
                self._end_input()
            if readable and not self._read():
                return

    def _check(self, is_wanted: Callable[[], bool]) -> None:
        if not is_wanted():
            raise ReadingStopped("what the program would say is not wanted any more")
        if time.monotonic() > self._until:
            raise ExtractionTimeout(f"{self._program.wall_clock_s:g} s were not enough")

    def _write(self, pieces: deque[memoryview]) -> bool:
        """Whether there is more to write."""
        assert self._input_fd is not None
        try:
            while pieces:
                written = os.write(self._input_fd, pieces[0][:_PIECE_BYTES])
                pieces[0] = pieces[0][written:]
                if not pieces[0]:
                    pieces.popleft()
        except BlockingIOError:
            return True
        except BrokenPipeError:  # what it thinks of its input, its status will say
            return False
        return False

    def _read(self) -> bool:
        """Whether there may be more to read."""
        piece = os.read(self._output_fd, _PIECE_BYTES)
        self._output += piece
        if len(self._output) > self._program.most_answer_bytes:
            raise ExtractorCrashed("the program wrote too much", detail_code="malformed_frame")
        return bool(piece)

    def _end_input(self) -> None:
        if self._input_fd is not None:
            os.close(self._input_fd)
            self._input_fd = None

    def _check_end(self) -> None:
        status = b""
        self._owner.settimeout(_BURIAL_S)
        with suppress(OSError):
            status = self._owner.recv(STATUS.size)
        if len(status) != STATUS.size:
            raise ExtractorCrashed("the fork server died", detail_code="fork_server_died")
        code = os.waitstatus_to_exitcode(STATUS.unpack(status)[0])
        if code == -signal.SIGXCPU:
            raise ExtractionTimeout("the processor time was used up", detail_code="cpu_limit")
        if code:
            raise ExtractorCrashed(f"the program ended with {code}")


def _ready(output_fd: int, input_fd: int | None) -> tuple[bool, bool]:
    """Whether there is something to read, and whether something can be written; waits a while for either."""
    poll = select.poll()
    poll.register(output_fd, select.POLLIN)
    if input_fd is not None:
        poll.register(input_fd, select.POLLOUT)
    ready = {fd for fd, _ in poll.poll(1000 * _LONGEST_WAIT_S)}
    return output_fd in ready, input_fd in ready
