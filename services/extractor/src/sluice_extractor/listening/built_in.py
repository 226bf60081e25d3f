"""The members that need no model of anybody's: what the measures of a recording mean, as labels."""

from collections.abc import Callable
from dataclasses import dataclass

from sluice_extractor.listening.predictor import LeftOut
from sluice_extractor.parsing.media import Recording

_QUIET_LUFS, _LOUD_LUFS = (-30.0, -40.0), (-16.0, -10.0)
"""From where on it may be called so, and from where on it must."""
_SURELY_CLIPPED = 0.001


@dataclass(frozen=True)
class BuiltIn:
    """A member that reads the measures."""

    name: str
    labels_of: Callable[[Recording], dict[str, float]]


def _duration(_: Recording) -> dict[str, float]:
    return {}  # how long is long, nobody can say; the measure stands for itself


def _loudness(recording: Recording) -> dict[str, float]:
    lufs = recording.loudness_lufs
    if lufs is None:
        return {"quiet": 1.0, "loud": 0.0}
    return {"quiet": _between(lufs, *_QUIET_LUFS), "loud": _between(lufs, *_LOUD_LUFS)}


def _clipping(recording: Recording) -> dict[str, float]:
    return {"clipped": _between(recording.clipped_ratio, 0, _SURELY_CLIPPED)}


def _silence(recording: Recording) -> dict[str, float]:
    return {"silent": _between(recording.silence_s, 0, recording.duration_s)}


def _speech(recording: Recording) -> dict[str, float]:
    if recording.speech_confidence is None:
        raise LeftOut("not_installed")
    return {"speech": recording.speech_confidence}


BUILT_IN = (
    BuiltIn("duration", _duration),
    BuiltIn("loudness", _loudness),
    BuiltIn("clipping", _clipping),
    BuiltIn("silence", _silence),
    BuiltIn("speech", _speech),
)


def _between(value: float, none: float, surely: float) -> float:
    """0 at *none*, 1 at *surely*, a straight line between them."""
    return min(max((value - none) / (surely - none), 0.0), 1.0)
