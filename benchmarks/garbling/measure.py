"""Measures how well garbled pages are noticed: `make bench-garbling`, with good documents in `SLUICE_CORPUS`.

Damaged pages come from `damaged.py`. Recall is the part of them that is noticed, precision the part of what is noticed
that is damaged; pages of the corpus count as good, but for those that were looked at and are damaged indeed.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sluice_common.errors import PipelineError
from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.garbling import is_garbled
from sluice_extractor.parsing.original import Original
from sluice_extractor.parsing.page import Page

TRULY_DAMAGED = {("skipped_1page.pdf", 2)}
"""Its figure is set in fonts whose ToUnicode is wrong, which other readers show, too."""


def pages_of(folder: Path) -> Iterator[tuple[Path, Page]]:
    for path in sorted(folder.rglob("*.pdf")):
        try:
            for page in open_document(Original(path.read_bytes(), path.name)).pages:
                yield path, page
        except PipelineError:
            continue


def main() -> None:
    """Print recall for each kind of damage, and every good page that was flagged."""
    damaged = Path(sys.argv[1])
    corpus = Path(os.environ.get("SLUICE_CORPUS") or sys.exit("SLUICE_CORPUS names no folder of real documents"))
    noticed, made = Counter[str](), Counter[str]()
    for path, page in pages_of(damaged):
        kind = path.stem.rpartition("-")[0]
        made[kind] += 1
        noticed[kind] += page.is_garbled
    for kind in sorted(made):
        print(f"{kind:12} {noticed[kind]:3} of {made[kind]:3} noticed")
    good = [(path.name, page) for path, page in pages_of(corpus) if page.text.strip()]
    flagged = [(name, page.number) for name, page in good if page.is_garbled]
    false = [one for one in flagged if one not in TRULY_DAMAGED]
    for name, number in flagged:
        print(f"flagged: {name}, page {number}")
    bad = sum(count for kind, count in made.items() if not kind.endswith("good"))
    found = sum(count for kind, count in noticed.items() if not kind.endswith("good"))
    false_made = sum(noticed.values()) - found
    print(f"recall {found / bad:.3f}, precision {found / (found + false_made + len(false)):.3f}")
    print(f"{len(good)} pages of the corpus, {len(false)} of them flagged and good")
    started = time.process_time()
    for _, page in good:
        is_garbled(page.text)
    print(f"{(time.process_time() - started) / len(good) * 1000:.2f} ms a page")


if __name__ == "__main__":
    main()
