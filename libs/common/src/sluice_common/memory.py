"""Lets a service be as small after a large document as before: what glibc keeps of freed memory."""

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MOST_ARENAS = 2
_LARGE_BYTES = 256 << 10


def keep_little_memory() -> None:
    """Share two arenas among all threads, and give large blocks back at once; without glibc nothing happens.

    Else each thread has an arena of its own that stays as large as its largest document needed, and the size from
    which blocks are given back grows with every larger one. Call it before any thread starts. Source: mallopt(3).
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, _MOST_ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)
