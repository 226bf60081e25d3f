"""Reads JSON, also one value in each line: every value beside the names that lead to it."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

from sluice_common.errors import CorruptDocument
from sluice_extractor.parsing.cleaning import clean_text
from sluice_extractor.parsing.encodings import decode
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import parts_of
from sluice_extractor.parsing.text import checked_text, joined_within, remarks_on

_LINES_SUFFIXES = frozenset({".jsonl", ".ndjson"})
SUFFIXES = frozenset({".json", ".geojson", ".webmanifest", *_LINES_SUFFIXES})
_TYPES = frozenset({"application/json", "application/x-ndjson", "application/jsonl", "application/geo+json"})
_HEAD_BYTES = 4096
_LONGEST_LIST = 300


class Fields(list[tuple[str, object]]):
    """An object with its fields as written: in their order, and each even where a name comes twice."""


Value = Fields | list[object] | str | bool | None


def fits_json(original: Original) -> bool:
    """It begins as JSON does, and the name says so or it is JSON to its end."""
    head = original.content[:_HEAD_BYTES].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")
    if head[:1] not in {b"{", b"["}:
        return False
    return original.suffix in SUFFIXES or original.hinted_type in _TYPES or _is_json(original.content)


def _is_json(content: bytes) -> bool:
    try:
        parse_json(decode(content).text)
    except CorruptDocument as error:
        return error.detail_code == "too_deep"
    return True


def read_json(original: Original) -> OpenDocument:
    """Open a JSON document.

    Raises:
        CorruptDocument: it is damaged, or nested more deeply than anybody can follow.
        EmptyDocument: it has no values.
    """
    decoded = decode(original.content)
    values = _values_in(decoded.text)
    lines = (line + "\n" for value in values for line in itertools.chain(lines_of(value), ("",)))
    text = clean_text(joined_within(lines, original)).strip()
    pages = parts_of(checked_text(text, original))
    return OpenDocument("application/json", decoded.encoding, None, pages, remarks_on(decoded))


def parse_json(text: str) -> Value:
    """The value, with numbers as they are written.

    Raises:
        CorruptDocument: it is no JSON, or nested too deeply (`too_deep`).
    """
    try:
        return json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=Fields)  # type: ignore[no-any-return]  # what the hooks make
    except RecursionError as error:
        raise CorruptDocument("the JSON is nested too deeply", detail_code="too_deep") from error
    except ValueError as error:
        raise CorruptDocument("the JSON is damaged") from error


def _values_in(text: str) -> list[Value]:
    """The one value, or those of the lines; a list of records counts as its records."""
    try:
        value = parse_json(text)
    except CorruptDocument as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if error.detail_code or len(lines) < 2 or not lines[0].rstrip().endswith(("}", "]")):  # noqa: PLR2004 - one line is no list of values
            raise
        return [parse_json(line) for line in lines]
    is_records = isinstance(value, list) and not isinstance(value, Fields) and _has_records(value)
    return list(value) if is_records else [value]  # type: ignore[arg-type]  # the items of a list are values


def _has_records(value: list[object]) -> bool:
    return any(isinstance(item, Fields) for item in value)


@dataclass(frozen=True, slots=True)
class _Waiting:
    path: str
    value: object


def lines_of(value: Value) -> Iterator[str]:
    """A line for each value, as `names.that.lead.to.it: value`; lists of plain values in one line."""
    waiting = [_Waiting("", value)]
    while waiting:
        at = waiting.pop()
        inner = _inside(at)
        if inner is None:
            yield from _plain_lines(at)
        else:
            waiting += reversed(inner)


def _inside(at: _Waiting) -> list[_Waiting] | None:
    """What is in an object or in a list of them; None for a plain value or a list of such."""
    if isinstance(at.value, Fields):
        return [_Waiting(f"{at.path}.{name}" if at.path else name, value) for name, value in at.value]
    if isinstance(at.value, list) and any(isinstance(item, list) for item in at.value):
        return [_Waiting(f"{at.path}[{number}]", item) for number, item in enumerate(at.value)]
    return None


def _plain_lines(at: _Waiting) -> Iterator[str]:
    if isinstance(at.value, list):
        words = [_word_of(item) for item in at.value]
        is_short = sum(map(len, words)) <= _LONGEST_LIST
        yield from (_line(at.path, text) for text in ([", ".join(words)] if is_short else words) if text)
    elif at.value is not None and at.value != "":
        yield _line(at.path, _word_of(at.value))


def _line(path: str, text: str) -> str:
    return f"{path}: {text}" if path else text


def _word_of(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else ""
