"""What a backup and a restore ask of the tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa

from sluice_common.database import Database, one, rows

_GAP = 1_000_000_000
"""More runs and events than an installation makes between a backup and its loss."""

_NOW = sa.text("SELECT now() AS moment")
_HAS_TABLES = sa.text("SELECT to_regclass('documents') IS NOT NULL AS is_there")
_HAS_DOCUMENTS = sa.text("SELECT EXISTS (SELECT 1 FROM documents) AS is_there")
_ORIGINALS = sa.text("""
    SELECT o.document_id, d.tenant_id, o.storage_key, o.sha256, o.size_bytes, o.created_at
    FROM originals o JOIN documents d ON d.id = o.document_id AND d.lifecycle = 'active'
    WHERE o.storage_key > :after ORDER BY o.storage_key LIMIT :limit
""")
_IS_ACTIVE = sa.text("SELECT 1 FROM documents WHERE id = :id AND lifecycle = 'active'")
_LEAVE_GAP = tuple(
    sa.text(f"SELECT setval('{sequence}', nextval('{sequence}') + :gap)")
    for sequence in ("runs_id_seq", "document_events_id_seq")
)


@dataclass(frozen=True)
class KeptOriginal:
    """An original that a row of an active document names."""

    document_id: UUID
    tenant_id: UUID
    storage_key: str
    sha256: str
    size_bytes: int
    created_at: datetime


class Keeping:
    """Looks at a whole installation, not at one tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def now(self) -> datetime:
        """The time by the database's clock."""
        with self._database.single() as connection:
            row = one(connection, _NOW)
        assert row is not None, "it always has a row"
        moment: datetime = row.moment
        return moment

    def has_documents(self) -> bool:
        """Whether there is anything that a restore would overwrite."""
        with self._database.single() as connection:
            tables = one(connection, _HAS_TABLES)
            if tables is None or not tables.is_there:
                return False
            documents = one(connection, _HAS_DOCUMENTS)
        return documents is not None and bool(documents.is_there)

    def originals(self, *, page_size: int = 1000) -> Iterator[KeptOriginal]:
        """Every original of an active document, in the order of the keys; deleted ones vanish as it goes on."""
        after = ""
        while True:
            with self._database.single() as connection:
                found = rows(connection, _ORIGINALS, after=after, limit=page_size)
            for row in found:
                yield KeptOriginal(**row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
            if len(found) < page_size:
                return
            after = found[-1].storage_key

    def is_active(self, document_id: UUID) -> bool:
        """Whether the document exists for its users."""
        with self._database.single() as connection:
            return one(connection, _IS_ACTIVE, id=document_id) is not None

    def leave_a_gap(self) -> None:
        """Let the numbers of runs and events go on far behind those of the backup.

        Between the backup and the loss others were given out: points that Qdrant still has under such a number, and
        cursors that clients still hold, must never be taken for those of a new run or event.
        """
        with self._database.transaction() as connection:
            for statement in _LEAVE_GAP:
                connection.execute(statement, {"gap": _GAP})
