"""Strings that PDFium gives by its C interface."""

import ctypes
from collections.abc import Callable
from typing import Any

from sluice_extractor.parsing.cleaning import clean_text

_MOST_STRINGS_BYTES = 512


def string_of(call: Callable[[Any, int], int]) -> str:  # Any: a ctypes array
    """Ask PDFium for a UTF-16 string; once, unless it is long."""
    size = _MOST_STRINGS_BYTES
    while True:
        buffer = (ctypes.c_ushort * (size // 2 + 1))()
        needed = call(buffer, size)
        if needed <= size:
            break
        size = needed
    written = bytes(buffer)[: max(needed - 2, 0)]  # without the end mark
    return clean_text(written.decode("utf-16-le", "surrogatepass")).strip() if written else ""
