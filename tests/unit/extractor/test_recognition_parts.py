"""The parts around Tesseract: what is given to it, and what is believed of what it says."""

import numpy as np
import pytest
from unit.extractor.scans import picture

from sluice_extractor.parsing.media import Picture
from sluice_extractor.parsing.page import Heading, Page, TextSpan
from sluice_extractor.recognition.installed import models_for
from sluice_extractor.recognition.mixed_words import mixed_words_of, rests_only, with_word
from sluice_extractor.recognition.sheets import Box, lines_only, sheet_of
from sluice_extractor.recognition.wordings import Wording, is_better, page_as, page_with, wording_of
from sluice_extractor.recognition.words import Line, Word, parse_words

HEAD = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n"


def row(text: str, *, at: int = 0, line: int = 1, paragraph: int = 1, confidence: str = "90") -> str:
    return f"5\t1\t1\t{paragraph}\t{line}\t1\t{at}\t10\t50\t20\t{confidence}\t{text}\n"


def line_of(text: str, *, confidence: float = 90, paragraph: int = 0) -> Line:
    words = tuple(Word(word, confidence, Box(0, 0, 10, 10)) for word in text.split())
    return Line(words, paragraph)


@pytest.mark.parametrize(
    ("wanted", "available", "models"),
    [
        ("kor+eng", {"eng", "kor", "osd"}, ("kor", "eng")),
        ("kor+eng", {"eng", "kor", "Hangul"}, ("Hangul", "eng")),
        ("eng+kor", {"eng", "script/Hangul"}, ("eng", "script/Hangul")),
        ("Hangul+kor", {"kor", "Hangul"}, ("Hangul",)),
        ("kor+eng", {"eng", "osd"}, ("eng",)),
        ("kor", {"osd"}, ()),
    ],
)
def test_each_language_is_read_by_the_best_model_that_is_there(wanted, available, models):
    assert models_for(wanted.split("+"), available) == models


def test_words_come_with_their_boxes_line_by_line():
    written = HEAD + row("The") + row("weir", at=60) + row("tells", line=2) + "The weir\ntells\n"

    lines = parse_words(written)

    assert [line.text for line in lines] == ["The weir", "tells"]
    assert lines[0].box == Box(0, 10, 110, 30)


def test_syllables_are_joined_as_the_text_joins_them():
    written = HEAD + row("건강") + row("보험", at=60) + row("및", at=120) + "건강보험 및\n"

    assert [line.text for line in parse_words(written)] == ["건강보험 및"]


@pytest.mark.parametrize(
    "written",
    [
        "",
        "\0\xff",
        HEAD,
        "a\tb\tc\n",
        HEAD + "5\t1\t1\t1\t1\t1\t-5\t10\t50\t20\t90\tminus\n",
        HEAD + "5\t1\t1\t1\t1\t1\t99999999999\t10\t50\t20\t90\tfar\n",
        HEAD + "5\t1\t1\t1\t1\t1\tx\t10\t50\t20\t90\tword\n",
        HEAD + row("unsure", confidence="nan"),
        HEAD + row("unsure", confidence="-"),
        HEAD + row("\ufffe\0"),
        HEAD + row("   "),
        HEAD.replace("level", "5") * 3,
    ],
)
def test_what_is_no_table_of_words_gives_none(written):
    assert parse_words(written) == []


def test_a_word_without_end_is_cut_and_forbidden_characters_are_left_out():
    (line,) = parse_words(HEAD + row("x" * 10_000) + "x" * 10_000)
    (cleaned,) = parse_words(HEAD + row("a\x01b\ud800"))

    assert len(line.text) == 200
    assert cleaned.text.encode("utf-8")
    assert "\x01" not in cleaned.text


def test_confidences_stay_between_nothing_and_a_hundred():
    (line,) = parse_words(HEAD + row("sure", confidence="1e9") + row("never", at=60, confidence="-7"))

    assert [word.confidence for word in line.words] == [100, 0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (2, 2), (7, 5), (40, 3000), (33_000, 2), (1200, 1100)])
@pytest.mark.parametrize("turns", range(4))
def test_a_picture_of_any_shape_becomes_a_sheet_and_its_corners_lie_in_the_picture(shape, channels, turns):
    height, width = shape
    pixels = np.random.default_rng(1).integers(0, 255, height * width * channels, dtype=np.uint8).tobytes()
    shown = Picture(pixels, width, height, channels, at=0, dpi=300.0)

    sheet = sheet_of(shown, turns)

    below, right = sheet.pixels.shape
    assert max(sheet.pixels.shape) <= 32_000
    corners = sheet.in_picture(Box(0, 0, right, below))
    assert -1 <= corners.x0 < corners.x1 <= width + 2
    assert -1 <= corners.y0 < corners.y1 <= height + 2


@pytest.mark.parametrize("turns", range(4))
def test_a_box_of_a_turned_sheet_finds_its_place_in_the_picture(turns):
    grey = np.full((300, 500), 255, np.uint8)
    grey[20:30, 400:450] = 0

    sheet = sheet_of(picture(grey), turns)
    rows, columns = np.nonzero(sheet.pixels < 128)
    box = sheet.in_picture(Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))

    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((400, 20, 450, 30), abs=1)


