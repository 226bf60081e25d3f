"""Words that begin in Latin letters and end in Hangul, such as names with a Korean particle.

One model reads a word whole: the Korean one sees digits in the letters, and the English one signs in the syllables. But
the Korean one says where each syllable stands. So the letters before them are cut out, and read by the others alone.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from sluice_extractor.recognition.sheets import Box, Grey
from sluice_extractor.recognition.words import Word

HANGUL_MODELS = frozenset({"kor", "Hangul", "script/Hangul"})
HANGUL = re.compile("[\uac00-\ud7a3]")
PLAIN_HANGUL = re.compile("[(\\[\"'\u2018\u201c]?[\uac00-\ud7a3]+[)\\]\"'\u2019\u201d.,:;!?]*")
SURE = 60.0
_LIKELY = 50.0
"""Of letters that stand alone Tesseract is less sure."""
_LATIN = re.compile(r"[-(\[\"'.\u2014]{0,2}[A-Za-z][\w.,/+#&@()-]*")
_TRACES = re.compile(r"[^A-Za-z0-9)]+$")
"""What is left of a syllable that was cut off looks like a sign."""
_LEAST_LETTERS = 2
_ABOVE, _BEFORE, _WITHIN, _BEYOND = 0.25, 0.8, 0.5, 0.3
"""How far around the letters the white at their ends is looked for, in heights of the word."""
_FAINT = 60
"""So much darker than the paper is no ink yet."""


@dataclass(frozen=True)
class MixedWord:
    """What of a word is Hangul, and where the rest of it stands."""

    box: Box
    rest: Box
    ending: str

    def beginning_in(self, words: Sequence[Word]) -> str | None:
        """What *words* have at the place of the rest, if it is surely in Latin letters."""
        middle = (self.rest.y0 + self.rest.y1) / 2
        found = [word for word in words if word.box.y0 <= middle <= word.box.y1 and _is_within(word.box, self.rest)]
        text = _TRACES.sub("", "".join(word.text for word in found))
        is_latin = bool(_LATIN.fullmatch(text)) and sum(map(str.isalpha, text)) >= _LEAST_LETTERS
        return text if is_latin and all(word.confidence >= _LIKELY for word in found) else None


def mixed_words_of(words: Sequence[Word]) -> Iterator[MixedWord]:
    """Of a line as Korean alone reads it, the words that end in Hangul behind something else."""
    for syllables in _spaced(words):
        ending = [*takewhile(_is_surely_hangul, reversed(syllables))][::-1]
        rest = syllables[: len(syllables) - len(ending)]
        if rest and ending and not any(map(_is_surely_hangul, rest)):
            boxes = [syllable.box for syllable in syllables]
            whole = Box(boxes[0].x0, min(box.y0 for box in boxes), boxes[-1].x1, max(box.y1 for box in boxes))
            cut = max(ending[0].box.x0, whole.x0 + 1)
            yield MixedWord(whole, replace(whole, x1=cut), "".join(syllable.text for syllable in ending))


def rests_only(pixels: Grey, words: Sequence[MixedWord], white: int) -> Grey:
    """The sheet with nothing on it but what stands before the Hangul of these words."""
    left = np.full_like(pixels, white)
    for word in words:
        height = word.rest.y1 - word.rest.y0
        rows = slice(max(int(word.rest.y0 - _ABOVE * height), 0), int(word.rest.y1 + _ABOVE * height))
        is_white = pixels[rows].min(axis=0) > white - _FAINT
        start, end = word.rest.x0, word.rest.x1
        first = _nearest_white(is_white, start, start - _BEFORE * height, start)
        last = _nearest_white(is_white, end, end - _WITHIN * height, end + _BEYOND * height)
        left[rows, first:last] = pixels[rows, first:last]
    return left


def _nearest_white(is_white: NDArray[np.bool_], at: float, first: float, last: float) -> int:
    """The column without ink that is nearest to *at*, from *first* to *last*; *at* where each has some."""
    start = max(int(first), 0)
    white = start + np.flatnonzero(is_white[start : int(last) + 1])
    return int(white[np.abs(white - at).argmin()]) if len(white) else int(at)


def with_word(words: Sequence[Word], mixed: MixedWord, text: str) -> tuple[Word, ...]:
    """The line with *text* in place of what it has where the mixed word stands."""
    replaced = [word for word in words if _is_within(word.box, mixed.box)]
    if not replaced:
        return tuple(words)
    first = replaced[0]
    box = replace(first.box, x0=mixed.box.x0, x1=mixed.box.x1)
    at = words.index(first)
    before, behind = words[:at], [word for word in words[at:] if word not in replaced]
    return (*before, replace(first, text=text, box=box, confidence=max(first.confidence, SURE)), *behind)


def _spaced(words: Sequence[Word]) -> Iterator[list[Word]]:
    """The parts of a line between its spaces."""
    part: list[Word] = []
    for word in words:
        if word.stands_apart and part:
            yield part
            part = []
        part.append(word)
    if part:
        yield part


def _is_surely_hangul(word: Word) -> bool:
    return bool(PLAIN_HANGUL.fullmatch(word.text)) and word.confidence >= SURE


def _is_within(box: Box, other: Box) -> bool:
    return other.x0 <= (box.x0 + box.x1) / 2 <= other.x1
