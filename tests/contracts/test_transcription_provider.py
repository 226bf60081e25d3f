"""What a provider of transcripts promises, over the real client with a real server that may do anything."""

import threading

import pytest
from transcription_server import SAID, transcription_server

from sluice_common.adapters.build import build_transcription
from sluice_common.errors import LeaseLost, RateLimited, TranscriptionRejected, TranscriptionUnavailable
from sluice_common.ports import Spoken
from sluice_common.settings import TranscriptionSettings

WAV = b"RIFF....WAVE"


@pytest.fixture
def server():
    with transcription_server() as server:
        yield server


def transcribed(server, is_stopped=lambda: False, **settings):
    provider = build_transcription(TranscriptionSettings(base_url=server.url, **settings))
    return provider.transcribe(WAV, duration_s=10.0, is_stopped=is_stopped)


def test_without_an_address_there_is_no_provider():
    assert build_transcription(TranscriptionSettings()) is None
    assert build_transcription(TranscriptionSettings(base_url="", language="")) is None


def test_the_sound_goes_there_as_the_protocol_wants_it(server):
    transcribed(server, model="whisper-1", language="ko", api_key="secret")

    (heard,) = server.heard
    assert heard == {
        "path": "/v1/audio/transcriptions",
        "authorization": "Bearer secret",
        "model": "whisper-1",
        "response_format": "verbose_json",
        "timestamp_granularities[]": "segment",
        "language": "ko",
        "file": WAV,
    }


def test_what_is_said_comes_with_its_times_and_its_language(server):
    transcript = transcribed(server)

    assert transcript.language == "english"
    assert transcript.spoken == (
        Spoken(0.0, 4.2, "The notice period is three months."),
        Spoken(4.2, 9.5, "The coffee machine is descaled on Mondays."),
    )


def test_a_provider_that_tells_no_times_is_asked_for_text_and_for_shorter_pieces_from_then_on(server):
    server.knows_times = False
    provider = build_transcription(TranscriptionSettings(base_url=server.url, piece_s=300))
    before = provider.longest_s

    first = provider.transcribe(WAV, duration_s=10.0, is_stopped=lambda: False)
    provider.transcribe(WAV, duration_s=10.0, is_stopped=lambda: False)

    assert first.spoken == (Spoken(0.0, 10.0, SAID),)
    assert [heard["response_format"] for heard in server.heard] == ["verbose_json", "json", "json"]
    assert (before, provider.longest_s) == (300, 60)


def test_an_answer_without_segments_has_the_times_of_the_sound(server):
    server.answer = {"text": " Hello. "}

    assert transcribed(server).spoken == (Spoken(0.0, 10.0, "Hello."),)


def test_nobody_may_say_anything(server):
    server.answer = {"text": "", "segments": []}

    assert transcribed(server).spoken == ()


def test_a_time_that_is_rounded_beyond_the_end_is_the_end(server):
    server.answer = {"text": "x", "segments": [{"start": -0.02, "end": 29.98, "text": "x"}]}

    assert transcribed(server).spoken == (Spoken(0.0, 10.0, "x"),)


WRONG = {
    "a page of a proxy": b"<html>sign in</html>",
    "no object": b"[]",
    "no text": {"segments": []},
    "a text that is a number": {"text": 7},
    "a segment that is none": {"text": "x", "segments": ["x"]},
    "a segment without times": {"text": "x", "segments": [{"text": "x"}]},
    "a time that is no number": b'{"text": "x", "segments": [{"start": NaN, "end": 1, "text": "x"}]}',
    "a time that is a word": {"text": "x", "segments": [{"start": "soon", "end": 1, "text": "x"}]},
    "a segment that ends before it begins": {"text": "x", "segments": [{"start": 8, "end": 2, "text": "x"}]},
    "a segment behind the end": {"text": "x", "segments": [{"start": 400, "end": 401, "text": "x"}]},
    "times out of order": {
        "text": "x",
        "segments": [{"start": 8, "end": 9, "text": "x"}, {"start": 1, "end": 2, "text": "y"}],
    },
    "more than anybody could say": {"text": "word " * 10_000},
    "an answer without end": b'{"text": "' + b"x" * (17 << 20),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_answer_is_never_taken_for_a_transcript(server, what):
    server.answer = WRONG[what]

    with pytest.raises(TranscriptionUnavailable) as refused:
        transcribed(server)

    assert refused.value.detail_code == "transcription_answer_wrong"


def test_an_answer_that_was_cut_off_is_wrong(server):
    server.cuts_off = True

    with pytest.raises(TranscriptionUnavailable) as refused:
        transcribed(server)

    assert refused.value.detail_code == "transcription_answer_wrong"


@pytest.mark.parametrize(
    ("headers", "wait_s"), [({"Retry-After": "7"}, 7), ({"retry-after-ms": "1500"}, 1.5), ({}, None)]
)
def test_the_wait_that_the_provider_asks_for_is_told(server, headers, wait_s):
    server.status, server.headers = 429, headers

    with pytest.raises(RateLimited) as refused:
        transcribed(server)

    assert refused.value.retry_after_s == wait_s


@pytest.mark.parametrize(
    ("status", "detail_code"),
    [
        (401, "transcription_refused_credentials"),
        (403, "transcription_refused_credentials"),
        (404, "transcription_unknown_model"),
        (500, "transcription_failed"),
        (503, "transcription_failed"),
        (302, "transcription_failed"),
    ],
)
def test_what_the_operator_or_the_provider_must_mend_is_no_fault_of_the_sound(server, status, detail_code):
    server.status, server.headers = status, {"Location": "http://127.0.0.1:9/"}

    with pytest.raises(TranscriptionUnavailable) as refused:
        transcribed(server)

    assert refused.value.detail_code == detail_code


@pytest.mark.parametrize(("status", "is_too_large"), [(400, False), (413, True), (415, False), (422, False)])
def test_a_sound_that_is_refused_says_whether_a_shorter_one_may_pass(server, status, is_too_large):
    server.status = status

    with pytest.raises(TranscriptionRejected) as refused:
        transcribed(server)

    assert refused.value.is_too_large is is_too_large


def test_a_provider_that_does_not_answer_in_time_or_is_not_there_is_away(server):
    server.hold = threading.Event()
    with pytest.raises(TranscriptionUnavailable) as late:
        transcribed(server, timeout_s=0.5)
    nowhere = build_transcription(TranscriptionSettings(base_url="http://127.0.0.1:9/v1"))
    with pytest.raises(TranscriptionUnavailable) as absent:
        nowhere.transcribe(WAV, duration_s=1, is_stopped=lambda: False)

    assert (late.value.detail_code, absent.value.detail_code) == (
        "transcription_timeout",
        "transcription_unreachable",
    )


def test_a_request_that_nobody_waits_for_any_more_is_given_up(server):
    server.hold = threading.Event()

    with pytest.raises(LeaseLost):
        transcribed(server, is_stopped=lambda: bool(server.heard))
