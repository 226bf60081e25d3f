"""Idempotency keys: the same request twice is done once and answered twice."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import sqlalchemy as sa

from sluice_common.database import Database, one
from sluice_common.failpoints import marked
from sluice_common.schema import LATEST_TIME

KEPT = timedelta(hours=24)
LOCKED = timedelta(seconds=60)
"""A request that has not answered after this long is taken for dead, and a repeat does its work."""


@dataclass(frozen=True)
class Fresh:
    """Nobody has done this yet: do it, then `complete` with the token."""

    token: UUID


@dataclass(frozen=True)
class Resumed:
    """A request that died had already made this document: answer with it, then `complete`."""

    token: UUID
    document_id: UUID


@dataclass(frozen=True)
class Replay:
    """It was done: answer the same again."""

    status: int
    body: Any  # the JSON that was answered
    headers: Mapping[str, str]


@dataclass(frozen=True)
class InFlight:
    """Another request is doing it just now: wait and ask again."""


@dataclass(frozen=True)
class Mismatch:
    """The key was used for another request."""


Beginning = Fresh | Resumed | Replay | InFlight | Mismatch

# A key lives until the reconciler forgets it, and not until its time: a clock that jumps must not do a request twice.
_BEGIN = sa.text(f"""
    INSERT INTO idempotency_keys (tenant_id, key, fingerprint, token, locked_until, expires_at)
    VALUES (:tenant_id, :key, :fingerprint, :token, now() + :locked, {LATEST_TIME} + :kept)
    ON CONFLICT (tenant_id, key) DO NOTHING RETURNING token
""")
# A lock that ends further ahead than any lock does was taken while the clock was ahead: its time has passed.
_LOOK = sa.text("""
    SELECT fingerprint, status, body, headers, document_id,
           locked_until < now() OR locked_until > now() + 2 * :locked AS is_dead
    FROM idempotency_keys WHERE tenant_id = :tenant_id AND key = :key FOR UPDATE
""")
_DONE = sa.text("""
    SELECT 1 FROM idempotency_keys
    WHERE tenant_id = :tenant_id AND key = :key AND (status IS NOT NULL OR document_id IS NOT NULL)
""")
_TAKE_OVER = sa.text("""
    UPDATE idempotency_keys SET token = :token, locked_until = now() + :locked
    WHERE tenant_id = :tenant_id AND key = :key
""")
_COMPLETE = sa.text("""
    UPDATE idempotency_keys SET status = :status, body = CAST(:body AS jsonb), headers = CAST(:headers AS jsonb)
    WHERE token = :token
""")
_RELEASE = sa.text("DELETE FROM idempotency_keys WHERE token = :token AND status IS NULL AND document_id IS NULL")


class Idempotency:
    """Keeps what was answered to each key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @marked("begin_request")
    def begin(self, tenant_id: UUID, key: str, fingerprint: bytes) -> Beginning:
        """Claim the key for this request, or say what is known of it.

        Args:
            tenant_id: whose key; the same key of another tenant is another key.
            key: as the client sent it, at most 255 characters.
            fingerprint: of method, path, sorted fields and the hash of each file.
        """
        token = uuid4()
        where = {"tenant_id": tenant_id, "key": key}
        values = {"fingerprint": fingerprint, "token": token, "locked": LOCKED, "kept": KEPT}
        with self._database.transaction() as connection:
            if one(connection, _BEGIN, **where, **values) is not None:
                return Fresh(token)
            known = one(connection, _LOOK, **where, locked=LOCKED)
            if known is None:
                return InFlight()  # released between the two statements; the caller asks again
            if bytes(known.fingerprint) != fingerprint:
                return Mismatch()
            if known.status is not None:
                return Replay(known.status, known.body, known.headers or {})
            if not known.is_dead:
                return InFlight()
            connection.execute(_TAKE_OVER, {**where, "token": token, "locked": LOCKED})
            return Fresh(token) if known.document_id is None else Resumed(token, known.document_id)

    @marked("complete_request")
    def complete(self, token: UUID, *, status: int, body: Any, headers: Mapping[str, str]) -> None:  # JSON
        """Keep the answer for repeats."""
        values = {"status": status, "body": orjson.dumps(body).decode(), "headers": orjson.dumps(headers).decode()}
        with self._database.single() as connection:
            connection.execute(_COMPLETE, {"token": token, **values})

    def is_done(self, tenant_id: UUID, key: str) -> bool:
        """Whether the request of this key was done already, so that its repeat adds nothing."""
        with self._database.single() as connection:
            return one(connection, _DONE, tenant_id=tenant_id, key=key) is not None

    @marked("release_request")
    def release(self, token: UUID) -> None:
        """Forget a claim whose request failed before it changed anything, so that a repeat may succeed."""
        with self._database.single() as connection:
            connection.execute(_RELEASE, {"token": token})
