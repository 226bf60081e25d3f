"""Reads recordings: what was measured in them, and their sound for those who turn it into text."""

import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice_common.errors import (
    AUDIO_NOT_INSTALLED,
    CorruptDocument,
    DocumentTooLarge,
    ExtractorOutOfMemory,
    UnsupportedFormat,
)
from sluice_extractor.parsing.audio_tags import tags_of
from sluice_extractor.parsing.media import Recording, Sound
from sluice_extractor.parsing.original import OpenDocument, Original
from sluice_extractor.parsing.page import Page, Place, Remark
from sluice_extractor.parsing.type_hints import claims_recording

if TYPE_CHECKING:
    from sluice_extractor.parsing.audio_decoding import Decoding
    from sluice_extractor.parsing.audio_measuring import Levels, Speech

PART_S = 30
"""The sound comes in parts of this length."""

_ID3_SIZE, _ID3_VERSIONS = 10, (2, 3, 4)
_NO_SIZE = 0x7FFFFFFF
"""What programs write larger than this that do not know yet how long a WAV file will be."""
_SEARCHED_BYTES = 1 << 16
_IMAGE_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis")
_SHORTER_BY, _SHORTER_BY_S = 0.02, 0.5
"""By so much, and so many seconds, what was decoded may be shorter than what was announced."""


@dataclass(frozen=True)
class _Kind:
    """A format of recordings; `demuxer` is FFmpeg's name for it."""

    demuxer: str
    called: str
    media_type: str
    video_type: str = ""


_WAV = _Kind("wav", "a WAV recording", "audio/wav")
_MP3 = _Kind("mp3", "an MP3 recording", "audio/mpeg")
_FLAC = _Kind("flac", "a FLAC recording", "audio/flac")
_OGG = _Kind("ogg", "an Ogg recording", "audio/ogg", "video/ogg")
_MPEG_4 = _Kind("mov", "an MPEG-4 recording", "audio/mp4", "video/mp4")
_WEBM = _Kind("matroska", "a WebM or Matroska recording", "audio/webm", "video/webm")
_AAC = _Kind("aac", "an AAC recording", "audio/aac")


def fits_audio(original: Original) -> bool:
    return _kind_of(original) is not None


def can_read_recordings() -> bool:
    """Whether the decoder is installed, which is an extra."""
    return importlib.util.find_spec("av") is not None


def read_audio(original: Original) -> OpenDocument:
    """Open a recording; the sound of a video is one, too.

    Its pages have no text: those who hear the sound, and who know what the measures mean, give it to them. The sound
    comes only where it is wanted; the last page has the measures.

    Raises:
        UnsupportedFormat: there is no decoder here, for this kind, or for what is attached to a mail.
        CorruptDocument: it cannot be opened, or nothing in it can be decoded.
        DocumentTooLarge: it lasts longer, or has more channels, than the limit.
    """
    kind = _kind_of(original)
    assert kind is not None, "it fits"
    if original.allowance is not None:  # a long one would use up the time of the whole mail
        raise UnsupportedFormat(f"this is {kind.called}, which is read as a document of its own only")
    if not can_read_recordings():
        raise UnsupportedFormat(
            f"this is {kind.called}; reading it needs the extra `audio` of sluice-extractor",
            detail_code=AUDIO_NOT_INSTALLED,
        )
    decoding = _open(original, kind)
    if _trusts_announced(kind, original) and (decoding.announced_s or 0) > original.max_audio_s + 1:
        raise _too_long(original)
    media_type = kind.video_type if decoding.has_video and kind.video_type else kind.media_type
    remarks: list[Remark] = []
    pages = _pages_of(decoding, kind, original, remarks)
    return OpenDocument(media_type, "ffmpeg", None, pages, remarks)


def _open(original: Original, kind: _Kind) -> "Decoding":
    try:
        # Half of what a child needs to read a document of any other kind: loaded only by those that hear something.
        from sluice_extractor.parsing.audio_decoding import open_recording  # noqa: PLC0415 - as above
    except ImportError as error:  # it is installed, so there was no room for it
        raise ExtractorOutOfMemory("there was no room for the decoder") from error
    return open_recording(original.content, kind.demuxer)


