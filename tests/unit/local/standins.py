"""Small programs that stand in for parts and services, and a way to wait for what they do."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from sluice_local.supervisor import ProcessSpec

PYTHON = [sys.executable, "-I", "-S", "-u", "-c"]
WAIT = "import signal; print('up'); signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); exec('while True: signal.pause()')"
PARENT = "import subprocess, signal; print(subprocess.Popen(['sleep', '600']).pid); signal.pause()"
FORKER = "import os, signal; child = os.fork(); print(child) if child else None; signal.pause()"


def stand_in(home: Path, name: str, program: str = WAIT, **changes) -> ProcessSpec:
    log = home / "logs" / f"{name}.log"
    return ProcessSpec(
        name=name,
        command=[*PYTHON, program],
        environment=changes.pop("environment", {}),
        url=f"http://127.0.0.1/{name}",
        is_ready=changes.pop("is_ready", lambda: log.is_file() and log.stat().st_size > 0),
        **changes,
    )


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
