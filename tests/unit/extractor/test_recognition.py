"""Text in pictures is recognised by the real Tesseract, in a child behind walls."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from conftest import missing
from unit.extractor.hostile_files import lying_font
from unit.extractor.scans import KOREAN, looks_of, picture, require_tesseract, scanned, skewed, written
from unit.extractor.test_sandbox import LIMITS

from sluice_common.errors import NoText, OcrRequired
from sluice_common.settings import OcrSettings, SettingsError
from sluice_extractor.enriching import Findings, enriched
from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.media import Picture
from sluice_extractor.parsing.original import Original
from sluice_extractor.parsing.page import Page
from sluice_extractor.recognition.installed import find_tesseract
from sluice_extractor.recognition.on_pages import Recognition
from sluice_extractor.recognition.opening import open_recognition
from sluice_extractor.recognition.tesseract import Tesseract
from sluice_extractor.sandbox import ReadingStopped, ReadRequest, Sandbox

SETTINGS = OcrSettings(wall_clock_s=300)  # a busy machine is no reason to fail
LINES = ("The weir tells of four old rivers.", "Two of them are dry since the year 1990.")
SAID = "\n\n".join(LINES)
TOP = (slice(200, 600), slice(150, 1500))
"""The part of a page at 300 dots an inch that these lines are on."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(LIMITS) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def recognition(sandbox: Sandbox) -> Iterator[Recognition]:
    require_tesseract()
    with ExitStack() as stack:
        yield open_recognition(SETTINGS, sandbox, stack)


def only(found: Recognition) -> Tesseract:
    if not isinstance(found.recogniser, Tesseract):
        missing("Tesseract was not found")
    return found.recogniser


def text_in(recognition: Recognition, shown: Picture) -> str:
    recognised = only(recognition).recognise(shown, lambda: True)
    return "\n".join(line.text for line in recognised.lines)


def page_of(*pictures: Picture, number: int | None = 1, text: str = "") -> Page:
    return Page(number, text, media=pictures)


def after(recognition: Recognition, *pages: Page, findings: Findings | None = None) -> list[Page]:
    return list(enriched(iter(pages), [recognition], findings or Findings()))


