"""What is true of the tables after every move of anybody, in whatever order: the proof of the protocol as SQL."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from uuid import UUID

import psycopg
import psycopg.sql
from psycopg.rows import namedtuple_row

from sluice_common.reconciling import _STUCK
from sluice_common.status import ENDED, MOVES, Lifecycle, State

ALWAYS: dict[str, str] = {
    "the reconciler's own count of stuck documents is zero": f"""
        SELECT format('%s stuck', stuck.n) FROM ({_STUCK.text}) AS stuck WHERE stuck.n > 0
    """,
    "a run's counter counts its batches": """
        SELECT format('run %s counts %s', r.id, r.n_done)
        FROM runs r JOIN documents d ON d.id = r.document_id
        WHERE r.gc_pass = 0 AND d.purge_pass = 0
          AND r.n_done <> (SELECT count(*) FROM batches b WHERE b.run_id = r.id AND b.state = 'done')
    """,
    "a document works if and only if it has an active run of its own": """
        SELECT format('document %s %s has run %s %s', d.id, d.state, d.active_run, r.state)
        FROM documents d LEFT JOIN runs r ON r.id = d.active_run
        WHERE (d.state IN ('extracting', 'embedding', 'verifying')) <> (d.active_run IS NOT NULL)
           OR (d.active_run IS NOT NULL
               AND (r.document_id, r.state) IS DISTINCT FROM
                   (d.id, CASE d.state WHEN 'extracting' THEN 'extracting' ELSE 'embedding' END))
    """,
    "what is published is one run of the document's own": """
        SELECT format('run %s %s of %s', r.id, r.state, r.document_id)
        FROM runs r FULL JOIN documents d ON d.published_run = r.id
        WHERE (d.published_run IS NOT NULL OR r.state = 'published')
          AND (r.document_id IS DISTINCT FROM d.id OR r.state IS DISTINCT FROM 'published')
    """,
    "a run that is neither active nor published is on its way out": """
        SELECT format('run %s %s', r.id, r.state)
        FROM runs r JOIN documents d ON d.id = r.document_id
        WHERE r.id NOT IN (COALESCE(d.active_run, 0), COALESCE(d.published_run, 0))
          AND (r.state NOT IN ('abandoned', 'superseded') OR (r.gc_at IS NULL AND r.gc_pass < 2))
    """,
    "a run that is active or published stays": """
        SELECT format('run %s %s', r.id, r.state)
        FROM runs r JOIN documents d ON r.id IN (d.active_run, d.published_run)
        WHERE r.gc_at IS NOT NULL OR r.gc_pass > 0
    """,
    "a closed run has all its batches and chunks": """
        SELECT format('run %s: %s batches, %s chunks', r.id, r.n_batches, r.n_chunks)
        FROM runs r JOIN documents d ON r.id IN (d.active_run, d.published_run)
        WHERE r.state IN ('embedding', 'published')
          AND (r.n_batches <> (SELECT count(*) FROM batches b WHERE b.run_id = r.id)
               OR r.n_chunks <> (SELECT count(*) FROM chunks k WHERE k.run_id = r.id))
    """,
    "a run belongs to its document's tenant": """
        SELECT format('run %s', r.id) FROM runs r JOIN documents d ON d.id = r.document_id
        WHERE (r.tenant_id, r.collection_id) <> (d.tenant_id, d.collection_id)
    """,
    "a deleted document is ended, refers to nothing and will be purged": """
        SELECT format('document %s %s %s', id, lifecycle, state) FROM documents
        WHERE lifecycle <> 'active'
          AND (active_run IS NOT NULL OR published_run IS NOT NULL OR state NOT IN ('completed', 'failed', 'cancelled')
               OR (lifecycle = 'deleting') <> (purge_at IS NOT NULL))
    """,
    "nobody has more tries or losses than there are": """
        SELECT format('document %s: %s tries, %s losses', id, tries, losses) FROM documents
        WHERE tries NOT BETWEEN 0 AND max_tries OR losses NOT BETWEEN 0 AND max_losses
        UNION ALL
        SELECT format('batch %s of run %s: %s tries', batch_no, run_id, tries) FROM batches
        WHERE tries NOT BETWEEN 0 AND max_tries
    """,
    "a batch that waits has a timer, and one that is worked on has a lease": """
        SELECT format('batch %s of run %s %s', b.batch_no, b.run_id, b.state) FROM batches b
        WHERE (b.state = 'pending' AND b.dispatch_after IS NULL) OR (b.state = 'running') <> (b.lease_until IS NOT NULL)
    """,
}
"""Each selects what breaks it, so nothing means that it holds."""

_BROKEN = " UNION ALL ".join(
    f"SELECT {psycopg.sql.quote(sentence)}, found.* FROM ({statement}) AS found"
    for sentence, statement in ALWAYS.items()
)

_DOCUMENTS = """
    SELECT d.id, d.tenant_id, d.state, d.lifecycle, d.request_no, d.active_run, d.published_run, d.tries, d.max_tries,
           d.losses, d.percent, d.row_version, d.error_code,
           md5(concat(d::text, (SELECT string_agg(r::text, ';' ORDER BY r.id) FROM runs r WHERE r.document_id = d.id),
                      (SELECT string_agg(b::text, ';' ORDER BY b.run_id, b.batch_no) FROM batches b
                       WHERE b.document_id = d.id),
                      (SELECT string_agg(o::text, ';' ORDER BY o.request_no) FROM originals o
                       WHERE o.document_id = d.id))) AS fingerprint
    FROM documents d
