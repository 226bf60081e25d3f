"""The boxes of a chunk contain its text: compared with where PDFium says that each character stands."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.extractor import hostile_files as hostile
from unit.extractor.char_boxes import PlacedChar, chars_of

from sluice_common.errors import PipelineError
from sluice_extractor.chunking import Chunk, Chunker
from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.original import Original
from sluice_extractor.parsing.page import Page

KOREAN = Path(__file__).parents[2] / "data" / "korean-text-with-tables.pdf"
PHRASE_CHARS = (12, 60)
TOLERANCE_PT = 1.0
WANTED_PHRASES = 200
MOST_PAGES = 12
"""Of one document."""


def turned(degrees: int) -> bytes:
    lines = b"BT /F 14 Tf 80 600 Td (The lichen grows on stone) Tj 0 -20 Td (and on the bark of old trees.) Tj ET"
    return hostile.one_page(hostile.stream(lines), page=b"/Rotate %d" % degrees)


def cropped() -> bytes:
    lines = b"BT /F 14 Tf 180 600 Td (Only a part of the sheet is shown) Tj 0 -20 Td (and this is in it.) Tj ET"
    return hostile.one_page(hostile.stream(lines), page=b"/CropBox [150 400 550 700]")


def columns() -> bytes:
    left = b"(left one) Tj 0 -16 Td (left two) Tj 0 -16 Td (left three) Tj"
    right = b"300 32 Td (right one) Tj 0 -16 Td (right two) Tj 0 -16 Td (right three) Tj"
    return hostile.one_page(hostile.stream(b"BT /F 12 Tf 50 700 Td " + left + b" " + right + b" ET"))


def hyphenated() -> bytes:
    lines = b"(The exam-) Tj 0 -16 Td (ple goes on over the end of its line.) Tj"
    return hostile.one_page(hostile.stream(b"BT /F 12 Tf 50 700 Td " + lines + b" ET"))


def ends_in_its_text(shown: bytes) -> bytes:
    return hostile.one_page(hostile.stream(b"BT /F 12 Tf 50 700 Td " + shown + b" 0 -20 Td (below them) Tj ET"))


def more_pieces_than_are_fetched_at_once() -> bytes:
    """Nine thousand words, each a piece of its own."""
    rows = b" ".join(
        b"BT /F 3 Tf 20 %d Td " % (780 - 4 * row) + b"(word ) Tj 8 0 Td " * 60 + b"ET" for row in range(150)
    )
    return hostile.one_page(hostile.stream(rows))


SAMPLES = {
    "upright": lambda: turned(0),
    "turned once": lambda: turned(90),
    "upside down": lambda: turned(180),
    "turned thrice": lambda: turned(270),
    "cropped": cropped,
    "columns": columns,
    "hyphenated": hyphenated,
    "an end of a line inside a piece of text": lambda: ends_in_its_text(rb"(One line\r\nand another) Tj"),
    "an end of a line as a piece of its own": lambda: ends_in_its_text(rb"(One line) Tj (\r\n) Tj (and another) Tj"),
    "nine thousand pieces": more_pieces_than_are_fetched_at_once,
    "korean tables": KOREAN.read_bytes,
}


def pages_of(content: bytes) -> list[Page]:
    return list(open_document(Original(content, "sample.pdf")).pages)


def chunks_of(pages: list[Page], max_chars: int = 300) -> list[Chunk]:
    chunker = Chunker(max_chars, max_chars // 5)
    return [chunk for page in pages for chunk in chunker.feed(page)] + chunker.finish()


def phrases_of(pages: list[Page], chance: random.Random, per_page: int) -> Iterator[tuple[Page, int, int]]:
    """Pages with the beginning and the end of a stretch of their text."""
    for page in pages:
        text = page.text.rstrip()
        if len(text) >= PHRASE_CHARS[0]:
            for _ in range(per_page):
                length = chance.randint(*PHRASE_CHARS)
                start = chance.randrange(max(len(text) - length, 1))
                yield page, start, min(start + length, len(text))


def placed_chars(page: Page, chars: list[PlacedChar], start: int, end: int) -> list[PlacedChar] | None:
    """PDFium's characters of that stretch; None where its text and the reader's are not the same up to there."""
    visible = [at for at, char in enumerate(page.text) if not char.isspace() and char.isprintable()]
    upto = [at for at in visible if at < end]
    if len(chars) < len(upto) or any(chars[no].char != page.text[at] for no, at in enumerate(upto)):
        return None
    return [chars[no] for no, at in enumerate(upto) if at >= start]


def is_inside(one: PlacedChar, rects) -> bool:
    return any(
        x0 - TOLERANCE_PT <= one.x0
        and one.x1 <= x1 + TOLERANCE_PT
        and y0 - TOLERANCE_PT <= one.y0
        and one.y1 <= y1 + TOLERANCE_PT
        for x0, y0, x1, y1 in rects
    )


def outside(pages: list[Page], chunks: list[Chunk], chars: list[list[PlacedChar]], phrase) -> list[str] | None:
    """What of a phrase stands outside of the boxes of a chunk with all of it; None where it cannot be compared."""
    page, start, end = phrase
    placed = placed_chars(page, chars[page.number - 1], start, end)
    begins = sum(len(one.text) + 2 for one in pages[: pages.index(page)])
    if not placed:
        return None
    owners = [one for one in chunks if one.char_start <= begins + start and begins + end <= one.char_end]
    if not owners:  # it is cut between two chunks
        return None
    rects = [rect for boxes in owners[0].boxes if boxes.page == page.number for rect in boxes.rects]
    return [one.char for one in placed if not is_inside(one, rects)]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_phrase_stands_inside_the_boxes_of_its_chunk(name):
    content = SAMPLES[name]()
    pages, chars, chance = pages_of(content), chars_of(content), random.Random(name)
    chunks = chunks_of(pages)

    seen = [outside(pages, chunks, chars, phrase) for phrase in phrases_of(pages, chance, 12)]

    compared = [one for one in seen if one is not None]
    assert len(compared) >= 3
    assert [one for one in compared if one] == []
    assert all(chunk.boxes for chunk in chunks)


def test_a_box_that_is_elsewhere_is_noticed():
    content = turned(90)
    pages, chars = pages_of(content), chars_of(content)
    chunks = chunks_of([Page(1, pages[0].text, pages_of(turned(0))[0].spans)])

    assert outside(pages, chunks, chars, (pages[0], 0, 20))


def test_what_notes_and_fields_say_stands_where_they_are():
    (page,) = pages_of(hostile.with_form_and_note())

    placed = {page.text[span.start : span.end]: (span.x0, span.y0, span.x1, span.y1) for span in page.spans}
    assert placed["Filled in value"] == (50, 180, 300, 200)
    assert placed["A sticky note"] == (50, 280, 70, 300)


@pytest.mark.corpus
def test_ninety_nine_of_a_hundred_phrases_of_real_pdfs_stand_inside_their_boxes(corpus):
    chance = random.Random(1)
    seen: list[list[str]] = []
    without: list[str] = []
    for path in sorted(corpus.rglob("*.pdf")):
        content = path.read_bytes()
        try:
            document = open_document(Original(content, path.name))
            pages = [page for _, page in zip(range(MOST_PAGES), document.pages, strict=False)]
        except PipelineError:
            continue
        if document.reader != "pdfium" or any(remark.code == "second_reader" for remark in document.remarks):
            continue  # pypdf gives no places
        chunks = chunks_of(pages)
        without += [f"{path.name}: {chunk.text[:40]!r}" for chunk in chunks if not chunk.boxes]
        chars = chars_of(content, MOST_PAGES)
        found = (outside(pages, chunks, chars, phrase) for phrase in phrases_of(pages, chance, 3))
        compared = [one for one in found if one is not None][:6]
        seen += compared

    assert len(seen) >= WANTED_PHRASES
    assert sum(not one for one in seen) >= 0.99 * len(seen), f"{sum(map(bool, seen))} of {len(seen)} stand outside"
    assert without == [], without
