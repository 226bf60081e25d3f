"""A program that is given hostile input runs behind walls of its own."""

import os
import shutil
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from unit.extractor import hostile_files as hostile
from unit.extractor.test_sandbox import LIMITS, children_of, wait_until

from sluice_common.errors import CrashError, ExtractionTimeout, ExtractorCrashed
from sluice_extractor.sandbox import Program, ReadingStopped, ReadRequest, Sandbox
from sluice_extractor.sandbox.walls import readable_trees

PYTHON = Program(
    os.path.realpath(sys.executable),
    arguments=("-I", "-S", "-c"),
    memory_bytes=1 << 30,
    wall_clock_s=60,
    environment={"PYTHONHOME": sys.base_prefix},
    readable=tuple(readable_trees()),
)
"""A program that does whatever a test wants."""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(LIMITS) as sandbox:
        yield sandbox


def that_does(script: str) -> Program:
    return replace(PYTHON, arguments=(*PYTHON.arguments, script))


def that_tries(attempt: str) -> Program:
    """Says how *attempt* ended."""
    return that_does(
        "import os, socket, sys\n"
        f"try:\n    print('did', {attempt})\n"
        "except BaseException as error:\n    print(type(error).__name__, getattr(error, 'errno', ''))\n"
    )


def walls_of(sandbox: Sandbox, folder: Path) -> tuple[str, ...]:
    path = folder / "plain.pdf"
    path.write_bytes(hostile.plain_pdf())
    with sandbox.read(ReadRequest(path, path.name)) as reading:
        list(reading)
    return reading.walls


def test_a_program_answers_what_it_was_given_however_much_that_is(sandbox):
    cat = replace(PYTHON, path=os.path.realpath(shutil.which("cat")), arguments=())
    pieces = [bytes([number]) * (3 << 20) for number in range(4)]

    assert sandbox.run(cat, pieces) == b"".join(pieces)


def test_several_programs_run_at_once_and_get_what_is_theirs(sandbox):
    program = that_does("import sys; sys.stdout.write(sys.stdin.read()[::-1])")

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda number: sandbox.run(program, [b"%d" % number]), range(100, 112)))

    assert answers == [str(number)[::-1].encode() for number in range(100, 112)]


ATTEMPTS = {
    "open a socket": "socket.socket()",
    "start a process": "os.fork()",
    "run another program": "os.execv('/bin/true', ['true'])",
    "run itself again": "os.execv(sys.executable or '/proc/self/exe', ['python'])",
    "signal its parent": "os.kill(os.getppid(), 0)",
    "write a file": "open('/tmp/never-written', 'w')",
    "remove a file": "os.unlink('/tmp/never-there')",
}


@pytest.mark.skipif(sys.platform != "linux", reason="these walls are Linux's")
@pytest.mark.parametrize("what", ATTEMPTS)
def test_no_program_can(sandbox, tmp_path, what):
    if "seccomp" not in walls_of(sandbox, tmp_path):
        pytest.skip("this kernel has no seccomp")

    assert sandbox.run(that_tries(ATTEMPTS[what]), []).startswith(b"PermissionError")


@pytest.mark.skipif(sys.platform != "linux", reason="this wall is Linux's")
@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "/proc/1/status", "/etc/hostname"])
def test_no_program_can_read_what_is_foreign_to_it(sandbox, tmp_path, path):
    if "landlock" not in walls_of(sandbox, tmp_path):
        pytest.skip("this kernel has no Landlock")

    assert sandbox.run(that_tries(f"open({path!r}).read()"), []).startswith(b"PermissionError")


def test_a_program_has_no_environment_and_no_descriptors_but_its_own(sandbox):
    script = (
        "import os\n"
        "def is_open(fd):\n"
        "    try:\n        os.fstat(fd)\n    except OSError:\n        return False\n    return True\n"
        "print(sorted(os.environ), [fd for fd in range(64) if is_open(fd)])"
    )

    assert sandbox.run(that_does(script), []) == b"['LC_CTYPE', 'PYTHONHOME'] [0, 1, 2]\n"


