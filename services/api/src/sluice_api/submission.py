"""Takes a document in: the object first, then the row, then the message."""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import structlog
from starlette.concurrency import run_in_threadpool

from sluice_api.auth import too_large
from sluice_api.deps import ApiDeps
from sluice_api.idempotent import in_flight
from sluice_api.multipart import FileHead
from sluice_api.problems import Problem
from sluice_api.schemas import UploadFields
from sluice_api.searching import collection_named, no_collection
from sluice_common import ids
from sluice_common.collections import Collection
from sluice_common.contract import ExtractDocument
from sluice_common.database import DISK_FULL
from sluice_common.documents import (
    Accepted,
    ClaimLost,
    CollectionGone,
    DuplicateDocument,
    NewDocument,
    Original,
)
from sluice_common.errors import DatabaseUnavailable
from sluice_common.idempotency import Fresh, Resumed
from sluice_common.keys import Principal
from sluice_common.ports import ObjectStore, ObjectWriter

log = structlog.get_logger(__name__)

PIECE_BYTES = 256 * 2**10
"""So much is collected before a thread writes it; a smaller original is written in the one thread that ends it."""

NEW_CONTENT = frozenset({"created", "replaced"})
"""How a document was accepted when the original that came with it is now the document's."""


class IncomingOriginal:
    """An original on its way into the store; nobody sees it before `commit`.

    While one piece is hashed and written by a thread, the next one is collected: never more than two in memory.
    """

    def __init__(self, objects: ObjectStore, *, max_bytes: int) -> None:
        self.key = _new_key()
        self.size_bytes = 0
        self._objects = objects
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._collected: list[bytes] = []
        self._collected_bytes = 0
        self._writer: ObjectWriter | None = None
        self._writing: asyncio.Future[None] | None = None
        self._is_committed = False

    def take(self, piece: bytes) -> None:
        """Add *piece*; only collects it.

        Raises:
            Problem: 413, the original is longer than the limit.
        """
        self.size_bytes += len(piece)
        if self.size_bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        self._collected.append(piece)
        self._collected_bytes += len(piece)

    async def relieve(self) -> None:
        """Let a thread write what was collected when it is enough, after the piece before it.

        Raises:
            ObjectStoreUnavailable, StorageFull: of the piece before; nothing will be stored.
        """
        if self._collected_bytes < PIECE_BYTES:
            return
        await self.settle()
        pieces, self._collected, self._collected_bytes = self._collected, [], 0
        self._writing = asyncio.ensure_future(run_in_threadpool(self._write, pieces))

    async def settle(self) -> None:
        """Wait for the thread that writes, if there is one; raises what it raised."""
        if self._writing is not None:
            # A cancelled request must not abort the object while its thread still writes.
            await asyncio.shield(self._writing)
            self._writing = None

    def write_rest(self) -> str:
        """Write all that was collected, in this thread; returns the SHA-256 of the whole, in hex."""
        pieces, self._collected, self._collected_bytes = self._collected, [], 0
        self._write(pieces)
        return self._hash.hexdigest()

    def commit(self) -> None:
        """Make the original durable; when this returns, a crash cannot lose it."""
        assert self._writer is not None, "write_rest comes first"
        self._writer.commit()
        self._is_committed = True

    async def abandon(self) -> None:
        """Throw away what was not committed; never raises."""
        with contextlib.suppress(Exception):  # the error that matters is being raised already
            await self.settle()
        self._collected.clear()
        if self._writer is not None and not self._is_committed:
            await run_in_threadpool(self._writer.abort)

    def drop(self) -> None:
        """Remove a committed original that no row names."""
        self._objects.delete(self.key)

    def _write(self, pieces: list[bytes]) -> None:
        if self._writer is None:
            self._writer = self._objects.create(self.key)
        for piece in pieces:
            self._hash.update(piece)
            self._writer.write(piece)


@dataclass(frozen=True)
class Upload:
    """An upload that has arrived whole and is not yet stored."""

    incoming: IncomingOriginal
    head: FileHead
    fields: UploadFields
    sha256: str
    request_id: str
    traceparent: str | None = None


