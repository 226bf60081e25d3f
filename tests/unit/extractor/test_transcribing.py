import threading
from collections.abc import Callable
from uuid import uuid4

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from unit.extractor.recordings import a_recording, pages_of

from sluice_common.errors import LeaseLost, RateLimited, TranscriptionRejected, TranscriptionUnavailable
from sluice_common.ports import Spoken, Transcript
from sluice_extractor.chunking import Chunker
from sluice_extractor.enriching import Findings, enriched
from sluice_extractor.listening.transcribing import Cutting, NoTranscription, Transcription, quietest_moment
from sluice_extractor.metrics import ExtractionMetrics
from sluice_extractor.parsing.media import Sound
from sluice_extractor.parsing.page import Page, Place

RATE = 16_000


class Kept:
    """Pieces that were kept, in memory."""

    def __init__(self) -> None:
        self.pieces: dict[tuple[object, bytes], dict] = {}

    def find(self, document_id, key):
        return self.pieces.get((document_id, key))

    def keep(self, document_id, key, transcript) -> None:
        self.pieces[document_id, key] = transcript


class Provider:
    """Says at each second which second it is; `troubles` come first."""

    model = "test"
    asked_as = "test"

    def __init__(self, *troubles: Exception, longest_s: float = 20) -> None:
        self.longest_s = longest_s
        self.troubles = list(troubles)
        self.durations: list[float] = []

    def transcribe(self, wav: bytes, *, duration_s: float, is_stopped: Callable[[], bool]) -> Transcript:
        assert wav.startswith(b"RIFF")
        assert not is_stopped()
        if self.troubles:
            raise self.troubles.pop(0)
        self.durations.append(duration_s)
        seconds = range(int(duration_s))
        return Transcript(tuple(Spoken(s, min(s + 1, duration_s), f"second {s}.") for s in seconds), "english")


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(3).integers(-8000, 8000, int(seconds * RATE)).astype("<i2")


def transcribed(provider, samples: np.ndarray, findings: Findings | None = None, kept: Kept | None = None, **options):
    findings = findings or Findings(analysis={})
    transcription = Transcription(
        provider, kept or Kept(), ExtractionMetrics(CollectorRegistry()), max_in_flight=options.get("max_in_flight", 1)
    )
    pages = pages_of(a_recording(duration_s=len(samples) / RATE), samples.tobytes())
    return list(enriched(iter(pages), [transcription], findings)), findings


def test_what_is_said_stands_at_the_time_of_the_recording_at_which_it_is_said():
    provider = Provider(longest_s=20)

    pages, findings = transcribed(provider, noise(50))

    starts = [page.place.time_start for page in pages[:-1]]
    assert starts == sorted(starts)
    assert sum(provider.durations) == pytest.approx(50)
    assert len(provider.durations) >= 3
    second = provider.durations[0]
    later = pages[int(second)]
    assert (later.text, later.place.time_start) == ("second 0.\n", pytest.approx(second, abs=0.001))
    assert findings.analysis["transcript"] == {"outcome": "ok", "model": "test", "language": "english"}
    assert not any(isinstance(media, Sound) for page in pages for media in page.media)


def test_pieces_that_are_asked_for_side_by_side_stay_in_their_order():
    one_by_one, _ = transcribed(Provider(), noise(90))
    together, _ = transcribed(Provider(), noise(90), max_in_flight=4)

    assert together == one_by_one


def test_a_piece_is_cut_where_it_is_quiet():
    samples = noise(60)
    samples[int(12.0 * RATE) : int(12.5 * RATE)] = 0
    samples[int(17.3 * RATE) : int(17.6 * RATE)] = 0

    pieces = [*(cutting := Cutting(lambda: 20.0)).take(Sound(samples.tobytes(), RATE)), *cutting.finish()]

    assert pieces[0].duration_s == pytest.approx(17.45, abs=0.15)
    assert [piece.start_s for piece in pieces[1:]] == pytest.approx(np.cumsum([p.duration_s for p in pieces])[:-1])
    assert b"".join(piece.samples for piece in pieces) == samples.tobytes()
    assert max(piece.duration_s for piece in pieces) <= 20


def test_a_sound_without_any_quiet_moment_is_cut_all_the_same():
    assert 0 < quietest_moment(b"\x01\x00" * 10, RATE) <= 10
    assert 0 < quietest_moment(bytes(2 * RATE * 20), RATE) <= RATE * 20


def test_silence_is_not_sent_anywhere():
    provider = Provider()

    pages, findings = transcribed(provider, np.zeros(30 * RATE, "<i2"))

    assert (provider.durations, len(pages)) == ([], 1)
    assert findings.analysis["transcript"]["outcome"] == "ok"


