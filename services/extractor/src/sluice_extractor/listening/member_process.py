"""A predictor that a package brings, in a process of its own: a crash or a hang costs only this member."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import structlog

from sluice_extractor.listening.predictor import LeftOut

log = structlog.get_logger(__name__)

_LOOK_S = 0.2
_MOST_ANSWER_BYTES = 2**20
_PRIVATE = "SLUICE_"


class InstalledPredictor:
    """Starts the process at the first recording, and again when it died; several threads take turns."""

    def __init__(self, name: str, *, predict_timeout_s: float, start_timeout_s: float) -> None:
        self._name = name
        self._predict_timeout_s = predict_timeout_s
        self._start_timeout_s = start_timeout_s
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, file: Path, is_stopped: Callable[[], bool]) -> Any:  # whatever it answers
        """Have *file* judged.

        Raises:
            LeftOut: it did not start, died, raised, was too slow, or nobody waits any more.
        """
        while not self._turn.acquire(timeout=_LOOK_S):
            if is_stopped():
                raise LeftOut("stopped")
        try:
            process = self._started(is_stopped)
            answer = self._answer_to(process, {"file": str(file)}, self._predict_timeout_s, is_stopped)
        finally:
            self._turn.release()
        if "labels" not in answer:
            raise LeftOut("failed")
        return answer["labels"]

    def close(self) -> None:
        """End the process."""
        self._kill()

    def _started(self, is_stopped: Callable[[], bool]) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._kill()
        self._process = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
            [sys.executable, "-m", "sluice_extractor.listening.member_main", self._name],
            # Drivers and caches of models are found by the environment; our passwords are nobody's business.
            env={name: value for name, value in os.environ.items() if not name.upper().startswith(_PRIVATE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            ready = self._line_from(self._process, self._start_timeout_s, is_stopped)
        except LeftOut as error:
            raise LeftOut("stopped" if error.reason == "stopped" else "did_not_start") from error
        if ready != {"ready": True}:
            self._kill()
            raise LeftOut("did_not_start")
        return self._process

    def _answer_to(
        self,
        process: subprocess.Popen[bytes],
        question: dict[str, str],
        timeout_s: float,
        is_stopped: Callable[[], bool],
    ) -> dict[str, Any]:  # as above
        assert process.stdin is not None
        try:
            process.stdin.write(orjson.dumps(question) + b"\n")
            process.stdin.flush()
        except OSError as error:
            self._kill()
            raise LeftOut("died") from error
        return self._line_from(process, timeout_s, is_stopped)

    def _line_from(
        self, process: subprocess.Popen[bytes], timeout_s: float, is_stopped: Callable[[], bool]
    ) -> dict[str, Any]:  # as above
        try:
            return _object_in(_line_of(process, timeout_s, is_stopped))
        except LeftOut:
            self._kill()  # what it may still say would be taken for the answer to the next question
            raise

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _line_of(process: subprocess.Popen[bytes], timeout_s: float, is_stopped: Callable[[], bool]) -> bytes:
    assert process.stdout is not None
    until = time.monotonic() + timeout_s
    line = b""
    while not line.endswith(b"\n"):
        if is_stopped():
            raise LeftOut("stopped")
        if time.monotonic() > until:
            raise LeftOut("timeout")
        if not select.select([process.stdout], [], [], _LOOK_S)[0]:
            continue
        piece = os.read(process.stdout.fileno(), _MOST_ANSWER_BYTES)
        if not piece:
            raise LeftOut("died")
        line += piece
        if len(line) > _MOST_ANSWER_BYTES:
            raise LeftOut("bad_answer")
    return line


def _object_in(line: bytes) -> dict[str, Any]:  # as above
    try:
        answer = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise LeftOut("bad_answer") from error
    if not isinstance(answer, dict):
        raise LeftOut("bad_answer")
    return answer
