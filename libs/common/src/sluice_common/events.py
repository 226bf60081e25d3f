"""The history of documents: a row for every move, written in the move's own transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa

from sluice_common.database import Database, rows

STATUS = "document.status"
PROGRESS = "document.progress"

_RECORD = sa.text("""
    INSERT INTO document_events (id, xid, tenant_id, document_id, event, state, run_id, facts)
    SELECT nextval('document_events_id_seq'), pg_current_xact_id()::text::bigint, tenant_id, id, :event, state,
           CAST(:run_id AS bigint), CAST(:facts AS jsonb)
    FROM documents WHERE id = ANY(:document_ids)
""")

_HISTORY = sa.text("""
    SELECT e.id, e.event, e.state, e.run_id, e.facts, e.created_at
    FROM document_events e JOIN documents d ON d.id = e.document_id
    WHERE d.id = :document_id AND d.tenant_id = :tenant_id AND e.id > :after
    ORDER BY e.id LIMIT :limit
""")

# One descent of the index per document; grouping would read every event that the documents ever had.
_LATEST = sa.text("""
    SELECT asked.document_id, e.id
    FROM unnest(CAST(:ids AS uuid[])) AS asked(document_id)
    CROSS JOIN LATERAL (SELECT max(id) AS id FROM document_events WHERE document_id = asked.document_id) AS e
    WHERE e.id IS NOT NULL
""")


@dataclass(frozen=True)
class Event:
    """One line of a document's history; ids grow in the order in which the document moved."""

    id: int
    event: str
    state: str
    run_id: int | None
    facts: Mapping[str, Any]  # JSON of our own making
    created_at: datetime


def record(
    connection: sa.Connection,
    document_ids: Sequence[UUID],
    *,
    event: str = STATUS,
    run_id: int | None = None,
    facts: Mapping[str, Any] | None = None,  # JSON of our own making
) -> None:
    """Write a line of history for each document, with the state it has in this transaction.

    The caller holds the documents' row locks; that is what makes a document's event ids grow in commit order.
    """
    if document_ids:
        connection.execute(
            _RECORD,
            {
                "document_ids": list(document_ids),
                "event": event,
                "run_id": run_id,
                "facts": orjson.dumps(facts or {}).decode(),
            },
        )


class Events:
    """Reads the history."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def history_of(self, tenant_id: UUID, document_id: UUID, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """The document's events with a greater id than *after*, oldest first."""
        with self._database.single() as connection:
            found = rows(connection, _HISTORY, tenant_id=tenant_id, document_id=document_id, after=after, limit=limit)
        return [Event(**row._mapping) for row in found]  # noqa: SLF001 - SQLAlchemy's documented name

    def latest_ids(self, document_ids: Sequence[UUID]) -> dict[UUID, int]:
        """The greatest event id of each document: one question for everybody who waits."""
        with self._database.single() as connection:
            return {row.document_id: row.id for row in rows(connection, _LATEST, ids=list(document_ids))}
