"""Asks every member for its labels, and combines the votes by weight; who fails is left out and named."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from sluice_extractor.listening.built_in import BUILT_IN
from sluice_extractor.listening.predictor import LeftOut, Member, MemberKind, labels_in
from sluice_extractor.parsing.media import Recording

log = structlog.get_logger(__name__)

Json = dict[str, Any]  # a JSON object

MOST_LABELS_TOLD = 200


@dataclass(frozen=True)
class Vote:
    """What one member said, or why it said nothing."""

    name: str
    kind: MemberKind
    weight: float
    labels: Mapping[str, float]
    left_out: str | None = None


class Ensemble:
    """All members: those built in, and those that owners bring. A weight of 0 leaves a member out."""

    def __init__(self, members: Sequence[Member] = (), weights: Mapping[str, float] | None = None) -> None:
        """Take *members*, whose weights are their own; *weights* are those of the built-in ones, 1 where not given."""
        self._members = [member for member in members if member.weight > 0]
        self._weights = weights or {}

    @property
    def wants_sound(self) -> bool:
        """Whether any member needs the recording as a file."""
        return bool(self._members)

    def votes_on(self, recording: Recording, file: Path | None, is_stopped: Callable[[], bool]) -> list[Vote]:
        """The votes of all members, in an order that is always the same.

        Args:
            recording: what was measured.
            file: the sound; None where there was no room for it, so that who needs it is left out.
            is_stopped: once it says so, nobody waits for the votes any more.
        """
        votes = [self._built_in_vote(number, recording) for number in range(len(BUILT_IN))]
        votes = [vote for vote in votes if vote.weight > 0]
        if self._members:
            with ThreadPoolExecutor(len(self._members), thread_name_prefix="member") as pool:
                votes += pool.map(lambda member: _vote_of(member, file, is_stopped), self._members)
        for vote in votes:
            if vote.left_out is not None:
                log.warning("member_left_out", member=vote.name, reason=vote.left_out)
        return votes

    def _built_in_vote(self, number: int, recording: Recording) -> Vote:
        member = BUILT_IN[number]
        weight = self._weights.get(member.name, 1.0)
        try:
            return Vote(member.name, "built_in", weight, member.labels_of(recording))
        except LeftOut as error:
            return Vote(member.name, "built_in", weight, {}, error.reason)


def combined(votes: Sequence[Vote]) -> list[Json]:
    """For each label the mean of the confidences, weighted; of those members only that voted on it. Surest first."""
    by_label: dict[str, list[tuple[Vote, float]]] = {}
    for vote in votes:
        for label, confidence in vote.labels.items():
            by_label.setdefault(label, []).append((vote, confidence))
    labels = [
        {
            "label": label,
            "confidence": _mean([(vote.weight, confidence) for vote, confidence in cast]),
            "votes": [
                {"member": vote.name, "confidence": round(confidence, 3), "weight": vote.weight}
                for vote, confidence in cast
            ],
        }
        for label, cast in by_label.items()
    ]
    return sorted(labels, key=_surest_first)[:MOST_LABELS_TOLD]


def _surest_first(label: Json) -> tuple[float, str]:
    return -label["confidence"], label["label"]


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    return round(sum(weight * value for weight, value in weighted) / sum(weight for weight, _ in weighted), 3)


def _vote_of(member: Member, file: Path | None, is_stopped: Callable[[], bool]) -> Vote:
    if file is None:
        return Vote(member.name, member.kind, member.weight, {}, "no_room")
    try:
        labels = labels_in(member.ask(file, is_stopped))
    except LeftOut as error:
        return Vote(member.name, member.kind, member.weight, {}, error.reason)
    return Vote(member.name, member.kind, member.weight, labels)
