"""How often each kind of fault struck, and what the documents were doing at that moment."""

import threading
from collections import Counter
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
        self.struck: Counter[str] = Counter()
        """By kind."""
        self.missed: Counter[str] = Counter()
        """By kind: found nothing to strike, as a child where no document is being read."""
        self.met: Counter[tuple[str, str]] = Counter()
        """By kind and state of a document: strikes at which at least one document was in that state."""

    def note(self, kind: str) -> None:
        """Count a strike that is about to happen."""
        states = self._states()
        with self._lock:
            self.struck[kind] += 1
            self.met.update((kind, state) for state in states)

    def miss(self, kind: str) -> None:
        """Count a strike that found nothing to hit."""
        with self._lock:
            self.missed[kind] += 1

    def met_in(self, state: str) -> int:
        """How many strikes of any kind met a document in *state*."""
        with self._lock:
            return sum(count for (_, met), count in self.met.items() if met == state)

    def lines(self) -> list[str]:
        """One line for each kind, the most frequent first."""
        with self._lock:
            return [f"{kind}: {count} struck{self._missed(kind)}, {self._met(kind)}" for kind, count in self._ranked()]

    def _ranked(self) -> list[tuple[str, int]]:
        return self.struck.most_common()

    def _missed(self, kind: str) -> str:
        return f" ({self.missed[kind]} found nothing)" if self.missed[kind] else ""

    def _met(self, kind: str) -> str:
        return ", ".join(f"{state} {count}" for (name, state), count in sorted(self.met.items()) if name == kind)

    def _states(self) -> list[str]:
        with suppress(psycopg.Error), psycopg.connect(self._database_url, connect_timeout=2) as connection:
            return [row[0] for row in connection.execute(STATES)]
        return [UNSEEN]
