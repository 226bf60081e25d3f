"""How often each kind of fault hit something, and what the documents were doing at that moment."""

import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

import psycopg

STATES = """
    SELECT CASE lifecycle WHEN 'active' THEN state::text ELSE lifecycle::text END, count(*)
    FROM documents WHERE lifecycle <> 'deleted' GROUP BY 1
"""
UNSEEN = "unseen"
"""What a strike is counted under when PostgreSQL was away at that moment."""


class Tally:
    """The "sometimes" counters: faults that never met a document in some state have proved nothing about it."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._lock = threading.Lock()
        self.hits: Counter[str] = Counter()
        """By kind."""
        self.missed: Counter[str] = Counter()
        """By kind: found nothing to strike, as a child where no document is being read."""
        self.met: Counter[tuple[str, str]] = Counter()
        """By kind and state of a document: hits at which at least one document was in that state."""

    def states(self) -> list[str]:
        """What the documents are doing now: to be asked before a strike."""
        with suppress(psycopg.Error), psycopg.connect(self._database_url, connect_timeout=2) as connection:
            return [row[0] for row in connection.execute(STATES)]
        return [UNSEEN]

    def note(self, kind: str, states: Iterable[str], *, is_hit: bool) -> None:
        """Count a strike that is over; one that found nothing to hit has met nothing either."""
        with self._lock:
            if is_hit:
                self.hits[kind] += 1
                self.met.update((kind, state) for state in states)
            else:
                self.missed[kind] += 1

    def met_in(self, state: str, kinds: Iterable[str] | None = None) -> int:
        """How many hits met a document in *state*: those of *kinds*, of any kind when None."""
        with self._lock:
            chosen = self.hits.keys() if kinds is None else set(kinds)
            return sum(count for (kind, met), count in self.met.items() if met == state and kind in chosen)

    def lines(self) -> list[str]:
        """One line for each kind, the most frequent first."""
        with self._lock:
            struck = self.hits + self.missed
            return [self._line(kind) for kind, _ in struck.most_common()]

    def _line(self, kind: str) -> str:
        return ", ".join(filter(None, [f"{kind}: {self.hits[kind]} hit{self._missed(kind)}", self._met(kind)]))

    def _missed(self, kind: str) -> str:
        return f" ({self.missed[kind]} found nothing)" if self.missed[kind] else ""

    def _met(self, kind: str) -> str:
        return ", ".join(f"{state} {count}" for (name, state), count in sorted(self.met.items()) if name == kind)
