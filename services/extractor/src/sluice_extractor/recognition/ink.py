"""Where a page is dark, in cells of about a third of a millimetre: enough to see lines and columns by."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Marks = NDArray[np.bool_]

_CELLS_PER_INCH = 75
_LEAST_CONTRAST = 30
_DARK_PART = 0.25


@dataclass(frozen=True)
class Ink:
    """`marks[row, column]` is whether there is something dark in a square of `cell` times `cell` pixels."""

    marks: Marks
    cell: int
    per_inch: float
    """Cells."""


def ink_of(grey: NDArray[np.uint8], dpi: float) -> Ink:
    """The ink of a page that is dark on light; where there is no contrast, there is no ink."""
    cell = max(round(dpi / _CELLS_PER_INCH), 1)
    shades = _averages(grey, cell)
    white, black = float(np.percentile(shades, 90)), float(shades.min())
    contrast = white - black
    darkest = white - _DARK_PART * contrast if contrast >= _LEAST_CONTRAST else -1.0
    return Ink(shades < darkest, cell, dpi / cell)


def runs_of(marks: Marks) -> Iterator[tuple[int, int]]:
    """Start and end of each run of true values of a row."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marks, [False]))))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def without_rules(ink: Ink) -> Marks:
    """The marks without straight strokes that are longer than any of a letter: the lines of tables and frames."""
    upright = _in_long_runs(ink.marks, round(0.6 * ink.per_inch))
    level = _in_long_runs(ink.marks.T, round(1.2 * ink.per_inch)).T
    kept: Marks = ink.marks & ~(upright | level)
    return kept


def _averages(grey: NDArray[np.uint8], cell: int) -> NDArray[np.float64]:
    height, width = grey.shape[0] // cell, grey.shape[1] // cell
    rows = grey[: height * cell, : width * cell].reshape(height, cell, width * cell).sum(axis=1, dtype=np.uint32)
    averages: NDArray[np.float64] = rows.reshape(height, width, cell).sum(axis=2) / (cell * cell)
    return averages


def _in_long_runs(marks: Marks, length: int) -> Marks:
    """Which marks belong to a run of at least *length* of them down a column."""
    height, width = marks.shape
    if height < length:
        return np.zeros_like(marks)
    sums = np.zeros((height + 1, width), np.int32)
    np.cumsum(marks, axis=0, out=sums[1:])
    begins = sums[length:] - sums[:-length] == length
    edges = np.zeros((height + 1, width), np.int32)
    edges[: height - length + 1] += begins
    edges[length:] -= begins
    found: Marks = np.cumsum(edges, axis=0)[:height] > 0
    return found
