"""The moves of documents and runs: each is one transaction whose WHERE clause is the check.

Zero rows mean "not yours any more": the caller drops what it has and says nothing. Whoever touches more than one
row locks the document first, then the batch, then the run; the idempotency key and the collection before them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa

from sluice_common import events
from sluice_common.database import Database, one
from sluice_common.failpoints import marked, reach
from sluice_common.ids import new_id
from sluice_common.schema import LATEST_TIME
from sluice_common.status import State
from sluice_common.times import Times


@dataclass(frozen=True)
class Original:
    """Bytes as received, durable in the object store before a row names them."""

    storage_key: str
    sha256: str
    size_bytes: int
    name: str
    declared_type: str | None


@dataclass(frozen=True)
class NewDocument:
    """What a client asks us to take in."""

    tenant_id: UUID
    collection_id: UUID
    original: Original
    external_id: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)  # the client's own JSON
    options: Mapping[str, Any] = field(default_factory=dict)  # chunking and multimodal, as validated by the gateway
    may_repeat: bool = False
    """The same bytes may stand twice in the collection."""
    request_id: str | None = None
    traceparent: str | None = None

    @property
    def dedupe_sha(self) -> str | None:
        """What makes it the same as another document of the collection; None where the same bytes may repeat."""
        return None if self.may_repeat else self.original.sha256


@dataclass(frozen=True)
class Accepted:
    """Which document took the bytes, and how: `created`, `replaced`, `retried`, or `existing` (nothing was stored)."""

    document_id: UUID
    how: str


@dataclass(frozen=True)
class ExtractionClaim:
    """The right of one worker to extract one document, until the lease runs out; `run_id` is its fence."""

    document_id: UUID
    run_id: int
    tenant_id: UUID
    collection_id: UUID
    tries: int
    storage_key: str
    name: str
    declared_type: str | None
    options: Mapping[str, Any]  # as validated by the gateway
    request_id: str | None
    traceparent: str | None = None


@dataclass(frozen=True)
class Setback:
    """Why an extraction ended without a result, and what that means for the document."""

    code: str
    detail: str | None = None
    detail_code: str | None = None
    is_permanent: bool = False
    """The document fails at once."""
    costs_a_try: bool = False
    """It was the document's own doing."""
    wait: timedelta = timedelta(0)


# Row, original, job, history and the answered idempotency key in one statement: all or nothing, one round trip.
# The key is the request's only while nobody took it over, and the collection must outlive the statement: both rows
# are locked before the document is written.
_ACCEPT = sa.text(f"""
    WITH claim AS (
        SELECT 1 FROM idempotency_keys WHERE token = CAST(:token AS uuid) FOR UPDATE),
    place AS (
        SELECT id FROM collections WHERE id = :collection_id AND lifecycle = 'active' FOR SHARE),
    accepted AS (
        INSERT INTO documents (id, tenant_id, collection_id, external_id, dedupe_sha, attributes, options, job_id,
                               request_id, traceparent, max_tries, max_losses, deadline, dispatch_after)
        SELECT CAST(:id AS uuid), CAST(:tenant_id AS uuid), place.id, :external_id, :dedupe_sha,
               CAST(:attributes AS jsonb), CAST(:options AS jsonb), CAST(:job_id AS uuid), :request_id, :traceparent,
               :max_tries, :max_losses, {LATEST_TIME} + :deadline, now() + :grace
        FROM place WHERE CAST(:token AS uuid) IS NULL OR EXISTS (SELECT 1 FROM claim)
        ON CONFLICT DO NOTHING RETURNING id, tenant_id, request_no, job_id, state),
    original AS (
        INSERT INTO originals (document_id, request_no, storage_key, sha256, size_bytes, declared_type, name)
        SELECT id, request_no, :storage_key, :sha256, :size_bytes, :declared_type, :name FROM accepted),
    job AS (
        INSERT INTO jobs (id, tenant_id, kind, document_id, request_no)
        SELECT job_id, tenant_id, 'ingest', id, request_no FROM accepted),
    event AS (
        INSERT INTO document_events (id, xid, tenant_id, document_id, event, state, facts)
        SELECT nextval('document_events_id_seq'), pg_current_xact_id()::text::bigint, tenant_id, id,
               'document.status', state, jsonb_build_object('bytes', CAST(:size_bytes AS bigint)) FROM accepted),
    answered AS (
        UPDATE idempotency_keys SET document_id = (SELECT id FROM accepted)
        WHERE token = CAST(:token AS uuid) AND EXISTS (SELECT 1 FROM accepted))
    SELECT (SELECT id FROM accepted) AS id, EXISTS (SELECT 1 FROM place) AS has_place,
           CAST(:token AS uuid) IS NULL OR EXISTS (SELECT 1 FROM claim) AS has_claim
""")