@pytest.mark.parametrize(
    "seen",
    {
        "as it is": lambda grey: grey,
        "white on black": lambda grey: 255 - grey,
        "skewed": lambda grey: skewed(grey, 2.0),
        "upside down": lambda grey: np.rot90(grey, 2),
        "lying on its side": lambda grey: np.rot90(grey, 1),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_a_printed_page_is_recognised_however_it_was_scanned(recognition, seen):
    grey = np.ascontiguousarray(seen[1](looks_of(written(LINES))[TOP]))

    assert text_in(recognition, picture(grey)).splitlines() == list(LINES)


def test_korean_is_recognised_with_its_spaces(recognition):
    grey = looks_of(KOREAN.read_bytes())[1700:2000, 60:1060]

    text = text_in(recognition, picture(np.ascontiguousarray(grey)))

    assert "전월 이용금액 제외 대상" in text
    assert "건강보험/국민연금/고용보험/산재보험 및 장애인 고용부담금" in text


def test_a_latin_word_with_hangul_behind_it_is_recognised(recognition):
    grey = looks_of(KOREAN.read_bytes())[740:1060, 60:1060]

    assert "LPG충전소" in text_in(recognition, picture(np.ascontiguousarray(grey)))


def test_a_small_picture_of_a_screen_is_recognised(recognition):
    grey = looks_of(written(LINES, size=12), dpi=96)[:200]

    assert text_in(recognition, picture(grey, dpi=None, is_whole_page=False)).splitlines() == list(LINES)


def test_columns_are_read_one_after_the_other(recognition):
    lines = [f"{LINES[at % 2][:24]} {at}" for at in range(6)]
    left, right = (looks_of(written([f"{side} {line}" for line in lines], size=11))[:950] for side in ("left", "right"))
    both = np.hstack([left[:, :1000], right[:, 200:1000]])

    text = text_in(recognition, picture(np.ascontiguousarray(both))).split()

    assert [word for word in text if word in {"left", "right"}] == ["left"] * 6 + ["right"] * 6


def test_the_boxes_of_recognised_lines_lie_where_the_text_does(recognition):
    document = written(LINES)
    (printed,) = open_document(Original(document, "printed.pdf")).pages

    (scan,) = after(recognition, page_of(picture(looks_of(document)[:600, :1500])))

    assert [scan.text[span.start : span.end] for span in scan.spans] == list(LINES)
    for found, expected in zip(scan.spans, printed.spans, strict=True):
        sides = ("x0", "y0", "x1", "y1")
        assert [getattr(found, side) for side in sides] == pytest.approx(
            [getattr(expected, side) for side in sides], abs=4
        )


def test_boxes_lie_right_on_a_page_that_was_turned_and_skewed(recognition):
    upright = looks_of(written([*LINES, *LINES]))[:1000, :1500]
    turned = np.ascontiguousarray(np.rot90(skewed(upright, 1.0), 2))
    height, width = turned.shape

    recognised = only(recognition).recognise(picture(turned), lambda: True)

    for line in recognised.lines:
        inked = turned[round(line.box.y0) : round(line.box.y1), round(line.box.x0) : round(line.box.x1)]
        assert (inked < 128).mean() > 0.05
    first = recognised.lines[0]
    assert first.text == LINES[0]
    assert width - 1150 < first.box.x0 < first.box.x1 < width - 200
    assert height - 420 < first.box.y0 < first.box.y1 < height - 270


def test_a_picture_without_text_says_nothing(recognition):
    noise = np.random.default_rng(3).integers(0, 255, (300, 300), dtype=np.uint8)
    slope = np.tile(np.linspace(0, 255, 900, dtype=np.uint8), (400, 1))
    findings = Findings()

    pages = after(recognition, page_of(picture(noise)), page_of(picture(slope), number=2), findings=findings)

    assert [page.text for page in pages] == ["", ""]
    assert findings.all_remarks() == []
    assert isinstance(findings.why_no_text(), NoText)


def test_what_a_figure_says_stands_at_its_place(recognition):
    figure = picture(looks_of(written([LINES[0]]))[200:400], is_whole_page=False, at=12)
    page = page_of(figure, number=None, text="Before this.And after this.")

    (enriched_page,) = after(recognition, page)

    assert enriched_page.text == f"Before this.\n\n[{LINES[0]}]\n\nAnd after this."
    assert enriched_page.media == ()


def test_recognised_text_takes_the_place_of_worse_text_and_not_of_better(recognition):
    shown = picture(looks_of(written(LINES))[:600, :1500])
    good = "\n".join(LINES) + "\nand much more than what the picture shows: " + "word " * 40

    garbled, whole = after(
        recognition,
        page_of(shown, text="\x81\x82 \ue001\ue002\ue003 \ue004"),
        page_of(shown, number=2, text=good),
    )

    assert garbled.text == SAID
    assert whole.text == good


def test_pages_come_in_their_order_whichever_is_read_first(recognition):
    long = picture(looks_of(written([*LINES] * 4, size=11))[:1000, :1200])
    short = picture(looks_of(written(["Short page"]))[150:450, :1000])

    pages = after(recognition, *(page_of(long if number % 2 else short, number=number) for number in range(1, 5)))

    assert [page.number for page in pages] == [1, 2, 3, 4]
    assert [page.text.startswith("Short page") for page in pages] == [False, True, False, True]


def test_nothing_more_is_recognised_when_the_document_is_stopped(recognition):
    shown = picture(looks_of(written(LINES))[:600, :1500])

    with pytest.raises(ReadingStopped):
        after(recognition, page_of(shown), findings=Findings(is_stopped=lambda: True))


def broken(recognition: Recognition, **changed: object) -> Recognition:
    """The recognition with another program."""
    recogniser = only(recognition)
    return replace(recognition, recogniser=replace(recogniser, program=replace(recogniser.program, **changed)))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"path": "/usr/bin/false"}, "text recognition failed"),
        ({"path": "/nowhere/tesseract"}, "text recognition failed"),
        ({"most_answer_bytes": 10}, "text recognition failed"),
        ({"memory_bytes": 16 << 20}, "text recognition failed"),
        ({"wall_clock_s": 0.001}, "it took too long"),
    ],
)
def test_a_recognition_that_fails_is_a_remark_on_the_page_and_no_failure(recognition, changed, reason):
    shown = picture(looks_of(written(LINES))[:600, :1500])
    findings = Findings()

    scan, text = after(
        broken(recognition, **changed), page_of(shown, number=3), page_of(number=4, text="Text"), findings=findings
    )

    assert (scan.text, text.text) == ("", "Text")
    assert [(remark.code, remark.page) for remark in findings.all_remarks()] == [("page_not_read", 3)]
    assert reason in findings.all_remarks()[0].detail
    assert (type(findings.why_no_text()), findings.why_no_text().detail_code) == (OcrRequired, "pictures_not_read")


