"""Processes that one program started in one folder; none of them outlives it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

from sluice_local import launch
from sluice_local.files import make_private_folder, write_private

if sys.platform != "win32":
    import fcntl

PIDS_FILE = "pids.json"
LOCK_FILE = "lock"
CREATION_TOLERANCE_S = 2.0
"""The same process may seem this much older or younger after the clock was set."""


class AlreadyRunning(Exception):
    """Another living program owns the folder."""


@dataclass(frozen=True)
class Identity:
    """A process that can be told from a later one with the same pid."""

    pid: int
    created: float
    """Unix time of its start, as psutil gives it."""
    stop_signal: int


@dataclass(frozen=True)
class Child:
    """One process that we started, the leader of its own session."""

    name: str
    process: subprocess.Popen[bytes]
    identity: Identity

    def has_ended(self) -> bool:
        """Whether it is gone; takes its exit status from the kernel."""
        return self.process.poll() is not None


class Children:
    """Starts processes and ends them, also those that an earlier owner of the folder left behind.

    On Linux the kernel ends them with this program; a watchdog process does so everywhere, and also ends what
    the kernel does not know of (a worker's own children) or what does not listen.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._living: list[Child] = []
        self._lock: BinaryIO | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._starter: ThreadPoolExecutor | None = None

    def open(self) -> None:
        """Take the folder over and end what a dead owner left in it.

        Raises:
            AlreadyRunning: its owner lives.
        """
        make_private_folder(self._folder)
        self._lock = _lock_of(self._folder)
        end_leftovers(self._folder, grace_s=5)
        # Linux counts the death of the *thread* that started a child as its parent's death: it must live as long
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")
        self._watchdog = self._starter.submit(_start_watchdog, self._folder).result()
        self._record()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> Child:
        """Start *command* with exactly *environment*; what it prints is appended to *log*."""
        assert self._starter is not None, "open() comes first"
        return self._starter.submit(self._start, name, command, environment, log, stop_signal).result()

    def _start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, stop_signal: signal.Signals
    ) -> Child:
        launcher = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), str(int(stop_signal))]
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*launcher, *command],
                env=dict(environment),
                cwd=_empty_folder(self._folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor, which ends them in order
            )
        child = Child(name, process, _identity_of(process.pid, stop_signal))
        self._living.append(child)
        self._record()
        return child

    def forget(self, child: Child) -> None:
        """Strike off a child that has ended, with whatever it left running in its session."""
        _kill_group(child.identity.pid)
        self._living.remove(child)
        self._record()

    def stop(self, children: Iterable[Child], *, grace_s: float) -> None:
        """Ask *children* to stop, all at once; kill those that have not after *grace_s* seconds."""
        stopping = [child for child in children if child in self._living]
        families = [member for child in stopping for member in _family_of(child.identity.pid)]
        for child in stopping:
            if not child.has_ended():
                child.process.send_signal(child.identity.stop_signal)
        _wait_until(lambda: all(child.has_ended() for child in stopping), grace_s)
        for child in stopping:
            _kill_group(child.identity.pid)
        _kill(families)
        for child in stopping:
            child.process.wait()
            self.forget(child)

    def close(self) -> None:
        """Give the folder up; every child must have been stopped."""
        if self._starter is not None:
            self._starter.shutdown()
        if self._watchdog is not None:
            self._watchdog.communicate(b"done\n")
        (self._folder / PIDS_FILE).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
        self._starter = self._watchdog = self._lock = None

    def _record(self) -> None:
        owner = _identity_of(os.getpid(), signal.SIGTERM)
        write_private(
            self._folder / PIDS_FILE,
            json.dumps({"owner": asdict(owner), "children": [asdict(child.identity) for child in self._living]}),
        )


def owner_of(folder: Path) -> int | None:
    """The pid of the living program that owns *folder*, if there is one."""
    owner, _ = _recorded(folder)
    return owner.pid if owner is not None and _lives(owner) else None


def end_leftovers(folder: Path, *, grace_s: float) -> int:
    """End the recorded children of *folder* that are still the same processes; returns how many there were."""
    _, children = _recorded(folder)
    left = [child for child in children if _lives(child)]
    families = [member for child in left for member in _family_of(child.pid)]
    for child in left:
        _signal(child.pid, child.stop_signal)
    _wait_until(lambda: not any(_lives(child) for child in left), grace_s)
    for child in children:
        if not _is_another(child):  # the pid of a dead leader is kept from others while its group has members
            _kill_group(child.pid)
    _kill(families)
    return len(left)


def _lock_of(folder: Path) -> BinaryIO:
    lock = (folder / LOCK_FILE).open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise AlreadyRunning(
            f"{folder} is in use by process {owner_of(folder) or 'unknown'}; "
            "see 'sluice-local status', or stop it by 'sluice-local stop'"
        ) from error
    return lock


def _start_watchdog(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "sluice_local.watchdog", str(folder.absolute())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _empty_folder(folder: Path) -> Path:
    """Where children start: Python and dramatiq import from the folder they start in, so it must hold nothing."""
    empty = folder / "empty"
    empty.mkdir(mode=0o700, exist_ok=True)
    return empty


def _identity_of(pid: int, stop_signal: signal.Signals) -> Identity:
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:  # it failed at once; nobody will look for it
        created = 0.0
    return Identity(pid, created, int(stop_signal))


def _recorded(folder: Path) -> tuple[Identity | None, list[Identity]]:
    try:
        recorded = json.loads((folder / PIDS_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None, []
    return Identity(**recorded["owner"]), [Identity(**child) for child in recorded["children"]]


def _lives(identity: Identity) -> bool:
    try:
        is_zombie = psutil.Process(identity.pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    return not is_zombie and not _is_another(identity)


def _is_another(identity: Identity) -> bool:
    """Whether the pid has been given to a later process."""
    try:
        return abs(psutil.Process(identity.pid).create_time() - identity.created) > CREATION_TOLERANCE_S
    except psutil.NoSuchProcess:
        return False


def _family_of(pid: int) -> list[psutil.Process]:
    """Descendants, which may have sessions of their own."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies
        return


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()  # psutil compares the create time, so a reused pid is safe
        except psutil.NoSuchProcess:
            continue
    _wait_until(lambda: all(_has_ended(process) for process in processes), seconds=5)


def _has_ended(process: psutil.Process) -> bool:
    """Zombies count: an orphan's belongs to process 1, which in a container may never reap."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