_ADD_ORIGINAL = sa.text("""
    INSERT INTO originals (document_id, request_no, storage_key, sha256, size_bytes, declared_type, name)
    SELECT id, request_no, :storage_key, :sha256, :size_bytes, :declared_type, :name FROM documents WHERE id = :id
""")

_ADD_JOB = sa.text("""
    INSERT INTO jobs (id, tenant_id, kind, document_id, request_no)
    SELECT job_id, tenant_id, :kind, id, request_no FROM documents WHERE id = :id
""")

_SAME_BYTES = sa.text("""
    SELECT id, state FROM documents
    WHERE tenant_id = :tenant_id AND collection_id = :collection_id AND dedupe_sha = :sha256 AND lifecycle = 'active'
    FOR NO KEY UPDATE
""")

_SAME_EXTERNAL = sa.text("""
    SELECT d.id, d.state, (SELECT o.sha256 FROM originals o WHERE o.document_id = d.id
                           ORDER BY o.request_no DESC LIMIT 1) AS sha256
    FROM documents d
    WHERE d.tenant_id = :tenant_id AND d.collection_id = :collection_id AND d.external_id = :external_id
      AND d.lifecycle = 'active'
    FOR NO KEY UPDATE OF d
""")

# With new content (:replace) a document may be taken out of the middle of its work; without, only an ended one moves.
_REQUEST_AGAIN = sa.text(f"""
    WITH old AS (SELECT id, active_run FROM documents
                 WHERE id = :id AND tenant_id = :tenant_id AND lifecycle = 'active'
                   AND (:replace OR state IN ('completed', 'failed', 'cancelled'))
                   AND (CAST(:version AS int) IS NULL OR row_version = :version) FOR NO KEY UPDATE)
    UPDATE documents d
    SET state = 'queued', request_no = request_no + 1, job_id = :job_id, request_id = :request_id,
        traceparent = :traceparent, tries = 0, losses = 0, active_run = NULL, lease_owner = NULL,
        lease_until = NULL, not_before = now(), dispatch_after = now() + :grace, dispatch_count = 0,
        deadline = {LATEST_TIME} + :deadline, error_code = NULL, error_detail = NULL, error_detail_code = NULL,
        warnings = '[]', percent = 0, pages_done = 0, pages_total = NULL, started_at = NULL, finished_at = NULL,
        updated_at = now(), row_version = row_version + 1
    FROM old WHERE d.id = old.id RETURNING old.active_run
""")

_SET_CONTENT = sa.text("""
    UPDATE documents SET dedupe_sha = :dedupe_sha, attributes = CAST(:attributes AS jsonb),
                         options = CAST(:options AS jsonb) WHERE id = :id
""")

_SET_OPTIONS = sa.text("UPDATE documents SET options = CAST(:options AS jsonb) WHERE id = :id")

_ABANDON_RUN = sa.text("UPDATE runs SET state = 'abandoned', gc_at = now() WHERE id = :run_id")

