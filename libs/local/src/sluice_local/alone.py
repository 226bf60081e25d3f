"""One part started by itself, without the rest of the stack."""

import signal
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from sluice_local.files import make_private_folder
from sluice_local.supervisor import ProcessSpec, Supervisor


class PartAlone:
    """Starts, supervises and stops the one process that *spec* describes; a context manager."""

    def __init__(self, folder: Path, spec: Callable[[], ProcessSpec], *, timeout_s: float) -> None:
        """Only note what is wanted; *spec* is asked at the start, when the part may be prepared."""
        make_private_folder(folder)
        self._supervisor = Supervisor(folder, on_event=_ignore)
        self._spec = spec
        self._name = ""
        self._timeout_s = timeout_s

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._supervisor.open()
        try:
            spec = self._spec()
            self._name = spec.name
            self._supervisor.start([spec])
            self._supervisor.wait_until_ready([spec.name], timeout_s=self._timeout_s)
        except BaseException:
            self._supervisor.stop()
            raise

    def stop(self) -> None:
        """Stop it; the folder can be started again."""
        self._supervisor.stop()

    def kill(self, number: signal.Signals) -> None:
        """Send it a signal; it is restarted when it dies."""
        self._supervisor.kill(self._name, number)

    def pid(self) -> int:
        """Its pid now."""
        return self._supervisor.pid_of(self._name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _ignore(_event: str) -> None:
    """Nobody watches a part of one's own."""