def submit_document(
    upload: Upload, principal: Principal, deps: ApiDeps, claim: Fresh | Resumed | None = None
) -> Accepted:
    """Store the original, write the row, send the hint.

    Args:
        upload: what the client sent.
        principal: who; decides the tenant.
        deps: the open parts.
        claim: of the idempotency key, bound to the document in the row's own transaction.

    Raises:
        Problem: 404 for an unknown collection, 409 for a document that is already there, or when a repeat of the
            request has taken its idempotency key over.
        TransientError: nothing was taken in, or, without the database, perhaps; the same key tells.
    """
    if isinstance(claim, Resumed):
        return Accepted(claim.document_id, "created")  # by the request that died before it could answer
    collection = collection_of(deps, principal, upload.fields.collection)
    new = _new_document(upload, principal, collection, deps)
    upload.incoming.commit()
    with _dropped_unless_used(upload.incoming):
        accepted = _accept(new, upload.fields, claim, deps)
    if accepted.how not in NEW_CONTENT:
        upload.incoming.drop()
    if accepted.how != "existing":
        deps.hints.send([ExtractDocument(document_id=accepted.document_id)])
        deps.metrics.document_submitted(upload.head.declared_type)
    log.debug("document_accepted", document_id=str(accepted.document_id), how=accepted.how)
    return accepted


def collection_of(deps: ApiDeps, principal: Principal, name: str) -> Collection:
    """The collection of that name, where the key may see it.

    Raises:
        Problem: 404.
    """
    collection = collection_named(name, principal, deps)
    if collection is None:
        raise no_collection()
    return collection


def announced_digest(header: str | None) -> bytes | None:
    """The SHA-256 in a `Content-Digest` (RFC 9530); None when there is none, or only of other algorithms.

    Raises:
        Problem: 400, it cannot be read.
    """
    for item in (header or "").split(","):
        algorithm, _, value = item.strip().partition("=")
        if algorithm.lower() == "sha-256":
            try:
                digest = base64.b64decode(value.strip(":"), validate=True)
            except (binascii.Error, ValueError):
                digest = b""
            if len(digest) != hashlib.sha256().digest_size:
                raise Problem(400, "invalid_request", "Content-Digest must be sha-256=:<base64>:.")
            return digest
    return None


def check_digest(announced: bytes | None, *received: bytes) -> None:
    """Compare an announced digest with those of what came; one that fits is enough.

    Raises:
        Problem: 400 `digest_mismatch`.
    """
    if announced is not None and not any(hmac.compare_digest(announced, digest) for digest in received):
        raise Problem(400, "digest_mismatch", "The bytes were changed on the way, or the digest is of others.")


def _new_document(upload: Upload, principal: Principal, collection: Collection, deps: ApiDeps) -> NewDocument:
    fields = upload.fields
    chunking = fields.chunking.within(collection.chunking, service=deps.settings.chunking)
    return NewDocument(
        tenant_id=principal.tenant_id,
        collection_id=collection.id,
        original=Original(
            storage_key=upload.incoming.key,
            sha256=upload.sha256,
            size_bytes=upload.incoming.size_bytes,
            name=upload.head.name,
            declared_type=upload.head.declared_type,
        ),
        external_id=fields.external_id,
        attributes=fields.attributes,
        options={"chunking": chunking, "multimodal": fields.multimodal},
        may_repeat=fields.on_duplicate == "allow",
        request_id=upload.request_id,
        traceparent=upload.traceparent,
    )


def _accept(new: NewDocument, fields: UploadFields, claim: Fresh | None, deps: ApiDeps) -> Accepted:
    token = None if claim is None else claim.token
    try:
        return deps.documents.accept(new, on_duplicate=fields.on_duplicate, token=token)
    except DuplicateDocument as error:
        shown = ids.shown("doc", error.document_id)
        pointer = "/external_id" if fields.external_id and fields.on_duplicate != "reject" else "/file"
        detail = f"The collection has it already: {shown}."
        headers = {"Location": f"/v1/documents/{shown}"}
        raise Problem(409, "document_exists", detail, pointer=pointer, headers=headers) from error
    except ClaimLost as error:
        raise in_flight() from error
    except CollectionGone as error:
        raise no_collection() from error


@contextlib.contextmanager
def _dropped_unless_used(incoming: IncomingOriginal) -> Iterator[None]:
    try:
        yield
    except Problem:  # it is there already, or not this request's to store
        incoming.drop()
        raise
    except DatabaseUnavailable as error:
        if error.detail_code == DISK_FULL:  # PostgreSQL itself says that it wrote nothing
            incoming.drop()
        raise
    # After any other failure the row may be there: the object stays, and the janitor removes it if it is not.


def _new_key() -> str:
    name = uuid4().hex
    return f"{name[:2]}/{name}"


def missing_file() -> Problem:
    """The answer to a form without a file."""
    return Problem(400, "invalid_request", "The form has no file; send it in the field 'file'.", pointer="/file")
