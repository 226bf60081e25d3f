"""What a page holds besides text, decoded: its pixels or samples, for those who turn them into text."""

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
class Sound:
    """A stretch of a recording, one channel of 16-bit little-endian samples; its page's place says when it is heard."""

    samples: bytes
    rate: int
    """Samples per second."""


Media = Picture | Sound
