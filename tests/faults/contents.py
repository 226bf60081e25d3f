"""Documents that clients send: every line says whose it is, of which generation, and how many lines there are."""

import hashlib
import io
import random
import re
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from fpdf import FPDF
from pypdf import PdfWriter

CANARIES = {"text": "quernstone7f3a", "name": "tamarisk7f3a", "key": "vellichor7f3a", "attribute": "isinglass7f3a"}
"""Words of the documents' text, names and attributes and of the idempotency keys, which no log may ever show."""

LINE = re.compile(r"(zq\d+x\d+) generation (\d+) line (\d+) of (\d+) ")

_WORDS = [
    "heron",
    "weir",
    "dusk",
    "granary",
    "lantern",
    "quarry",
    "ferry",
    "almanac",
    "orchard",
    "cobalt",
    "sluice",
    "barley",
]
_REAL = Path(__file__).parents[1] / "data" / "korean-text-with-tables.pdf"


@dataclass(frozen=True)
class Content:
    """The bytes of one upload, and what must become of them."""

    marker: str
    """A word that stands in every line of the document, and in no other one."""
    generation: int
    kind: str
    suffix: str
    body: bytes = field(repr=False)
    codes: frozenset[str] = frozenset()
    """With which of these it must fail; a healthy one has none."""
    lines: int | None = None
    """How many lines it has; None where it has none of ours."""

    @property
    def name(self) -> str:
        return f"{self.marker}-{CANARIES['name']}{self.suffix}"

    @property
    def is_healthy(self) -> bool:
        return not self.codes

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


class Writer:
    """Writes documents, each with a marker of its own; the same seed writes the same ones."""

    def __init__(self, number: int, rng: random.Random) -> None:
        self._number = number
        self._rng = rng
        self._count = 0

    def new(self) -> Content:
        """The first generation of a new document, of any kind."""
        self._count += 1
        kinds = {"text": 58, "large": 12, "pdf": 12, "real pdf": 3, "corrupt": 4, "unsupported": 4, "encrypted": 4}
        kind = self._rng.choices(list(kinds), list(kinds.values()))[0]
        return self._write(kind, f"zq{self._number}x{self._count}", 1)

    def next_of(self, content: Content) -> Content:
        """The next generation of a document, which is sometimes one that cannot be read."""
        kind = self._rng.choices(["text", "large", "pdf", "corrupt"], [60, 15, 15, 10])[0]
        return self._write(kind, content.marker, content.generation + 1)

    def _write(self, kind: str, marker: str, generation: int) -> Content:
        if kind in ("text", "large"):
            count = self._rng.randint(60, 160) if kind == "large" else self._rng.randint(1, 20)
            text = "\n\n".join(self._lines(marker, generation, count))
            return Content(marker, generation, kind, ".txt", text.encode(), lines=count)
        if kind == "pdf":
            pages, each = self._rng.randint(1, 6), self._rng.randint(1, 8)
            body = _pdf_of(self._lines(marker, generation, pages * each), each)
            return Content(marker, generation, kind, ".pdf", body, lines=pages * each)
        suffix = b"\n%%%s generation %d\n" % (marker.encode(), generation)
        if kind == "real pdf":
            return Content(marker, generation, kind, ".pdf", _REAL.read_bytes() + suffix)
        if kind == "corrupt":
            body = b"%PDF-1.7\n" + self._rng.randbytes(2000) + suffix
            return Content(marker, generation, kind, ".pdf", body, frozenset({"corrupt"}))
        if kind == "encrypted":
            return Content(marker, generation, kind, ".pdf", locked_pdf() + suffix, frozenset({"encrypted"}))
        body = b"\x89PNG\r\n\x1a\n" + self._rng.randbytes(500) + suffix
        return Content(marker, generation, kind, ".png", body, frozenset({"ocr_required"}))

    def _lines(self, marker: str, generation: int, count: int) -> list[str]:
        return [
            f"{marker} generation {generation} line {number} of {count} {CANARIES['text']} "
            f"{' '.join(self._rng.choices(_WORDS, k=4))}."
            for number in range(1, count + 1)
        ]


def generations_in(text: str) -> set[tuple[str, int]]:
    """Which marker and generation the lines of *text* name; empty where no line is whole."""
    return {(found[0], int(found[1])) for found in LINE.findall(text)}


def numbers_in(text: str) -> set[int]:
    """Which lines *text* holds."""
    return {int(found[2]) for found in LINE.findall(text)}


def _pdf_of(lines: list[str], each: int) -> bytes:
    document = FPDF()
    document.set_font("helvetica", size=8)
    for number, line in enumerate(lines):
        if number % each == 0:
            document.add_page()
        document.cell(text=line, new_x="LMARGIN", new_y="NEXT")
    return bytes(document.output())


@cache
def locked_pdf() -> bytes:
    """A PDF that nobody reads without its password."""
    writer = PdfWriter()
    writer.add_blank_page(200, 200)
    writer.encrypt(user_password="secret", owner_password="owner", algorithm="AES-256")
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()
