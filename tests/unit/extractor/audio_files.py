"""Recordings made in memory: signals with known measures, every format, and files that want to do harm."""

import io
import math
import struct
import wave
from pathlib import Path

import av
import numpy as np

SPEECH_MP3 = (Path(__file__).parents[2] / "data" / "speech.mp3").read_bytes()
"""Ten seconds of a man reading aloud."""

FORMATS = {
    "wav": ("wav", "pcm_s16le", "audio/wav"),
    "mp3": ("mp3", "libmp3lame", "audio/mpeg"),
    "flac": ("flac", "flac", "audio/flac"),
    "ogg": ("ogg", "libopus", "audio/ogg"),
    "m4a": ("ipod", "aac", "audio/mp4"),
    "aac": ("adts", "aac", "audio/aac"),
    "webm": ("webm", "libopus", "audio/webm"),
}
"""By ending: FFmpeg's names of the container and of the codec, and the media type."""


def sine(frequency: float, seconds: float, *, dbfs: float = 0.0, rate: int = 48_000) -> np.ndarray:
    """One channel; 0 dBFS is a sine that just reaches full scale."""
    return (10 ** (dbfs / 20) * np.sin(2 * math.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype("f4")


def wav(*channels: np.ndarray, rate: int = 48_000) -> bytes:
    """A WAV file with 16-bit samples; what is beyond full scale is cut off."""
    written = io.BytesIO()
    samples = np.clip(np.stack(channels, axis=1), -1, 32767 / 32768) * 32768
    with wave.open(written, "wb") as file:
        file.setparams((len(channels), 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return written.getvalue()


def samples_of(content: bytes, *, rate: int = 48_000) -> np.ndarray:
    """One channel of what any recording has."""
    resampler = av.AudioResampler("flt", "mono", rate)
    with av.open(io.BytesIO(content)) as container:
        frames = [even for frame in container.decode(audio=0) for even in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray().ravel() for frame in frames])


def encoded(mono: np.ndarray, ending: str, *, tags: dict[str, str] | None = None, rate: int = 48_000) -> bytes:
    """A recording of the format with that ending."""
    container_name, codec, _ = FORMATS[ending]
    written = io.BytesIO()
    with av.open(written, "w", format=container_name) as container:
        container.metadata.update(tags or {})
        add_sound(container, codec, mono, rate)
    return written.getvalue()


def add_sound(container, codec: str, mono: np.ndarray, rate: int = 48_000) -> None:
    stream = container.add_stream(codec, rate=rate, layout="mono")
    resampler = av.AudioResampler(stream.codec_context.format, "mono", rate, stream.codec_context.frame_size or 1024)
    frame = av.AudioFrame.from_ndarray(mono.astype("f4")[np.newaxis, :], format="flt", layout="mono")
    frame.sample_rate = rate
    for even in (*resampler.resample(frame), *resampler.resample(None)):
        container.mux(stream.encode(even))
    container.mux(stream.encode(None))


def video(mono: np.ndarray | None, container_name: str = "mp4") -> bytes:
    """A second of moving pictures, with or without sound."""
    written = io.BytesIO()
    with av.open(written, "w", format=container_name) as container:
        pictures = container.add_stream("libvpx" if container_name == "webm" else "mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        if mono is not None:
            add_sound(container, "libopus" if container_name == "webm" else "aac", mono)
        for shade in range(10):
            grey = np.full((48, 64, 3), shade * 20, "u1")
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(pictures.encode(None))
    return written.getvalue()


def with_id3(frames: bytes, *fields: tuple[bytes, bytes]) -> bytes:
    """MP3 frames behind an ID3 tag of version 2.3."""
    body = b"".join(name + struct.pack(">IH", len(value), 0) + value for name, value in fields)
    size = len(body)
    sizes = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + sizes + body + frames


def pcm_wav(
    *, channels: int = 1, rate: int = 48_000, bits: int = 16, body: bytes = b"", says: int | None = None
) -> bytes:
    """A WAV file whose header may say anything."""
    block = channels * bits // 8
    head = struct.pack("<HHIIHH", 1, channels & 0xFFFF, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    size = len(body) if says is None else says
    return (
        b"RIFF"
        + struct.pack("<I", 0xFFFFFFFF)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + head
        + b"data"
        + struct.pack("<I", size)
        + body
    )


def hour_of_silence() -> bytes:
    """A FLAC of silence, which compresses to nothing."""
    return encoded(np.zeros(3600 * 8000, "f4"), "flac", rate=8000)
