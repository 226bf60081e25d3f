"""Waiting for a dependency: how long between tries, and when to give the work back."""

import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from sluice_common.errors import DatabaseUnavailable

T = TypeVar("T")


def full_jitter(tries: int, *, base: timedelta, longest: timedelta) -> timedelta:
    """A random pause up to `base * 2 ** tries`, so that those who wait do not come back together."""
    bound = min(base * 2.0 ** min(tries, 16), longest)
    return bound * random.uniform(0, 1)  # noqa: S311 - spreads load and guards nothing


def until_database_answers(do: Callable[[], T], *, patience: timedelta) -> T:
    """Repeat a move that ended in an unknown outcome; its own WHERE clause makes the repeat harmless.

    Raises:
        DatabaseUnavailable: still away after *patience*; the lease will run out and bring the work back.
    """
    deadline = time.monotonic() + patience.total_seconds()
    tries = 0
    while True:
        try:
            return do()
        except DatabaseUnavailable:
            pause = full_jitter(tries, base=timedelta(seconds=0.2), longest=timedelta(seconds=3)).total_seconds()
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            tries += 1