def test_lines_alone_stand_below_each_other_with_white_between_them():
    grey = np.full((400, 300), 250, np.uint8)
    grey[100:110, 20:200] = 0
    grey[300:310, 20:200] = 0
    sheet = sheet_of(picture(grey))

    below, tops = lines_only(sheet, [Box(20, 100, 200, 110), Box(20, 300, 200, 310)])

    assert [below.pixels[top : top + 30].min() for top in tops] == [0, 0]
    assert below.pixels[: tops[0]].min() == 250
    assert tops == sorted(tops)


def test_the_lines_of_a_paragraph_stay_together_and_a_cut_word_is_mended():
    lines = [line_of("A para-"), line_of("graph with"), line_of("lines"), line_of("Another", paragraph=1)]

    wording = wording_of(lines, Picture(b"\0", 1, 1, 1, at=0))

    assert wording == Wording("A paragraph with\nlines\n\nAnother")


def test_wordings_take_their_places_and_push_what_stands_behind():
    page = Page(1, "onetwo", (TextSpan(0, 6, 0, 0, 9, 9),), (Heading(0, 1, "one"), Heading(3, 2, "two")))

    made = page_with(page, [(3, Wording("[x]", (TextSpan(0, 3, 1, 1, 2, 2),)))])

    assert made.text == "one\n\n[x]\n\ntwo"
    assert [made.text[span.start : span.end] for span in made.spans] == ["one", "[x]", "two"]
    assert [made.text[heading.start :].startswith(heading.title) for heading in made.headings] == [True, True]


def test_headings_of_a_page_whose_text_was_replaced_stand_where_their_titles_do():
    page = Page(1, "\ue000\ue001", headings=(Heading(0, 1, "Rivers"), Heading(1, 2, "gone")))

    made = page_as(page, Wording("All Rivers"))

    assert [(heading.title, heading.start) for heading in made.headings] == [("gone", 0), ("Rivers", 4)]


def test_recognised_text_must_be_sure_and_not_much_less_to_be_better():
    sure, unsure = [line_of("four old rivers")], [line_of("four old rivers", confidence=40)]

    assert is_better(sure, "")
    assert is_better(unsure, " \n")
    assert is_better(sure, "\ue000 four 0ld")
    assert not is_better(unsure, "four 0ld rivers")
    assert not is_better(sure, "four old rivers " * 3)
    assert not is_better([], "text")


def syllables(*found: tuple[str, int, int, float, bool]) -> list[Word]:
    """Words of a line: text, left and right side, confidence, whether it stands apart."""
    return [Word(text, sure, Box(x0, 10, x1, 50), apart) for text, x0, x1, sure, apart in found]


REDIS = syllables(("《6015", 100, 230, 24, True), ("가", 195, 228, 93, False), ("비워지거나", 250, 400, 93, True))
"""What Korean alone reads of `Redis가 비워지거나`."""


def test_of_a_word_that_ends_in_hangul_it_is_known_where_the_rest_stands():
    (mixed,) = mixed_words_of(REDIS)

    assert (mixed.rest, mixed.ending) == (Box(100, 10, 195, 50), "가")


@pytest.mark.parametrize(
    "words",
    [
        [],
        syllables(("한국어", 0, 90, 95, True)),
        syllables(("건강", 0, 60, 95, True), ("보험", 60, 120, 95, False)),
        syllables(("Redis", 0, 90, 95, True), ("가", 120, 150, 95, True)),
        syllables(("6015", 0, 90, 24, True), ("가", 90, 120, 10, False)),
    ],
)
def test_other_words_are_not_mixed(words):
    assert list(mixed_words_of(words)) == []


@pytest.mark.parametrize(
    ("read", "beginning"),
    [
        (syllables(("Redis", 102, 190, 96, True)), "Redis"),
        (syllables(("Redis:", 102, 190, 96, True)), "Redis"),
        (syllables(("Postgre", 102, 150, 96, True), ("SQL", 151, 190, 90, False)), "PostgreSQL"),
        (syllables(("(IDF)", 102, 190, 80, True)), "(IDF)"),
        (syllables(("Redis", 102, 190, 30, True)), None),
        (syllables(("6015", 102, 190, 96, True)), None),
        (syllables(("x", 102, 190, 96, True)), None),
        (syllables(("elsewhere", 300, 390, 96, True)), None),
        ([], None),
    ],
)
def test_only_what_is_surely_latin_begins_a_mixed_word(read, beginning):
    (mixed,) = mixed_words_of(REDIS)

    assert mixed.beginning_in(read) == beginning


def test_the_letters_before_hangul_are_cut_out_at_the_white_between_them():
    pixels = np.full((60, 500), 250, np.uint8)
    pixels[12:48, 90:180] = 0  # letters, which begin before the box of what Korean reads
    pixels[12:48, 186:230] = 0  # a syllable, which begins before its box
    pixels[12:48, 250:400] = 0  # another word
    (mixed,) = mixed_words_of(REDIS)

    left = rests_only(pixels, [mixed], 250)

    assert np.flatnonzero((left < 128).any(axis=0)).tolist() == list(range(90, 180))


def test_a_mixed_word_takes_the_place_of_what_was_read_there():
    words = syllables(("죽거나", 0, 90, 93, True), ("Redis7}", 100, 230, 70, True), ("비워지거나", 250, 400, 93, True))
    (mixed,) = mixed_words_of(REDIS)

    assert Line(with_word(words, mixed, "Redis가")).text == "죽거나 Redis가 비워지거나"
    assert with_word(words[:1], mixed, "Redis가") == tuple(words[:1])
