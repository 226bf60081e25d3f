"""Makes PDFs whose pages look right and whose fonts lie about their letters: `python damaged.py FOLDER`.

Each page is set twice over with real fonts, in English and in Korean, of this project's own pages: once as it should
be, and then with its fonts' ToUnicode table missing, shifted, shuffled, or leading to characters of private use, to
glyph numbers or to the replacement character. Runs in the environment of the other readers (`make build/readers/done`).
"""

import random
import re
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pikepdf
from fpdf import FPDF

ROOT = Path(__file__).parents[2]
FONTS = {
    "en": ("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf"),
    "ko": ("/usr/share/fonts/truetype/nanum/NanumGothic.ttf", "/usr/share/fonts/truetype/nanum/NanumMyeongjo.ttf"),
}
PAGES = 16
"""Of each language; every one is damaged in every way."""
PAGE_CHARS = {"en": 1_400, "ko": 700}
SHORT_LINE = 20
UTF16_DIGITS = 4
_PAIR = re.compile(rb"<([0-9A-Fa-f]{4})> <([0-9A-Fa-f]{4,8})>(?! <)")

Damage = Callable[[list[tuple[int, int]], random.Random], list[tuple[int, int]]]
"""Glyph codes with their characters, into the same codes with others."""


def _shuffled(pairs: list[tuple[int, int]], chance: random.Random) -> list[tuple[int, int]]:
    chars = [char for _, char in pairs]
    chance.shuffle(chars)
    return list(zip([code for code, _ in pairs], chars, strict=True))


DAMAGES: dict[str, Damage | None] = {
    "good": lambda pairs, _chance: pairs,
    "missing": None,
    "shifted": lambda pairs, chance: [
        (code, char + offset) for offset in (chance.randint(1, 40),) for code, char in pairs
    ],
    "shuffled": _shuffled,
    "private": lambda pairs, _chance: [(code, 0xE000 + number) for number, (code, _) in enumerate(pairs)],
    "glyphs": lambda pairs, _chance: [(code, 0xA0 + 7 * number) for number, (code, _) in enumerate(pairs)],
    "unknown": lambda pairs, _chance: [(code, 0xFFFD) for code, _ in pairs],
}


def texts_of(language: str) -> Iterator[str]:
    pattern = "**/*.ko.md" if language == "ko" else "docs/**/*.md"
    paths = sorted(path for path in ROOT.glob(pattern) if ".venv" not in path.parts and "build" not in path.parts)
    if language == "ko":
        paths += sorted((ROOT / "libs/local/src/sluice_local/demo_documents").glob("*.txt"))
        paths += sorted((ROOT / "libs/local/src/sluice_local/demo_documents").glob("*.md"))
    prose = "\n".join(_prose(path.read_text(encoding="utf-8"), language) for path in paths)
    size = PAGE_CHARS[language]
    for number in range(PAGES):
        start = number * size % max(len(prose) - size, 1)
        yield prose[start : start + size]


def _prose(text: str, language: str) -> str:
    text = re.sub(r"```.*?```|<[^>]*>|\]\([^)]*\)|[|#*`\[\]_]", " ", text, flags=re.DOTALL)
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
    is_korean = re.compile("[\uac00-\ud7a3]{2}")
    return "\n".join(line for line in lines if len(line) > SHORT_LINE and (language == "en" or is_korean.search(line)))


def set_page(text: str, font: str) -> bytes:
    document = FPDF(format="A4")
    document.add_page()
    document.add_font("F", fname=font)
    document.set_font("F", size=10)
    document.multi_cell(0, 5, text)
    return bytes(document.output())


def damage(content: bytes, change: Damage | None, chance: random.Random) -> bytes:
    with pikepdf.open(BytesIO(content)) as document:
        for entry in document.objects:
            if isinstance(entry, pikepdf.Dictionary) and "/ToUnicode" in entry:
                if change is None:
                    del entry["/ToUnicode"]
                else:
                    entry.ToUnicode = document.make_stream(_changed(entry.ToUnicode.read_bytes(), change, chance))
        out = BytesIO()
        document.save(out)
    return out.getvalue()


def _changed(table: bytes, change: Damage, chance: random.Random) -> bytes:
    found = _PAIR.findall(table)
    pairs = [(int(code, 16), int(char, 16)) for code, char in found if len(char) == UTF16_DIGITS]
    lines = [b"<%04X> <%04X>" % (code, min(char, 0xFFFF)) for code, char in change(pairs, chance)]
    blocks = [lines[at : at + 100] for at in range(0, len(lines), 100)]
    body = b"".join(b"%d beginbfchar\n%b\nendbfchar\n" % (len(block), b"\n".join(block)) for block in blocks)
    head, tail = table[: table.index(b"endcodespacerange")], table[table.rindex(b"endcmap") :]
    return head + b"endcodespacerange\n" + body + tail


def main() -> None:
    """Write `LANGUAGE-DAMAGE-NUMBER.pdf`, and the text that each page shows beside it."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for language in FONTS:
        for number, text in enumerate(texts_of(language)):
            page = set_page(text, FONTS[language][number % 2])
            for name, change in DAMAGES.items():
                stem = f"{language}-{name}-{number:02}"
                chance = random.Random(number)  # noqa: S311 - the same damages each time
                (folder / f"{stem}.pdf").write_bytes(damage(page, change, chance))
                (folder / f"{stem}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
