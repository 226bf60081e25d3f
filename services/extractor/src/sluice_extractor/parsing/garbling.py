"""Notices text that is no text: what a PDF gives whose fonts do not say, or say wrongly, what their glyphs mean.

A page is judged by its characters alone, in five ways, by each only where there are enough of them.
"""

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from itertools import pairwise, product

from sluice_extractor.parsing.letter_costs import LATIN_COSTS, SYLLABLES_BY_COST

SYMBOLS = "abcdefghijklmnopqrstuvwxyz 0.^X"
"""Letters without case and accents; a gap, a digit, a sign, a capital behind a small letter, any other letter."""

_SAMPLE_CHARS, _FIRST_SAMPLE_CHARS = 700, 300
"""From the beginning, the middle and the end of a page: judging must not take longer than reading."""
_FEWEST_CHARS, _MOST_MEANINGLESS, _MOST_LOST = 20, 0.15, 0.2
_FEWEST_SIGNS, _MOST_ODD_SIGNS = 60, 0.3
_FEWEST_PAIRS, _MOST_PAIR_COST = 60, 11.0
_FEWEST_SYLLABLES, _MOST_SYLLABLE_COST = 40, 20.0
_FEWEST_NEIGHBOURS, _MOST_MIXED = 60, 0.1
_FEWEST_HAN, _MOST_UNKNOWN_HAN = 30, 0.1
_HAN_STANDARDS = ("gb2312", "big5", "shift_jis", "euc_kr")
_RARE_SYLLABLE = max(SYLLABLES_BY_COST) + 4
_COST_OF_SYLLABLE = {syllable: cost for cost, group in SYLLABLES_BY_COST.items() for syllable in group}
_COST_OF_PAIR = {
    pair: int(digit, 36)
    for pair, digit in zip(product(SYMBOLS, SYMBOLS), LATIN_COSTS, strict=True)
    if pair[0].islower() or pair[1].islower()
}
_WORD_PAIRS = frozenset(pair for pair in _COST_OF_PAIR if pair[0].islower() and pair[1].islower())
_CHARS_PER_WORD = 80
_SMALL_WORDS = frozenset(
    (
        *("the", "and", "of", "to", "in", "is", "for", "that", "with", "as", "on", "are", "be", "this", "by"),
        *("it", "at", "from", "or", "an", "not", "was", "we", "can", "der", "die", "und", "den", "von", "zu"),
        *("das", "ist", "ein", "eine", "einer", "einem", "einen", "nicht", "mit", "auf", "im", "dem", "des"),
        *("sich", "als", "es", "dass", "wenn", "sind", "wird", "la", "le", "les", "et", "en", "un", "une"),
        *("dans", "pour", "est", "pas", "sur", "qui", "au", "par", "que", "el", "los", "con", "por", "para"),
        *("se", "su", "di", "che", "il", "non", "per", "si", "da", "do", "os", "um", "uma", "com", "van", "het"),
        *("een", "te", "dat", "op"),
    )
)
_SMALL_ENDINGS = ("니다", "에서", "으로", "하는", "하고", "이다", "있는", "한다", "지만", "부터", "까지")
_MOST_SUSPECT_IN_FIRST = 9  # of 900: as many as 20 of 2,100
_SUSPECT = re.compile("[\x7f-\x9f\ufffd\ue000-\uf8ff\U000f0000-\U0010ffff]")
_RUN = re.compile(r"(\W)\1{2,}")
_ODD_SIGNS = re.compile(r"[!\"#$%&'*+;<=>?@\\^`|~]")
_LONE_LETTER = re.compile("(?<![a-zX])[b-hj-z](?![a-zX])")  # the names of mathematics, which are no words
_CAPITAL_INSIDE = re.compile("(?<=[a-z])(?=[A-Z])")


def is_garbled(text: str, lost_chars: int = 0) -> bool:
    """Whether the text of a page is surely not what the page shows; what is too short to say is taken as good.

    Args:
        text: cleaned, as readers give it.
        lost_chars: how many characters cleaning took away because they can stand in no text.
    """
    if lost_chars >= _FEWEST_CHARS and _is_mostly_lost(text, lost_chars):
        return True
    if _is_plainly_good(_sample_of(text, _FIRST_SAMPLE_CHARS)):
        return False
    text = _sample_of(text, _SAMPLE_CHARS)
    if _is_mostly_signs(text) or _pair_cost(text) > _MOST_PAIR_COST:
        return True
    if text.isascii():
        return False
    chars = Counter(text)
    return (
        _is_meaningless(chars)
        or _mixes_scripts(text)
        or _syllable_cost(chars) > _MOST_SYLLABLE_COST
        or _has_strange_han(chars)
    )


def symbols_of(text: str) -> str:
    """The text as Latin letters see it, see `SYMBOLS`."""
    return _LONE_LETTER.sub("0", _CAPITAL_INSIDE.sub("^", text).translate(_SYMBOL_OF))


def is_syllable(char: str) -> bool:
    return "\uac00" <= char <= "\ud7a3"


def _sample_of(text: str, chars: int) -> str:
    if len(text) <= 3 * chars:
        return text
    middle = (len(text) - chars) // 2
    return "\n".join((text[:chars], text[middle : middle + chars], text[-chars:]))


def _is_plainly_good(text: str) -> bool:
    """Whether the small words stand in it that all prose has; saves most pages what is slower."""
    wanted = len(text) / _CHARS_PER_WORD
    words = sum(map(_SMALL_WORDS.__contains__, text.split()))
    if words <= wanted and not text.isascii():
        words += sum(map(text.count, _SMALL_ENDINGS))
    return words > wanted and len(_SUSPECT.findall(text)) < _MOST_SUSPECT_IN_FIRST