def test_a_provider_that_is_away_for_a_moment_is_asked_again():
    provider = Provider(TranscriptionUnavailable("away"), RateLimited("slower", retry_after_s=0.2))

    pages, _ = transcribed(provider, noise(5))

    assert len(pages) == 6


@pytest.mark.parametrize("trouble", [TranscriptionUnavailable("away"), RateLimited("slower", retry_after_s=60)])
def test_a_provider_that_stays_away_ends_the_reading_and_what_was_heard_is_not_asked_for_again(trouble, monkeypatch):
    monkeypatch.setattr("sluice_extractor.listening.transcribing._PAUSES_S", (0.0,))
    kept, document_id = Kept(), uuid4()
    away = Provider(longest_s=20)

    def after_the_first(*arguments, **fields):
        if away.durations:
            raise trouble
        return Provider.transcribe(away, *arguments, **fields)

    away.transcribe = after_the_first
    with pytest.raises(type(trouble)):
        transcribed(away, noise(50), Findings(document_id=document_id), kept)
    back = Provider(longest_s=20)

    pages, _ = transcribed(back, noise(50), Findings(document_id=document_id, analysis={}), kept)

    assert pages == transcribed(Provider(longest_s=20), noise(50))[0]
    assert sum(back.durations) == pytest.approx(50 - away.durations[0])


def test_a_sound_that_is_too_large_for_the_provider_is_sent_in_halves():
    provider = Provider(TranscriptionRejected("large", is_too_large=True), longest_s=60)

    pages, findings = transcribed(provider, noise(40))

    assert len(provider.durations) == 2
    assert sum(provider.durations) == pytest.approx(40)
    starts = [page.place.time_start for page in pages[:-1]]
    assert starts == sorted(starts)
    assert starts[-1] > 30
    assert findings.remarks == []


def test_a_sound_that_the_provider_refuses_is_a_warning_and_the_rest_is_transcribed():
    provider = Provider(TranscriptionRejected("no"), longest_s=20)

    pages, findings = transcribed(provider, noise(50))

    assert [remark.code for remark in findings.remarks] == ["piece_not_transcribed"]
    assert findings.analysis["transcript"]["outcome"] == "partial"
    assert len(pages) > 20


def test_a_reading_that_is_stopped_ends_while_it_waits_for_the_provider():
    waiting = threading.Event()

    def listen(_wav: bytes, *, is_stopped: Callable[[], bool], **_facts: float) -> Transcript:
        waiting.set()
        while not is_stopped():
            threading.Event().wait(0.01)
        raise LeaseLost("stopped")

    provider = Provider()
    provider.transcribe = listen
    with pytest.raises(LeaseLost):
        transcribed(provider, noise(5), Findings(is_stopped=waiting.is_set))


def test_what_is_said_is_cleaned():
    provider = Provider()
    provider.transcribe = lambda _wav, **_facts: Transcript((Spoken(0, 1, " a\0b\r\nc "), Spoken(1, 2, "\x07")))

    pages, _ = transcribed(provider, noise(5))

    assert [page.text for page in pages[:-1]] == ["ab c\n"]


def test_without_a_provider_the_recording_says_so():
    findings = Findings(analysis={})

    pages = list(enriched(iter(pages_of(a_recording(), noise(5).tobytes())), [NoTranscription()], findings))

    assert [remark.code for remark in findings.remarks] == ["not_transcribed"]
    assert findings.analysis["transcript"]["outcome"] == "not_configured"
    assert not any(isinstance(media, Sound) for page in pages for media in page.media)


def test_other_documents_pass_untouched():
    pages = [Page(1, "text"), Page(2, "more")]

    for enrichment in (NoTranscription(), Transcription(Provider(), Kept(), None, max_in_flight=1)):
        findings = Findings()
        assert list(enriched(iter(pages), [enrichment], findings)) == pages
        assert findings.remarks == []


def test_a_description_begins_a_chunk_of_its_own_behind_what_is_said():
    chunker = Chunker(1000, 100)
    said = [Page(None, f"second {s}.\n", place=Place(time_start=s, time_end=s + 1)) for s in range(5)]

    chunks = [chunk for page in said for chunk in chunker.feed(page)]
    chunks += chunker.feed(Page(None, "Title: a song\n")) + chunker.finish()

    assert [(chunk.place.time_start, chunk.place.time_end) for chunk in chunks] == [(0, 5), (None, None)]
    assert chunks[1].text == "Title: a song"
