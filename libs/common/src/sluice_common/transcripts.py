"""Pieces of transcripts and descriptions that were paid for, kept for a document that must be read once more."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa

from sluice_common.database import Database, one

_FIND = sa.text("SELECT transcript FROM transcript_pieces WHERE document_id = :document_id AND key = :key")

# A worker that comes too late leaves nothing behind of a document that is being deleted.
_KEEP = sa.text("""
    INSERT INTO transcript_pieces (document_id, key, transcript)
    SELECT id, :key, CAST(:transcript AS jsonb) FROM documents
    WHERE id = :document_id AND lifecycle = 'active' FOR KEY SHARE
    ON CONFLICT DO NOTHING
""")


class Transcripts:
    """The only writer of pieces of transcripts; the reconciler forgets them when they are old."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, document_id: UUID, key: bytes) -> Mapping[str, Any] | None:
        """What was kept under *key*; None when nothing was."""
        with self._database.single() as connection:
            row = one(connection, _FIND, document_id=document_id, key=key)
        return None if row is None else row.transcript

    def keep(self, document_id: UUID, key: bytes, transcript: Mapping[str, Any]) -> None:
        """Keep a piece of an active document; whoever kept it before wins."""
        values = {"document_id": document_id, "key": key, "transcript": orjson.dumps(transcript).decode()}
        with self._database.single() as connection:
            connection.execute(_KEEP, values)
