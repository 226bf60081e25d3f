"""How uploads look: bars on a terminal, plain lines in a pipe, JSON for a script."""

import threading
from pathlib import Path
from typing import Self

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from sluice_client.results import Document
from sluice_client.terminal import Terminal, one_line, shortened
from sluice_client.uploads import Outcome

NAME_CELLS = 32
WHOLE = 100


def ending_of(outcome: Outcome) -> str:
    """The last line for one file: ready, accepted or failed, with the code and what to do."""
    name, document = one_line(outcome.path.name), outcome.document
    if not outcome.is_good:
        known_as = f"  {document.id}" if document else ""
        told = " ".join(part for part in (one_line(outcome.detail), one_line(outcome.remedy or "")) if part)
        return line_of("failed", f"{name}{known_as}", f"{outcome.code}: {told}")
    assert document is not None
    if document.status == "ready":
        return line_of("ready", name, document.id, f"{document.total_chunks or 0} chunks")
    return line_of("present" if document.already_there else "accepted", name, document.id)


def line_of(word: str, *parts: str) -> str:
    return f"{word:<12}{'  '.join(part for part in parts if part)}"


class PlainLines:
    """One line for each change that matters."""

    def __init__(self, terminal: Terminal, *, wait: bool) -> None:
        self._terminal = terminal
        self._wait = wait
        self._told: dict[Path, tuple[str, str | None]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def sent(self, path: Path, sent_bytes: int, size_bytes: int | None) -> None:
        """Say nothing: a pipe is read afterwards."""

    def accepted(self, path: Path, document: Document) -> None:
        if self._wait:  # otherwise this is the end, which says it
            self._terminal.say(line_of("uploaded", one_line(path.name), document.id))

    def moved(self, path: Path, document: Document) -> None:
        now = (document.status, document.stage)
        if document.ended or self._told.get(path) == now:
            return
        self._told[path] = now
        self._terminal.say(line_of(document.stage or document.status, one_line(path.name), one_line(document.message)))

    def ended(self, outcome: Outcome) -> None:
        self._terminal.say(ending_of(outcome))


class JsonLines:
    """Only the outcomes."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def sent(self, path: Path, sent_bytes: int, size_bytes: int | None) -> None: ...

    def accepted(self, path: Path, document: Document) -> None: ...

    def moved(self, path: Path, document: Document) -> None: ...

    def ended(self, outcome: Outcome) -> None:
        self._terminal.give(outcome)


class Bars:
    """One bar for each file that is under way; first how far it is sent, then how far it is processed."""

    def __init__(self, terminal: Terminal) -> None:
        self._console = Console(file=terminal.out, highlight=False, markup=False, emoji=False)
        # Names may hold [brackets], so nothing here is markup.
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %", markup=False),
            TextColumn("{task.fields[phase]}", markup=False),
            console=self._console,
            transient=True,
            refresh_per_second=8,
        )
        self._task_by_path: dict[Path, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def sent(self, path: Path, sent_bytes: int, size_bytes: int | None) -> None:
        percent = WHOLE * sent_bytes // size_bytes if size_bytes else 0
        self._show(path, percent, "uploading")

    def accepted(self, path: Path, document: Document) -> None:
        self._show(path, document.progress.percent, document.status)

    def moved(self, path: Path, document: Document) -> None:
        phase = document.stage if document.status == "processing" else document.status
        self._show(path, document.progress.percent, phase or "")

    def ended(self, outcome: Outcome) -> None:
        with self._lock:
            task = self._task_by_path.pop(outcome.path, None)
        if task is not None:
            self._bars.remove_task(task)
        self._console.print(ending_of(outcome), soft_wrap=True)

    def _show(self, path: Path, percent: int, phase: str) -> None:
        with self._lock:
            if path not in self._task_by_path:
                name = _fixed(one_line(path.name))
                self._task_by_path[path] = self._bars.add_task(name, total=WHOLE, phase=phase)
            self._bars.update(self._task_by_path[path], completed=percent, phase=phase)


def view_for(terminal: Terminal, *, wait: bool) -> PlainLines | JsonLines | Bars:
    if terminal.as_json:
        return JsonLines(terminal)
    return Bars(terminal) if terminal.shows_bars else PlainLines(terminal, wait=wait)


def _fixed(name: str) -> str:
    short = shortened(name, NAME_CELLS)
    return set_cell_size(short, NAME_CELLS) if cell_len(short) < NAME_CELLS else short
