"""Turns points into hits: the join that decides what a search may show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from sluice_common.database import Database, one, rows
from sluice_common.ports import ScoredPoint


@dataclass(frozen=True)
class Hit:
    """One chunk that a search found."""

    document_id: UUID
    run_id: int
    name: str
    collection: str
    chunk_no: int
    text: str
    score: float
    """Cosine (dense), BM25-like (lexical) or RRF (hybrid); higher is closer."""
    page_start: int | None
    page_end: int | None
    char_start: int
    char_end: int
    section: str | None
    sheet: str | None
    slide: int | None
    time_start: float | None  # seconds
    time_end: float | None
    boxes: Sequence[Mapping[str, Any]] | None  # JSON: per page the rectangles that the text covers
    attributes: Mapping[str, Any]  # the client's own JSON


_HIDDEN = sa.text("SELECT id FROM runs WHERE tenant_id = :tenant_id AND state <> 'published' AND gc_pass < 2")

# A first publication takes nothing away; a later one retires a run, whose points are collected soon.
_OVERTAKEN = sa.text("""
    SELECT 1 FROM runs r
    WHERE r.id = ANY(:hidden_runs) AND r.state = 'published'
      AND EXISTS (SELECT 1 FROM runs o WHERE o.document_id = r.document_id AND o.state = 'superseded') LIMIT 1
""")

# On the primary: a replica that lags could show what was deleted.
_RESOLVE = sa.text("""
    SELECT p.ord, d.id AS document_id, k.run_id, o.name, c.name AS collection, k.chunk_no, k.text, k.page_start,
           k.page_end, k.char_start, k.char_end, k.section, k.sheet, k.slide, k.time_start, k.time_end,
           k.boxes, d.attributes
    FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS p(id, ord)
    JOIN chunks k ON k.point_id = p.id
    JOIN documents d ON d.published_run = k.run_id
    JOIN runs r ON r.id = k.run_id
    JOIN collections c ON c.id = d.collection_id
    JOIN LATERAL (SELECT name FROM originals o WHERE o.document_id = d.id AND o.request_no <= r.request_no
                  ORDER BY o.request_no DESC LIMIT 1) o ON true
    WHERE d.lifecycle = 'active' AND d.tenant_id = :tenant_id
      AND (CAST(:collection_ids AS uuid[]) IS NULL OR d.collection_id = ANY(CAST(:collection_ids AS uuid[])))
    ORDER BY p.ord
""")


class Hits:
    """Knows which runs a search must not see, and what a point stands for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hidden_runs(self, tenant_id: UUID) -> list[int]:
        """The tenant's unpublished runs that may still have points: the store need not return those at all."""
        with self._database.single() as connection:
            return [row.id for row in rows(connection, _HIDDEN, tenant_id=tenant_id)]

    def is_overtaken(self, hidden_runs: Sequence[int]) -> bool:
        """Whether a run that a search left out has replaced another one since: its document may be missing."""
        if not hidden_runs:
            return False
        with self._database.single() as connection:
            return one(connection, _OVERTAKEN, hidden_runs=list(hidden_runs)) is not None

    def resolve(
        self, tenant_id: UUID, collection_ids: Sequence[UUID] | None, points: Sequence[ScoredPoint]
    ) -> list[Hit]:
        """The hits behind *points*, in their order; a point of a run that is not published has none.

        The table decides here once more, whatever the store returned: every hit belongs to the tenant, and all
        hits of one document to one run, because this is one statement.
        """
        chosen = None if collection_ids is None else list(collection_ids)
        with self._database.single() as connection:
            found = rows(
                connection, _RESOLVE, ids=[point.id for point in points], tenant_id=tenant_id, collection_ids=chosen
            )
        return [_hit_of(row, points[row.ord - 1].score) for row in found]


def _hit_of(row: sa.Row[Any], score: float) -> Hit:  # any column type
    fields = {name: value for name, value in row._mapping.items() if name != "ord"}  # noqa: SLF001 - documented name
    return Hit(score=score, **fields)
