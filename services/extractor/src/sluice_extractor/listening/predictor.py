"""What a predictor is, for those who bring their own, and what of its answer is believed."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

ENTRY_POINTS = "sluice.audio_predictors"
"""The group of entry points by which a package brings predictors."""

MOST_LABELS = 50
_LABEL_CHARS = 64


class AudioPredictor(Protocol):
    """A model that says what a recording is or has.

    Made once, by calling what the entry point names without arguments, in a process of its own that serves one
    recording after the other.
    """

    def predict(self, file: Path) -> Mapping[str, float]:
        """The labels of one recording, with confidences from 0 to 1; what is left out is not voted on.

        Args:
            file: a WAV file of 16,000 samples a second, one channel, 16 bits. It is gone afterwards.
        """


MemberKind = Literal["built_in", "installed", "endpoint"]


class LeftOut(Exception):
    """A member gives no vote; `reason` is a word that says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Member:
    """A predictor in the ensemble that needs the sound itself; `ask` gives whatever it answered.

    `ask` raises `LeftOut`, and gives up when what it is handed says that nobody waits any more.
    """

    name: str
    kind: MemberKind
    weight: float
    ask: Callable[[Path, Callable[[], bool]], Any]  # an answer is checked by `labels_in`


def labels_in(answer: Any) -> dict[str, float]:  # whatever a member gave
    """The labels that *answer* is.

    Raises:
        LeftOut: it is not a mapping of at most `MOST_LABELS` short printable words to numbers from 0 to 1.
    """
    if not isinstance(answer, Mapping) or len(answer) > MOST_LABELS:
        raise LeftOut("bad_answer")
    return {_label(label): _confidence(confidence) for label, confidence in answer.items()}


def _label(label: Any) -> str:  # as above
    if not isinstance(label, str) or not 0 < len(label) <= _LABEL_CHARS or not label.isprintable():
        raise LeftOut("bad_answer")
    return label


def _confidence(confidence: Any) -> float:  # as above
    is_number = isinstance(confidence, int | float) and not isinstance(confidence, bool)
    if not is_number or not math.isfinite(confidence) or not 0 <= confidence <= 1:
        raise LeftOut("bad_answer")
    return float(confidence)
