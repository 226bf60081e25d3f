"""API keys: hashed at rest, shown once, with scopes and a tenant."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa

from sluice_common.database import Database, one, rows
from sluice_common.ids import new_id

DEFAULT_TENANT = "default"
DEFAULT_COLLECTION = "default"
_PREFIX_LENGTH = 12


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """Who is asking, as the credential says; the tenant comes from nowhere else."""

    key_id: UUID
    tenant_id: UUID
    scopes: frozenset[Scope]
    collection_ids: frozenset[UUID] | None
    """None: every collection of the tenant."""


@dataclass(frozen=True)
class Key:
    """A key as its owner may see it again: never the secret."""

    id: UUID
    name: str
    prefix: str
    scopes: tuple[Scope, ...]
    collection_ids: tuple[UUID, ...] | None
    """None: every collection of the tenant."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True)
class NewKey:
    """A key that was just made; `secret` is shown this once."""

    key: Key
    secret: str


_ADD_TENANT = sa.text("INSERT INTO tenants (id, name) VALUES (:id, :name) ON CONFLICT (name) DO NOTHING")
_TENANT = sa.text("SELECT id FROM tenants WHERE name = :name")
_ADD_COLLECTION = sa.text("""
    INSERT INTO collections (id, tenant_id, name) VALUES (:id, :tenant_id, :name) ON CONFLICT DO NOTHING
""")
_COLUMNS = "id, name, prefix, scopes, collection_ids, created_at, expires_at, revoked_at, last_used_at"
_ADD = sa.text(f"""
    INSERT INTO api_keys (id, tenant_id, name, prefix, secret_sha256, scopes, collection_ids, expires_at)
    VALUES (:id, :tenant_id, :name, :prefix, :secret_sha256, :scopes, CAST(:collection_ids AS uuid[]), :expires_at)
    RETURNING {_COLUMNS}
""")
_FIND = sa.text("""
    SELECT id, tenant_id, secret_sha256, scopes, collection_ids,
           COALESCE(last_used_at < now() - interval '1 minute', true) AS is_stale
    FROM api_keys
    WHERE prefix = :prefix AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
""")
_TOUCH = sa.text("UPDATE api_keys SET last_used_at = now() WHERE id = :id")
_LIST = sa.text(f"SELECT {_COLUMNS} FROM api_keys WHERE tenant_id = :tenant_id ORDER BY created_at, id")
_REVOKE = sa.text("""
    UPDATE api_keys SET revoked_at = COALESCE(revoked_at, now()) WHERE id = :id AND tenant_id = :tenant_id RETURNING 1
""")


class Keys:
    """Makes, checks and revokes keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ensure_tenant(self, name: str = DEFAULT_TENANT) -> UUID:
        """The tenant of that name, with its `default` collection; both are made at the first call."""
        with self._database.transaction() as connection:
            connection.execute(_ADD_TENANT, {"id": new_id(), "name": name})
            tenant = one(connection, _TENANT, name=name)
            assert tenant is not None, "it was made just now"
            values = {"id": new_id(), "tenant_id": tenant.id, "name": DEFAULT_COLLECTION}
            connection.execute(_ADD_COLLECTION, values)
            return UUID(str(tenant.id))

    def create(
        self,
        tenant_id: UUID,
        *,
        name: str,
        scopes: Sequence[Scope],
        collection_ids: Sequence[UUID] | None = None,
        expires_at: datetime | None = None,
    ) -> NewKey:
        """Make a key of 256 random bits; only its hash is kept."""
        secret = "sk_" + secrets.token_urlsafe(32)
        with self._database.single() as connection:
            row = one(
                connection,
                _ADD,
                id=new_id(),
                tenant_id=tenant_id,
                name=name,
                prefix=secret[:_PREFIX_LENGTH],
                secret_sha256=_hash(secret),
                scopes=[scope.value for scope in scopes],
                collection_ids=None if collection_ids is None else list(collection_ids),
                expires_at=expires_at,
            )
        assert row is not None, "an insert without conflict clause returns its row"
        return NewKey(_key_of(row), secret)

    def principal_of(self, secret: str) -> Principal | None:
        """Whose key this is; None when it is unknown, revoked or expired."""
        with self._database.single() as connection:
            row = one(connection, _FIND, prefix=secret[:_PREFIX_LENGTH])
            if row is None or not hmac.compare_digest(row.secret_sha256, _hash(secret)):
                return None
            if row.is_stale:
                connection.execute(_TOUCH, {"id": row.id})
        return Principal(
            key_id=row.id,
            tenant_id=row.tenant_id,
            scopes=frozenset(Scope(scope) for scope in row.scopes),
            collection_ids=None if row.collection_ids is None else frozenset(row.collection_ids),
        )

    def keys_of(self, tenant_id: UUID) -> list[Key]:
        """Every key of the tenant, revoked ones too, oldest first."""
        with self._database.single() as connection:
            return [_key_of(row) for row in rows(connection, _LIST, tenant_id=tenant_id)]

    def revoke(self, tenant_id: UUID, key_id: UUID) -> bool:
        """Refuse the key from now on; False when the tenant has no such key."""
        with self._database.single() as connection:
            return one(connection, _REVOKE, id=key_id, tenant_id=tenant_id) is not None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _key_of(row: sa.Row[tuple[object, ...]]) -> Key:
    fields = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
    limits = fields["collection_ids"]
    scopes = tuple(Scope(scope) for scope in fields["scopes"])
    return Key(**{**fields, "scopes": scopes, "collection_ids": None if limits is None else tuple(limits)})
