"""How wrong garbled pages are before and after they are recognised: `python garbled_recognised.py DAMAGED`.

DAMAGED is what `garbling/damaged.py` writes. Needs Tesseract with the languages. Each page goes the way of every
document: it is read, found garbled, drawn and recognised; white space aside, its characters are held against what was
printed.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean

from recognition import LIMITS, error_rate

from sluice_common.settings import OcrSettings
from sluice_extractor.enriching import Findings
from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.original import Original
from sluice_extractor.recognition.on_pages import Recognition
from sluice_extractor.recognition.opening import open_recognition
from sluice_extractor.sandbox import Sandbox


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("damaged", type=Path)
    parser.add_argument("--pages", type=int, default=4, help="of each kind of damage in each language")
    options = parser.parse_args()
    before, after = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    print("| Damage | wrong before | wrong after |\n|---|---|---|")
    with ExitStack() as stack:
        settings = OcrSettings(enabled="on", wall_clock_s=600)
        recognition = open_recognition(settings, stack.enter_context(Sandbox(LIMITS)), stack)
        for kind, path in damaged_pages(options.damaged, options.pages):
            said = path.with_suffix(".txt").read_text("utf-8")
            before[kind].append(error_rate(said, text_of(path)))
            after[kind].append(error_rate(said, recognised_text_of(path, recognition)))
            if len(after[kind]) == options.pages:
                print(f"| {kind} | {fmean(before[kind]):.1%} | {fmean(after[kind]):.1%} |", flush=True)
    rates = [fmean(rate for rates in side.values() for rate in rates) for side in (before, after)]
    print(f"| all {sum(map(len, after.values()))} | {rates[0]:.1%} | {rates[1]:.1%} |")
    return 0


def damaged_pages(folder: Path, most: int) -> Iterator[tuple[str, Path]]:
    """The first pages of each kind."""
    for path in sorted(folder.glob("*.pdf")):
        kind, _, number = path.stem.rpartition("-")
        if int(number) < most and not kind.endswith("good"):
            yield kind, path


def text_of(path: Path) -> str:
    return "\n".join(page.text for page in open_document(Original(path.read_bytes(), path.name)).pages)


def recognised_text_of(path: Path, recognition: Recognition) -> str:
    original = Original(path.read_bytes(), path.name, can_recognise=True)
    return "\n".join(page.text for page in recognition.enriched(iter(open_document(original).pages), Findings()))


if __name__ == "__main__":
    sys.exit(main())
