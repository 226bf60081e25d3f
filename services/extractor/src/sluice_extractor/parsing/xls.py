"""Reads old workbooks (XLS) with xlrd, which keeps only the cells that are there."""

from collections.abc import Iterator
from io import TextIOBase

import xlrd  # type: ignore[import-untyped]  # the package has no types

from sluice_common.errors import CorruptDocument, Encrypted, NoText
from sluice_extractor.parsing.cleaning import clean_line
from sluice_extractor.parsing.flow import Flow
from sluice_extractor.parsing.number_formats import kind_of, shown
from sluice_extractor.parsing.ole import streams_of
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import SHEET_CHARS, Page, Place
from sluice_extractor.parsing.sheet_rows import Cell, RowWriter

MEDIA_TYPE = "application/vnd.ms-excel"
_BOOKS = frozenset({"workbook", "book"})
_BARE_BOOKS = (b"\x09\x08\x10\0\0\x06\x05\0", b"\x09\x08\x08\0\0\x05\x05\0", b"\x09\x08\x08\0\0\x05\x10\0")
_ROWS_PER_LOOK = 1_000


def fits_xls(original: Original) -> bool:
    return original.content.startswith(_BARE_BOOKS) or bool(streams_of(original) & _BOOKS)


def read_xls(original: Original) -> OpenDocument:
    """Open an old workbook.

    Raises:
        Encrypted: it needs a password.
        CorruptDocument: xlrd cannot open it.
        NoText: at the end of the sheets.
    """
    book = _opened(original.content)
    return OpenDocument(MEDIA_TYPE, "xlrd", None, _parts(book, original.max_text_chars))


class _Nowhere(TextIOBase):
    """Takes what xlrd says about every flaw of a file."""

    def write(self, text: str) -> int:
        return len(text)


def _opened(content: bytes) -> xlrd.Book:
    try:
        return xlrd.open_workbook(
            file_contents=content, logfile=_Nowhere(), formatting_info=True, on_demand=True, ragged_rows=True
        )
    except MemoryError:
        raise
    except Exception as error:  # xlrd raises whatever a damaged file provokes
        if "encrypted" in str(error).lower():
            raise Encrypted("the workbook needs a password") from error
        raise CorruptDocument("xlrd cannot open it") from error


def _parts(book: xlrd.Book, most_chars: int) -> Iterator[Page]:
    left_chars = most_chars
    for number in range(book.nsheets):
        flow = Flow(left_chars, Place(sheet=clean_line(book.sheet_names()[number])[:SHEET_CHARS]))
        yield from _sheet_parts(book, number, flow)
        left_chars -= flow.length
    if left_chars == most_chars:
        raise NoText("no cell has a value")


def _sheet_parts(book: xlrd.Book, number: int, flow: Flow) -> Iterator[Page]:
    sheet = _loaded(book, number)
    rows = RowWriter(flow)
    for row in range(sheet.nrows):
        rows.write(row, [_cell(book, sheet, row, column) for column in range(sheet.row_len(row))])
        if row % _ROWS_PER_LOOK == 0:
            yield from flow.parts()
    yield flow.end()
    book.unload_sheet(number)


def _loaded(book: xlrd.Book, number: int) -> xlrd.sheet.Sheet:
    try:
        return book.sheet_by_index(number)
    except MemoryError:
        raise
    except Exception as error:  # xlrd raises whatever a damaged file provokes
        raise CorruptDocument("a sheet cannot be read") from error


def _cell(book: xlrd.Book, sheet: xlrd.sheet.Sheet, row: int, column: int) -> Cell:
    kind, value = sheet.cell_type(row, column), sheet.cell_value(row, column)
    if kind in {xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE}:
        text = shown(repr(value), _format_of(book, sheet, row, column), is_1904=book.datemode == 1)
        return Cell(column, text, is_text=False)
    if kind == xlrd.XL_CELL_BOOLEAN:
        return Cell(column, "TRUE" if value else "FALSE", is_text=False)
    if kind == xlrd.XL_CELL_ERROR:
        return Cell(column, str(xlrd.error_text_from_code.get(value, "")), is_text=False)
    return Cell(column, str(value).strip(), is_text=True)


def _format_of(book: xlrd.Book, sheet: xlrd.sheet.Sheet, row: int, column: int) -> str:
    style = sheet.cell_xf_index(row, column)
    known = book.format_map.get(book.xf_list[style].format_key) if 0 <= style < len(book.xf_list) else None
    return kind_of(known.format_str) if known else kind_of("")
