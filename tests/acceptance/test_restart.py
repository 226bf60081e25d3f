"""`make run`, Ctrl-C and `make run` again: nothing is left running, and nothing is lost."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from conftest import system
from oracle import wait_until

from sluice_client import SluiceClient

READY_S = 90


@pytest.fixture
def run(tmp_path):
    """Starts the stack as a person does, in a process group of its own, as a terminal does."""
    started = []

    def start() -> subprocess.Popen:
        log = (tmp_path / "console.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", "sluice_local.main", "--home", str(tmp_path / "home"), "up", "--port", str(port())],
            env=system(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started.append(process)
        wait_until(lambda: is_ready(tmp_path / "home"), seconds=READY_S, message="the stack does not become ready")
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def port() -> int:
    """One port for the whole file: a second start takes the same."""
    return 20_000 + os.getpid() % 20_000


def is_ready(home: Path) -> bool:
    if not (home / "api-key").exists():
        return False
    try:
        return httpx.get(f"http://127.0.0.1:{port()}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def client_of(home: Path) -> SluiceClient:
    return SluiceClient(f"http://127.0.0.1:{port()}", (home / "api-key").read_text(encoding="utf-8").strip())


def test_ctrl_c_leaves_no_process_and_a_second_start_has_every_document(run, tmp_path):
    home = tmp_path / "home"
    first = run()
    with client_of(home) as client:
        document = client.wait(client.upload(b"Still here after a restart.", name="kept.txt").id)
    pids = [part["pid"] for part in json.loads((home / "stack.json").read_text(encoding="utf-8"))]
    family = [child.pid for child in psutil.Process(first.pid).children(recursive=True)]

    os.killpg(first.pid, signal.SIGINT)
    assert first.wait(timeout=60) == 0

    assert [pid for pid in {*pids, *family} if psutil.pid_exists(pid)] == []
    second = run()
    with client_of(home) as client:
        assert client.get(document.id).status == "ready"
        assert client.search("after a restart")[0].document_id == document.id
    os.killpg(second.pid, signal.SIGINT)
    assert second.wait(timeout=60) == 0


def test_a_killed_supervisor_leaves_nothing_running(run, tmp_path):
    first = run()
    family = [child.pid for child in psutil.Process(first.pid).children(recursive=True)]
    assert len(family) > 8

    first.kill()

    wait_until(
        lambda: not any(psutil.pid_exists(pid) for pid in family),
        seconds=60,
        message="processes outlive the supervisor",
    )
