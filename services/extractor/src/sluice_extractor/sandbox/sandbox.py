"""The extractor's side of the fork server: starts it, starts it again, and gives it orders."""

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from sluice_common.errors import ExtractorCrashed, ObjectMissing
from sluice_extractor.parsing.media import Picture
from sluice_extractor.sandbox.drawing import picture_of
from sluice_extractor.sandbox.handle import ChildHandle
from sluice_extractor.sandbox.program_run import ProgramRun
from sluice_extractor.sandbox.reading import Reading
from sluice_extractor.sandbox.requests import (
    FEWEST_CHILDREN,
    READY,
    RUNS,
    WHOLE,
    ChildOrder,
    DrawRequest,
    Part,
    Program,
    ProgramOrder,
    ReadLimits,
    ReadRequest,
    order_for,
    order_for_drawing,
    order_to_run,
)

_START_S = 60
_STOP_S = 5
_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031
_MOST_ORDER_BYTES = 16 << 10  # so much every pipe takes

_ONE_THREAD = {"OMP_THREAD_LIMIT": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Libraries that would start threads end the process where they may not, as behind the walls."""

log = structlog.get_logger()


class Sandbox:
    """Reads documents, each in children of its own; several threads may use one sandbox at once."""

    def __init__(self, limits: ReadLimits, *, children: int = FEWEST_CHILDREN) -> None:
        """Let at most *children* processes live at once; see the fork server for who gets the last place."""
        self._limits = limits
        self._children = max(children, FEWEST_CHILDREN)
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None
        self._is_closed = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start the fork server and wait until it is ready; `read` does so itself when it must.

        Raises:
            ExtractorCrashed: it does not come up.
        """
        with self._lock:
            if not self._is_up():
                self._start()

    def read(self, request: ReadRequest, begin: Callable[[Callable[[str], None]], None] | None = None) -> Reading:
        """Start reading; returns when the document is open. Use the result as a context manager.

        Args:
            request: what to read.
            begin: is given what kills the reading, before anything is waited for.

        Raises:
            ObjectMissing: there is no file at the path.
            PermanentError: the document is refused before its first page.
            CrashError: its child died; costs this document a try and no other.
            ReadingStopped: killed meanwhile.
        """
        # What makes text of media is slower than any reader: children ahead of it would only wait, in others' places.
        ahead = 0 if request.wants_media else self._children - 1
        reading = Reading(_File(self, request, _opened(request.path)), self._limits, ahead=ahead)
        try:
            if begin is not None:
                begin(reading.kill)
            reading.open()
        except BaseException:
            reading.close()
            raise
        return reading

    def run(self, program: Program, pieces: Iterable[bytes], *, is_wanted: Callable[[], bool] = lambda: True) -> bytes:
        """Run *program* on *pieces*, in a child of its own behind walls; returns what it writes.

        Raises:
            CrashError: it died, was killed at a limit, or could not be started.
            ReadingStopped: *is_wanted*, which is asked a few times a second, said no.
        """
        run = self._begin_run(program)
        try:
            return run.answer(pieces, is_wanted)
        finally:
            run.close()

    def draw(self, request: DrawRequest) -> Picture | None:
        """A page as it looks; None where the document has no such page.

        Raises:
            ObjectMissing: there is no file at the path.
            PermanentError: it cannot be drawn.
            CrashError: its child died.
        """
        file_fd = _opened(request.path)
        try:
            child = self._begin(order_for_drawing(request, self._limits), file_fd, WHOLE)
        finally:
            os.close(file_fd)
        try:
            return picture_of(child)
        finally:
            child.close()

    def close(self) -> None:
        """End the fork server and every child; nothing can be read afterwards."""
        with self._lock:
            self._is_closed = True
            self._stop()

    def begin(self, request: ReadRequest, file_fd: int, part: Part) -> ChildHandle:
        """Order a child that reads the open file *file_fd*.

        Raises:
            ExtractorCrashed: the fork server does not come up.
        """
        return self._begin(order_for(request, self._limits, part), file_fd, part)

    def _begin(self, order: ChildOrder, file_fd: int, part: Part) -> ChildHandle:
        results, result_end = os.pipe()
        owner, owner_end = socket.socketpair()
        order_end = _pipe_with(_body_of(order))
        _widen(results)
        try:
            self._order(order.kind, [order_end, file_fd, result_end, owner_end.fileno()])
        except BaseException:
            os.close(results)
            owner.close()
            raise
        finally:
            os.close(order_end)
            os.close(result_end)
            owner_end.close()
        return ChildHandle(results, owner, part)

    def _begin_run(self, program: Program) -> ProgramRun:
        input_end, input_fd = os.pipe()
        output_fd, output_end = os.pipe()
        owner, owner_end = socket.socketpair()
        order_end = _pipe_with(_body_of_run(order_to_run(program)))
        _widen(input_fd)
        run = ProgramRun(program, input_fd, output_fd, owner)
        try:
            self._order(RUNS, [order_end, input_end, output_end, owner_end.fileno()])
        except BaseException:
            run.close()
            raise
        finally:
            for fd in (order_end, input_end, output_end):
                os.close(fd)
            owner_end.close()
        return run

    def _order(self, kind: bytes, descriptors: list[int]) -> None:
        with self._lock:
            for attempt in range(2):
                if not self._is_up():
                    self._start()
                assert self._orders is not None
                try:
                    socket.send_fds(self._orders, [kind], descriptors)
                except OSError as error:  # it died since the last order
                    self._stop()
                    if attempt:
                        raise ExtractorCrashed("the fork server died", detail_code="fork_server_died") from error
                else:
                    return

    def _is_up(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def _start(self) -> None:
        if self._is_closed:
            raise ExtractorCrashed("the sandbox is closed", detail_code="sandbox_closed")
        if self._server is not None:
            log.warning("fork_server_restarted", exit_code=self._server.poll())
            self._stop()
        ours, theirs = socket.socketpair()
        arguments = (str(theirs.fileno()), str(self._children))
        with theirs:
            self._server = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
                [sys.executable, "-I", "-m", "sluice_extractor.sandbox.fork_server", *arguments],
                env=_ONE_THREAD,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C at the terminal is the extractor's to handle
            )
        self._orders = ours
        if not select.select([ours], [], [], _START_S)[0] or ours.recv(1) != READY:
            self._stop()
            raise ExtractorCrashed("the fork server did not start", detail_code="fork_server_died")

    def _stop(self) -> None:
        if self._orders is not None:
            self._orders.close()
            self._orders = None
        if self._server is None:
            return
        try:
            self._server.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._server = None


@dataclass
class _File:
    """The open file of one document; all its children read the same descriptor."""

    sandbox: Sandbox
    request: ReadRequest
    file_fd: int

    def begin(self, part: Part) -> ChildHandle:
        return self.sandbox.begin(self.request, self.file_fd, part)

    def close(self) -> None:
        if self.file_fd >= 0:
            os.close(self.file_fd)
            self.file_fd = -1


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ObjectMissing("the file of the original is gone") from error


def _body_of(order: ChildOrder) -> bytes:
    """What travels by a pipe that nobody reads meanwhile; an outline too large for it is read by the child again."""
    body = order.model_dump_json().encode()
    if len(body) > _MOST_ORDER_BYTES:
        body = order.model_copy(update={"outline": None}).model_dump_json().encode()
    return body


def _body_of_run(order: ProgramOrder) -> bytes:
    body = order.model_dump_json().encode()
    if len(body) > _MOST_ORDER_BYTES:
        raise ExtractorCrashed("the program has too many arguments")
    return body


def _pipe_with(content: bytes) -> int:
    """The reading end of a pipe that holds *content*."""
    reading_end, writing_end = os.pipe()
    os.write(writing_end, content)
    os.close(writing_end)
    return reading_end


def _widen(pipe: int) -> None:
    """Let the child run ahead by a few hundred pages, where the system allows it."""
    if sys.platform == "linux":
        import fcntl  # noqa: PLC0415 - not everywhere

        with suppress(OSError):
            fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
