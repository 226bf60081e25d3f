"""The extractor's side of the fork server: starts it, starts it again, and gives it orders."""

import os
import select
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog

from sluice_common.errors import ExtractorCrashed, ObjectMissing
from sluice_extractor.sandbox.reading import Reading
from sluice_extractor.sandbox.requests import LENGTH, READY, ReadLimits, ReadRequest, order_for

_START_S = 60
_STOP_S = 5
_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031

_ONE_THREAD = {"OMP_THREAD_LIMIT": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Libraries that would start threads end the process where they may not, as behind the walls."""

log = structlog.get_logger()


class Sandbox:
    """Reads documents, each in a child of its own; several threads may use one sandbox at once."""

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
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

    def read(self, request: ReadRequest) -> Reading:
        """Start reading; returns when the document is open. Use the result as a context manager.

        Raises:
            ObjectMissing: there is no file at the path.
            PermanentError: the document is refused before its first page.
            CrashError: its child died; costs this document a try and no other.
        """
        reading = self._begin(request)
        try:
            reading.await_hello()
        except BaseException:
            reading.close()
            raise
        return reading

    def close(self) -> None:
        """End the fork server and every child; nothing can be read afterwards."""
        with self._lock:
            self._is_closed = True
            self._stop()

    def _begin(self, request: ReadRequest) -> Reading:
        try:
            file_fd = os.open(request.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ObjectMissing("the file of the original is gone") from error
        results, result_end = os.pipe()
        owner, owner_end = socket.socketpair()
        _widen(results)
        try:
            self._order(request, [file_fd, result_end, owner_end.fileno()])
        except BaseException:
            os.close(results)
            owner.close()
            raise
        finally:
            os.close(file_fd)
            os.close(result_end)
            owner_end.close()
        return Reading(results, owner, self._limits)

    def _order(self, request: ReadRequest, descriptors: list[int]) -> None:
        body = order_for(request, self._limits).model_dump_json().encode()
        with self._lock:
            for attempt in range(2):
                if not self._is_up():
                    self._start()
                assert self._orders is not None
                try:
                    socket.send_fds(self._orders, [LENGTH.pack(len(body))], descriptors)
                    self._orders.sendall(body)
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
        with theirs:
            self._server = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
                [sys.executable, "-I", "-m", "sluice_extractor.sandbox.fork_server", str(theirs.fileno())],
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


def _widen(pipe: int) -> None:
    """Let the child run ahead by a few hundred pages, where the system allows it."""
    if sys.platform == "linux":
        import fcntl  # noqa: PLC0415 - not everywhere

        with suppress(OSError):
            fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
