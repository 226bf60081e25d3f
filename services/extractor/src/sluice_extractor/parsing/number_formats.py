"""Shows the numbers of a workbook as a person sees them: dates, times and percentages by the formats of their cells."""

import re
from datetime import datetime, timedelta

from sluice_extractor.parsing.xml_stream import Attributes, attribute

_GENERAL, _PERCENT, _DATE, _TIME, _MOMENT, _SPAN = "general", "percent", "date", "time", "moment", "span"
_BUILT_IN = {
    **dict.fromkeys((9, 10), _PERCENT),
    **dict.fromkeys((14, 15, 16, 17, *range(27, 32), 34, 35, 36, *range(50, 59)), _DATE),
    **dict.fromkeys((18, 19, 20, 21, 32, 33), _TIME),
    **dict.fromkeys((45, 46, 47), _SPAN),
    22: _MOMENT,
}
_LITERALS = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!h+\]|m+\]|s+\])[^\]]*\]', re.IGNORECASE)
_MOST_FORMATS = 100_000
_LONGEST_CODE = 1_000
_FIRST_DAY = datetime(1899, 12, 30)  # noqa: DTZ001 - a day without a place
_FIRST_DAY_1904 = datetime(1904, 1, 1)  # noqa: DTZ001 - a day without a place
_LAST_SERIAL = 2_958_466
_PHANTOM_DAY = 60  # the 29th of February 1900, which only spreadsheets have
_DIGITS = 15
_DAY_S = 86_400


class NumberFormats:
    """A handler of `styles.xml`; afterwards it says what kind of number a style shows."""

    def __init__(self, *, counts_from_1904: bool) -> None:
        self.counts_from_1904 = counts_from_1904
        self._kind_by_id: dict[int, str] = dict(_BUILT_IN)
        self._kinds: list[str] = []
        self._in_cell_styles = False

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "cellXfs":
            self._in_cell_styles = True
        elif name == "numFmt" and len(self._kind_by_id) < _MOST_FORMATS:
            self._kind_by_id[_id(attributes)] = kind_of(attribute(attributes, "formatCode") or "")
        elif name == "xf" and self._in_cell_styles and len(self._kinds) < _MOST_FORMATS:
            self._kinds.append(self._kind_by_id.get(_id(attributes), _GENERAL))

    def end(self, name: str) -> None:
        if name == "cellXfs":
            self._in_cell_styles = False

    def text(self, text: str) -> None:
        pass

    def of_style(self, number: int) -> str:
        return self._kinds[number] if number < len(self._kinds) else _GENERAL


def kind_of(code: str) -> str:
    """What a format code such as `yyyy-mm-dd` makes of a number."""
    letters = _LITERALS.sub("", code[:_LONGEST_CODE].partition(";")[0]).lower()
    if re.search(r"\[[hms]+\]", letters):
        return _SPAN
    has_day, has_time = bool(re.search(r"[yd]|e(?![+-])", letters)), bool(re.search(r"[hs]", letters))
    if "general" in letters:
        return _GENERAL
    if has_day or has_time or re.search(r"(?<![a-z])m{1,5}(?![a-z])", letters):
        return _MOMENT if has_day and has_time else _TIME if has_time else _DATE
    return _PERCENT if "%" in letters else _GENERAL


def shown(value: str, kind: str, *, is_1904: bool = False) -> str:
    """A stored number as it is read: at most 15 digits, dates as `2026-03-31`, times as `09:30`."""
    if kind == _GENERAL and len(value) <= _DIGITS and value.isascii() and value.isdigit():
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    if kind == _PERCENT:
        return f"{_plain(number * 100)}%"
    if kind == _SPAN and 0 <= number < _LAST_SERIAL:
        return _span(number)
    if kind in {_DATE, _TIME, _MOMENT} and 0 <= number < _LAST_SERIAL:
        return _moment(number, kind, is_1904=is_1904)
    return _plain(number)


def _plain(number: float) -> str:
    if number == int(number) if abs(number) < 10**_DIGITS else False:
        return str(int(number))
    return f"{number:.{_DIGITS}g}"


def _span(days: float) -> str:
    seconds = round(days * _DAY_S)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _moment(serial: float, kind: str, *, is_1904: bool) -> str:
    first = _FIRST_DAY_1904 if is_1904 else _FIRST_DAY
    if not is_1904 and 1 <= serial < _PHANTOM_DAY:
        serial += 1
    at = first + timedelta(seconds=round(serial * _DAY_S))
    if kind == _TIME and serial < 1:
        return _clock(at)
    if kind == _DATE or (kind == _MOMENT and at.hour == at.minute == at.second == 0):
        return at.strftime("%Y-%m-%d")
    return f"{at:%Y-%m-%d} {_clock(at)}"


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M:%S" if at.second else "%H:%M")


def _id(attributes: Attributes) -> int:
    written = attribute(attributes, "numFmtId") or ""
    return int(written) if written.isascii() and written.isdigit() and len(written) < 10 else 0  # noqa: PLR2004 - fits into any integer