def _is_mostly_lost(text: str, lost_chars: int) -> bool:
    """Numbers of glyphs: the small ones are lost, and many of the next are signs."""
    if lost_chars > _MOST_MEANINGLESS * (lost_chars + len(text)):
        return True
    seen = len("".join(text.split()))
    return lost_chars + len(_ODD_SIGNS.findall(text)) > _MOST_LOST * (lost_chars + seen)


def _is_meaningless(chars: Counter[str]) -> bool:
    """Characters of private use, unassigned ones, control characters, and the one for what could not be decoded."""
    seen = meaningless = 0
    for char, count in chars.items():
        if not char.isspace():
            seen += count
            meaningless += count * (char == "\ufffd" or unicodedata.category(char) in ("Co", "Cn", "Cc"))
    return seen >= _FEWEST_CHARS and meaningless > _MOST_MEANINGLESS * seen


def _mixes_scripts(text: str) -> bool:
    """Letters of different scripts side by side; mathematics puts Greek beside Latin, and East Asia mixes its own."""
    scripts = text.translate(_SCRIPT_OF)
    if len(set(scripts) - {_NO_SCRIPT}) <= 1:
        return False
    pairs = Counter(pairwise(scripts))
    both = {pair: count for pair, count in pairs.items() if _NO_SCRIPT not in pair}
    mixed = sum(count for (one, two), count in both.items() if one != two)
    total = sum(both.values())
    return total >= _FEWEST_NEIGHBOURS and mixed > _MOST_MIXED * total


def _is_mostly_signs(text: str) -> bool:
    """What is left of letters that came as numbers of glyphs: the small numbers are control characters, and gone."""
    if len(_ODD_SIGNS.findall(text)) <= _MOST_ODD_SIGNS * _FEWEST_SIGNS:  # so few are a part of nothing
        return False
    text = _RUN.sub(r"\1", text)
    seen = len("".join(text.split()))
    return seen >= _FEWEST_SIGNS and len(_ODD_SIGNS.findall(text)) > _MOST_ODD_SIGNS * seen


def _pair_cost(text: str) -> float:
    """Half bits of surprise at each Latin letter and what stands beside it; 0 where there are too few words."""
    pairs = Counter(pairwise(f" {symbols_of(text)} "))
    words = total = cost = 0
    for pair, count in pairs.items():
        if pair in _COST_OF_PAIR:
            total += count
            cost += count * _COST_OF_PAIR[pair]
            words += count * (pair in _WORD_PAIRS)
    return cost / total if words >= _FEWEST_PAIRS else 0.0


def _syllable_cost(chars: Counter[str]) -> float:
    """Half bits of surprise at each syllable of Hangul; 0 where there are too few."""
    syllables = {char: count for char, count in chars.items() if is_syllable(char)}
    total = sum(syllables.values())
    if total < _FEWEST_SYLLABLES:
        return 0.0
    return sum(_COST_OF_SYLLABLE.get(char, _RARE_SYLLABLE) * count for char, count in syllables.items()) / total


def _has_strange_han(chars: Counter[str]) -> bool:
    """Characters that no national standard has; a number that happens to be one of Han's is one of 20,000."""
    han = {char: count for char, count in chars.items() if _is_han(char)}
    unknown = sum(count for char, count in han.items() if _is_unknown_han(char))
    total = sum(han.values())
    return total >= _FEWEST_HAN and unknown > _MOST_UNKNOWN_HAN * total


def _is_han(char: str) -> bool:
    return "\u3400" <= char <= "\u9fff" or char >= "\U00020000"


@lru_cache(maxsize=1 << 15)
def _is_unknown_han(char: str) -> bool:
    return not any(_can_write(char, standard) for standard in _HAN_STANDARDS)


def _can_write(char: str, codec: str) -> bool:
    try:
        char.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


class _Symbols(dict[int, str]):
    """The symbol of each character, found out when it is first seen."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if char.isalpha():
            plain = unicodedata.normalize("NFKD", char)[0].lower()
            symbol = plain if plain.isascii() and plain.isalpha() else "X"
        else:
            symbol = " " if char.isspace() or code < ord(" ") else "0" if char.isdigit() else "."
        return self.setdefault(code, symbol)


_NO_SCRIPT = "-"
_LATIN, _EAST = "L", "E"
_SCRIPTS = {
    **dict.fromkeys(("LATIN", "GREEK", "MICRO", "KELVIN", "ANGSTROM", "FEMININE", "MASCULINE", "MATHEMATICAL"), _LATIN),
    **dict.fromkeys(("CJK", "HANGUL", "HIRAGANA", "KATAKANA", "BOPOMOFO", "HALFWIDTH", "IDEOGRAPHIC"), _EAST),
}


class _ScriptsOf(dict[int, str]):
    """One character for the script of each letter, as far as mixing matters, found out when it is first seen."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if unicodedata.category(char) not in ("Ll", "Lu", "Lt", "Lo"):
            return self.setdefault(code, _NO_SCRIPT)
        name = unicodedata.name(char, "unknown").removeprefix("FULLWIDTH ").partition(" ")[0]
        known = _SCRIPTS.setdefault(name, chr(0x100 + len(_SCRIPTS)))
        return self.setdefault(code, known)


_SYMBOL_OF = _Symbols({ord("^"): "^"})
_SCRIPT_OF = _ScriptsOf()
