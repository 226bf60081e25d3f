"""Finds columns of running text by the white between them, and leaves tables as they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sluice_extractor.recognition.ink import Ink, Marks, runs_of, without_rules

_DEEPEST = 8
_LEAST_WIDTH_INCHES = 1.4
_LEAST_HEIGHT_INCHES = 0.8
_GUTTER_INCHES = 0.14
_GAP_INCHES = 0.06
_LEAST_LINES = 4
_LEAST_FILLED = 0.6
_MOST_LEVEL = 0.5
_LINE_CELLS = 2


@dataclass(frozen=True)
class Area:
    """A part of a page, in cells."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class _Page:
    marks: Marks
    per_inch: float

    def within(self, area: Area) -> Marks:
        return self.marks[area.top : area.bottom, area.left : area.right]

    def trimmed(self, area: Area) -> Area | None:
        """The area without the white around what is in it; None when there is nothing."""
        marks = self.within(area)
        rows, columns = np.flatnonzero(marks.any(axis=1)), np.flatnonzero(marks.any(axis=0))
        if not len(rows):
            return None
        return Area(
            area.left + int(columns[0]),
            area.top + int(rows[0]),
            area.left + int(columns[-1]) + 1,
            area.top + int(rows[-1]) + 1,
        )


def columns_of(ink: Ink) -> list[Area]:
    """The parts of a page in the order in which they are read; one, where it has no columns."""
    page = _Page(without_rules(ink), ink.per_inch)
    height, width = ink.marks.shape
    return _parts_of(page, Area(0, 0, width, height), 0)


def _parts_of(page: _Page, area: Area, depth: int) -> list[Area]:
    trimmed = page.trimmed(area)
    if trimmed is None:
        return []
    is_small = (
        trimmed.right - trimmed.left < 2 * _LEAST_WIDTH_INCHES * page.per_inch
        or trimmed.bottom - trimmed.top < _LEAST_HEIGHT_INCHES * page.per_inch
    )
    if is_small or depth >= _DEEPEST:
        return [trimmed]
    columns = _side_by_side(page, trimmed)
    if len(columns) > 1:
        return [part for column in columns for part in _parts_of(page, column, depth + 1)]
    return _one_above_another(page, trimmed, depth)


def _one_above_another(page: _Page, area: Area, depth: int) -> list[Area]:
    """The area cut at its widest white row, if there are columns above or below; else as it is."""
    white_rows: Marks = ~np.any(page.within(area), axis=1)
    gaps = [(first, last) for first, last in runs_of(white_rows) if last - first >= _GAP_INCHES * page.per_inch]
    if not gaps:
        return [area]
    first, last = max(gaps, key=lambda gap: gap[1] - gap[0])
    above = _parts_of(page, Area(area.left, area.top, area.right, area.top + first), depth + 1)
    below = _parts_of(page, Area(area.left, area.top + last, area.right, area.bottom), depth + 1)
    return [*above, *below] if len(above) > 1 or len(below) > 1 else [area]


def _side_by_side(page: _Page, area: Area) -> list[Area]:
    """The columns of an area whose gutters go from its top to its bottom; the area alone where it has none."""
    white_columns: Marks = ~np.any(page.within(area), axis=0)
    gutters = [run for run in runs_of(white_columns) if run[1] - run[0] >= _GUTTER_INCHES * page.per_inch]
    edges = [0, *(edge for gutter in gutters for edge in gutter), area.right - area.left]
    columns = [
        Area(area.left + left, area.top, area.left + right, area.bottom)
        for left, right in zip(edges[::2], edges[1::2], strict=True)
    ]
    return columns if len(columns) > 1 and _are_read_one_by_one(page, columns) else [area]


def _are_read_one_by_one(page: _Page, columns: Sequence[Area]) -> bool:
    """Whether these are columns of text rather than those of a table: wide ones, with lines of their own."""
    if any(column.right - column.left < _LEAST_WIDTH_INCHES * page.per_inch for column in columns):
        return False
    lines = [_lines_of(page.within(column)) for column in columns]
    if any(len(found) < _LEAST_LINES for found in lines):
        return False
    fillings = [_filled(page.within(column), found) for column, found in zip(columns, lines, strict=True)]
    return min(fillings) >= _LEAST_FILLED or not _stand_level(lines)


def _lines_of(marks: Marks) -> list[tuple[int, int]]:
    return [(first, last) for first, last in runs_of(np.any(marks, axis=1)) if last - first >= _LINE_CELLS]


def _filled(marks: Marks, lines: Sequence[tuple[int, int]]) -> float:
    """Which part of the width a line takes on average."""
    widths = []
    for first, last in lines:
        inked = np.flatnonzero(marks[first:last].any(axis=0))
        widths.append(int(inked[-1]) - int(inked[0]) + 1)
    return float(sum(widths) / len(widths) / marks.shape[1])


def _stand_level(columns: Sequence[Sequence[tuple[int, int]]]) -> bool:
    """Whether most lines of some column have a line beside them in the first, as the rows of a table do."""
    beside = {(first + last) // 2 for first, last in columns[0]}
    near = beside | {at + 1 for at in beside} | {at - 1 for at in beside}
    parts = [
        sum((first + last) // 2 in near for first, last in lines) / min(len(lines), len(columns[0]))
        for lines in columns[1:]
    ]
    return max(parts) > _MOST_LEVEL
