"""Pings through a stage's queue: the gateway makes one, a worker of the stage answers it in the table."""

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

from sluice_common.database import Database, rows
from sluice_common.ids import new_id

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
