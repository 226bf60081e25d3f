"""What happened in a run: what clients did and were told, which faults struck, and what was seen to be wrong."""

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from faults.contents import CANARIES, Content

NO_ANSWER = "no answer"


class Cancelled(StrEnum):
    """Whether a document must end cancelled, as far as its client can know."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


@dataclass(frozen=True)
class Note:
    """One thing that a client did, or a sampler saw."""

    at: datetime
    who: str
    what: str
    outcome: str
    document_id: str | None

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S.%f} {self.who}: {self.what} -> {self.outcome}"


@dataclass(frozen=True)
class Strike:
    """One fault, from the moment it began until it was over."""

    kind: str
    began: datetime
    ended: datetime
    is_hit: bool
    """False when there was nothing to hit: then it was no fault."""

    def __str__(self) -> str:
        remark = "" if self.is_hit else " (found nothing)"
        return f"{self.began:%H:%M:%S.%f} to {self.ended:%H:%M:%S.%f} {self.kind}{remark}"


@dataclass(frozen=True)
class Violation:
    """A promise that was seen to be broken."""

    promise: str
    detail: str
    document_id: str | None = None

    def __str__(self) -> str:
        return f"{self.promise}: {self.document_id or ''} {self.detail}"


@dataclass
class Told:
    """What the clients were told of one document; only the client that made it changes it."""

    id: str
    tenant: str
    contents: list[Content]
    """What the newest content may be: exactly one unless an answer is missing."""
    key: str
    deleted_at: float | None = None
    """When the answer to the delete was there, on this machine's steady clock."""
    may_be_deleted: bool = False
    cancelled: Cancelled = Cancelled.NO
    is_settled: bool = True
    """Every change of it was answered, so that its client knows how it stands."""

    @property
    def content(self) -> Content:
        return self.contents[-1]

    @property
    def is_alive(self) -> bool:
        return self.deleted_at is None and not self.may_be_deleted


@dataclass
class History:
    """Shared by all threads of a run."""

    told: dict[str, Told] = field(default_factory=dict)
    """Every document that a client was told of, by id."""
    sent: dict[str, Content] = field(default_factory=dict)
    """Everything that was ever sent, by SHA-256: also what was never answered."""
    ids_of_key: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    strikes: list[Strike] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    """How often samplers really judged something: what nobody looked at was not shown to be right."""
    secrets: dict[str, str] = field(default_factory=lambda: dict(CANARIES))
    """Words that stand in no log, metric, answer of an error or in Redis, by what they are."""
    _notes: list[Note] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, who: str, what: str, outcome: str, document_id: str | None = None) -> None:
        with self._lock:
            self._notes.append(Note(datetime.now(UTC), who, what, outcome, document_id))
            self.counts[f"{what} {outcome}"] += 1

    def see(self, what: str, times: int = 1) -> None:
        """Count something that was judged."""
        with self._lock:
            self.seen[what] += times

    def accuse_leak(self, where: str, shown: bytes) -> None:
        """Remember that a secret word stands in *shown*, if one does."""
        for what, word in self.secrets.items():
            if word.encode() in shown:
                text = shown.replace(word.encode(), f"<{what}>".encode())[:300].decode(errors="replace")
                self.accuse("no word of a document leaks", f"{what} in {where}: {text}")

    def take(self, told: Told) -> None:
        """Remember a document that a client was told of."""
        with self._lock:
            self.told.setdefault(told.id, told)
            self.ids_of_key[told.key].add(told.id)

    def accuse(self, promise: str, detail: str, document_id: str | None = None) -> None:
        """Remember that a promise was broken; the same thing only once."""
        violation = Violation(promise, detail, document_id)
        with self._lock:
            if violation not in self.violations:
                self.violations.append(violation)

    def alive(self, tenant: str) -> list[Told]:
        """The tenant's documents that nobody has deleted, oldest first."""
        with self._lock:
            return [told for told in self.told.values() if told.tenant == tenant and told.is_alive]

    def unanswered_since(self, moment: datetime) -> list[Note]:
        """What was asked and ended without an answer later than *moment*."""
        with self._lock:
            return [note for note in self._notes if note.at > moment and note.outcome == NO_ANSWER]

    def notes_of(self, document_id: str) -> list[Note]:
        with self._lock:
            return [note for note in self._notes if note.document_id == document_id]


def now_s() -> float:
    """The steady clock that all of a run's moments are compared on."""
    return time.monotonic()