# The document, its new run and its line of history move in one statement.
_CLAIM = sa.text("""
    WITH claimed AS (
        UPDATE documents
        SET state = 'extracting', active_run = nextval('runs_id_seq'), tries = tries + 1, lease_owner = :owner,
            lease_until = now() + :lease, dispatch_after = NULL, dispatch_count = 0, pages_done = 0,
            pages_total = NULL, started_at = COALESCE(started_at, now()), updated_at = now(),
            row_version = row_version + 1
        WHERE id = :id AND lifecycle = 'active' AND state = 'queued' AND tries < max_tries
          AND (not_before <= now() OR not_before > now() + :far)
        RETURNING id, active_run, tenant_id, collection_id, tries, request_no, options, request_id, traceparent),
    run AS (
        INSERT INTO runs (id, document_id, tenant_id, collection_id, request_no, state, pipeline_hash)
        SELECT active_run, id, tenant_id, collection_id, request_no, 'extracting', :pipeline_hash FROM claimed),
    event AS (
        INSERT INTO document_events (id, xid, tenant_id, document_id, event, state, run_id, facts)
        SELECT nextval('document_events_id_seq'), pg_current_xact_id()::text::bigint, tenant_id, id,
               'document.status', 'extracting', active_run, jsonb_build_object('try', tries) FROM claimed)
    SELECT id AS document_id, active_run AS run_id, tenant_id, collection_id, tries, request_no, options, request_id,
           traceparent
    FROM claimed
""")

_LOSSES = sa.text("SELECT losses FROM documents WHERE id = :id AND state = 'queued'")

# A statement of its own: one that has waited for a replacement to commit still sees the originals from before it.
_ORIGINAL = sa.text("""
    SELECT storage_key, name, declared_type FROM originals
    WHERE document_id = :id AND request_no <= :request_no ORDER BY request_no DESC LIMIT 1
""")

_HEARTBEAT = sa.text("""
    UPDATE documents
    SET lease_until = now() + :lease, pages_done = :pages_done, pages_total = :pages_total,
        percent = GREATEST(percent, :percent), updated_at = now(), row_version = row_version + 1
    WHERE id = :id AND active_run = :run_id AND state = 'extracting' AND lifecycle = 'active' RETURNING 1
""")

_FAIL = sa.text("""
    UPDATE documents
    SET state = CASE WHEN :permanent OR (:counts AND tries >= max_tries) THEN 'failed' ELSE 'queued' END,
        finished_at = CASE WHEN :permanent OR (:counts AND tries >= max_tries) THEN now() END,
        tries = tries - CASE WHEN :counts OR :permanent THEN 0 ELSE 1 END,
        error_code = :code, error_detail = :detail, error_detail_code = :detail_code, active_run = NULL,
        lease_owner = NULL, lease_until = NULL, not_before = now() + :wait,
        dispatch_after = CASE WHEN :permanent OR (:counts AND tries >= max_tries) THEN NULL ELSE now() + :wait END,
        dispatch_count = 0, updated_at = now(), row_version = row_version + 1
    WHERE id = :id AND active_run = :run_id AND state = 'extracting' RETURNING state
""")

_CANCEL = sa.text("""
    WITH old AS (SELECT id, active_run FROM documents
                 WHERE id = :id AND tenant_id = :tenant_id AND lifecycle = 'active'
                   AND state IN ('queued', 'extracting', 'embedding', 'verifying')
                   AND (CAST(:version AS int) IS NULL OR row_version = :version) FOR NO KEY UPDATE)
    UPDATE documents d
    SET state = 'cancelled', active_run = NULL, lease_owner = NULL, lease_until = NULL, dispatch_after = NULL,
        error_code = NULL, error_detail = NULL, error_detail_code = NULL, finished_at = now(), updated_at = now(),
        row_version = row_version + 1
    FROM old WHERE d.id = old.id RETURNING old.active_run
""")

# From this commit on no search shows the document: published_run is what a search joins on.
_DELETE = sa.text("""
    UPDATE documents
    SET lifecycle = 'deleting', published_run = NULL, active_run = NULL, lease_owner = NULL, lease_until = NULL,
        dispatch_after = NULL, purge_at = now(), purge_pass = 0, updated_at = now(), row_version = row_version + 1,
        finished_at = COALESCE(finished_at, now()),
        state = CASE WHEN state IN ('completed', 'failed', 'cancelled') THEN state ELSE 'cancelled' END
    WHERE id = :id AND tenant_id = :tenant_id AND lifecycle = 'active'
      AND (CAST(:version AS int) IS NULL OR row_version = :version) RETURNING id
""")

