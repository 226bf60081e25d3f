"""Kill, freeze and stop the processes of a stack, and what they have started themselves."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from sluice_local.stack import LocalStack

FORK_SERVER = "sluice_extractor.sandbox.fork_server"
GONE = (psutil.Error, ProcessLookupError)
"""What is said of a process that another fault was quicker to end."""


def kill(stack: LocalStack, name: str, number: signal.Signals = signal.SIGKILL) -> bool:
    """Send *name* a signal; SIGKILL reaches its children too, as the end of its machine would.

    Returns:
        False when it was gone before.
    """
    with suppress(*GONE):
        stack.kill(name, number)
        return True
    return False


def kill_alone(stack: LocalStack, name: str, number: signal.Signals = signal.SIGKILL) -> bool:
    """Send the signal to the one process; its children must notice by themselves."""
    with suppress(*GONE):
        os.kill(stack.pid_of(name), number)
        return True
    return False


def freeze(stack: LocalStack, name: str, seconds: float) -> bool:
    """Stop *name* with its children, and let it go on after *seconds* as if nothing had happened.

    Returns:
        False when it was gone before it had slept so long: killed by another fault.
    """
    with suppress(*GONE):
        family = _family(stack.pid_of(name))
        try:
            _signal_all(family, signal.SIGSTOP)
            time.sleep(seconds)
            return family[0].status() == psutil.STATUS_STOPPED
        finally:
            _signal_all(family, signal.SIGCONT)
    return False


@contextmanager
def stopped(stack: LocalStack, name: str) -> Iterator[None]:
    """*name* does nothing, as writing a file, inside the `with`."""
    kill(stack, name, signal.SIGSTOP)
    try:
        yield
    finally:
        kill(stack, name, signal.SIGCONT)


def kill_child(stack: LocalStack, extractor: str, rng: random.Random) -> bool:
    """Kill one child that reads a document; False when none does."""
    with suppress(*GONE):
        server = fork_server_of(stack, extractor)
        children = server.children() if server is not None else []
        if children:
            rng.choice(children).kill()
            return True
    return False


def kill_fork_server(stack: LocalStack, extractor: str) -> bool:
    """Kill the process from which the children come; False when it is just being started."""
    with suppress(*GONE):
        server = fork_server_of(stack, extractor)
        if server is not None:
            server.kill()
            return True
    return False


def fork_server_of(stack: LocalStack, extractor: str) -> psutil.Process | None:
    for process in psutil.Process(stack.pid_of(extractor)).children():
        with suppress(psutil.Error):
            if FORK_SERVER in process.cmdline():
                return process
    return None


def _family(pid: int) -> list[psutil.Process]:
    first = psutil.Process(pid)
    return [first, *first.children(recursive=True)]


def _signal_all(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(*GONE):
            process.send_signal(number)
