import unicodedata
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_extractor.chunking import Chunk, Chunker, PageBoxes
from sluice_extractor.parsing.page import Heading, Page, Place, TextSpan

WORDS = st.text(alphabet="ab가나다 .\n。e\u0301한글!?\u200d👨👩", max_size=400)
PAGES = st.lists(WORDS, max_size=8)
SIZES = st.tuples(st.integers(1, 60), st.integers(0, 40))


def chunks_of(pages, max_chars=100, overlap_chars=20) -> list[Chunk]:
    chunker = Chunker(max_chars, overlap_chars)
    chunks = [chunk for page in pages for chunk in chunker.feed(page)]
    return chunks + chunker.finish()


def numbered(texts) -> list[Page]:
    return [Page(number, text) for number, text in enumerate(texts, 1)]


@given(PAGES, SIZES)
def test_a_chunk_is_exactly_its_span_of_the_document(texts, sizes):
    chunks = chunks_of(numbered(texts), *sizes)

    document = "\n\n".join(texts)
    assert all(chunk.text == document[chunk.char_start : chunk.char_end] for chunk in chunks)


@given(PAGES, SIZES)
def test_every_character_that_is_no_space_is_in_a_chunk(texts, sizes):
    chunks = chunks_of(numbered(texts), *sizes)

    document = "\n\n".join(texts)
    covered = {at for chunk in chunks for at in range(chunk.char_start, chunk.char_end)}
    assert all(char.isspace() or at in covered for at, char in enumerate(document))


@given(PAGES, SIZES)
def test_chunks_keep_the_limit_of_length_and_are_never_blank(texts, sizes):
    chunks = chunks_of(numbered(texts), *sizes)

    assert all(0 < len(chunk.text.strip()) <= len(chunk.text) <= sizes[0] for chunk in chunks)


@given(PAGES, SIZES)
@example(["??。", "???。???"], (8, 4))
def test_chunks_come_in_order_and_share_at_most_the_overlap(texts, sizes):
    chunks = chunks_of(numbered(texts), *sizes)

    for before, after in pairwise(chunks):
        assert before.char_start < after.char_start
        assert before.char_end < after.char_end
        assert before.char_end - after.char_start <= sizes[1]


@given(PAGES, SIZES)
def test_pages_fed_one_by_one_make_the_same_chunks_as_the_whole_text(texts, sizes):
    by_page = chunks_of(numbered(texts), *sizes)
    at_once = chunks_of([Page(None, "\n\n".join(texts))], *sizes)

    assert [(chunk.char_start, chunk.text) for chunk in by_page] == [
        (chunk.char_start, chunk.text) for chunk in at_once
    ]


@given(WORDS, st.integers(1, 50), SIZES)
def test_parts_cut_anywhere_make_the_same_chunks_as_the_whole_text(text, length, sizes):
    parts = [Page(None, text[start : start + length]) for start in range(0, len(text), length)]

    assert [(chunk.char_start, chunk.text) for chunk in chunks_of(parts, *sizes)] == [
        (chunk.char_start, chunk.text) for chunk in chunks_of([Page(None, text)], *sizes)
    ]


@given(PAGES)
def test_the_pages_of_a_chunk_are_those_its_text_touches(texts):
    chunks = chunks_of(numbered(texts), 30, 5)

    starts = [len("\n\n".join(texts[:at])) + (2 if at else 0) for at in range(len(texts))]
    for chunk in chunks:
        touched = [
            number
            for number, (start, text) in enumerate(zip(starts, texts, strict=True), 1)
            if start < chunk.char_end and start + len(text) > chunk.char_start
        ]
        assert (chunk.page_start, chunk.page_end) == (touched[0], touched[-1])


def test_paragraphs_are_kept_whole_where_they_fit():
    chunks = chunks_of([Page(None, "First paragraph here.\n\nSecond paragraph here.\n\nThird one.")], 50, 0)

    assert [chunk.text for chunk in chunks] == ["First paragraph here.\n\nSecond paragraph here.", "Third one."]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("The contract begins. It ends on Friday. Nobody knows why it does", "The contract begins. It ends on Friday."),
        (
            "계약은 오늘부터 효력이 있다. 을은 이를 지켜야 한다. 갑도 마찬가지로 지켜야만 하고",
            "계약은 오늘부터 효력이 있다. 을은 이를 지켜야 한다.",
        ),
        (
            "안녕하세요. 오늘은 날씨가 정말 좋네요. 내일도 좋았으면 하는 바람이에요 정말로요",
            "안녕하세요. 오늘은 날씨가 정말 좋네요.",
        ),
        (
            "契約は今日から有効です。両者はこれを守ります。違反した場合には直ちに解除することができる",
            "契約は今日から有効です。両者はこれを守ります。",
        ),
    ],
)
def test_a_long_paragraph_is_cut_behind_a_sentence(text, first):
    chunks = chunks_of([Page(None, text)], len(first) + 5, 0)

    assert chunks[0].text == first


def test_a_word_is_cut_only_when_it_is_longer_than_a_chunk():
    chunks = chunks_of([Page(None, "alpha beta gamma delta " + "x" * 40)], 12, 0)

    assert [chunk.text for chunk in chunks][:4] == ["alpha beta", "gamma delta", "x" * 12, "x" * 12]


