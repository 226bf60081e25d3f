"""Keeps a set of processes running: starts, watches, restarts and stops them."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from sluice_local.children import Child, Children
from sluice_local.files import make_private_folder, write_private

STACK_FILE = "stack.json"
WATCH_INTERVAL_S = 0.02
FIRST_BACK_OFF_S = 0.2
LONGEST_BACK_OFF_S = 10.0
HEALTHY_AFTER_S = 2.0
"""A process that ran this long is restarted after the first back-off again."""
EXITS_BEFORE_READY = 3
LOG_LIMIT_BYTES = 20 * 2**20
LOG_CHECK_INTERVAL_S = 5.0


class StartFailed(Exception):
    """A process did not become ready; the message names it and shows the end of its log."""


def nothing_first() -> None:
    """What most processes need done before they start."""


@dataclass(frozen=True)
class ProcessSpec:
    """One process to keep running."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    url: str
    """Its address, as the services use it."""
    is_ready: Callable[[], bool]
    """Quick, and false rather than an error while it cannot be reached."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_s: float = 10
    before_start: Callable[[], None] = nothing_first


@dataclass(frozen=True)
class ProcessRecord:
    """One entry of `stack.json`."""

    name: str
    pid: int
    url: str
    log: str


@dataclass
class _Watched:
    """A process as the watching thread sees it now."""

    spec: ProcessSpec
    layer: int
    log: Path
    child: Child | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    back_off_s: float = FIRST_BACK_OFF_S
    exits: int = field(default=0)


class Supervisor:
    """Runs processes in layers: a later layer starts after the earlier ones and stops before them."""

    def __init__(self, home: Path, *, on_event: Callable[[str], None]) -> None:
        """Args: *home* gets `logs/`, `stack.json` and `pids.json`; *on_event* is told in words what happens."""
        self._home = home
        self._on_event = on_event
        self._children = Children(home)
        self._watched: dict[str, _Watched] = {}
        self._guard = threading.RLock()
        self._is_stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._is_open = False

    def open(self) -> None:
        """Take the home over.

        Raises:
            AlreadyRunning: another supervisor has it.
        """
        self._children.open()
        self._is_open = True
        make_private_folder(self._home / "logs")
        self._is_stopping.clear()
        self._write_stack()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()

    def start(self, specs: Sequence[ProcessSpec]) -> None:
        """Start *specs* as the next layer, and do not wait."""
        with self._guard:
            layer = 1 + max((watched.layer for watched in self._watched.values()), default=0)
            for spec in specs:
                log = self._home / "logs" / f"{spec.name}.log"
                _rotate(log)
                watched = _Watched(spec, layer, log)
                self._watched[spec.name] = watched
                self._start(watched)

    def wait_until_ready(self, names: Iterable[str], *, timeout_s: float) -> None:
        """Wait until each of *names* says that it is ready.

        Raises:
            StartFailed: one ended three times while it was waited for, or *timeout_s* passed.
        """
        waiting = list(names)
        ended_before = {name: self._watched[name].exits for name in waiting}
        deadline = time.monotonic() + timeout_s
        while waiting:
            for watched in [self._watched[name] for name in waiting]:
                if watched.spec.is_ready():
                    waiting.remove(watched.spec.name)
                    self._on_event(f"{watched.spec.name} is up ({time.monotonic() - watched.started_at:.1f} s)")
                else:
                    ended = watched.exits - ended_before[watched.spec.name]
                    _refuse_hopeless(watched, ended=ended, is_late=time.monotonic() > deadline)
            self._is_stopping.wait(WATCH_INTERVAL_S)

    def stop(self) -> None:
        """Stop every layer, the last one first, and give the home up; may be called again when interrupted."""
        if not self._is_open:
            return
        self._is_stopping.set()
        self._watcher.join()
        self._stop_layers()
        (self._home / STACK_FILE).unlink(missing_ok=True)
        self._children.close()
        self._is_open = False

    def pid_of(self, name: str) -> int:
        """The pid that *name* has now; waits while it is being restarted.

        Raises:
            KeyError: there is no such process.
        """
        while True:
            with self._guard:
                child = self._watched[name].child
            if child is not None:
                return child.identity.pid
            time.sleep(WATCH_INTERVAL_S)

    def kill(self, name: str, number: signal.Signals) -> None:
        """Send a signal to *name*; what stops or kills at once reaches its whole session, as a machine's end would."""
        pid = self.pid_of(name)
        is_for_all = number in {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT}
        targets = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)] if is_for_all else []
        for target in targets or [psutil.Process(pid)]:
            try:
                target.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    def records(self) -> list[ProcessRecord]:
        """What runs now, in the order of its start."""
        with self._guard:
            return [
                ProcessRecord(name, watched.child.identity.pid, watched.spec.url, str(watched.log))
                for name, watched in self._watched.items()
                if watched.child is not None
            ]

    def specs(self) -> list[ProcessSpec]:
        """What was asked for, in the order of its start."""
        with self._guard:
            return [watched.spec for watched in self._watched.values()]

    def _watch(self) -> None:
        next_log_check = time.monotonic() + LOG_CHECK_INTERVAL_S
        while not self._is_stopping.wait(WATCH_INTERVAL_S):
            with self._guard:
                for watched in self._watched.values():
                    self._look_after(watched)
            if time.monotonic() > next_log_check:
                self._bound_logs()
                next_log_check = time.monotonic() + LOG_CHECK_INTERVAL_S

    def _look_after(self, watched: _Watched) -> None:
        if watched.child is not None and watched.child.has_ended():
            self._plan_restart(watched, watched.child)
        elif watched.child is None and time.monotonic() >= watched.due_at:
            self._start(watched)

    def _plan_restart(self, watched: _Watched, child: Child) -> None:
        self._children.forget(child)
        watched.child = None
        watched.exits += 1
        if time.monotonic() - watched.started_at >= HEALTHY_AFTER_S:
            watched.back_off_s = FIRST_BACK_OFF_S
        watched.due_at = time.monotonic() + watched.back_off_s
        watched.back_off_s = min(2 * watched.back_off_s, LONGEST_BACK_OFF_S)
        self._write_stack()
        self._on_event(f"{watched.spec.name} ended ({_how(child)}); it is started again")

    def _start(self, watched: _Watched) -> None:
        watched.spec.before_start()
        watched.child = self._children.start(
            watched.spec.name,
            watched.spec.command,
            environment=watched.spec.environment,
            log=watched.log,
            stop_signal=watched.spec.stop_signal,
        )
        watched.started_at = time.monotonic()
        self._write_stack()

    def _stop_layers(self) -> None:
        for layer in sorted({watched.layer for watched in self._watched.values()}, reverse=True):
            stopping = [watched for watched in self._watched.values() if watched.layer == layer]
            self._on_event("stopping " + ", ".join(watched.spec.name for watched in stopping))
            self._children.stop(
                [watched.child for watched in stopping if watched.child is not None],
                grace_s=max(watched.spec.stop_grace_s for watched in stopping),
            )
            for watched in stopping:
                del self._watched[watched.spec.name]
            self._write_stack()

    def _bound_logs(self) -> None:
        for log in [watched.log for watched in self._watched.values()]:
            if log.stat().st_size > LOG_LIMIT_BYTES:
                # the process keeps its descriptor, which appends: so its file is copied and emptied, not renamed
                log.with_suffix(".log.1").write_bytes(log.read_bytes())
                log.open("wb").close()

    def _write_stack(self) -> None:
        records = [asdict(record) for record in self.records()]
        write_private(self._home / STACK_FILE, json.dumps(records, indent=1))


def end_of_log(log: Path, *, lines: int = 20) -> str:
    """The last *lines* lines, for a person."""
    if not log.is_file():
        return "(it wrote nothing)"
    text = log.read_bytes()[-20_000:].decode("utf-8", errors="replace").strip()
    return "\n".join(text.splitlines()[-lines:]) or "(it wrote nothing)"


def stack_of(home: Path) -> list[ProcessRecord]:
    """What `stack.json` says of *home*; empty when nothing runs there."""
    try:
        return [ProcessRecord(**entry) for entry in json.loads((home / STACK_FILE).read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []


def _refuse_hopeless(watched: _Watched, *, ended: int, is_late: bool) -> None:
    if ended >= EXITS_BEFORE_READY:
        raise StartFailed(f"{watched.spec.name} ended again and again:\n{end_of_log(watched.log)}")
    if is_late:
        raise StartFailed(f"{watched.spec.name} did not become ready:\n{end_of_log(watched.log)}")


def _how(child: Child) -> str:
    status = child.process.returncode
    return f"signal {-status}" if status < 0 else f"status {status}"


def _rotate(log: Path) -> None:
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    log.touch(mode=0o600)
