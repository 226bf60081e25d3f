"""Reads tables of values with delimiters (CSV, TSV): rows as lines, their header again and again."""

import csv
import io
import itertools
import re
import sys
from collections.abc import Iterator, Sequence

from sluice_common.errors import CorruptDocument, DocumentTooLarge, EmptyDocument
from sluice_extractor.parsing.cleaning import clean_text
from sluice_extractor.parsing.encodings import decode
from sluice_extractor.parsing.flow import Flow, Table
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import Page
from sluice_extractor.parsing.text import remarks_on

_TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".tab": "text/tab-separated-values",
    "text/csv": "text/csv",
    "application/csv": "text/csv",
    "text/tab-separated-values": "text/tab-separated-values",
}
_DELIMITERS = ",;\t|"
_SAMPLE_CHARS = 1 << 16
_SAMPLED_ROWS = 50
_NUMBER = re.compile(r"[-+(]?[$€£₩¥]?\s*\d[\d\s.,:/%-]*\)?$")
_LINE_ENDS = re.compile(r"(?<!\s)\s*[\r\n]\s*")  # looks back, so that many spaces take no square of their time


def fits_delimited(original: Original) -> bool:
    """The name or the sender says so; a comma in a text proves nothing."""
    return original.suffix in _TYPES or (not original.suffix and original.hinted_type in _TYPES)


def read_delimited(original: Original) -> OpenDocument:
    """Open a table.

    Raises:
        CorruptDocument: it is none that anybody can follow.
        DocumentTooLarge: more characters than the limit.
        EmptyDocument: it has no values.
    """
    decoded = decode(original.content)
    text = clean_text(decoded.text)
    if not text.strip():
        raise EmptyDocument("there is nothing but white space")
    if len(text) > original.max_text_chars:
        raise DocumentTooLarge(f"{len(text)} characters of text, the limit is {original.max_text_chars}")
    media_type = _TYPES.get(original.suffix) or _TYPES[original.hinted_type]
    delimiter = _delimiter_of(text[:_SAMPLE_CHARS], prefers_tabs=media_type.endswith("tab-separated-values"))
    pages = _lay_out(_rows_of(text, delimiter), Flow(original.max_text_chars))
    return OpenDocument(media_type, decoded.encoding, None, pages, remarks_on(decoded))


def _rows_of(text: str, delimiter: str) -> Iterator[list[str]]:
    """The rows that have a value, each value in one line."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for row in reader:
            if any(row):
                yield [_LINE_ENDS.sub(" ", value).strip() for value in row]
    except csv.Error as error:
        raise CorruptDocument(f"line {reader.line_num} of the table cannot be read") from error


def _delimiter_of(sample: str, *, prefers_tabs: bool) -> str:
    """The one that cuts most rows into the same number of values, more than one."""
    first = "\t" if prefers_tabs else ","
    ranked = [(_regularity(sample, delimiter), delimiter == first, delimiter) for delimiter in _DELIMITERS]
    return max(ranked)[2]


def _regularity(sample: str, delimiter: str) -> float:
    """Share of the rows that are as wide as most, a little more for wider ones; 0 where most have one value."""
    try:
        widths = [len(row) for row in itertools.islice(_rows_of(sample, delimiter), _SAMPLED_ROWS)]
    except CorruptDocument:
        return 0.0
    usual = max(set(widths), key=widths.count) if widths else 1
    return widths.count(usual) / len(widths) + min(usual, 20) / 100 if usual > 1 else 0.0


def _lay_out(rows: Iterator[list[str]], flow: Flow) -> Iterator[Page]:
    table = Table(flow)
    for number, row in enumerate(rows):
        table.row(row, may_be_header=number == 0 and _has_header(row))
        yield from flow.parts()
    yield flow.part()


def _has_header(first: Sequence[str]) -> bool:
    """Whether a first row names what is below it: words, none of them twice, no numbers."""
    named = [value for value in first if value]
    return len(set(named)) == len(named) > 0 and not any(_NUMBER.match(value) for value in named)
