"""The styles and lists of a Word document: which paragraphs are headings, and with which numbers they begin."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sluice_extractor.parsing.xml_stream import Attributes, attribute

_HEADING = re.compile(r"heading (\d)$", re.IGNORECASE)
_TITLE_LEVEL = 1
_LEVELS = 9
_MOST_STYLES = 100_000
_LONGEST_CHAIN = 20
_LONGEST_MARK = 40
_PLACEHOLDER = re.compile(r"%([1-9])")
_GANADA = "가나다라마바사아자차카타파하"
_CHOSUNG = "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ"
_LATIN = "abcdefghijklmnopqrstuvwxyz"
_CIRCLED_FIRST, _CIRCLED_LAST = "①", 20
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
          (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip
_MOST_ROMAN = 4_000


@dataclass(frozen=True)
class Style:
    """What a style says of its paragraphs: the level of a heading, 1 being a document's title, and a list."""

    name: str = ""
    level: int | None = None
    list_id: str = ""
    list_level: int | None = None
    based_on: str = ""


class StyleSheet:
    """A handler of `styles.xml`."""

    def __init__(self) -> None:
        self._by_id: dict[str, Style] = {}
        self._open: tuple[str, Style] | None = None

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "style" and len(self._by_id) < _MOST_STYLES:
            self._open = (attribute(attributes, "styleId") or "", Style())
        elif self._open:
            style_id, style = self._open
            self._open = (style_id, _with(style, name, attribute(attributes, "val") or ""))

    def end(self, name: str) -> None:
        if name == "style" and self._open:
            style_id, style = self._open
            self._by_id[style_id], self._open = style, None

    def text(self, text: str) -> None:
        pass

    def resolved(self) -> dict[str, Style]:
        """Every style with what it inherits."""
        return {style_id: self._inherited(style) for style_id, style in self._by_id.items()}

    def _inherited(self, style: Style) -> Style:
        whole, base = style, style
        for _ in range(_LONGEST_CHAIN):
            if base.based_on not in self._by_id:
                break
            base = self._by_id[base.based_on]
            whole = replace(
                whole,
                level=base.level if whole.level is None else whole.level,
                list_id=whole.list_id or base.list_id,
                list_level=base.list_level if whole.list_level is None else whole.list_level,
            )
        return whole


def _with(style: Style, name: str, value: str) -> Style:
    number = int(value) if value.isascii() and value.isdigit() and len(value) == 1 else None
    if name == "name":
        heading = _HEADING.match(value)
        level = int(heading[1]) + 1 if heading else _TITLE_LEVEL if value.lower() == "title" else None
        return replace(style, name=value, level=level if style.level is None else style.level)
    if name == "basedOn":
        return replace(style, based_on=value)
    if name == "outlineLvl" and number is not None:
        return replace(style, level=number + 2 if number < _LEVELS else None)
    if name == "numId":
        return replace(style, list_id=value)
    if name == "ilvl":
        return replace(style, list_level=number)
    return style


@dataclass
class _Level:
    """How one level of a list begins its paragraphs."""

    form: str = "decimal"
    text: str = ""
    start: int = 1


@dataclass
class _Counted:
    """A list whose paragraphs are being counted."""

    levels: Mapping[int, _Level]
    counts: dict[int, int] = field(default_factory=dict)


class Numbering:
    """A handler of `numbering.xml`; afterwards it says with what a paragraph of a list begins."""

    def __init__(self) -> None:
        self._abstract: dict[str, dict[int, _Level]] = {}
        self._abstract_by_list: dict[str, str] = {}
        self._counted: dict[str, _Counted] = {}
        self._abstract_id: str | None = None
        self._list_id: str | None = None
        self._level: _Level | None = None

    def start(self, name: str, attributes: Attributes) -> None:
        value = attribute(attributes, "val") or ""
        if name == "abstractNum":
            self._abstract_id = attribute(attributes, "abstractNumId") or ""
            self._abstract.setdefault(self._abstract_id, {})
        elif name == "num":
            self._list_id = attribute(attributes, "numId") or ""
        elif name == "abstractNumId" and self._list_id is not None:
            self._abstract_by_list[self._list_id] = value
        elif name == "lvl" and self._abstract_id is not None:
            self._level = _Level()
            self._abstract[self._abstract_id][_small(attribute(attributes, "ilvl") or "0")] = self._level
        elif self._level is not None:
            _describe(self._level, name, value)

    def end(self, name: str) -> None:
        if name == "abstractNum":
            self._abstract_id = None
        elif name == "num":
            self._list_id = None
        elif name == "lvl":
            self._level = None

    def text(self, text: str) -> None:
        pass

    def mark(self, number: tuple[str, int] | None, style: Style) -> str:
        """What a paragraph of that list and level, or of that style, begins with; empty outside of lists."""
        list_id = (number[0] if number else "") or style.list_id
        level = number[1] if number and number[0] else style.list_level or 0
        abstract_id = self._abstract_by_list.get(list_id)
        if abstract_id is None:
            return "- " if list_id not in {"", "0"} else ""
        counted = self._counted.setdefault(abstract_id, _Counted(self._abstract.get(abstract_id, {})))
        return _counted_on(counted, level)


def _describe(level: _Level, name: str, value: str) -> None:
    if name == "numFmt":
        level.form = value
    elif name == "lvlText":
        level.text = value[:_LONGEST_MARK]
    elif name == "start":
        level.start = _small(value)


def _counted_on(counted: _Counted, at: int) -> str:
    """Count one more paragraph of that level, and begin the deeper ones anew."""
    level = counted.levels.get(at, _Level(form="bullet"))
    counted.counts = {deep: count for deep, count in counted.counts.items() if deep <= at}
    counted.counts[at] = counted.counts.get(at, level.start - 1) + 1
    if level.form == "bullet":
        return "- "
    if level.form == "none" and "%" in level.text:
        return ""

    def number_of(found: re.Match[str]) -> str:
        deep = int(found[1]) - 1
        of = counted.levels.get(deep, _Level())
        return written(counted.counts.get(deep, of.start), of.form)

    mark = _PLACEHOLDER.sub(number_of, level.text).strip()
    return f"{mark} " if mark else ""


def written(number: int, form: str) -> str:
    """A number as a list writes it; forms that are not known are written with digits."""
    if form in {"ganada", "chosung"}:
        letters = _GANADA if form == "ganada" else _CHOSUNG
        return letters[(number - 1) % len(letters)]
    if form in {"lowerLetter", "upperLetter"}:
        letter = _LATIN[(number - 1) % len(_LATIN)] * min((number - 1) // len(_LATIN) + 1, _LEVELS)
        return letter.upper() if form == "upperLetter" else letter
    if form in {"lowerRoman", "upperRoman"} and 0 < number < _MOST_ROMAN:
        roman = _roman(number)
        return roman.upper() if form == "upperRoman" else roman
    if form == "decimalEnclosedCircle" and 0 < number <= _CIRCLED_LAST:
        return chr(ord(_CIRCLED_FIRST) + number - 1)
    return f"{number:02}" if form == "decimalZero" else str(number)


def _roman(number: int) -> str:
    letters = ""
    for value, letter in _ROMAN:
        letters += letter * (number // value)
        number %= value
    return letters


def _small(value: str) -> int:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 7 else 0  # noqa: PLR2004 - no list is longer