def test_a_program_that_takes_too_long_is_killed_and_says_so(sandbox):
    with pytest.raises(ExtractionTimeout):
        sandbox.run(replace(that_does("while True: pass"), wall_clock_s=0.5), [])

    wait_until(lambda: not children_of(sandbox), "the program lives on")


def test_a_program_that_wants_too_much_memory_fails(sandbox):
    with pytest.raises(ExtractorCrashed, match="ended with 1"):
        sandbox.run(that_does("bytearray(3 << 30)"), [])


def test_a_program_that_nobody_wants_any_more_is_killed(sandbox):
    asked = iter([True, False])

    with pytest.raises(ReadingStopped):
        sandbox.run(that_does("import time; time.sleep(600)"), [], is_wanted=lambda: next(asked))

    wait_until(lambda: not children_of(sandbox), "the program lives on")


def test_a_program_that_writes_too_much_is_killed(sandbox):
    endless = that_does("import sys\nwhile True: sys.stdout.write('x' * 100000)")

    with pytest.raises(ExtractorCrashed, match="too much"):
        sandbox.run(replace(endless, most_answer_bytes=1 << 20), [])

    wait_until(lambda: not children_of(sandbox), "the program lives on")


def test_a_program_that_does_not_read_its_input_still_answers(sandbox):
    assert sandbox.run(that_does("print('I know')"), [bytes(8 << 20)]) == b"I know\n"


@pytest.mark.parametrize(
    ("script", "reason"), [("raise SystemExit(3)", "3"), ("import ctypes; ctypes.string_at(0)", "-11")]
)
def test_a_program_that_fails_is_told_by_its_status(sandbox, script, reason):
    with pytest.raises(ExtractorCrashed, match=f"ended with {reason}"):
        sandbox.run(that_does(script), [])


def test_a_program_that_is_not_there_is_told(sandbox):
    with pytest.raises(ExtractorCrashed, match="ended with 127"):
        sandbox.run(replace(PYTHON, path="/nowhere/program"), [])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing ties a child to its parent's life")
def test_a_program_dies_with_the_fork_server_and_the_next_one_gets_a_new_one(sandbox):
    killed: list[psutil.Process] = []

    def kill_server_once() -> bool:
        if not killed and children_of(sandbox):
            killed.extend(children_of(sandbox))
            sandbox._server.send_signal(signal.SIGKILL)
            sandbox._server.wait()
        return True

    with pytest.raises(CrashError):
        sandbox.run(that_does("import time; time.sleep(600)"), [], is_wanted=kill_server_once)

    wait_until(lambda: not any(process.is_running() for process in killed), "the program lives on")
    assert sandbox.run(that_does("print('again')"), []) == b"again\n"


def test_programs_and_documents_that_wait_for_them_leave_the_places_of_text_alone(tmp_path):
    text, scan = tmp_path / "text.pdf", tmp_path / "scan.pdf"
    text.write_bytes(hostile.plain_pdf())
    scan.write_bytes(hostile.many_pages(4_000))
    ended = threading.Event()
    with Sandbox(LIMITS, children=2) as sandbox, ThreadPoolExecutor(4) as threads, ExitStack() as stack:
        stack.callback(ended.set)
        for _ in range(3):
            threads.submit(
                sandbox.run, that_does("import time; time.sleep(600)"), [], is_wanted=lambda: not ended.is_set()
            )
        wait_until(lambda: len(children_of(sandbox)) == 3, "the programs do not start")
        stack.enter_context(sandbox.read(ReadRequest(scan, scan.name, wants_media=True)))

        with sandbox.read(ReadRequest(text, text.name)) as reading:
            assert [page.text for page in reading] == ["Hello world"]
