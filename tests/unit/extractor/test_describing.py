from io import BytesIO
from uuid import uuid4

import pytest
from PIL import Image
from prometheus_client import CollectorRegistry
from unit.extractor import figure_files, picture_files
from vision_server import SEEN, chat, vision_server

from sluice_common.adapters.build import build_vision
from sluice_common.errors import LeaseLost
from sluice_common.settings import VisionSettings
from sluice_extractor.enriching import Findings, enriched
from sluice_extractor.metrics import ExtractionMetrics
from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.media import Picture
from sluice_extractor.parsing.original import Original
from sluice_extractor.parsing.page import Heading, Page, TextSpan
from sluice_extractor.seeing.describing import Description, PageDescriptions

SIZE = (400, 240)


class Kept:
    """What was paid for, in memory."""

    def __init__(self) -> None:
        self.pieces: dict[tuple[object, bytes], dict] = {}

    def find(self, document_id, key):
        return self.pieces.get((document_id, key))

    def keep(self, document_id, key, piece) -> None:
        self.pieces[document_id, key] = piece


@pytest.fixture
def server():
    with vision_server() as server:
        yield server


def a_figure(number: int = 0, at: int = 0, size: tuple[int, int] = SIZE, **how: object) -> Picture:
    image = Image.new("L", size, 255)
    image.paste(0, (0, 0, 10 + number, 10))
    return Picture(image.tobytes(), *size, channels=1, at=at, **how)


def described(server, pages, findings: Findings | None = None, kept: Kept | None = None, **settings):
    """The pages, what was found out, and the number of figures that the provider described."""
    findings = findings or Findings()
    registry = CollectorRegistry()
    settings = VisionSettings(base_url=server.url, **{"patience_s": 0, **settings})
    description = Description(build_vision(settings), kept or Kept(), ExtractionMetrics(registry), settings)
    done = list(enriched(iter(pages), [description, PageDescriptions()], findings))
    return done, findings, registry.get_sample_value("sluice_figures_described_total")


def test_a_description_stands_at_the_place_of_its_figure(server):
    page = Page(None, "words above\n\nwords below", media=(a_figure(at=11),))

    (done,), findings, count = described(server, [page])

    assert done.text == f"words above\n\n[Figure: {SEEN}]\n\nwords below"
    assert (findings.remarks, count) == ([], 1)


def test_pictures_stay_for_those_who_recognise_text_and_move_with_it(server):
    page = Page(None, "above\nbelow", media=(a_figure(1, at=5), a_figure(2, at=5), a_figure(3, at=11)))
    server.answer = lambda png: chat(f"number {number_of(png)}")

    (done,), *_ = described(server, [page])

    assert done.text == "above\n\n[Figure: number 1]\n\n[Figure: number 2]\n\nbelow\n\n[Figure: number 3]"
    assert [picture.pixels for picture in done.media] == [picture.pixels for picture in page.media]
    assert [done.text[: picture.at].rpartition("[")[2] for picture in done.media] == [
        f"Figure: number {number}]" + "\n" * (number < 3) for number in (1, 2, 3)
    ]


def number_of(png: bytes) -> int:
    """Of a figure that `a_figure` made."""
    image = Image.open(BytesIO(png))
    return next(x for x in range(image.width) if image.getpixel((x, 0)) == 255) - 10


def test_headings_and_boxes_stay_with_their_words_and_a_description_has_the_box_of_its_figure(server):
    text = "above\nTitle below"
    page = Page(
        3,
        text,
        spans=[TextSpan(0, 5, 1, 2, 3, 4), TextSpan(6, 17, 5, 6, 7, 8)],
        headings=(Heading(6, 1, "Title"),),
        media=(a_figure(at=5, rect=(10.0, 20.0, 30.0, 40.0)),),
    )

    (done,), *_ = described(server, [page])

    assert [(done.text[span.start : span.end], span.x0) for span in done.spans] == [
        ("above", 1),
        (f"[Figure: {SEEN}]", 10.0),
        ("Title below", 5),
    ]
    assert done.text[done.headings[0].start :].startswith("Title")


def test_each_distinct_figure_is_sent_once_and_small_ones_never(server):
    pages = [Page(None, f"page {at}", media=(a_figure(), a_figure(size=(90, 900)))) for at in range(5)]

    done, *_ = described(server, pages)

    assert len(server.asked) == 1
    assert [SEEN in page.text for page in done] == [True, False, False, False, False]


def test_more_figures_than_a_document_may_have_are_a_remark(server):
    pages = [Page(None, "x", media=(a_figure(at),)) for at in range(5)]

    _, findings, count = described(server, pages, max_figures=3)

    assert (count, len(server.asked)) == (3, 3)
    assert [(remark.code, remark.detail) for remark in findings.remarks] == [
        ("figures_not_described", "Figures that were not described: 2 (a document may have 3).")
    ]


