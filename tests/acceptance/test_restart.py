"""`make run`, Ctrl-C and `make run` again: nothing is left running, and nothing is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from conftest import system
from oracle import wait_until

from sluice_client import SluiceClient

READY_S = 90


class Terminal:
    """Somebody who starts the stack on one port, in a process group of its own, as a terminal does."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self._console = folder / "console.log"
        self._port = free_port()
        self.started: list[subprocess.Popen] = []

    def run(self) -> subprocess.Popen:
        command = [sys.executable, "-m", "sluice_local.main", "--home", str(self.home), "up", "--port", str(self._port)]
        with self._console.open("ab") as console:
            process = subprocess.Popen(
                command, env=system(), stdout=console, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.started.append(process)
        wait_until(self._is_ready, seconds=READY_S, message=lambda: f"not ready: {self._console.read_text()}")
        return process

    def client(self) -> SluiceClient:
        key = (self.home / "api-key").read_text(encoding="utf-8").strip()
        return SluiceClient(f"http://127.0.0.1:{self._port}", key)

    def _is_ready(self) -> bool:
        try:
            is_up = httpx.get(f"http://127.0.0.1:{self._port}/readyz").status_code == 200
        except httpx.TransportError:
            return False
        return is_up and (self.home / "api-key").exists()


@pytest.fixture
def terminal(tmp_path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    for process in terminal.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_ctrl_c_leaves_no_process_and_a_second_start_has_every_document(terminal):
    first = terminal.run()
    with terminal.client() as client:
        document = client.wait(client.upload(b"Still here after a restart.", name="kept.txt").id)
    pids = [part["pid"] for part in json.loads((terminal.home / "stack.json").read_text(encoding="utf-8"))]
    family = [child.pid for child in psutil.Process(first.pid).children(recursive=True)]

    os.killpg(first.pid, signal.SIGINT)
    assert first.wait(timeout=60) == 0

    assert [pid for pid in {*pids, *family} if psutil.pid_exists(pid)] == []
    second = terminal.run()
    with terminal.client() as client:
        assert client.get(document.id).status == "ready"
        assert client.search("after a restart")[0].document_id == document.id
    os.killpg(second.pid, signal.SIGINT)
    assert second.wait(timeout=60) == 0


def test_a_killed_supervisor_leaves_nothing_running(terminal):
    first = terminal.run()
    family = [child.pid for child in psutil.Process(first.pid).children(recursive=True)]
    assert len(family) > 8

    first.kill()

    wait_until(
        lambda: not any(psutil.pid_exists(pid) for pid in family),
        seconds=60,
        message="processes outlive the supervisor",
    )
