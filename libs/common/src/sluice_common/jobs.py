"""Jobs: what became of one request for a document; and pings, which a worker of a stage answers in the table."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from sluice_common.database import Database, one, rows
from sluice_common.ids import new_id
from sluice_common.status import State

_ADD = sa.text("INSERT INTO jobs (id, tenant_id, kind) VALUES (:id, :tenant_id, 'ping')")
_ANSWER = sa.text("""
    UPDATE jobs SET finished_at = clock_timestamp(), answered_by = :worker WHERE id = :id AND finished_at IS NULL
""")
_ANSWERED = sa.text("""
    SELECT id, answered_by, EXTRACT(EPOCH FROM finished_at - created_at) AS seconds FROM jobs
    WHERE id = ANY(:ids) AND finished_at IS NOT NULL
""")


@dataclass(frozen=True)
class Answer:
    job_id: UUID
    worker: str
    seconds: float


# How a request before the newest has ended stands in the last event before the next one was made; its run may have
# been collected since. Of the newest the document itself says it.
_FIND = sa.text("""
    SELECT j.id, j.kind, j.document_id, j.created_at, COALESCE(later.created_at IS NULL, true) AS is_newest,
           CASE WHEN later.created_at IS NULL THEN d.state ELSE e.state END AS state,
           CASE WHEN later.created_at IS NULL THEN d.error_code ELSE e.facts ->> 'error_code' END AS error_code,
           CASE WHEN later.created_at IS NULL THEN d.finished_at ELSE e.created_at END AS finished_at,
           r.id AS run_id, r.n_chunks, r.analysis
    FROM jobs j
    JOIN documents d ON d.id = j.document_id
    LEFT JOIN LATERAL (SELECT min(n.created_at) AS created_at FROM jobs n
                       WHERE n.document_id = j.document_id AND n.request_no > j.request_no) later ON true
    LEFT JOIN LATERAL (SELECT state, run_id, facts, created_at FROM document_events e
                       WHERE e.document_id = j.document_id AND e.event = 'document.status'
                         AND e.created_at < later.created_at ORDER BY e.id DESC LIMIT 1) e ON true
    LEFT JOIN runs r ON r.id = CASE WHEN later.created_at IS NOT NULL THEN e.run_id
                                    WHEN d.state = 'completed' THEN d.published_run END
    WHERE j.id = :id AND j.tenant_id = :tenant_id AND j.kind <> 'ping'
""")


@dataclass(frozen=True)
class JobView:
    """One request for a document, and how it ended; `state` is the document's, at its end or now."""

    id: UUID
    kind: str
    document_id: UUID
    created_at: datetime
    is_newest: bool
    """Whether nothing was asked for since."""
    state: State | None
    """None where nobody remembers."""
    error_code: str | None
    finished_at: datetime | None
    run_id: int | None
    """The run that it published, while its row is kept."""
    n_chunks: int | None
    analysis: Mapping[str, Any] | None  # JSON


class Jobs:
    """Answers what became of requests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, tenant_id: UUID, job_id: UUID) -> JobView | None:
        """The job; None when the tenant never had it, or its document was forgotten."""
        with self._database.single() as connection:
            row = one(connection, _FIND, id=job_id, tenant_id=tenant_id)
        if row is None:
            return None
        fields = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
        return JobView(**{**fields, "state": None if row.state is None else State(row.state)})


class Pings:
    """Shows whether every stage has a worker that takes messages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, tenant_id: UUID) -> UUID:
        """Make a ping to be sent to one stage."""
        job_id = new_id()
        with self._database.single() as connection:
            connection.execute(_ADD, {"id": job_id, "tenant_id": tenant_id})
        return job_id

    def answer(self, job_id: UUID, worker: str) -> None:
        """Say that a worker took the message; a second answer changes nothing."""
        with self._database.single() as connection:
            connection.execute(_ANSWER, {"id": job_id, "worker": worker})

    def answers(self, job_ids: list[UUID]) -> list[Answer]:
        """Those that were answered so far."""
        with self._database.single() as connection:
            found = rows(connection, _ANSWERED, ids=job_ids)
        return [Answer(row.id, row.answered_by, float(row.seconds)) for row in found]