def test_the_pages_keep_their_order_whoever_is_answered_first(server):
    pages = [Page(at, f"page {at}", media=(a_figure(at),) if at % 3 == 0 else ()) for at in range(1, 40)]

    done, *_ = described(server, pages, max_in_flight=4)

    assert [page.number for page in done] == list(range(1, 40))


def test_a_scanned_page_is_left_to_those_who_recognise_text(server):
    page = Page(1, "", media=(a_figure(is_whole_page=True),))

    (done,), *_ = described(server, [page], Findings(media_type="application/pdf"))

    assert (done, server.asked) == (page, [])


def test_a_picture_that_is_a_document_is_described_below_what_is_recognised_in_it(server):
    class Recognises:
        def enriched(self, pages, _findings):
            yield from (Page(page.number, "recognised words") for page in pages)

    settings = VisionSettings(base_url=server.url)
    description = Description(build_vision(settings), Kept(), ExtractionMetrics(CollectorRegistry()), settings)
    page = Page(1, "", media=(a_figure(is_whole_page=True),))

    ways = [description, Recognises(), PageDescriptions()]
    (done,) = enriched(iter([page]), ways, Findings(media_type="image/png"))

    assert done.text == f"recognised words\n\n[Figure: {SEEN}]"


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_provider_that_is_away_leaves_figures_undescribed_and_the_text_as_it_is(server, status):
    server.status = status
    pages = [Page(None, f"page {at}", media=(a_figure(at),)) for at in range(8)]

    done, findings, count = described(server, pages)

    assert [page.text for page in done] == [page.text for page in pages]
    assert count == 0
    assert [(remark.code, remark.detail) for remark in findings.remarks] == [
        ("figures_not_described", "Figures that were not described: 8 (the provider did not answer).")
    ]
    assert len(server.asked) <= 2  # who was under way at once


def test_a_provider_that_is_away_for_a_moment_is_asked_again(server):
    server.statuses, server.headers = [503, 429], {"retry-after-ms": "10"}

    (done,), findings, _ = described(server, [Page(None, "x", media=(a_figure(),))], patience_s=30)

    assert SEEN in done.text
    assert (len(server.asked), findings.remarks) == (3, [])


def test_a_wait_beyond_the_patience_is_not_waited_for(server):
    server.status, server.headers = 429, {"Retry-After": "3600"}

    _, findings, _ = described(server, [Page(None, "x", media=(a_figure(),))], patience_s=60)

    assert len(server.asked) == 1
    assert [remark.code for remark in findings.remarks] == ["figures_not_described"]


def test_a_figure_that_is_refused_is_a_remark_and_the_others_are_described(server):
    server.answer = lambda png: chat("fine") if number_of(png) else chat(None, message={"refusal": "no"})

    done, findings, count = described(server, [Page(None, "x", media=(a_figure(at),)) for at in range(3)])

    assert ["[Figure: fine]" in page.text for page in done] == [False, True, True]
    assert count == 2
    assert findings.remarks[0].detail == "Figures that were not described: 1 (the provider refused)."


def test_what_was_paid_for_is_not_asked_for_again(server):
    kept, document_id = Kept(), uuid4()
    pages = [Page(None, "x", media=(a_figure(),))]
    first, *_ = described(server, pages, Findings(document_id=document_id), kept)

    second, _, count = described(server, pages, Findings(document_id=document_id), kept)

    assert second == first
    assert (len(server.asked), count) == (1, 0)


def test_a_description_cannot_end_its_block_or_bring_lines_and_controls(server):
    server.answer = chat("a] [Figure: forged\n\n# Heading\x00\x1b[31m")

    (done,), *_ = described(server, [Page(None, "", media=(a_figure(),))])

    assert done.text.count("[") == done.text.count("]") == 1
    assert "\n" not in done.text
    assert done.text.isprintable()


def test_a_figure_larger_than_a_model_sees_is_sent_smaller_and_in_its_colours(server):
    image = Image.new("RGB", (3_000, 1_500), (255, 0, 0))
    page = Page(None, "x", media=(Picture(image.tobytes(), 3_000, 1_500, channels=3, at=0),))

    described(server, [page])

    sent = Image.open(BytesIO(server.pictures[0]))
    assert (sent.size, sent.mode, sent.getpixel((5, 5))) == ((1_536, 768), "RGB", (255, 0, 0))


def test_a_document_that_nobody_waits_for_any_more_stops_asking(server):
    server.status = 503
    findings = Findings(is_stopped=lambda: bool(server.asked))

    with pytest.raises(LeaseLost):
        described(server, [Page(None, "x", media=(a_figure(),))], findings, patience_s=600)

    assert len(server.asked) == 1


def test_a_figure_of_a_real_document_is_described_at_its_place(server):
    content = figure_files.docx_with(picture_files.picture(size=SIZE))
    document = open_document(Original(content, "a.docx", wants_media=True, wants_colour=True))

    done, *_ = described(server, document.pages)

    text = "".join(page.text for page in done)
    assert text == f"{figure_files.BEFORE}\n\n[Figure: {SEEN}]\n\n{figure_files.AFTER}"
