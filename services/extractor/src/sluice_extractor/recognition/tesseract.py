"""Recognises the text of a picture by Tesseract: one way for all pictures, measured on Korean and English pages."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Protocol

from sluice_common.errors import CrashError, ExtractionTimeout
from sluice_extractor.parsing.media import Picture
from sluice_extractor.recognition.mixed_words import (
    HANGUL,
    HANGUL_MODELS,
    PLAIN_HANGUL,
    SURE,
    MixedWord,
    mixed_words_of,
    rests_only,
    with_word,
)
from sluice_extractor.recognition.sheets import Box, Grey, Sheet, lines_only, sheet_of, white_of
from sluice_extractor.recognition.words import Line, Word, parse_words
from sluice_extractor.sandbox import Program, Sandbox

_ONE_COLUMN, _ONE_BLOCK, _ORIENTATION_ONLY = 4, 6, 0
_OUTPUTS = ("-c", "tessedit_create_tsv=1", "-c", "tessedit_create_txt=1", "-c", "preserve_interword_spaces=1")
_ORIENTATION_DATA = "osd"
_ROTATE = re.compile(r"^Rotate: (90|180|270)$", re.MULTILINE)
_DOUBTFUL = 65.0
"""Of the right way up, the mean of a readable page is near 90; of a page that is upside down it is below 50."""
_LATIN = re.compile("[A-Za-z]")
_SHAKY = 80.0
_OVERLAP = 0.6


@dataclass(frozen=True)
class Recognised:
    """The lines of a picture from top to bottom, column by column, their boxes in its pixels."""

    lines: tuple[Line, ...]

    @property
    def confidence(self) -> float:
        """The mean over all characters; 0 where there are none."""
        return confidence_of(self.lines)


class Recogniser(Protocol):
    """Finds the text in pictures."""

    def recognise(self, picture: Picture, is_wanted: Callable[[], bool]) -> Recognised:
        """The text in *picture*, within the limits of time and memory for one.

        Raises:
            CrashError: it could not be recognised; others may be.
            ReadingStopped: *is_wanted*, which is asked a few times a second, said no.
        """


@dataclass(frozen=True)
class Tesseract:
    """Tesseract as it is installed here, run behind the walls of a child for each picture."""

    sandbox: Sandbox
    program: Program
    """Without arguments; its time is that for one picture, however often it looks at it."""
    languages: tuple[str, ...]
    korean: str | None = None
    """The model that reads Hangul by itself, where Korean is one of the languages."""
    knows_orientation: bool = True

    def recognise(self, picture: Picture, is_wanted: Callable[[], bool]) -> Recognised:
        """Recognise the picture as it is, and once more set upright where it makes no sense and seems to be turned."""
        run = partial(self._run, is_wanted=is_wanted, until=time.monotonic() + self.program.wall_clock_s)
        upright = sheet_of(picture)
        first = self._recognise(upright, run)
        if first.confidence >= _DOUBTFUL or not self.knows_orientation:
            return first
        try:
            turns = self._turns_of(upright, run)
            second = self._recognise(sheet_of(picture, turns), run) if turns else first
        except CrashError:  # a second look that fails takes nothing from the first
            return first
        return max(first, second, key=lambda recognised: recognised.confidence)

    def _recognise(self, sheet: Sheet, run: "_Run") -> Recognised:
        lines = self._lines_of(sheet, _ONE_COLUMN, self.languages, run)
        if self.korean and not HANGUL_MODELS.issuperset(self.languages):
            lines = self._with_hangul(lines, sheet, run)
        return Recognised(tuple(_in_picture(line, sheet) for line in lines))

    def _with_hangul(self, lines: list[Line], sheet: Sheet, run: "_Run") -> list[Line]:
        """The lines with those words in Hangul that only look like Latin ones: what Korean alone reads in their place.

        With several languages Tesseract takes the surest reading of each word, and English is too sure of itself.
        """
        doubted = [at for at, line in enumerate(lines) if any(map(_is_doubtful, line.words))]
        if not doubted or not self.korean or not any(HANGUL.search(line.text) for line in lines):
            return lines
        below, tops = lines_only(sheet, [lines[at].box for at in doubted])
        try:
            korean = [word for line in self._lines_of(below, _ONE_BLOCK, (self.korean,), run) for word in line.words]
            beside = [_between(korean, top, end) for top, end in pairwise([*tops, len(below.pixels)])]
            known = self._mixed_words(below, beside, run)
        except CrashError:
            return lines
        for at, words, mixed in zip(doubted, beside, known, strict=True):
            found = lines[at].words
            for word, text in mixed:
                found = with_word(found, word, text)
            lines[at] = replace(lines[at], words=tuple(_in_hangul(found, words)))
        return lines

    def _mixed_words(
        self, below: Sheet, lines: Sequence[Sequence[Word]], run: "_Run"
    ) -> list[list[tuple[MixedWord, str]]]:
        """For each line the words that begin in Latin letters and end in Hangul, and how they are spelt."""
        mixed = [list(mixed_words_of(words)) for words in lines]
        every = [word for words in mixed for word in words]
        if not every:
            return [[] for _ in lines]
        rests = replace(below, pixels=rests_only(below.pixels, every, white_of(below.pixels)))
        others = [language for language in self.languages if language not in HANGUL_MODELS]
        read = [word for line in self._lines_of(rests, _ONE_BLOCK, others, run) for word in line.words]
        spelt = [[(word, word.beginning_in(read)) for word in words] for words in mixed]
        return [[(word, latin + word.ending) for word, latin in words if latin] for words in spelt]

    def _lines_of(self, sheet: Sheet, mode: int, languages: Sequence[str], run: "_Run") -> list[Line]:
        arguments = ("-l", "+".join(languages), "--psm", str(mode), "--dpi", str(round(sheet.dpi)), *_OUTPUTS)
        return parse_words(run(sheet.pixels, arguments))

    def _turns_of(self, sheet: Sheet, run: "_Run") -> int:
        """Quarter turns, counter-clockwise, that would set the picture upright."""
        said = run(sheet.pixels, ("-l", _ORIENTATION_DATA, "--psm", str(_ORIENTATION_ONLY)))
        found = _ROTATE.search(said)
        return -int(found[1]) // 90 % 4 if found else 0

    def _run(self, pixels: Grey, arguments: tuple[str, ...], *, is_wanted: Callable[[], bool], until: float) -> str:
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise ExtractionTimeout(f"{self.program.wall_clock_s:g} s were not enough")
        height, width = pixels.shape
        pieces = (b"P5 %d %d 255\n" % (width, height), pixels.tobytes())
        program = replace(self.program, arguments=("stdin", "stdout", *arguments), wall_clock_s=left_s)
        return self.sandbox.run(program, pieces, is_wanted=is_wanted).decode("utf-8", "replace")


_Run = Callable[[Grey, tuple[str, ...]], str]


def confidence_of(lines: Sequence[Line]) -> float:
    """The mean confidence over all characters of these lines; 0 where there are none."""
    words = [word for line in lines for word in line.words]
    chars = sum(len(word.text) for word in words)
    return sum(word.confidence * len(word.text) for word in words) / chars if chars else 0.0


def _in_picture(line: Line, sheet: Sheet) -> Line:
    return replace(line, words=tuple(replace(word, box=sheet.in_picture(word.box)) for word in line.words))


def _is_doubtful(word: Word) -> bool:
    return _may_be_hangul(word) or (word.confidence < _SHAKY and not HANGUL.search(word.text))


def _may_be_hangul(word: Word) -> bool:
    """Whether a word has no Hangul, and is no number either."""
    return not HANGUL.search(word.text) and (bool(_LATIN.search(word.text)) or not any(map(str.isdigit, word.text)))


def _between(words: Sequence[Word], top: float, bottom: float) -> list[Word]:
    return [word for word in words if top <= (word.box.y0 + word.box.y1) / 2 < bottom]


def _in_hangul(words: Sequence[Word], korean: Sequence[Word]) -> list[Word]:
    """The words, those that Korean alone reads as plain Hangul in its reading."""
    taken: list[Word] = []
    for word in words:
        same = [other for other in korean if _overlap(word.box, other.box) > _OVERLAP] if _may_be_hangul(word) else []
        if same and all(PLAIN_HANGUL.fullmatch(other.text) and other.confidence >= SURE for other in same):
            first, *rest = (replace(other, box=_level_with(other.box, word.box)) for other in same)
            taken += [replace(first, stands_apart=word.stands_apart), *rest]
        else:
            taken.append(word)
    return taken


def _overlap(one: Box, other: Box) -> float:
    """Which part of the narrower of two boxes of a line lies within the width of the other."""
    narrower = max(min(one.x1 - one.x0, other.x1 - other.x0), 1)
    return (min(one.x1, other.x1) - max(one.x0, other.x0)) / narrower


def _level_with(box: Box, line: Box) -> Box:
    return replace(box, y0=line.y0, y1=line.y1)
