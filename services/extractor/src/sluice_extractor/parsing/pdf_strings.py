"""Strings that PDFium gives by its C interface."""

import ctypes
from collections.abc import Callable
from typing import Any

from sluice_extractor.parsing.cleaning import clean_text


def string_of(call: Callable[[Any, int], int]) -> str:  # Any: a ctypes array, or None
    """Ask PDFium for a UTF-16 string: first for its size in bytes, then for the string."""
    size = call(None, 0)
    if size <= 2:  # noqa: PLR2004 - nothing but the end mark
        return ""
    buffer = (ctypes.c_ushort * (size // 2 + 1))()
    call(buffer, size)
    return clean_text(bytes(buffer)[: size - 2].decode("utf-16-le", "surrogatepass")).strip()
