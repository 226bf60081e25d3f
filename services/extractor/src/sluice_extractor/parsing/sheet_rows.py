"""Lays out the rows of a sheet as lines of text, whatever format they come from."""

from collections.abc import Sequence
from dataclasses import dataclass

from sluice_extractor.parsing.flow import Flow, Table

_WIDEST_GAP = 20


@dataclass(frozen=True)
class Cell:
    """One cell: its column, counted from 0, what is shown in it, and whether that is a text and no number."""

    column: int
    text: str
    is_text: bool


class RowWriter:
    """Writes the filled cells of rows as lines; an empty row ends a table."""

    def __init__(self, flow: Flow) -> None:
        self._table = Table(flow)
        self._last_row = -1
        self._first_column = 0

    def write(self, row: int, cells: Sequence[Cell]) -> None:
        """Write one row, numbered in ascending order; cells come in ascending columns."""
        filled = [cell for cell in cells if cell.text]
        if not filled:
            return
        if row > self._last_row + 1:
            self._table.turn()
            self._first_column = filled[0].column
        self._last_row = row
        self._first_column = min(self._first_column, filled[0].column)
        self._table.row(self._laid_out(filled), may_be_header=all(cell.is_text for cell in filled))

    def _laid_out(self, filled: Sequence[Cell]) -> list[str]:
        """The texts below those of the rows before; a wide gap is closed, because nobody would count its cells."""
        texts: list[str] = []
        next_column = self._first_column
        for cell in filled:
            gap = cell.column - next_column
            texts += [""] * (gap if 0 <= gap <= _WIDEST_GAP else 0)
            texts.append(cell.text)
            next_column = cell.column + 1
        return texts