"""

_BATCHES = "SELECT run_id, batch_no, document_id, state, fence, tries FROM batches"

_MOVED = """
    SELECT id, document_id, state FROM document_events WHERE event = 'document.status' AND id > %s ORDER BY id
"""


@dataclass(frozen=True)
class Tables:
    """The tables between two moves."""

    documents: Mapping[UUID, object]
    """By id, with a fingerprint of all rows that belong to the document."""
    batches: Mapping[tuple[int, int], object]
    """By run and number."""


@dataclass
class Invariants:
    """Looks at the tables after each move, and at what changed since it looked before."""

    connection: psycopg.Connection
    tables: Tables = field(default_factory=lambda: Tables({}, {}))
    _seen: int = 0
    _paths: dict[UUID, list[State]] = field(default_factory=lambda: defaultdict(list))

    def start(self) -> None:
        """Begin with empty tables."""
        self.look()
        self._seen = self._last_event()
        self._paths.clear()

    def look(self) -> None:
        """Read the tables, to compare with what the next move makes of them."""
        self.tables = self._read()

    def check(self, *, moved: frozenset[UUID] | None) -> None:
        """Raise AssertionError, with the sentence that is not true.

        Args:
            moved: the only documents whose rows may have changed; None when any may.
        """
        broken = self._all(_BROKEN)
        assert not broken, broken
        before, self.tables = self.tables, self._read()
        for document_id, now in self.tables.documents.items():
            then = before.documents.get(document_id)
            if then is not None:
                _compare(then, now)
                assert moved is None or document_id in moved or then.fingerprint == now.fingerprint, (
                    f"a move of others changed {document_id}: {then} to {now}"
                )
        for batch, now in self.tables.batches.items():
            fence = getattr(before.batches.get(batch), "fence", 0)
            assert now.fence >= fence, f"the fence of {batch} fell from {fence} to {now.fence}"
        self._check_history(before)

    def _check_history(self, before: Tables) -> None:
        for event in self._all(_MOVED, self._seen):
            assert event.id > self._seen, "events come in order"
            self._seen = event.id
            self._paths[event.document_id].append(State(event.state))
        for document_id, now in self.tables.documents.items():
            path = self._paths[document_id]
            assert path, f"{now} has no history"
            assert path[-1] == now.state, f"{now} ends its history with {path}"
            _check_path(path, _standstills(before.documents.get(document_id), now, path))
            self._paths[document_id] = [path[-1]]

    def _read(self) -> Tables:
        documents = {row.id: row for row in self._all(_DOCUMENTS)}
        batches = {(row.run_id, row.batch_no): row for row in self._all(_BATCHES)}
        return Tables(documents, batches)

    def _last_event(self) -> int:
        return self._all("SELECT COALESCE(max(id), 0) AS last FROM document_events")[0].last

    def _all(self, statement: str, *values: object) -> Sequence[object]:
        with self.connection.cursor(row_factory=namedtuple_row) as cursor:
            return cursor.execute(statement, values or None).fetchall()


def _compare(then, now) -> None:
    """What a client sees of a document goes forward only, and changes with its version."""
    assert now.row_version >= then.row_version, f"the version fell: {then} to {now}"
    assert now.request_no > then.request_no or now.percent >= then.percent, f"the percentage fell: {then} to {now}"
    lives = list(Lifecycle)
    assert lives.index(now.lifecycle) >= lives.index(then.lifecycle), f"it came back: {then} to {now}"
    shown = [(row.state, row.lifecycle, row.percent, row.error_code, row.published_run) for row in (then, now)]
    assert shown[0] == shown[1] or now.row_version > then.row_version, f"changed without a new version: {then} to {now}"


def _standstills(then, now, path: list[State]) -> int:
    """How many lines of history name the same state as the line before: new content while queued, and a deletion."""
    if then is None:
        return 0
    is_replaced = now.request_no > then.request_no and then.state == State.QUEUED
    had_ended = path[-2:][0] in ENDED
    is_deleted = now.lifecycle != then.lifecycle == Lifecycle.ACTIVE
    return is_replaced + (is_deleted and had_ended)


def _check_path(path: list[State], standstills: int) -> None:
    still = sum(old == new for old, new in pairwise(path))
    assert still == standstills, f"lines of history without a move, or a move without one: {path}"
    for old, new in pairwise(path):
        assert old == new or new in MOVES[old], f"there is no move from {old} to {new}"
