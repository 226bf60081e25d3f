"""How much two texts agree."""

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Words in NFKC and without case; what only differs in ligatures or line ends is the same."""
    return _WORD.findall(unicodedata.normalize("NFKC", text.replace("\u00ad", "")).casefold())


def trigrams_of(words: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(words, words[1:], words[2:], strict=False))


@dataclass
class Agreement:
    """Sums over files; words count as often as they stand there, their order matters in trigrams only."""

    both: int = 0
    ours: int = 0
    theirs: int = 0

    def add(self, ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> None:
        self.both += (Counter(ours) & Counter(theirs)).total()
        self.ours += len(ours)
        self.theirs += len(theirs)

    @property
    def f1(self) -> float:
        return 2 * self.both / (self.ours + self.theirs) if self.ours + self.theirs else 1.0

    @property
    def missing(self) -> float:
        """The part of their words that is not among ours."""
        return 1 - self.both / self.theirs if self.theirs else 0.0
