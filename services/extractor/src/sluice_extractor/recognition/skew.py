"""Finds by how much a scanned page is skewed, and straightens it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import radians, tan

import numpy as np
from numpy.typing import NDArray

from sluice_extractor.recognition.ink import Ink

_STEPS = ((5.0, 0.5), (0.5, 0.1))
_LEAST_DEGREES = 0.2
_GAIN = 1.1
_MOST_MARKS = 40_000
_LEAST_MARKS = 500


@dataclass(frozen=True)
class Shear:
    """Moves columns up and down, then rows right and left: for small angles that is a rotation."""

    slope: float = 0.0
    """How far lines fall on each pixel to the right."""
    width: int = 0
    height: int = 0

    @classmethod
    def by(cls, degrees: float, *, width: int, height: int) -> "Shear":
        """The shear that makes lines level which fall to the right by so many degrees."""
        return cls(tan(radians(degrees)), width, height)

    def done(self, grey: NDArray[np.uint8], white: int) -> NDArray[np.uint8]:
        """The straightened picture, of the same size; what comes in from outside is white."""
        level = _moved(grey.T, -self.slope, white).T
        return np.ascontiguousarray(_moved(level, self.slope, white))

    def undone(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """Where a box of the straightened picture was before."""
        across = self.slope * ((y0 + y1) / 2 - self.height / 2)
        x0, x1 = x0 - across, x1 - across
        down = self.slope * ((x0 + x1) / 2 - self.width / 2)
        return x0, y0 + down, x1, y1 + down


def skew_of(ink: Ink) -> float:
    """Degrees by which lines fall to the right, from -5 to 5; 0 where no angle is clearly better than level."""
    rows, columns = np.nonzero(ink.marks)
    if len(rows) < _LEAST_MARKS:
        return 0.0
    every = len(rows) // _MOST_MARKS + 1
    rows, columns = rows[::every], columns[::every] - ink.marks.shape[1] / 2
    best = 0.0
    for reach, step in _STEPS:
        angles = best + np.arange(-reach, reach + step / 2, step)
        best = float(max(angles, key=lambda degrees: _sharpness(rows, columns, degrees)))
    is_clear = _sharpness(rows, columns, best) > _GAIN * _sharpness(rows, columns, 0.0)
    return best if is_clear and abs(best) >= _LEAST_DEGREES else 0.0


def _sharpness(rows: NDArray[np.intp], columns: NDArray[np.float64], degrees: float) -> float:
    """How much rows differ from their neighbours when lines at this angle are made level: most when it is right."""
    level = np.rint(rows - tan(radians(degrees)) * columns).astype(np.intp)
    counts = np.bincount(level - level.min())
    return float((np.diff(counts) ** 2).sum())


def _moved(grey: NDArray[np.uint8], slope: float, white: int) -> NDArray[np.uint8]:
    """Each row moved to the right by *slope* times its distance from the middle one."""
    moved = np.full_like(grey, white)
    width = grey.shape[1]
    for first, last, by in _shifts(len(grey), slope):
        if by >= 0:
            moved[first:last, by:] = grey[first:last, : width - by]
        else:
            moved[first:last, :by] = grey[first:last, -by:]
    return moved


def _shifts(count: int, slope: float) -> Iterator[tuple[int, int, int]]:
    """The first and the last of rows that move alike, and by how much."""
    by = np.rint(slope * (np.arange(count) - count / 2)).astype(int)
    edges = [0, *(np.flatnonzero(np.diff(by)) + 1).tolist(), count]
    for first, last in pairwise(edges):
        yield first, last, int(by[first])
