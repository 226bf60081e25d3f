"""Checks the filter of a search before anything looks at it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JsonValue = Any  # what a client sent: any JSON at all

COMPARISONS = frozenset({"eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"})
JUNCTIONS = frozenset({"and", "or"})
ORDERED = frozenset({"gt", "gte", "lt", "lte"})
LISTED = frozenset({"in", "nin"})

MAX_DEPTH = 3
MAX_LEAVES = 64
MAX_KEY_CHARS = 64
MAX_LISTED_VALUES = 256
MAX_VALUE_CHARS = 512
MAX_INTEGER = 2**63 - 1


@dataclass(frozen=True)
class BadFilter(Exception):
    """The filter breaks a rule; `pointer` says where in it, as RFC 6901 does."""

    pointer: str
    detail: str


def checked_filter(body: JsonValue) -> Mapping[str, Any]:  # as SearchScope.filter
    """The filter, when it keeps every rule: `{"type": "eq", "key": …, "value": …}` or nested `and` and `or`.

    At most 3 levels of `and` and `or`, 64 comparisons, and keys of 64 characters; `gt`, `gte`, `lt` and `lte`
    compare numbers, `in` and `nin` take a list.

    Raises:
        BadFilter: with the place and the rule.
    """
    for number, _ in enumerate(_leaves_of(body, "", 1), start=1):
        if number > MAX_LEAVES:
            raise BadFilter("", f"at most {MAX_LEAVES} comparisons")
    checked: Mapping[str, Any] = body
    return checked


def _leaves_of(body: JsonValue, pointer: str, depth: int) -> Iterator[None]:
    kind = body.get("type") if isinstance(body, dict) else None
    if not isinstance(kind, str) or kind not in COMPARISONS | JUNCTIONS:
        raise BadFilter(f"{pointer}/type", f"one of {', '.join(sorted(COMPARISONS | JUNCTIONS))}")
    if kind in COMPARISONS:
        _check_comparison(body, kind, pointer)
        yield
        return
    if depth > MAX_DEPTH:
        raise BadFilter(pointer, f"at most {MAX_DEPTH} levels of and and or")
    for number, part in enumerate(_parts_of(body, pointer)):
        yield from _leaves_of(part, f"{pointer}/filters/{number}", depth + 1)


def _parts_of(body: Mapping[str, JsonValue], pointer: str) -> Sequence[JsonValue]:
    _refuse_others(body, {"type", "filters"}, pointer)
    parts = body.get("filters")
    if not isinstance(parts, list) or not parts:
        raise BadFilter(f"{pointer}/filters", "a list of at least one filter")
    return parts


def _check_comparison(body: Mapping[str, JsonValue], kind: str, pointer: str) -> None:
    _refuse_others(body, {"type", "key", "value"}, pointer)
    key = body.get("key")
    if not key or not _is_text(key, MAX_KEY_CHARS):
        raise BadFilter(f"{pointer}/key", f"a text of 1 to {MAX_KEY_CHARS} characters")
    if "value" not in body:
        raise BadFilter(f"{pointer}/value", "is missing")
    _check_value(body["value"], kind, f"{pointer}/value")


def _check_value(value: JsonValue, kind: str, pointer: str) -> None:
    if kind in LISTED:
        _check_list(value, pointer)
    elif kind in ORDERED:
        if not _is_number(value):
            raise BadFilter(pointer, "a number")
    elif not _is_scalar(value):
        raise BadFilter(pointer, f"a number, true, false or a text of at most {MAX_VALUE_CHARS} characters")


def _check_list(value: JsonValue, pointer: str) -> None:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_LISTED_VALUES:
        raise BadFilter(pointer, f"a list of 1 to {MAX_LISTED_VALUES} values")
    for number, one in enumerate(value):
        if not _is_scalar(one):
            raise BadFilter(f"{pointer}/{number}", "a number, true, false or a text")


def _is_scalar(value: JsonValue) -> bool:
    return isinstance(value, bool) or _is_number(value) or _is_text(value, MAX_VALUE_CHARS)


def _is_text(value: JsonValue, max_chars: int) -> bool:
    if not isinstance(value, str) or len(value) > max_chars:
        return False
    # JSON can spell half a character, which nothing behind us can encode.
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _is_number(value: JsonValue) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return abs(value) <= MAX_INTEGER  # the store keeps 64 bits
    return isinstance(value, float) and abs(value) < float("inf")


def _refuse_others(body: Mapping[str, JsonValue], known: set[str], pointer: str) -> None:
    unknown = sorted(body.keys() - known)
    if unknown:
        name = unknown[0].replace("~", "~0").replace("/", "~1")  # RFC 6901
        raise BadFilter(f"{pointer}/{name}", "is not known here")
