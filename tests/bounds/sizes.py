"""How large the tests of this folder are: short by default, the sizes of the promises with `BOUNDS=full`."""

import os
from typing import TypeVar

T = TypeVar("T")


def is_full() -> bool:
    return os.environ.get("BOUNDS") == "full"


def sized(short: T, full: T) -> T:
    """The one that this run wants."""
    return full if is_full() else short