def test_a_scanned_document_is_read_from_its_bytes_to_its_boxes(recognition, sandbox, tmp_path):
    path = tmp_path / "scan.pdf"
    path.write_bytes(scanned([looks_of(written(LINES), dpi=100), b"BT /F 12 Tf 50 700 Td (Printed) Tj ET"]))

    with sandbox.read(ReadRequest(path, path.name, wants_media=True)) as reading:
        pages = after(recognition, *reading)

    assert [page.text for page in pages] == [SAID, "Printed"]
    assert [pages[0].text[span.start : span.end] for span in pages[0].spans] == list(LINES)


def test_a_page_whose_font_lies_is_read_by_what_it_looks_like(recognition, sandbox, tmp_path):
    path = tmp_path / "lying.pdf"
    path.write_bytes(lying_font(LINES[0].encode()))
    findings = Findings()

    with sandbox.read(ReadRequest(path, path.name, wants_media=True)) as reading:
        (page,) = after(recognition, *reading, findings=findings)
        remarks = [*reading.remarks, *findings.all_remarks()]

    assert (page.text, remarks) == (LINES[0], [])


def test_a_garbled_page_that_cannot_be_recognised_either_is_named(sandbox, tmp_path):
    path = tmp_path / "lying.pdf"
    path.write_bytes(lying_font(LINES[0].encode()))
    findings = Findings()
    with ExitStack() as stack:
        nothing = open_recognition(OcrSettings(program="no-such-tesseract"), sandbox, stack)

        with sandbox.read(ReadRequest(path, path.name, wants_media=True)) as reading:
            (page,) = after(nothing, *reading, findings=findings)

    assert page.text.startswith("\ue054")
    assert [(remark.code, remark.page) for remark in findings.all_remarks()] == [("text_garbled", 1)]


def test_without_tesseract_pictures_stay_unread_and_the_reason_is_told(sandbox):
    shown = Picture(bytes(100), 10, 10, 1, at=0, is_whole_page=True)
    figure = replace(shown, is_whole_page=False)
    findings = Findings()
    with ExitStack() as stack:
        recognition = open_recognition(OcrSettings(program="no-such-tesseract"), sandbox, stack)

        pages = after(recognition, page_of(shown), page_of(figure, figure, number=2, text="Text"), findings=findings)

    assert [(page.text, page.media) for page in pages] == [("", ()), ("Text", ())]
    remarks = findings.all_remarks()
    assert [(remark.code, remark.page) for remark in remarks] == [("page_not_read", 1), ("images_not_read", None)]
    assert "2: there is no text recognition" in remarks[1].detail
    assert findings.why_no_text().detail_code == "ocr_not_installed"
    assert "no-such-tesseract" in findings.why_no_text().detail


def test_recognition_can_be_switched_off(sandbox):
    with ExitStack() as stack:
        assert open_recognition(OcrSettings(enabled="off"), sandbox, stack).recogniser is None


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [({"program": "no-such-tesseract"}, "no-such-tesseract"), ({"program": "true"}, "languages")],
)
def test_recognition_that_must_be_there_and_is_not_stops_the_start(sandbox, wrong, reason):
    with ExitStack() as stack, pytest.raises(SettingsError, match=reason):
        open_recognition(OcrSettings(enabled="on", **wrong), sandbox, stack)


def test_languages_that_are_not_installed_are_left_out_and_told(recognition, sandbox):
    found = find_tesseract(OcrSettings(languages="xyz+eng"), sandbox)

    assert (found.languages, found.absent) == (("eng",), ("xyz",))


def test_a_tesseract_without_any_wanted_language_is_none(recognition, sandbox):
    with ExitStack() as stack, pytest.raises(SettingsError, match="xyz"):
        open_recognition(OcrSettings(enabled="on", languages="xyz"), sandbox, stack)


def test_the_pictures_of_several_documents_are_read_by_few_threads(recognition):
    shown = picture(looks_of(written(["Short page"]))[150:450, :1000])

    with ThreadPoolExecutor(3) as threads:
        read = threads.map(lambda number: after(recognition, page_of(shown, number=number)), range(1, 4))

        assert [page.text for pages in read for page in pages] == ["Short page"] * 3
