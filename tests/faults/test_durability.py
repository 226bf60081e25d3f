"""What the gateway asks of the kernel before it answers 202, and in which order."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import missing
from debian import require_programs
from oracle import wait_until

CALLS = "fsync,fdatasync,rename,renameat,renameat2,sendto,recvfrom,write,writev,sendmsg"
LINE = re.compile(r"(?P<thread>\d+) +(?:<\.\.\. )?(?P<call>\w+)(?P<resumed> resumed>)?(?P<rest>.*)")
UNFINISHED = "<unfinished ...>"
IDLE = r"Z\0\0\0\5I"
"""What PostgreSQL says, as strace writes it, when a statement is done and no transaction is open any more."""


@dataclass(frozen=True)
class Call:
    """One call of the kernel, by the lines of the trace at which it began and ended."""

    name: str
    text: str
    began: int
    ended: int


@pytest.fixture
def trace(stack, tmp_path) -> Callable[[], list[Call]]:
    """Follows the running gateway; the result ends that and returns what it saw."""
    require_programs({"strace": "strace"})
    with followed(stack.pid_of("api"), tmp_path) as finish:
        yield finish


@contextmanager
def followed(pid: int, folder: Path) -> Iterator[Callable[[], list[Call]]]:
    seen, said = folder / "trace", folder / "said"
    with said.open("wb") as errors:
        strace = subprocess.Popen(
            ["strace", "-f", "-y", "-s", "3000", "-e", f"trace={CALLS}", "-o", seen, "-p", str(pid)], stderr=errors
        )

    def finish() -> list[Call]:
        strace.terminate()
        strace.wait(timeout=30)
        return calls_of(seen.read_text(errors="replace").splitlines())

    try:
        wait_until(lambda: strace.poll() is not None or "attached" in said.read_text(), seconds=30, message="no trace")
        if strace.poll() is not None:
            missing(f"strace may not follow a process here: {said.read_text().strip()}")
        yield finish
    finally:
        strace.kill()
        strace.wait()


def calls_of(lines: list[str]) -> list[Call]:
    """The calls of a trace of several threads, where one may begin on one line and end on a later one."""
    calls, open_calls = [], {}
    for number, line in enumerate(lines):
        found = LINE.fullmatch(line)
        if found is None:
            continue
        began, text = open_calls.pop(found["thread"], (number, "")) if found["resumed"] else (number, "")
        text += found["rest"]
        if text.endswith(UNFINISHED):
            open_calls[found["thread"]] = (began, text.removesuffix(UNFINISHED))
        else:
            calls.append(Call(found["call"], text, began, number))
    return sorted(calls, key=lambda call: call.began)


def first(calls: list[Call], name: str, *words: str, after: int = -1) -> Call:
    for call in calls:
        if call.began > after and re.fullmatch(name, call.name) and all(word in call.text for word in words):
            return call
    raise AssertionError(f"no {name} with {words} after line {after}")


def test_an_upload_is_on_the_disk_and_in_the_table_before_it_is_answered(stack, client, trace, figures):
    originals = stack.environment_of("api")["SLUICE_OBJECTS__ROOT"]

    client.upload(b"It must survive the power.", name="durable.txt")
    calls = trace()

    renamed = first(calls, "rename(at2?)?", f"{originals}/.tmp/")
    part = re.search(r'/\.tmp/(\w+\.part)"', renamed.text)[1]
    key = re.search(r'"([^"]+)"[^"]*$', renamed.text)[1]
    folder = re.search(rf"<({re.escape(originals)}/[^>]*)>", renamed.text)[1]
    file_synced = first(calls, "fsync", f"/.tmp/{part}>")
    folder_synced = first(calls, "fsync", f"<{folder}>", after=renamed.began)
    row = first(calls, "sendto", key)
    socket = re.match(r"\(\d+<[^>]*>", row.text)[0]
    committed = first(calls, "recvfrom", socket, IDLE, after=row.began)
    answered = first(calls, "write|writev|sendto|sendmsg", "HTTP/1.1 202")
    order = [file_synced, renamed, folder_synced, row, committed, answered]
    assert all(one.ended < next_one.began for one, next_one in pairwise(order))
    figures.note(1, "one upload: fsync(file) < rename < fsync(folder) < INSERT < committed < 202, as strace saw it")


def test_a_trace_of_two_threads_is_read_in_the_order_of_beginnings_and_ends():
    calls = calls_of(
        [
            "11 fsync(7</a/.tmp/x.part> <unfinished ...>",
            '12 sendto(4<TCP:[1]>, "COMMIT", 6, 0, NULL, 0) = 6',
            "11 <... fsync resumed>) = 0",
        ]
    )

    assert [(call.name, call.began, call.ended) for call in calls] == [("fsync", 0, 2), ("sendto", 1, 1)]
    assert calls[0].text == "(7</a/.tmp/x.part> ) = 0"
