"""Several uploads side by side, each followed to its end."""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sluice_client.client import SluiceClient
from sluice_client.errors import SluiceError
from sluice_client.results import Document

UPLOADS_AT_ONCE = 4
WAITS_AT_ONCE = 8


@dataclass(frozen=True)
class Outcome:
    """What became of one file; `document` is None when it was never accepted."""

    path: Path
    document: Document | None = None
    code: str | None = None
    detail: str = ""
    remedy: str | None = None
    status: int | None = None

    @property
    def is_good(self) -> bool:
        return self.code is None


class View(Protocol):
    """What a person sees of the uploads; called from several threads."""

    def sent(self, path: Path, sent_bytes: int, size_bytes: int | None) -> None: ...

    def accepted(self, path: Path, document: Document) -> None: ...

    def moved(self, path: Path, document: Document) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...


Upload = Callable[[Path, Callable[[int, int | None], None]], Document]


def upload_all(
    client: SluiceClient, paths: Sequence[Path], upload: Upload, view: View, *, wait: bool
) -> Sequence[Outcome]:
    """Upload *paths*, at most `UPLOADS_AT_ONCE` together, and follow each when asked to.

    The threads are daemons, so that Ctrl-C ends the command at once; what was accepted goes on.

    Returns:
        One outcome for each path, in the order in which they ended.
    """
    to_upload: queue.SimpleQueue[Path] = queue.SimpleQueue()
    to_follow: queue.SimpleQueue[tuple[Path, Document]] = queue.SimpleQueue()
    ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()

    def upload_next() -> None:
        path = to_upload.get()
        outcome = _uploaded(path, upload, view)
        if wait and outcome.document is not None:
            to_follow.put((path, outcome.document))
        else:
            ended.put(outcome)

    def follow_next() -> None:
        path, document = to_follow.get()
        ended.put(_followed(client, path, document, view))

    for path in paths:
        to_upload.put(path)
    _start(upload_next, min(UPLOADS_AT_ONCE, len(paths)))
    _start(follow_next, min(WAITS_AT_ONCE, len(paths)) if wait else 0)
    return [_shown(ended.get(), view) for _ in paths]


def _start(step: Callable[[], None], count: int) -> None:
    def repeat() -> None:
        while True:
            step()

    for _ in range(count):
        threading.Thread(target=repeat, daemon=True).start()


def _shown(outcome: Outcome, view: View) -> Outcome:
    view.ended(outcome)
    return outcome


def _uploaded(path: Path, upload: Upload, view: View) -> Outcome:
    try:
        document = upload(path, lambda sent, size: view.sent(path, sent, size))
    except SluiceError as error:
        return _refused(path, error)
    except OSError as error:
        return Outcome(path, code="unreadable", detail=error.strerror or str(error), remedy="Check the path.")
    view.accepted(path, document)
    return Outcome(path, document)


def _followed(client: SluiceClient, path: Path, document: Document, view: View) -> Outcome:
    try:
        ended = client.wait(document.id, on_progress=lambda moved: view.moved(path, moved))
    except SluiceError as error:
        return _refused(path, error)
    if ended.status == "ready":
        return Outcome(path, ended)
    error_of = ended.error
    if error_of is None:
        return Outcome(path, ended, code=ended.status, detail=ended.message)
    return Outcome(path, ended, code=error_of.code, detail=error_of.message, remedy=error_of.remedy)


def _refused(path: Path, error: SluiceError) -> Outcome:
    return Outcome(path, code=error.code, detail=error.detail, remedy=error.remedy, status=error.status)
