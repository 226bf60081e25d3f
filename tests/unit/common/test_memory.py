"""What many threads needed for a moment is not kept by each of them."""

import subprocess
import sys

import pytest

THREADS = 8
EACH_MEBIBYTES = 20
PROGRAM = f"""
import threading
import psutil
from sluice_common.memory import keep_little_memory

{{call}}
kept = []
are_alive = threading.Barrier({THREADS} + 1)

def work(turn, done):
    turn.wait()
    pieces = [bytes(2_000) for _ in range({EACH_MEBIBYTES} * 500)]
    kept.append(bytes(2_000))  # one that stays above all that goes
    del pieces
    done.set()
    are_alive.wait()

before = psutil.Process().memory_info().rss
turns = [(threading.Event(), threading.Event()) for _ in range({THREADS})]
for turn in turns:
    threading.Thread(target=work, args=turn).start()
for turn, done in turns:
    turn.set()
    done.wait()
print((psutil.Process().memory_info().rss - before) / 2**20)
are_alive.wait()
"""


def grown_mebibytes(call: str) -> float:
    program = PROGRAM.format(call=call)
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return float(said.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc keeps memory for each thread")
def test_threads_that_take_turns_keep_no_more_than_two_of_them_needed():
    assert grown_mebibytes("keep_little_memory()") < 3 * EACH_MEBIBYTES < grown_mebibytes("")