def test_the_overlap_begins_at_a_word():
    chunks = chunks_of([Page(None, "one two three four five six seven eight nine ten")], 20, 9)

    assert all(" " + chunk.text.split()[0] in " one two three four five six seven eight nine ten" for chunk in chunks)
    assert any(after.char_start < before.char_end for before, after in pairwise(chunks))


@pytest.mark.parametrize("cluster", ["e\u0301\u0302", "\u1112\u1161\u11ab", "👨\u200d👩\u200d👧", "👍🏽", "か\u3099"])
def test_a_hard_cut_never_splits_a_character_from_what_belongs_to_it(cluster):
    chunks = chunks_of([Page(None, cluster * 50)], 16, 0)

    assert all(len(chunk.text) % len(cluster) == 0 for chunk in chunks)


def test_the_section_is_the_path_of_headings_at_the_start_of_the_chunk():
    pages = [
        Page(1, "Intro text\n", headings=(Heading(0, 1, "Guide"),)),
        Page(2, "Set up " * 5, headings=(Heading(0, 2, "Install"),)),
        Page(3, "Use it " * 5, headings=(Heading(0, 2, "Use"),)),
    ]

    chunks = chunks_of(pages, 40, 0)

    assert [chunk.section for chunk in chunks] == ["Guide", "Guide > Install", "Guide > Use"]


def test_no_chunk_has_text_of_two_slides_and_none_repeats_the_slide_before():
    texts = ["one two", "three four five six seven eight nine", "", "ten"]
    pages = [Page(number, text, place=Place(slide=number)) for number, text in enumerate(texts, 1)]

    chunks = chunks_of(pages, 20, 8)

    assert [chunk.place.slide for chunk in chunks] == [1, 2, 2, 4]
    assert all(chunk.page_start == chunk.page_end == chunk.place.slide for chunk in chunks)
    assert all(chunk.text in texts[chunk.place.slide - 1] for chunk in chunks)


def test_the_headings_of_a_slide_do_not_reach_into_the_next():
    titled = Page(1, "Title\nbody", headings=(Heading(0, 1, "Title"),), place=Place(slide=1))

    chunks = chunks_of([titled, Page(2, "no title", place=Place(slide=2))])

    assert [chunk.section for chunk in chunks] == ["Title", None]


def test_parts_of_one_sheet_are_cut_as_one_text_and_another_sheet_begins_a_chunk():
    first, second = Place(sheet="first"), Place(sheet="second")

    chunks = chunks_of([Page(None, "a b ", place=first), Page(None, "c d", place=first), Page(None, "e", place=second)])

    assert [(chunk.text, chunk.place) for chunk in chunks] == [("a b c d", first), ("e", second)]
    assert [chunk.char_start for chunk in chunks] == [0, 7]


def test_the_times_of_a_chunk_are_those_of_its_first_and_last_page():
    spoken = [Page(None, f"line {at}\n", place=Place(None, None, at, at + 1.5)) for at in range(6)]

    chunks = chunks_of(spoken, 15, 0)

    assert [(chunk.place.time_start, chunk.place.time_end) for chunk in chunks] == [(0, 2.5), (2, 4.5), (4, 6.5)]


def test_a_text_before_any_heading_has_no_section():
    assert chunks_of([Page(None, "hello", headings=())])[0].section is None


def test_boxes_are_the_lines_that_the_chunk_covers_on_each_page():
    lines = (TextSpan(0, 5, 1, 2, 3, 4), TextSpan(6, 11, 1, 5, 3, 7))
    pages = [Page(1, "alpha\nbravo", lines), Page(2, "delta", (TextSpan(0, 5, 9, 9, 10, 10),))]

    first, second = chunks_of(pages, 8, 0)[:2]

    assert first.boxes == (PageBoxes(1, ((1, 2, 3, 4),)),)
    assert second.boxes == (PageBoxes(1, ((1, 5, 3, 7),)),)
    assert chunks_of(pages)[0].boxes[1].as_fields() == {"page": 2, "rects": [[9, 9, 10, 10]]}


def test_white_space_alone_makes_no_chunk():
    assert chunks_of([Page(1, " \n\t "), Page(2, "\n\n")]) == []


def test_while_pages_are_fed_only_the_last_text_is_kept():
    chunker = Chunker(1000, 200)
    for number in range(1, 300):
        chunker.feed(Page(number, "word " * 400))

    assert len(chunker._text) < 10_000
    assert len(chunker._pages) < 10


@pytest.mark.timeout(60)
def test_fifty_megabytes_in_one_line_are_cut_in_linear_time():
    """The suite's time limit fails it when it is not."""
    chunks = chunks_of([Page(None, "abcdefghij" * 5_000_000)], 1000, 200)

    assert chunks[-1].char_end == 50_000_000


def test_decomposed_and_composed_hangul_are_both_covered():
    text = unicodedata.normalize("NFD", "한국어 문장입니다. " * 20)

    assert "".join(chunk.text for chunk in chunks_of([Page(None, text)], 50, 0)).replace(" ", "") == text.replace(
        " ", ""
    )
