import os
import socket
import sys
from pathlib import Path

import pytest

from sluice_extractor.sandbox.walls import build_walls, prepare_walls, readable_trees


def outcome_behind_the_walls(attempt) -> str:
    """What *attempt* comes to in a process behind the walls; `held: ...` comes first."""
    walls = prepare_walls(readable_trees())
    here, there = os.pipe()
    server_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            held = build_walls(walls, memory_bytes=1 << 30, cpu_s=60, cpu_max_s=62, server_pid=server_pid)
            try:
                said = f"did {attempt()}"
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
                said = type(error).__name__
            os.write(there, f"{said}|{','.join(held)}".encode())
        finally:
            os._exit(0)
    os.close(there)
    os.waitpid(pid, 0)
    with os.fdopen(here) as told:
        return told.read()


ATTEMPTS = {
    "open a socket": socket.socket,
    "start a process": os.fork,
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "write a file": lambda: Path("/tmp/never-written").write_text(""),
    "remove a file": lambda: Path("/tmp/never-there").unlink(),
}


@pytest.mark.skipif(sys.platform != "linux", reason="these walls are Linux's")
@pytest.mark.parametrize("what", ATTEMPTS)
def test_behind_the_walls_nobody_can(what):
    said, _, held = outcome_behind_the_walls(ATTEMPTS[what]).partition("|")

    if "seccomp" not in held:
        pytest.skip("this kernel has no seccomp")
    assert said == "PermissionError"


@pytest.mark.skipif(sys.platform != "linux", reason="this wall is Linux's")
def test_behind_the_walls_files_outside_of_the_interpreter_cannot_be_read():
    said, _, held = outcome_behind_the_walls(lambda: Path("/etc/passwd").read_text()).partition("|")

    if "landlock" not in held:
        pytest.skip("this kernel has no Landlock")
    assert said == "PermissionError"


def test_behind_the_walls_memory_has_an_end():
    said, _, held = outcome_behind_the_walls(lambda: len(bytearray(3 << 30))).partition("|")

    if "memory" not in held:
        pytest.skip("this system knows no limit of address space")
    assert said == "MemoryError"


def test_late_imports_still_work_behind_the_walls():
    said, _, _ = outcome_behind_the_walls(lambda: __import__("colorsys").rgb_to_hsv(0, 0, 0)[2])[:4], "", ""

    assert said == "did "
