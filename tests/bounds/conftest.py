"""What the tests of bounds use: a stack with settings of their own, and lines that show how far they are."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest
from conftest import system

from sluice_local.postgres import VOLATILE
from sluice_local.stack import LocalStack

StartStack = Callable[..., LocalStack]
Say = Callable[[str], None]
QUIET_S = 5.0


@pytest.fixture
def start_stack(tmp_path) -> Iterator[StartStack]:
    """Starts a stack with these settings; it ends with the test."""
    with ExitStack() as opened:

        def start(*, scale: Mapping[str, int] | None = None, **settings: str) -> LocalStack:
            home = tmp_path / "stack"
            running = opened.enter_context(
                LocalStack(home, environment=system(**settings), scale=scale or {}, postgres_settings=VOLATILE)
            )
            running.wait_until_ready()
            return running

        yield start


@pytest.fixture
def say(pytestconfig) -> Say:
    """Shows a line at once, also while pytest captures the output; not more often than every few seconds."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    began = time.monotonic()
    last = [0.0]
    lock = threading.Lock()

    def show(line: str) -> None:
        with lock:
            now = time.monotonic()
            if now - last[0] < QUIET_S:
                return
            last[0] = now
            with capture.global_and_fixture_disabled():
                pytestconfig.get_terminal_writer().line(f"  {now - began:6.1f} s  {line}", flush=True)

    return show
