"""The enrichment that has the sound of a recording transcribed, piece by piece, each part of it with its times."""

import hashlib
import io
import threading
import wave
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import structlog

from sluice_common.errors import RateLimited, TranscriptionRejected, TranscriptionUnavailable
from sluice_common.ports import Spoken, Transcript, TranscriptionProvider
from sluice_common.transcripts import Transcripts
from sluice_extractor.enriching import Findings, pause
from sluice_extractor.metrics import ExtractionMetrics
from sluice_extractor.parsing.cleaning import clean_line
from sluice_extractor.parsing.media import Recording, Sound
from sluice_extractor.parsing.page import Page, Place, Remark

log = structlog.get_logger(__name__)

_SEARCHED_S = 15.0
"""So far before its longest end a piece is looked through for the quietest moment."""
_MOMENT_S = 0.2
_AUDIBLE = 104
"""Of 32,768, which is -50 dBFS: models invent words for what nobody hears."""
_SHORTEST_S = 0.1
_LEAST_HALVED_S = 20.0
_PAUSES_S = (1.0, 3.0)
_LONGEST_PAUSE_S = 5.0


class NoTranscription:
    """Instead of `Transcription` where no provider is configured: says so."""

    def enriched(self, pages: Iterator[Page], findings: Findings) -> Iterator[Page]:
        for page in pages:
            if any(isinstance(media, Recording) for media in page.media):
                said = "No provider of transcripts is configured: what is said in the recording cannot be found."
                findings.remarks.append(Remark("not_transcribed", said))
                _note(findings, outcome="not_configured", model=None, language=None)
            yield _without_sound(page)


@dataclass(frozen=True)
class Piece:
    """A stretch of sound for one request, and where it begins."""

    samples: bytes
    rate: int
    start_s: float

    @property
    def duration_s(self) -> float:
        return len(self.samples) / 2 / self.rate

    @property
    def is_audible(self) -> bool:
        return bool(np.abs(np.frombuffer(self.samples, "<i2").astype(np.int32)).max(initial=0) > _AUDIBLE)


@dataclass
class _Heard:
    """What came of one piece: spoken from its beginning on; `refused` are stretches of the recording."""

    spoken: list[Spoken] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    refused: list[tuple[float, float]] = field(default_factory=list)


class Transcription:
    """An `Enrichment`: pages of sound become pages of text, one for each part that the provider tells the times of.

    A provider that is away, or asks to wait, is asked again for a moment; then the document goes back and waits, and
    the pieces that were transcribed are not asked for again.
    """

    def __init__(
        self,
        provider: TranscriptionProvider,
        transcripts: Transcripts,
        metrics: ExtractionMetrics,
        *,
        max_in_flight: int,
    ) -> None:
        self._provider = provider
        self._transcripts = transcripts
        self._metrics = metrics
        self._max_in_flight = max_in_flight

    def enriched(self, pages: Iterator[Page], findings: Findings) -> Iterator[Page]:
        ending = threading.Event()
        pool = ThreadPoolExecutor(self._max_in_flight, thread_name_prefix="transcription")
        try:
            yield from self._heard_pages(pages, _Line(self, pool, findings, ending))
        finally:
            ending.set()  # who is asked still need not answer
            pool.shutdown(cancel_futures=True)

    def _heard_pages(self, pages: Iterator[Page], line: "_Line") -> Iterator[Page]:
        cutting = Cutting(lambda: self._provider.longest_s)
        for page in pages:
            for sound in (media for media in page.media if isinstance(media, Sound)):
                for piece in cutting.take(sound):
                    yield from line.send(piece)
            if any(isinstance(media, Recording) for media in page.media):
                for piece in cutting.finish():
                    yield from line.send(piece)
                yield from line.finish(self._provider.model)
                yield page
            elif not page.media or page.text:
                yield _without_sound(page)

    def heard(self, piece: Piece, findings: Findings, is_stopped: Callable[[], bool]) -> _Heard:
        """What is said in one piece, from what was kept or from the provider."""
        heard = _Heard()
        if piece.duration_s < _SHORTEST_S or not piece.is_audible:
            return heard
        try:
            transcript = self._kept_or_asked(piece, findings, is_stopped)
        except TranscriptionRejected as error:
            if not error.is_too_large or piece.duration_s < _LEAST_HALVED_S:
                log.warning("piece_refused", detail=error.detail)
                heard.refused.append((piece.start_s, piece.start_s + piece.duration_s))
                return heard
            for half in _halves_of(piece):
                part = self.heard(half, findings, is_stopped)
                heard.spoken += [_later(spoken, half.start_s - piece.start_s) for spoken in part.spoken]
                heard.languages += part.languages
                heard.refused += part.refused
            return heard
        heard.spoken += transcript.spoken
        heard.languages += [transcript.language] if transcript.language else []
        return heard

    def _kept_or_asked(self, piece: Piece, findings: Findings, is_stopped: Callable[[], bool]) -> Transcript:
        key = _key_of(piece, self._provider.asked_as)
        kept = findings.document_id and self._transcripts.find(findings.document_id, key)
        if kept:
            return Transcript(tuple(Spoken(**spoken) for spoken in kept["spoken"]), kept["language"])
        transcript = self._asked(piece, is_stopped)
        self._metrics.count_transcribed(piece.duration_s)
        if findings.document_id:
            self._transcripts.keep(findings.document_id, key, asdict(transcript))
        return transcript

    def _asked(self, piece: Piece, is_stopped: Callable[[], bool]) -> Transcript:
        wav = _wav_of(piece)
        for pause_s in (*_PAUSES_S, None):
            try:
                return self._provider.transcribe(wav, duration_s=piece.duration_s, is_stopped=is_stopped)
            except (RateLimited, TranscriptionUnavailable) as error:
                asked_s = error.retry_after_s if isinstance(error, RateLimited) else None
                if pause_s is None or (asked_s or 0) > _LONGEST_PAUSE_S:
                    raise
                pause(pause_s if asked_s is None else asked_s, is_stopped)
        raise AssertionError("the last pause is none")


