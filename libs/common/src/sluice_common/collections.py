"""Collections: a tenant's named sets of documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa

from sluice_common import events
from sluice_common.database import Database, one, rows
from sluice_common.failpoints import marked, reach
from sluice_common.ids import new_id


@dataclass(frozen=True)
class Collection:
    id: UUID
    name: str
    chunking: Mapping[str, Any]  # max_chars and overlap_chars, where they differ from the service's
    row_version: int
    created_at: datetime
    updated_at: datetime


_COLUMNS = "c.id, c.name, c.chunking, c.row_version, c.created_at, c.updated_at"
_ADD = sa.text("""
    INSERT INTO collections (id, tenant_id, name, chunking) VALUES (:id, :tenant_id, :name, CAST(:chunking AS jsonb))
    ON CONFLICT DO NOTHING RETURNING id
""")
_ONE = sa.text(f"""
    SELECT {_COLUMNS} FROM collections c
    WHERE c.tenant_id = :tenant_id AND c.name = :name AND c.lifecycle = 'active'
""")
_LIST = sa.text(f"""
    SELECT {_COLUMNS} FROM collections c
    WHERE c.tenant_id = :tenant_id AND c.lifecycle = 'active' AND c.name > :after
      AND (CAST(:ids AS uuid[]) IS NULL OR c.id = ANY(CAST(:ids AS uuid[])))
    ORDER BY c.name LIMIT :limit
""")
_CHANGE = sa.text("""
    UPDATE collections
    SET chunking = CAST(:chunking AS jsonb), updated_at = now(), row_version = row_version + 1
    WHERE tenant_id = :tenant_id AND name = :name AND lifecycle = 'active'
      AND (CAST(:version AS int) IS NULL OR row_version = :version) RETURNING 1
""")
_DELETE = sa.text("""
    UPDATE collections SET lifecycle = 'deleting', updated_at = now(), row_version = row_version + 1
    WHERE tenant_id = :tenant_id AND name = :name AND lifecycle = 'active'
      AND (CAST(:version AS int) IS NULL OR row_version = :version) RETURNING id
""")
_DELETE_DOCUMENTS = sa.text("""
    UPDATE documents
    SET lifecycle = 'deleting', published_run = NULL, active_run = NULL, lease_owner = NULL, lease_until = NULL,
        dispatch_after = NULL, purge_at = now(), purge_pass = 0, updated_at = now(), row_version = row_version + 1,
        finished_at = COALESCE(finished_at, now()),
        state = CASE WHEN state IN ('completed', 'failed', 'cancelled') THEN state ELSE 'cancelled' END
    WHERE id IN (SELECT id FROM documents WHERE collection_id = :id AND lifecycle = 'active'
                 ORDER BY id FOR NO KEY UPDATE)
    RETURNING id
""")
_ABANDON_RUNS = sa.text("UPDATE runs SET state = 'abandoned', gc_at = now() WHERE document_id = ANY(:ids)")
_SIZES = sa.text("""
    SELECT collection_id, count(*) AS documents FROM documents
    WHERE collection_id = ANY(:ids) AND lifecycle = 'active' GROUP BY 1
""")


class Collections:
    """Makes, reads, changes and deletes collections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, tenant_id: UUID, name: str, *, chunking: Mapping[str, Any]) -> bool:  # as in Collection
        """Make a collection; False when the name is taken."""
        values = {"id": new_id(), "tenant_id": tenant_id, "name": name, "chunking": orjson.dumps(chunking).decode()}
        with self._database.single() as connection:
            return one(connection, _ADD, **values) is not None

    def find(self, tenant_id: UUID, name: str) -> Collection | None:
        """The tenant's collection of that name."""
        with self._database.single() as connection:
            row = one(connection, _ONE, tenant_id=tenant_id, name=name)
        return None if row is None else Collection(**row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name

    def page(
        self, tenant_id: UUID, *, after: str = "", limit: int = 100, ids: frozenset[UUID] | None = None
    ) -> list[Collection]:
        """Collections by name, those behind *after*; of *ids* only, when the key is limited to some."""
        chosen = None if ids is None else list(ids)
        with self._database.single() as connection:
            found = rows(connection, _LIST, tenant_id=tenant_id, after=after, limit=limit, ids=chosen)
        return [Collection(**row._mapping) for row in found]  # noqa: SLF001 - SQLAlchemy's documented name

    def sizes_of(self, collection_ids: Sequence[UUID]) -> dict[UUID, int]:
        """How many active documents each has; it counts them, so ask only where somebody looks."""
        with self._database.single() as connection:
            found = rows(connection, _SIZES, ids=list(collection_ids))
        return dict.fromkeys(collection_ids, 0) | {row.collection_id: row.documents for row in found}

    def change(
        self,
        tenant_id: UUID,
        name: str,
        *,
        chunking: Mapping[str, Any],  # as in Collection
        version: int | None = None,
    ) -> bool:
        """Change how documents are cut from now on; those that are already there keep the chunks they have.

        Returns:
            False when there is no such collection, or its row is not of *version*.
        """
        sizes = orjson.dumps(chunking).decode()
        values = {"tenant_id": tenant_id, "name": name, "chunking": sizes, "version": version}
        with self._database.single() as connection:
            return one(connection, _CHANGE, **values) is not None

    @marked("delete_collection")
    def delete(self, tenant_id: UUID, name: str, *, version: int | None = None) -> bool:
        """Delete the collection with all its documents, invisible from this commit on.

        Returns:
            False when there is no such collection, or its row is not of *version*.
        """
        with self._database.transaction() as connection:
            row = one(connection, _DELETE, tenant_id=tenant_id, name=name, version=version)
            if row is None:
                return False
            reach("delete_collection.collection_moved")
            deleted = [document.id for document in rows(connection, _DELETE_DOCUMENTS, id=row.id)]
            reach("delete_collection.documents_moved")
            connection.execute(_ABANDON_RUNS, {"ids": deleted})
            events.record(connection, deleted)
            return True