_ABANDON_RUNS = sa.text("UPDATE runs SET state = 'abandoned', gc_at = now() WHERE document_id = :id")

_HOLD_KEY = sa.text("SELECT 1 FROM idempotency_keys WHERE token = :token FOR UPDATE")

_BIND_KEY = sa.text("UPDATE idempotency_keys SET document_id = :document_id WHERE token = :token")


class DuplicateDocument(Exception):
    """The bytes or the external id already stand in the collection; `document_id` is where."""

    def __init__(self, document_id: UUID) -> None:
        super().__init__(str(document_id))
        self.document_id = document_id


class ClaimLost(Exception):
    """The request took so long that its repeat has taken its idempotency key over, and answers for both."""


class CollectionGone(Exception):
    """The collection was deleted since the request began."""


class Documents:
    """The only writer of documents and runs, beside `batches` and `reconciling` for the ends of their own moves."""

    def __init__(self, database: Database, times: Times, *, max_tries: int = 3, max_losses: int = 10) -> None:
        self._database = database
        self._times = times
        self._max_tries = max_tries
        self._max_losses = max_losses

    @marked("accept")
    def accept(self, new: NewDocument, *, on_duplicate: str = "return", token: UUID | None = None) -> Accepted:
        """Take in a document whose original is already durable.

        Args:
            new: what the client sent.
            on_duplicate: what happens when the same bytes, or the same external id, are already in the
                collection: `return` the existing document (an ended one without result is tried again),
                `replace` its content under the same id, `allow` a second one, `reject`.
            token: of the idempotency key this answers; bound to the document in the same transaction.

        Raises:
            DuplicateDocument: with `reject`, or when an external id stands for other bytes already.
            ClaimLost: the token is not the key's any more; nothing was changed.
            CollectionGone: nothing was changed.
        """
        while True:
            accepted = self._insert(new, token) or self._resolve(new, on_duplicate, token)
            if accepted is not None:  # else the one in the way was deleted between the two
                return accepted

    def losses_of(self, document_id: UUID) -> int:
        """How often a document that waits to be read was lost with its worker; 0 when there is nothing to read."""
        with self._database.single() as connection:
            row = one(connection, _LOSSES, id=document_id)
        return row.losses if row is not None else 0

    @marked("claim_extraction")
    def claim_extraction(
        self, document_id: UUID, owner: str, *, pipeline_hash: str | None = None
    ) -> ExtractionClaim | None:
        """Begin a new run of a queued document; the try is counted before the work starts.

        Returns:
            None when there is nothing to claim: the hint was late, early or repeated.
        """
        values = {"owner": owner, "lease": self._times.lease, "far": self._times.far, "pipeline_hash": pipeline_hash}
        with self._database.single() as connection:
            row = one(connection, _CLAIM, id=document_id, **values)
            if row is None:
                return None
            original = one(connection, _ORIGINAL, id=document_id, request_no=row.request_no)
        assert original is not None, "a document has an original"
        claimed = {name: value for name, value in row._mapping.items() if name != "request_no"}  # noqa: SLF001 - SQLAlchemy's documented name
        return ExtractionClaim(**claimed, **original._mapping)  # noqa: SLF001 - as above

    @marked("heartbeat")
    def heartbeat(self, document_id: UUID, run_id: int, *, pages_done: int, pages_total: int | None) -> bool:
        """Prolong the lease of a run that is being extracted and show how far it is.

        Returns:
            False when the run is no longer the document's active one: stop and drop everything.
        """
        percent = min(40, 40 * pages_done // pages_total) if pages_total else 0
        with self._database.transaction() as connection:
            alive = one(
                connection,
                _HEARTBEAT,
                id=document_id,
                run_id=run_id,
                lease=self._times.lease,
                pages_done=pages_done,
                pages_total=pages_total,
                percent=percent,
            )
            if alive and pages_total:
                facts = {"pages_done": pages_done, "pages_total": pages_total}
                events.record(connection, [document_id], event=events.PROGRESS, run_id=run_id, facts=facts)
            return alive is not None

    @marked("fail_extraction")
    def fail_extraction(self, document_id: UUID, run_id: int, setback: Setback) -> State | None:
        """End a run without a result.

        Returns:
            `failed`, or `queued` when it will be tried again; None when the run was no longer active.
        """
        with self._database.transaction() as connection:
            row = one(
                connection,
                _FAIL,
                id=document_id,
                run_id=run_id,
                permanent=setback.is_permanent,
                counts=setback.costs_a_try,
                code=setback.code,
                detail=setback.detail,
                detail_code=setback.detail_code,
                wait=min(setback.wait, self._times.longest),
            )
            if row is None:
                return None
            reach("fail_extraction.document_moved")
            connection.execute(_ABANDON_RUN, {"run_id": run_id})
            facts = {"error_code": setback.code, "detail_code": setback.detail_code, "counted": setback.costs_a_try}
            events.record(connection, [document_id], run_id=run_id, facts=facts)
            return State(row.state)

    def release_extraction(self, document_id: UUID, run_id: int) -> bool:
        """Hand the lease back at once, as a worker does that is told to stop; costs neither try nor loss."""
        return self.fail_extraction(document_id, run_id, Setback("released")) is not None

    @marked("cancel")
    def cancel(self, tenant_id: UUID, document_id: UUID, *, version: int | None = None) -> bool:
        """Stop an unfinished document; every worker on it is fenced from this commit on.

        Returns:
            False when there was nothing to cancel, or its row is not of *version*.
        """
        with self._database.transaction() as connection:
            row = one(connection, _CANCEL, id=document_id, tenant_id=tenant_id, version=version)
            if row is None:
                return False
            reach("cancel.document_moved")
            self._abandon(connection, row.active_run)
            events.record(connection, [document_id], run_id=row.active_run)
            return True

    @marked("delete")
    def delete(self, tenant_id: UUID, document_id: UUID, *, version: int | None = None) -> bool:
        """Make a document invisible for good; its points, chunks and bytes are removed afterwards.

        Returns:
            False when it was not active (deleted before, or never there), or its row is not of *version*.
        """
        with self._database.transaction() as connection:
            if one(connection, _DELETE, id=document_id, tenant_id=tenant_id, version=version) is None:
                return False
            reach("delete.document_moved")
            connection.execute(_ABANDON_RUNS, {"id": document_id})
            events.record(connection, [document_id])
            return True

    @marked("reprocess")
    def reprocess(
        self,
        tenant_id: UUID,
        document_id: UUID,
        *,
        request_id: str | None = None,
        traceparent: str | None = None,
        version: int | None = None,
    ) -> bool:
        """Queue an ended document once more; its published run goes on serving until the new one is published.

        Returns:
            False when it is unfinished or not active, or its row is not of *version*.
        """
        with self._database.transaction() as connection:
            return self._request_again(
                connection,
                tenant_id,
                document_id,
                "reprocess",
                request_id=request_id,
                traceparent=traceparent,
                version=version,
            )

    def _insert(self, new: NewDocument, token: UUID | None) -> Accepted | None:
        document_id = new_id()
        with self._database.single() as connection:
            row = one(
                connection,
                _ACCEPT,
                id=document_id,
                tenant_id=new.tenant_id,
                collection_id=new.collection_id,
                external_id=new.external_id,
                dedupe_sha=new.dedupe_sha,
                attributes=orjson.dumps(new.attributes).decode(),
                options=orjson.dumps(new.options).decode(),
                job_id=new_id(),
                request_id=new.request_id,
                traceparent=new.traceparent,
                max_tries=self._max_tries,
                max_losses=self._max_losses,
                deadline=self._times.deadline,
                grace=self._times.grace,
                token=token,
                **vars(new.original),
            )
        assert row is not None, "the statement tells what it found"
        if not row.has_claim:
            raise ClaimLost
        if not row.has_place:
            raise CollectionGone
        return None if row.id is None else Accepted(document_id, "created")

    def _resolve(self, new: NewDocument, on_duplicate: str, token: UUID | None) -> Accepted | None:
        reach("accept.duplicate_found")
        with self._database.transaction() as connection:
            if token is not None and one(connection, _HOLD_KEY, token=token) is None:
                raise ClaimLost
            reach("resolve.key_held")
            accepted = self._resolve_duplicate(connection, new, on_duplicate)
            if accepted is not None and token is not None:
                connection.execute(_BIND_KEY, {"token": token, "document_id": accepted.document_id})
            return accepted

    def _resolve_duplicate(self, connection: sa.Connection, new: NewDocument, on_duplicate: str) -> Accepted | None:
        where = {"tenant_id": new.tenant_id, "collection_id": new.collection_id}
        external = new.external_id and one(connection, _SAME_EXTERNAL, external_id=new.external_id, **where)
        same = one(connection, _SAME_BYTES, sha256=new.dedupe_sha, **where)
        found = external or same
        if not found:
            return None
        is_same = not external or external.sha256 == new.original.sha256
        if on_duplicate == "replace":
            if same and same.id != found.id:
                raise DuplicateDocument(same.id)  # two documents of a collection never have the same bytes
            return self._replace(connection, new, found.id)
        if on_duplicate != "return" or not is_same:
            raise DuplicateDocument(found.id)
        if State(found.state) in {State.FAILED, State.CANCELLED}:
            self._request_again(
                connection,
                new.tenant_id,
                found.id,
                "ingest",
                request_id=new.request_id,
                traceparent=new.traceparent,
            )
            # It failed with the old options, and may have been told to come again with others.
            connection.execute(_SET_OPTIONS, {"id": found.id, "options": orjson.dumps(new.options).decode()})
            return Accepted(found.id, "retried")
        return Accepted(found.id, "existing")

    def _replace(self, connection: sa.Connection, new: NewDocument, document_id: UUID) -> Accepted:
        self._request_again(
            connection,
            new.tenant_id,
            document_id,
            None,
            request_id=new.request_id,
            traceparent=new.traceparent,
            replace=True,
        )
        reach("replace.document_moved")
        content = {
            "id": document_id,
            "dedupe_sha": new.dedupe_sha,
            "attributes": orjson.dumps(new.attributes).decode(),
            "options": orjson.dumps(new.options).decode(),
        }
        connection.execute(_SET_CONTENT, content)
        self._add_original(connection, document_id, new.original, kind="ingest")
        return Accepted(document_id, "replaced")

    def _request_again(
        self,
        connection: sa.Connection,
        tenant_id: UUID,
        document_id: UUID,
        kind: str | None,
        *,
        request_id: str | None,
        traceparent: str | None,
        replace: bool = False,
        version: int | None = None,
    ) -> bool:
        row = one(
            connection,
            _REQUEST_AGAIN,
            id=document_id,
            tenant_id=tenant_id,
            replace=replace,
            version=version,
            job_id=new_id(),
            request_id=request_id,
            traceparent=traceparent,
            grace=self._times.grace,
            deadline=self._times.deadline,
        )
        if row is None:
            return False
        self._abandon(connection, row.active_run)
        if kind is not None:
            connection.execute(_ADD_JOB, {"id": document_id, "kind": kind})
        events.record(connection, [document_id])
        return True

    def _add_original(self, connection: sa.Connection, document_id: UUID, original: Original, *, kind: str) -> None:
        connection.execute(_ADD_ORIGINAL, {"id": document_id, **vars(original)})
        connection.execute(_ADD_JOB, {"id": document_id, "kind": kind})

    def _abandon(self, connection: sa.Connection, run_id: int | None) -> None:
        if run_id is not None:
            connection.execute(_ABANDON_RUN, {"run_id": run_id})