class _Line:
    """Pieces under way: several at once, and what was heard in them in their order."""

    def __init__(
        self, transcription: Transcription, pool: ThreadPoolExecutor, findings: Findings, ending: threading.Event
    ) -> None:
        self._transcription = transcription
        self._pool = pool
        self._findings = findings
        self._ending = ending
        self._under_way: deque[tuple[Piece, Future[_Heard]]] = deque()
        self._languages: Counter[str] = Counter()
        self._refused: list[tuple[float, float]] = []

    def send(self, piece: Piece) -> Iterator[Page]:
        """Have *piece* transcribed; the pages of what was sent first, once as much is under way as may be."""
        answer = self._pool.submit(self._transcription.heard, piece, self._findings, self._is_stopped)
        self._under_way.append((piece, answer))
        while len(self._under_way) >= max(2, self._transcription._max_in_flight):  # noqa: SLF001 - its own part
            yield from self._next_pages()

    def finish(self, model: str) -> Iterator[Page]:
        """The pages of all that is under way; then what is to be said about the transcript as a whole."""
        while self._under_way:
            yield from self._next_pages()
        for start_s, end_s in self._refused:
            said = f"The provider of transcripts refused the sound from {start_s:.0f} s to {end_s:.0f} s."
            self._findings.remarks.append(Remark("piece_not_transcribed", said))
        language = self._languages.most_common(1)[0][0] if self._languages else None
        outcome = "partial" if self._refused else "ok"
        _note(self._findings, outcome=outcome, model=model, language=language)

    def _next_pages(self) -> Iterator[Page]:
        piece, answer = self._under_way.popleft()
        heard = answer.result()
        self._languages.update(heard.languages)
        self._refused += heard.refused
        for spoken in heard.spoken:
            text = clean_line(spoken.text).strip()
            if text:
                place = Place(
                    time_start=round(piece.start_s + spoken.start_s, 3), time_end=round(piece.start_s + spoken.end_s, 3)
                )
                yield Page(None, text + "\n", place=place)

    def _is_stopped(self) -> bool:
        return self._ending.is_set() or self._findings.is_stopped()


class Cutting:
    """Cuts sound into pieces that are as long as may be, each at the quietest moment near its end."""

    def __init__(self, longest_s: Callable[[], float]) -> None:
        self._longest_s = longest_s
        self._waiting = bytearray()
        self._rate = 1
        self._n_cut = 0

    def take(self, sound: Sound) -> Iterator[Piece]:
        """The pieces that are full now."""
        self._rate = sound.rate
        self._waiting += sound.samples
        while len(self._waiting) > (size := 2 * int(self._longest_s() * self._rate)):
            yield self._piece(2 * quietest_moment(bytes(self._waiting[:size]), self._rate))

    def finish(self) -> Iterator[Piece]:
        """What is left."""
        if self._waiting:
            yield self._piece(len(self._waiting))

    def _piece(self, size: int) -> Piece:
        samples = bytes(self._waiting[:size])
        del self._waiting[:size]
        start_s = self._n_cut / self._rate
        self._n_cut += size // 2
        return Piece(samples, self._rate, start_s)


def quietest_moment(samples: bytes, rate: int) -> int:
    """The number of the sample at which a cut is heard least, in the last part of *samples*."""
    levels = np.frombuffer(samples, "<i2").astype(np.float64) ** 2
    moment = max(1, int(_MOMENT_S * rate))
    first = max(len(levels) - int(_SEARCHED_S * rate), len(levels) // 2)
    n_moments = (len(levels) - first) // moment
    if n_moments == 0:
        return len(levels)
    powers = levels[first : first + n_moments * moment].reshape(n_moments, moment).sum(axis=1)
    latest = n_moments - 1 - int(np.argmin(powers[::-1]))  # of equals the latest: longer pieces, fewer requests
    return first + latest * moment + moment // 2


def _halves_of(piece: Piece) -> Iterator[Piece]:
    at = 2 * quietest_moment(piece.samples[: len(piece.samples) // 4 * 2], piece.rate)
    yield replace(piece, samples=piece.samples[:at])
    yield replace(piece, samples=piece.samples[at:], start_s=piece.start_s + at / 2 / piece.rate)


def _later(spoken: Spoken, seconds: float) -> Spoken:
    return replace(spoken, start_s=spoken.start_s + seconds, end_s=spoken.end_s + seconds)


def _key_of(piece: Piece, asked_as: str) -> bytes:
    return hashlib.sha256(piece.samples + f"{piece.rate} {asked_as}".encode()).digest()


def _wav_of(piece: Piece) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setparams((1, 2, piece.rate, 0, "NONE", ""))
        file.writeframes(piece.samples)
    return written.getvalue()


def _without_sound(page: Page) -> Page:
    kept = tuple(media for media in page.media if not isinstance(media, Sound))
    return page if len(kept) == len(page.media) else replace(page, media=kept)


def _note(findings: Findings, *, outcome: str, model: str | None, language: str | None) -> None:
    if findings.analysis is not None:
        findings.analysis["transcript"] = {"outcome": outcome, "model": model, "language": language}
