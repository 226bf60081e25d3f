"""Decodes recordings with FFmpeg's libraries, a second at a time; loaded by the child that reads a recording."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from numpy.typing import NDArray

from sluice_common.errors import CorruptDocument, DocumentTooLarge, UnsupportedFormat

SPEECH_RATE = 16_000
"""What models of speech expect."""
Samples = NDArray[np.float32]
"""Shape `(channels, n)`; full scale is 1."""

_CODECS = """
    aac alac flac gsm_ms mp2float mp3float opus vorbis
    adpcm_ima_qt adpcm_ima_wav adpcm_ms adpcm_yamaha
    pcm_alaw pcm_bluray pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_mulaw pcm_s16be pcm_s16le pcm_s24be pcm_s24le
    pcm_s32be pcm_s32le pcm_s64le pcm_s8 pcm_u8
"""
"""Decoders that may be used; those of pictures and videos are not even opened to look at them."""
_MOST_CHANNELS = 64
_MOST_CHANGES = 64
_RATES = range(1_000, 768_001)
_MEASURED_RATES = (16_000, 192_000)
_MOST_BAD_PACKETS = 10_000


@dataclass
class Decoding:
    """One recording being decoded; iterate `blocks` once. `n_bad` packets could not be decoded so far."""

    container: InputContainer
    stream: AudioStream
    rate: int
    """Of the blocks: as recorded, within what loudness can be measured at."""
    channels: int
    n_bad: int = 0
    _resamplers: dict[tuple[str, str, int], AudioResampler] = field(default_factory=dict)

    @property
    def codec(self) -> str:
        return self.stream.codec_context.codec.canonical_name

    @property
    def recorded_rate(self) -> int:
        return int(self.stream.codec_context.sample_rate)

    @property
    def channel_names(self) -> list[str]:
        """Such as FL, FR and LFE; what has no known place is called NONE."""
        return [channel.name for channel in self.stream.codec_context.layout.channels][: self.channels]

    @property
    def has_video(self) -> bool:
        """Whether there are moving pictures, and not only a cover."""
        return any(not stream.disposition & Disposition.attached_pic for stream in self.container.streams.video)

    @property
    def announced_s(self) -> float | None:
        """How long it says it is."""
        return None if self.container.duration is None else float(self.container.duration) / av.time_base

    @property
    def tags(self) -> dict[str, str]:
        return {**self.stream.metadata, **self.container.metadata}

    def blocks(self) -> Iterator[Samples]:
        """All that can be decoded, about a second at a time."""
        waiting: list[Samples] = []
        length = 0
        for frame in self._frames():
            for samples in self._even(frame):
                waiting.append(samples)
                length += samples.shape[1]
            if length >= self.rate:
                yield np.concatenate(waiting, axis=1)
                waiting, length = [], 0
        if waiting:
            yield np.concatenate(waiting, axis=1)

    def _frames(self) -> Iterator[AudioFrame]:
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except av.FFmpegError as error:  # one of memory, too: so large is only what a damaged file claims to be
                if isinstance(error, EOFError) or self.n_bad >= _MOST_BAD_PACKETS:
                    return
                self.n_bad += 1
                continue
            if packet is None:
                return
            yield from (frame for frame in frames if isinstance(frame, AudioFrame))

    def _even(self, frame: AudioFrame) -> Iterator[Samples]:
        """The frame's samples at the one rate and with the one number of channels, whatever comes in between."""
        key = (frame.format.name, _layout_key(frame.layout), frame.sample_rate)
        if key not in self._resamplers:
            if len(self._resamplers) >= _MOST_CHANGES:
                raise CorruptDocument("it changes its format again and again", detail_code="audio_format")
            # Packed: of planar frames with more than eight channels PyAV 18 reads planes that are not there, and dies.
            self._resamplers[key] = AudioResampler("flt", frame.layout, self.rate)
        frame.pts = None  # times are counted in samples
        for even in self._resamplers[key].resample(frame):
            samples = np.nan_to_num(even.to_ndarray().astype(np.float32, copy=False), copy=False)
            samples = samples.reshape(-1, len(even.layout.channels)).T
            if samples.shape[0] != self.channels:
                samples = np.repeat(samples.mean(axis=0, keepdims=True), self.channels, axis=0)
            yield samples


def open_recording(content: bytes, demuxer: str) -> Decoding:
    """Open the first sound in *content*, which is of the format that *demuxer* is for.

    Raises:
        CorruptDocument: it cannot be opened, or what it says of itself cannot be.
        UnsupportedFormat: there is no sound in it, or of a kind that is not decoded.
        DocumentTooLarge: more channels than the limit.
    """
    container = _container_of(content, demuxer)
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream):
        if container.streams.video:
            raise UnsupportedFormat("this is a video without sound, which has no reader", detail_code="no_sound")
        raise CorruptDocument("there is no sound in it", detail_code="no_sound")
    context = stream.codec_context
    if context is None or context.codec.name not in _CODECS.split():
        raise UnsupportedFormat("this is a recording of a kind that is not decoded", detail_code="audio_codec")
    if context.sample_rate not in _RATES or not context.channels:
        raise CorruptDocument(f"{context.sample_rate} samples a second", detail_code="audio_format")
    if context.channels > _MOST_CHANNELS:
        raise DocumentTooLarge(
            f"{context.channels} channels, the limit is {_MOST_CHANNELS}", detail_code="too_many_channels"
        )
    context.thread_type = "NONE"  # a child may not start threads
    context.thread_count = 1
    least, most = _MEASURED_RATES
    return Decoding(container, stream, min(max(context.sample_rate, least), most), context.channels)


def _container_of(content: bytes, demuxer: str) -> InputContainer:
    options = {"codec_whitelist": ",".join(_CODECS.split()), "format_whitelist": demuxer, "max_streams": "100"}
    try:
        return av.open(io.BytesIO(content), "r", format=demuxer, options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise CorruptDocument("it cannot be opened as a recording") from error


def _layout_key(layout: AudioLayout) -> str:
    return f"{layout.name}:{len(layout.channels)}"


class SpeechSound:
    """Turns blocks into one channel of 16-bit samples at `SPEECH_RATE`."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._resampler = AudioResampler("s16", "mono", SPEECH_RATE)

    def take(self, block: Samples) -> bytes:
        mono = np.clip(block.mean(axis=0, keepdims=True, dtype=np.float32), -1, 1)
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(mono), format="fltp", layout="mono")
        frame.sample_rate = self._rate
        return self._bytes_of(frame)

    def finish(self) -> bytes:
        return self._bytes_of(None)

    def _bytes_of(self, frame: AudioFrame | None) -> bytes:
        return b"".join(bytes(even.planes[0])[: 2 * even.samples] for even in self._resampler.resample(frame))
