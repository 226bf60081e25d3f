"""How much waits before each stage and how fast it gets less: what decides whether more is taken in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from sluice_common.database import Database, rows

# The partial indexes of `documents` and `batches` hold exactly what waits, however much has ended.
_DOCUMENTS = sa.text("""
    SELECT tenant_id, count(*) AS documents, EXTRACT(EPOCH FROM now() - min(updated_at)) AS oldest_s
    FROM documents WHERE state = 'queued' AND lifecycle = 'active' GROUP BY tenant_id
""")

# Batches of a run that was abandoned stay pending until they are collected; nobody will embed them. Each run is
# looked up by itself: a join may read all runs there ever were.
_CHUNKS = sa.text("""
    WITH waiting AS MATERIALIZED (
        SELECT (SELECT tenant_id FROM runs WHERE id = b.run_id AND state <> 'abandoned') AS tenant_id,
               sum(last_chunk - first_chunk + 1) AS chunks
        FROM batches b WHERE b.state = 'pending' GROUP BY b.run_id)
    SELECT tenant_id, sum(chunks) AS chunks FROM waiting WHERE tenant_id IS NOT NULL GROUP BY tenant_id
""")

# The newest lines of history by their number: the cost is the same however many there are.
_ENDED = sa.text("""
    WITH latest AS (
        SELECT tenant_id, event, state, run_id, created_at FROM document_events ORDER BY id DESC LIMIT 2000),
    since AS (
        SELECT LEAST(60, GREATEST(1, EXTRACT(EPOCH FROM now() - min(created_at)))) AS seconds FROM latest)
    SELECT e.tenant_id, count(*) / since.seconds AS documents_per_s,
           COALESCE(sum(r.n_chunks) FILTER (WHERE e.state = 'completed'), 0) / since.seconds AS chunks_per_s
    FROM since, latest e LEFT JOIN runs r ON r.id = e.run_id
    WHERE e.event = 'document.status' AND e.state IN ('completed', 'failed', 'cancelled')
      AND e.created_at > now() - interval '60 s'
    GROUP BY e.tenant_id, since.seconds
""")


@dataclass(frozen=True)
class Waiting:
    """What waits, of one tenant or of all."""

    documents: int = 0
    """Documents that wait for the extractor."""
    chunks: int = 0
    """Chunks that wait for the embedder, those of documents that are still being extracted too."""
    oldest_s: float = 0
    """How long the document that has waited longest for the extractor does so."""
    documents_per_s: float = 0
    """Documents that ended, in each second of the last minute at most; 0 when nothing is known."""
    chunks_per_s: float = 0
    """Chunks of the documents that became ready meanwhile."""


NOTHING = Waiting()


@dataclass(frozen=True)
class Queues:
    """What waited at one moment."""

    by_tenant: Mapping[UUID, Waiting]

    def of(self, tenant_id: UUID) -> Waiting:
        return self.by_tenant.get(tenant_id, NOTHING)

    @cached_property
    def of_all(self) -> Waiting:
        return _sum_of(self.by_tenant.values())


class Queueing:
    """Asks the table what waits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def look(self) -> Queues:
        """What waits now; its cost grows with what waits, so that callers keep the answer for a moment.

        Raises:
            DatabaseUnavailable: nobody knows.
        """
        fields: dict[UUID, dict[str, Any]] = {}  # columns of the three questions
        with self._database.single() as connection:
            for question in (_DOCUMENTS, _CHUNKS, _ENDED):
                for row in rows(connection, question):
                    columns = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
                    fields.setdefault(columns.pop("tenant_id"), {}).update(columns)
        return Queues({tenant_id: _waiting_of(columns) for tenant_id, columns in fields.items()})


def _waiting_of(columns: Mapping[str, Any]) -> Waiting:  # numbers as PostgreSQL gives them
    return Waiting(
        documents=int(columns.get("documents", 0)),
        chunks=int(columns.get("chunks", 0)),
        oldest_s=float(columns.get("oldest_s", 0)),
        documents_per_s=float(columns.get("documents_per_s", 0)),
        chunks_per_s=float(columns.get("chunks_per_s", 0)),
    )


def _sum_of(several: Iterable[Waiting]) -> Waiting:
    several = list(several)
    return Waiting(
        documents=sum(one.documents for one in several),
        chunks=sum(one.chunks for one in several),
        oldest_s=max((one.oldest_s for one in several), default=0),
        documents_per_s=sum(one.documents_per_s for one in several),
        chunks_per_s=sum(one.chunks_per_s for one in several),
    )
