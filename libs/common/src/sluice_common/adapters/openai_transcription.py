"""Transcripts from any server that speaks OpenAI's protocol, every answer checked before it is believed."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from sluice_common.adapters.provider_http import Answer, Bounds, Form, NoAnswer, post, wait_asked_for
from sluice_common.errors import LeaseLost, RateLimited, TranscriptionRejected, TranscriptionUnavailable
from sluice_common.ports import Spoken, Transcript
from sluice_common.settings import TranscriptionSettings

MAX_ANSWER_BYTES = 16 * 2**20
_WITHOUT_TIMES_S = 60
"""Where a provider gives text only, the length of a piece is how exact the times are."""
_LATE_S = 1.0
"""Models round; a time that lies so far behind the end is the end."""
_CHARS_PER_S = 100
"""Nobody speaks faster, in any language: an answer with more text is no transcript."""
_OK, _TOO_LARGE, _RATE_LIMITED = 200, 413, 429
_REJECTED = frozenset({400, 415, 422})
_DETAIL_CODE_BY_STATUS = {
    401: "transcription_refused_credentials",
    403: "transcription_refused_credentials",
    404: "transcription_unknown_model",
}
_DETAIL_CODE_BY_TROUBLE = {
    "timeout": "transcription_timeout",
    "unreachable": "transcription_unreachable",
    "cut_off": "transcription_answer_wrong",
    "too_large": "transcription_answer_wrong",
}


class OpenAITranscription:
    """A `TranscriptionProvider` behind `POST <base_url>/audio/transcriptions`; safe to use from many threads at once.

    It asks for `verbose_json`, which has times. A provider that refuses that is asked for `json` from then on, and
    its text has the times of the piece. It never tries again by itself.
    """

    def __init__(self, settings: TranscriptionSettings) -> None:
        self._settings = settings
        self._url = f"{str(settings.base_url).rstrip('/')}/audio/transcriptions"
        self._tells_times = True

    @property
    def model(self) -> str:
        return self._settings.model

    @property
    def asked_as(self) -> str:
        return f"{self._url} {self._settings.model} {self._settings.language or ''}"

    @property
    def longest_s(self) -> float:
        return self._settings.piece_s if self._tells_times else min(self._settings.piece_s, _WITHOUT_TIMES_S)

    def transcribe(self, wav: bytes, *, duration_s: float, is_stopped: Callable[[], bool]) -> Transcript:
        if self._tells_times:
            answer = self._ask(wav, "verbose_json", is_stopped)
            if answer.status not in _REJECTED:
                return _transcript_of(answer, duration_s)
        answer = self._ask(wav, "json", is_stopped)
        transcript = _transcript_of(answer, duration_s)
        self._tells_times = False
        return transcript

    def _ask(self, wav: bytes, response_format: str, is_stopped: Callable[[], bool]) -> Answer:
        fields = {"model": self._settings.model, "response_format": response_format}
        if response_format == "verbose_json":
            fields["timestamp_granularities[]"] = "segment"
        if self._settings.language:
            fields["language"] = self._settings.language
        bounds = Bounds(self._settings.timeout_s, MAX_ANSWER_BYTES, is_stopped)
        form = Form(fields, "recording.wav", wav, "audio/wav")
        try:
            return post(self._url, form, bearer=self._settings.api_key.get_secret_value(), bounds=bounds)
        except NoAnswer as error:
            if error.trouble == "stopped":
                raise LeaseLost("nobody waits for the transcript any more") from error
            code = _DETAIL_CODE_BY_TROUBLE[error.trouble]
            raise TranscriptionUnavailable("no answer of the transcription provider", detail_code=code) from error


def _transcript_of(answer: Answer, duration_s: float) -> Transcript:
    if answer.status != _OK:
        raise _refusal_of(answer)
    answered = _json_of(answer.body)
    spoken = tuple(_spoken_of(answered, duration_s))
    if sum(len(part.text) for part in spoken) > _CHARS_PER_S * (duration_s + 1):
        raise _wrong_answer("more text than anybody could say")
    language = answered.get("language")
    is_word = isinstance(language, str) and language.isprintable() and 0 < len(language) <= 40  # noqa: PLR2004 - the longest name of a language
    return Transcript(spoken, language if is_word else None)


def _refusal_of(answer: Answer) -> RateLimited | TranscriptionUnavailable | TranscriptionRejected:
    if answer.status == _RATE_LIMITED:
        return RateLimited("the transcription provider asks to wait", retry_after_s=wait_asked_for(answer.headers))
    if answer.status in _REJECTED or answer.status == _TOO_LARGE:
        said = f"the transcription provider answered {answer.status}"
        return TranscriptionRejected(said, is_too_large=answer.status == _TOO_LARGE)
    # A wrong key or model is the operator's to mend; until then the documents wait and none fails.
    code = _DETAIL_CODE_BY_STATUS.get(answer.status, "transcription_failed")
    return TranscriptionUnavailable(f"the transcription provider answered {answer.status}", detail_code=code)


def _json_of(body: bytes) -> Mapping[str, Any]:  # whatever was sent
    try:
        answered = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _wrong_answer("it is no JSON") from error
    if not isinstance(answered, dict) or not isinstance(answered.get("text"), str):
        raise _wrong_answer("it has no text")
    return answered


def _spoken_of(answered: Mapping[str, Any], duration_s: float) -> Iterator[Spoken]:
    segments = answered.get("segments")
    if not isinstance(segments, list) or not segments:
        if text := answered["text"].strip():
            yield Spoken(0.0, duration_s, text)
        return
    last_s = 0.0
    for segment in segments:
        part = _part_of(segment, duration_s)
        if part.start_s < last_s - _LATE_S:
            raise _wrong_answer("its times are out of order")
        last_s = max(last_s, part.start_s)
        if part.text:
            yield part


def _part_of(segment: Any, duration_s: float) -> Spoken:  # whatever was sent
    try:
        start_s, end_s, text = float(segment["start"]), float(segment["end"]), segment["text"]
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong_answer("a segment is none") from error
    if not isinstance(text, str) or not (math.isfinite(start_s) and math.isfinite(end_s)):
        raise _wrong_answer("a segment is none")
    if not -_LATE_S <= start_s <= end_s + _LATE_S or start_s > duration_s + _LATE_S:
        raise _wrong_answer("a segment lies outside of the sound")
    start_s = min(max(start_s, 0.0), duration_s)
    return Spoken(start_s, min(max(end_s, start_s), duration_s), text.strip())


def _wrong_answer(what: str) -> TranscriptionUnavailable:
    return TranscriptionUnavailable(
        f"the transcription provider's answer is wrong: {what}", detail_code="transcription_answer_wrong"
    )
