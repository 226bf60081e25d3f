"""How well pages are recognised: error rates of printed Korean and English, as clean and as bad scans.

Needs Tesseract with the languages, and Debian's fonts-nanum and fonts-dejavu-core. Pages are made of this
repository's own prose, so that everybody measures the same.
"""

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from sluice_common.settings import OcrSettings
from sluice_extractor.parsing.media import Picture
from sluice_extractor.recognition.on_pages import Recognition
from sluice_extractor.recognition.opening import open_recognition
from sluice_extractor.recognition.wordings import text_lines
from sluice_extractor.sandbox import ReadLimits, Sandbox

ROOT = Path(__file__).parents[1]
LIMITS = ReadLimits(1 << 30, 60, 5, 120, 5_000, 50_000_000)
WIDTH_INCHES, HEIGHT_INCHES, MARGIN_INCHES = 8.27, 11.69, 0.9
GAP_INCHES = 0.4
LEAST_CHARS = 20
HANGUL, LATIN = re.compile("[가-힣]"), re.compile("[A-Za-z]")
MARKUP = re.compile(r"\[([^\]]*)\]\([^)]*\)|[`*_#|>]|^\s*- ")
KOREAN_FONT = "/usr/share/fonts/truetype/nanum/NanumMyeongjo.ttf"
ENGLISH_FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf"

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Script:
    """A text to print, and what it is printed with."""

    name: str
    lines: tuple[str, ...]
    font: str


@dataclass(frozen=True)
class Scan:
    """A way in which pages come in."""

    name: str
    dpi: int = 300
    columns: int = 1
    spoil: Callable[[Image.Image], Image.Image] = lambda page: page


def skewed(page: Image.Image) -> Image.Image:
    """1.5 degrees askew, a little blurred, with the noise of a scanner."""
    turned = page.rotate(-1.5, fillcolor=255, resample=Image.Resampling.BICUBIC)
    noise = np.random.default_rng(1).normal(0, 14, (turned.height, turned.width))
    shades = np.asarray(turned.filter(ImageFilter.GaussianBlur(1)), np.float32) * 0.85 + 20 + noise
    return Image.fromarray(np.clip(shades, 0, 255).astype(np.uint8))


def negative(page: Image.Image) -> Image.Image:
    return Image.fromarray(255 - np.asarray(page))


SCANS = (
    Scan("clean, 300 dpi"),
    Scan("clean, 200 dpi", dpi=200),
    Scan("clean, 150 dpi", dpi=150),
    Scan("clean, 100 dpi", dpi=100),
    Scan("skewed and noisy, 300 dpi", spoil=skewed),
    Scan("white on black, 300 dpi", spoil=negative),
    Scan("two columns, 300 dpi", columns=2),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", nargs="+", default=["kor+eng"], help="as SLUICE_OCR__LANGUAGES has them")
    parser.add_argument("--sentences", type=int, default=40, help="most of one page")
    options = parser.parse_args()
    scripts = tuple(printed(options.sentences))
    for languages in options.languages:
        with ExitStack() as stack:
            settings = OcrSettings(enabled="on", languages=languages, wall_clock_s=600)
            recognition = open_recognition(settings, stack.enter_context(Sandbox(LIMITS)), stack)
            show(languages, scripts, recognition)
    return 0


def show(languages: str, scripts: Sequence[Script], recognition: Recognition) -> None:
    """One table: the part of characters that is wrong, white space aside, and the seconds for a page."""
    print(f"\nSLUICE_OCR__LANGUAGES={languages}\n")
    print("| Page | " + " | ".join(f"{script.name}" for script in scripts) + " | seconds a page |")
    print("|---|" + "---|" * (len(scripts) + 1))
    for scan in SCANS:
        rates, started = [], time.monotonic()
        for script in scripts:
            page, said = page_of(script, scan)
            found = text_in(recognition, picture_of(scan.spoil(page), scan.dpi))
            rates.append(error_rate(said, found))
        seconds = (time.monotonic() - started) / len(scripts)
        print(f"| {scan.name} | " + " | ".join(f"{100 * rate:.1f} %" for rate in rates) + f" | {seconds:.1f} |")
        sys.stdout.flush()


def printed(most: int) -> Iterator[Script]:
    korean = prose_of("README.ko.md")
    yield Script("Korean", tuple(line for line in korean if is_mostly(HANGUL, line))[:most], KOREAN_FONT)
    yield Script("English", prose_of("docs/reliability.md")[:most], ENGLISH_FONT)
    yield Script(
        "both", tuple(line for line in korean if LATIN.search(line) and HANGUL.search(line))[:most], KOREAN_FONT
    )


def prose_of(page: str) -> tuple[str, ...]:
    """The sentences of a page without its marks and its samples."""
    text = re.sub(r"(?ms)^```.*?^```", "", (ROOT / page).read_text("utf-8"))
    lines = (MARKUP.sub(r"\1", line).strip() for line in text.splitlines())
    return tuple(line for line in lines if len(line) > LEAST_CHARS and "---" not in line and "<!--" not in line)


def is_mostly(letters: re.Pattern[str], line: str) -> bool:
    return len(letters.findall(line)) > 0.6 * len(line.replace(" ", ""))


def page_of(script: Script, scan: Scan) -> tuple[Image.Image, str]:
    """The printed page, and what it says."""
    dpi = scan.dpi
    width, height, margin = round(WIDTH_INCHES * dpi), round(HEIGHT_INCHES * dpi), round(MARGIN_INCHES * dpi)
    page = Image.new("L", (width, height), 255)
    draw, font = ImageDraw.Draw(page), ImageFont.truetype(script.font, round(10.5 * dpi / 72))
    gap = round(GAP_INCHES * dpi)
    column = (width - 2 * margin - gap * (scan.columns - 1)) // scan.columns
    lines = [part for line in script.lines for part in wrapped(line, font, column)]
    step, said = round(17 * dpi / 72), []
    for at in range(scan.columns):
        for y in range(margin, height - margin, step):
            if lines:
                said.append(lines.pop(0))
                draw.text((margin + at * (column + gap), y), said[-1], font=font, fill=0)
    return page, "\n".join(said)


def wrapped(line: str, font: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    part = ""
    for word in line.split():
        longer = f"{part} {word}".strip()
        if part and font.getlength(longer) > width:
            yield part
            longer = word
        part = longer
    yield part


def picture_of(page: Image.Image, dpi: int) -> Picture:
    return Picture(page.tobytes(), page.width, page.height, 1, at=0, is_whole_page=True, dpi=float(dpi))


def text_in(recognition: Recognition, picture: Picture) -> str:
    assert recognition.recogniser is not None
    return "\n".join(line.text for line in text_lines(recognition.recogniser.recognise(picture, lambda: True)))


def error_rate(said: str, found: str) -> float:
    """Characters that must be changed, added or removed, as a part of those that were printed."""
    said, found = "".join(said.split()), "".join(found.split())
    return distance(np.array([*map(ord, said)]), np.array([*map(ord, found)])) / len(said)


def distance(one: NDArray[np.int_], other: NDArray[np.int_]) -> int:
    """Levenshtein's, row by row."""
    steps = np.arange(len(other) + 1)
    row = steps.copy()
    for at, char in enumerate(one, start=1):
        changed = np.minimum(row[1:] + 1, row[:-1] + (other != char))
        row = np.minimum.accumulate(np.concatenate(([at], changed)) - steps) + steps
    return int(row[-1])


if __name__ == "__main__":
    sys.exit(main())
