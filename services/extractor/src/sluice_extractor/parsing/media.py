"""What a page holds besides text, decoded: its pixels, samples or measures, for those who turn them into text."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that may show text; what is recognised in it belongs at offset `at` of its page's text.

    `pixels` are rows from the top, each of `width * channels` bytes, without padding.
    """

    pixels: bytes
    width: int
    height: int
    channels: int
    """1 is grey from black (0) to white (255), 3 is red, green, blue."""
    at: int
    is_whole_page: bool = False
    """Whether this is the page itself as it looks, and not a figure on it."""
    dpi: float | None = None
    """Pixels per inch, where that is known."""
    rect: tuple[float, float, float, float] | None = None
    """What it covers of its page: x0, y0, x1, y1 in PDF points from the top left; None where there is no paper."""


@dataclass(frozen=True, slots=True)
class FigureSource:
    """Where the bytes of a picture in a document are to be had."""

    name: str
    """Tells it from others of the same document; empty where only its bytes do."""
    load: Callable[[], bytes]
    """Raises the `PermanentError`s of readers."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture in a document that is not decoded yet; it belongs at offset `at` of its page's text."""

    at: int
    source: FigureSource


@dataclass(frozen=True, slots=True)
class Sound:
    """A stretch of a recording, one channel of 16-bit little-endian samples; its page's place says when it is heard."""

    samples: bytes
    rate: int
    """Samples per second."""


Stretch = tuple[float, float]
"""From when to when, in seconds from the beginning of a recording."""
MOST_STRETCHES = 500
"""So many of one kind are told; their sum counts all."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What a recording is, and what was measured in all of it; comes once, on the last page of its document."""

    container: str
    codec: str
    rate: int
    """Samples per second."""
    channels: int
    duration_s: float
    """Of what could be decoded."""
    has_video: bool
    tags: tuple[tuple[str, str], ...]
    """What its makers wrote about it: names in lower case, and cleaned texts."""
    loudness_lufs: float | None
    """Integrated loudness by ITU-R BS.1770; None where nothing passes its gate, such as in silence."""
    peak_dbfs: float | None
    """The greatest sample, 0 is full scale; None where all are zero."""
    clipped_ratio: float
    """Part of the samples that stand at full scale, three or more in a row."""
    silence_s: float
    silences: tuple[Stretch, ...]
    speech_s: float | None
    """None where no detector of speech is installed, as in the next two."""
    speech_confidence: float | None
    """That somebody speaks at all, from 0 to 1."""
    speeches: tuple[Stretch, ...]


Media = Picture | Sound | Recording
