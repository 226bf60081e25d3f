"""Counts letters in the translations of installed programs, for `sluice_extractor/parsing/letter_costs.py`.

Prints that module. Message catalogues (`*.mo`) are texts in some eighty languages that every Debian system has; only
sums are kept of them. Run it where many packages with translations are installed:

    .venv/bin/python benchmarks/garbling/count_letters.py > letter_costs.py
"""

import gettext
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from sluice_extractor.parsing.garbling import SYMBOLS, is_syllable, symbols_of

ROOT = Path("/usr/share/locale")
MAJOR = {"en": 40.0, "de": 12.0, "fr": 12.0, "es": 12.0, "it": 8.0, "pt": 8.0, "nl": 8.0}
"""Languages that most PDFs are in count as much as so many others."""
MOST_MESSAGES = 5_000
"""Of each language."""
MOST_COST = 35
FEWEST_LETTERS = 2_000
LEAST = 1e-6
_MARKUP = re.compile(r"%[-+#0-9.]*[a-zA-Z]+|<[^>]*>|&\w+;|\{[^}]*\}|[_&~](?=\w)|\\n|https?:\S+|--?\S+|/\S+")

HEAD = '''"""How surprising letters are, in half bits: made by `benchmarks/garbling/count_letters.py`, never by hand."""

'''


def texts() -> Iterator[tuple[str, str]]:
    """Language and message, each once."""
    seen: dict[str, set[str]] = defaultdict(set)
    for path in sorted(ROOT.glob("*/LC_MESSAGES/*.mo")):
        language = re.split("[_@]", path.parts[-3])[0]
        if len(seen[language]) >= MOST_MESSAGES:
            continue
        for source, message in _catalogue(path):
            for tongue, text in (("en", source), (language, message)):
                if text not in seen[tongue] and len(seen[tongue]) < MOST_MESSAGES:
                    seen[tongue].add(text)
                    yield tongue, _MARKUP.sub(" ", text)


def _catalogue(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open("rb") as stream:
            found = gettext.GNUTranslations(stream)._catalog  # noqa: SLF001 - there is no other way to all
    except (OSError, ValueError, IndexError):  # some are damaged
        return
    for key, message in found.items():
        source = key[0] if isinstance(key, tuple) else key
        if source and isinstance(message, str):
            yield source, message


def main() -> None:
    """Count, and print the module."""
    pairs: dict[str, Counter[str]] = defaultdict(Counter)
    syllables: Counter[str] = Counter()
    for language, text in texts():
        symbols = f" {symbols_of(text)} "
        pairs[language].update(map("".join, pairwise(symbols)))
        if language == "ko":
            syllables.update(filter(is_syllable, text))
    print(HEAD, end="")
    _print_rows("LATIN_COSTS", _latin_rows(pairs))
    print()
    _print_groups(syllables)
    print(f"{len(pairs)} languages, {syllables.total()} syllables", file=sys.stderr)


def _latin_rows(pairs: dict[str, Counter[str]]) -> list[str]:
    """For each symbol the cost of each that may follow, as digits and letters."""
    joint: Counter[str] = Counter()
    for language, counts in pairs.items():
        letters = sum(count for pair, count in counts.items() if pair[0].isalpha() and pair[0] != "X")
        if letters < FEWEST_LETTERS or counts["XX"] > letters:  # too little, or another script
            continue
        weight = MAJOR.get(language, 1.0)
        for pair, count in counts.items():
            joint[pair] += weight * count / letters
    rows = []
    for first in SYMBOLS:
        total = sum(joint[first + second] for second in SYMBOLS)
        rows.append("".join(_digit((joint[first + second] + LEAST) / (total + LEAST * 31)) for second in SYMBOLS))
    return rows


def _digit(share: float) -> str:
    return "0123456789abcdefghijklmnopqrstuvwxyz"[min(round(-2 * math.log2(share)), MOST_COST)]


def _print_rows(name: str, rows: list[str]) -> None:
    print(f"{name} = (")
    for row in rows:
        print(f'    "{row}"')
    print(")")


def _print_groups(syllables: Counter[str]) -> None:
    groups: dict[int, list[str]] = defaultdict(list)
    total = syllables.total()
    for syllable, count in syllables.most_common(1_000):
        groups[round(-2 * math.log2(count / total))].append(syllable)
    print("SYLLABLES_BY_COST = {")
    for cost, members in sorted(groups.items()):
        lines = ["".join(sorted(members))[at : at + 50] for at in range(0, len(members), 50)]
        if len(lines) == 1:
            print(f'    {cost}: "{lines[0]}",')
        else:
            print(f"    {cost}: (")
            for line in lines:
                print(f'        "{line}"')
            print("    ),")
    print("}")


if __name__ == "__main__":
    main()