def _pages_of(decoding: "Decoding", kind: _Kind, original: Original, remarks: list[Remark]) -> Iterator[Page]:
    from sluice_extractor.parsing.audio_decoding import SPEECH_RATE, SpeechSound  # noqa: PLC0415 - loaded by now
    from sluice_extractor.parsing.audio_measuring import Levels, Loudness  # noqa: PLC0415 - as above

    loudness = Loudness(decoding.rate, decoding.channel_names)
    levels = Levels(decoding.rate, decoding.channels)
    speech = _speech_detector()
    speech_sound = SpeechSound(decoding.rate)
    parts = _Parts(SPEECH_RATE, is_wanted=original.wants_sound)
    n_samples = 0
    for block in decoding.blocks():
        n_samples += block.shape[1]
        if n_samples > original.max_audio_s * decoding.rate:
            raise _too_long(original)
        loudness.take(block)
        levels.take(block)
        yield from parts.of(speech_sound.take(block), speech)
    if n_samples == 0:
        raise CorruptDocument("nothing in it can be decoded", detail_code="no_sound")
    yield from parts.of(speech_sound.finish(), speech, is_last=True)
    levels.finish()
    if speech is not None:
        speech.finish()
    duration_s = n_samples / decoding.rate
    remarks += _damages(decoding, kind, original, duration_s)
    measured = _recording_of(decoding, kind, duration_s, loudness.finish(), (levels, speech))
    yield Page(None, "", media=(measured,))


class _Parts:
    """Cuts the sound into pages."""

    def __init__(self, rate: int, *, is_wanted: bool) -> None:
        self._rate = rate
        self._is_wanted = is_wanted
        self._waiting = b""
        self._n_samples = 0

    def of(self, sound: bytes, speech: "Speech | None", *, is_last: bool = False) -> Iterator[Page]:
        """The pages that are full now, and what is left when nothing comes any more."""
        if speech is not None:
            speech.take(sound)
        self._waiting += sound
        size = 2 * PART_S * self._rate
        while len(self._waiting) >= size or (is_last and self._waiting):
            part, self._waiting = self._waiting[:size], self._waiting[size:]
            yield self._page_of(part)

    def _page_of(self, part: bytes) -> Page:
        start = self._n_samples
        self._n_samples += len(part) // 2
        place = Place(time_start=start / self._rate, time_end=self._n_samples / self._rate)
        return Page(None, "", place=place, media=(Sound(part, self._rate),) if self._is_wanted else ())


def _speech_detector() -> "Speech | None":
    from sluice_extractor.parsing.audio_measuring import Speech  # noqa: PLC0415 - loaded by now

    try:
        return Speech()
    except ImportError:
        return None


def _recording_of(
    decoding: "Decoding",
    kind: _Kind,
    duration_s: float,
    loudness_lufs: float | None,
    heard: "tuple[Levels, Speech | None]",
) -> Recording:
    from sluice_extractor.parsing.audio_measuring import sum_of, told  # noqa: PLC0415 - loaded by now

    levels, speech = heard
    silences = levels.silences(duration_s)
    speeches = [] if speech is None else speech.stretches(duration_s)
    return Recording(
        container=kind.demuxer,
        codec=decoding.codec,
        rate=decoding.recorded_rate,
        channels=decoding.channels,
        duration_s=round(duration_s, 3),
        has_video=decoding.has_video,
        tags=tags_of(decoding.tags),
        loudness_lufs=None if loudness_lufs is None else round(loudness_lufs, 2),
        peak_dbfs=None if levels.peak_dbfs is None else round(levels.peak_dbfs, 2) + 0.0,  # never minus zero
        clipped_ratio=round(levels.clipped_ratio, 6),
        silence_s=round(sum_of(silences), 3),
        silences=told(silences),
        speech_s=None if speech is None else round(sum_of(speeches), 3),
        speech_confidence=None if speech is None else round(speech.confidence, 3),
        speeches=told(speeches),
    )


def _damages(decoding: "Decoding", kind: _Kind, original: Original, duration_s: float) -> Iterator[Remark]:
    if decoding.has_video:
        yield Remark("video_not_read", "Of the video only the sound was read.")
    if decoding.n_bad:
        yield Remark("recording_damaged", f"{decoding.n_bad} pieces of the recording could not be decoded.")
    announced_s = _announced_s(decoding, kind, original)
    if announced_s and announced_s - duration_s > max(_SHORTER_BY * announced_s, _SHORTER_BY_S):
        said = f"The recording says that it lasts {announced_s:.1f} s; {duration_s:.1f} s could be read."
        yield Remark("recording_truncated", said)


