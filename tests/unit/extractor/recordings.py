"""Recordings as a reader measures them, for tests of what is made of them."""

from sluice_extractor.parsing.media import Recording, Sound
from sluice_extractor.parsing.page import Page, Place


def a_recording(**fields) -> Recording:
    """Ten seconds in which nobody speaks."""
    values = {
        "container": "wav",
        "codec": "pcm_s16le",
        "rate": 48_000,
        "channels": 2,
        "duration_s": 10.0,
        "has_video": False,
        "tags": (("title", "A song"),),
        "loudness_lufs": -23.0,
        "peak_dbfs": -3.0,
        "clipped_ratio": 0.0,
        "silence_s": 1.0,
        "silences": ((1.0, 2.0),),
        "speech_s": None,
        "speech_confidence": None,
        "speeches": (),
    }
    return Recording(**{**values, **fields})


def pages_of(recording: Recording, samples: bytes = b"", part_s: float = 30) -> list[Page]:
    """As the reader yields them: the sound in parts, then the measures."""
    size = 2 * int(part_s * 16_000)
    parts = [samples[at : at + size] for at in range(0, len(samples), size)]
    pages = [
        Page(
            None,
            "",
            place=Place(time_start=number * part_s, time_end=number * part_s + len(part) / 32_000),
            media=(Sound(part, 16_000),),
        )
        for number, part in enumerate(parts)
    ]
    return [*pages, Page(None, "", media=(recording,))]