def _announced_s(decoding: "Decoding", kind: _Kind, original: Original) -> float | None:
    """How long it says that it is; None where it does not say, or nobody knows whether it is so."""
    if kind is _WAV:  # the demuxer believes the size of the file and not that of the header
        size = int.from_bytes(original.content[4:8], "little")
        has_size = original.content.startswith(b"RIFF") and 0 < size < _NO_SIZE
        whole = (size + 8) / len(original.content) if has_size else 1.0
        return None if decoding.announced_s is None else max(whole, 1.0) * decoding.announced_s
    return decoding.announced_s if _trusts_announced(kind, original) else None


def _trusts_announced(kind: _Kind, original: Original) -> bool:
    """Whether the length stands in the file; of an MP3 or AAC without it, it is guessed from the size."""
    if kind is _AAC:
        return False
    head = original.content[: _audio_start(original.content) + 4096]
    return kind is not _MP3 or any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


def _too_long(original: Original) -> DocumentTooLarge:
    return DocumentTooLarge(f"it lasts longer than {original.max_audio_s:g} s", detail_code="too_long")


def _kind_of(original: Original) -> _Kind | None:
    content = original.content
    fixed = (
        (_WAV, content[:4] in {b"RIFF", b"RF64"} and content[8:12] == b"WAVE"),
        (_OGG, content.startswith(b"OggS")),
        (_FLAC, content.startswith(b"fLaC")),
        (_MPEG_4, content[4:8] == b"ftyp" and content[8:12] not in _IMAGE_BRANDS),
        (_WEBM, content.startswith(b"\x1aE\xdf\xa3")),
    )
    found = next((kind for kind, is_so in fixed if is_so), None)
    return found or _kind_of_frames(original)


def _kind_of_frames(original: Original) -> _Kind | None:
    """MP3 and AAC, which have no magic: two frames, one behind the other, perhaps behind a tag."""
    start = _audio_start(original.content)
    if start and original.content.startswith(b"fLaC", start):
        return _FLAC
    is_likely = start > 0 or claims_recording(original)
    head = original.content[start : start + _SEARCHED_BYTES]
    for at in (found.start() for found in _SYNC.finditer(head)) if is_likely else (0,):
        for kind, length_of in _LENGTHS:
            length = length_of(head, at)
            if length and length_of(head, at + length):
                return kind
    return _MP3 if start else None


def _audio_start(content: bytes) -> int:
    """Where the frames begin, behind an ID3 tag."""
    is_tag = content.startswith(b"ID3") and len(content) > _ID3_SIZE and content[3] in _ID3_VERSIONS
    if not is_tag or max(content[6:10]) > 0x7F:  # noqa: PLR2004 - seven bits each
        return 0
    size = content[6] << 21 | content[7] << 14 | content[8] << 7 | content[9]
    return _ID3_SIZE + size


_SYNC = re.compile(rb"\xff[\xe0-\xff]")
_MP3_KBIT = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_LAYER_3 = 1


def _mp3_frame_bytes(head: bytes, at: int) -> int:
    """The length of the MPEG audio frame (layer 3) that begins at *at*; 0 where none does."""
    if len(head) < at + 4 or head[at] != 0xFF or head[at + 1] & 0xE0 != 0xE0:  # noqa: PLR2004 - eleven bits of one
        return 0
    version, layer = head[at + 1] >> 3 & 3, head[at + 1] >> 1 & 3
    bits, rate, padding = head[at + 2] >> 4, head[at + 2] >> 2 & 3, head[at + 2] >> 1 & 1
    if layer != _LAYER_3 or version not in _MP3_RATES or bits in {0, 15} or rate == 3:  # noqa: PLR2004 - reserved
        return 0
    kbit = _MP3_KBIT[3 if version == 3 else 2][bits]  # noqa: PLR2004 - MPEG 1
    samples_per_byte = 144 if version == 3 else 72  # noqa: PLR2004 - as above
    return samples_per_byte * 1000 * kbit // _MP3_RATES[version][rate] + padding


def _aac_frame_bytes(head: bytes, at: int) -> int:
    """The length of the ADTS frame that begins at *at*; 0 where none does."""
    if len(head) < at + 7 or head[at] != 0xFF or head[at + 1] & 0xF6 != 0xF0:  # noqa: PLR2004 - sync, layer 0
        return 0
    if head[at + 2] >> 2 & 15 > 12:  # noqa: PLR2004 - rates that are reserved
        return 0
    length = (head[at + 3] & 3) << 11 | head[at + 4] << 3 | head[at + 5] >> 5
    return length if length > 7 else 0  # noqa: PLR2004 - longer than its header


_LENGTHS: tuple[tuple[_Kind, Callable[[bytes, int], int]], ...] = ((_MP3, _mp3_frame_bytes), (_AAC, _aac_frame_bytes))
