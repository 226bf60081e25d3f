"""The moves of batches and chunks, up to the publication of their run; the same rules as in `documents`.

A batch's counter and its document change together, under the document's row lock: that is what makes the last
batch know that it is the last.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa

from sluice_common import events
from sluice_common.database import Database, one, rows
from sluice_common.failpoints import marked, reach
from sluice_common.ids import new_id, point_id
from sluice_common.schema import LATEST_TIME
from sluice_common.status import State
from sluice_common.times import Times


@dataclass(frozen=True)
class NewChunk:
    """A span of a document's text; `char_start` and `char_end` count in the text of the whole document."""

    chunk_no: int
    text: str
    char_start: int
    char_end: int
    tokens: int
    page_start: int | None = None
    page_end: int | None = None
    section: str | None = None
    sheet: str | None = None
    slide: int | None = None
    time_start: float | None = None  # seconds
    time_end: float | None = None
    boxes: Sequence[Mapping[str, Any]] | None = None  # JSON: per page the rectangles that the text covers


@dataclass(frozen=True)
class NewBatch:
    """Consecutive chunks of one run."""

    batch_no: int
    chunks: Sequence[NewChunk]


@dataclass(frozen=True)
class Extraction:
    """What a finished extraction knows about its document."""

    n_chunks: int
    n_batches: int
    media_type: str
    pages_done: int
    pages_total: int | None
    warnings: Sequence[Mapping[str, Any]] = ()  # JSON: code and detail
    analysis: Mapping[str, Any] | None = None  # JSON: of a recording


@dataclass(frozen=True)
class ClaimedChunk:
    chunk_no: int
    point_id: UUID
    text: str
    page: int | None


@dataclass(frozen=True)
class BatchClaim:
    """The right of one worker to embed one batch, until the lease runs out; `fence` is its token."""

    run_id: int
    batch_no: int
    fence: int
    tries: int
    document_id: UUID
    tenant_id: UUID
    collection_id: UUID
    attributes: Mapping[str, Any]  # the client's own JSON
    request_id: str | None
    is_rebought: bool
    """These texts were claimed before, in this run or in an earlier one of the same request."""
    chunks: tuple[ClaimedChunk, ...]
    traceparent: str | None = None


@dataclass(frozen=True)
class Published:
    """How a verification ended: `published`, `reopened` (points were missing) or `stale` (not ours any more)."""

    outcome: str
    reopened: tuple[int, ...] = ()
    """Numbers of the batches that must be embedded again."""


_LOCK_EXTRACTING = sa.text("""
    SELECT 1 FROM documents
    WHERE id = :id AND active_run = :run_id AND state = 'extracting' AND lifecycle = 'active' FOR NO KEY UPDATE
""")

_ADD_BATCHES = sa.text("""
    INSERT INTO batches (run_id, batch_no, document_id, first_chunk, last_chunk, dispatch_after)
    SELECT :run_id, b.batch_no, :document_id, b.first_chunk, b.last_chunk, now() + :grace
    FROM jsonb_to_recordset(CAST(:batches AS jsonb)) AS b(batch_no int, first_chunk int, last_chunk int)
""")

_COPY_CHUNKS = """
    COPY chunks (run_id, chunk_no, batch_no, point_id, text, content_sha256, page_start, page_end, char_start,
                 char_end, tokens, section, sheet, slide, time_start, time_end, boxes) FROM STDIN
"""

_FINISH_EXTRACTION = sa.text("""
    UPDATE documents
    SET state = 'embedding', lease_owner = NULL, lease_until = NULL, warnings = CAST(:warnings AS jsonb),
        pages_done = :pages_done, pages_total = :pages_total, percent = GREATEST(percent, 40), error_code = NULL,
        error_detail = NULL, error_detail_code = NULL, updated_at = now(), row_version = row_version + 1
    WHERE id = :id AND active_run = :run_id AND state = 'extracting' AND lifecycle = 'active' RETURNING request_no
""")

_CLOSE_RUN = sa.text("""
    UPDATE runs SET state = 'embedding', n_chunks = :n_chunks, n_batches = :n_batches,
                    analysis = CAST(:analysis AS jsonb)
    WHERE id = :run_id RETURNING n_done
""")

_SET_MEDIA_TYPE = sa.text("""
    UPDATE originals SET media_type = :media_type
    WHERE document_id = :id AND request_no = (SELECT max(request_no) FROM originals
                                              WHERE document_id = :id AND request_no <= :request_no)
""")

_TO_VERIFYING = sa.text("""
    UPDATE documents
    SET state = 'verifying', lease_until = now() + :lease, dispatch_after = now() + :wait, dispatch_count = 0,
        updated_at = now(), row_version = row_version + 1
    WHERE id = :id AND active_run = :run_id AND state = 'embedding' AND lifecycle = 'active' RETURNING 1
""")

# EXISTS only saves work; what keeps a stale claim harmless is the fence in _FINISH and the run in _PUBLISH.
_CLAIM = sa.text("""
    WITH claimed AS (
        UPDATE batches b
        SET state = 'running', fence = fence + 1, tries = tries + 1, lease_owner = :owner,
            lease_until = now() + :lease, dispatch_after = NULL, dispatch_count = 0
        WHERE run_id = :run_id AND batch_no = :batch_no AND state = 'pending' AND tries < max_tries
          AND (not_before <= now() OR not_before > now() + :far)
          AND EXISTS (SELECT 1 FROM documents d WHERE d.id = b.document_id AND d.lifecycle = 'active'
                      AND (d.active_run = b.run_id OR d.published_run = b.run_id))
        RETURNING document_id, fence, tries)
    SELECT c.document_id, c.fence, c.tries, d.tenant_id, d.collection_id, d.attributes, d.request_id, d.traceparent,
           EXISTS (SELECT 1 FROM runs e JOIN runs r ON r.id = :run_id
                   WHERE e.document_id = d.id AND e.request_no = r.request_no AND e.id < r.id
                     AND e.state = 'abandoned') AS has_earlier_run
    FROM claimed c JOIN documents d ON d.id = c.document_id
""")

_CHUNKS_OF_BATCH = sa.text("""
    SELECT chunk_no, point_id, text, page_start AS page FROM chunks
    WHERE run_id = :run_id AND batch_no = :batch_no ORDER BY chunk_no
""")

_LOCK_DOCUMENT = sa.text("""
    SELECT active_run, published_run, state, lifecycle FROM documents WHERE id = :id FOR NO KEY UPDATE
""")

_FINISH = sa.text("""
    UPDATE batches SET state = 'done', lease_owner = NULL, lease_until = NULL, error_code = NULL,
                       error_detail_code = NULL
    WHERE run_id = :run_id AND batch_no = :batch_no AND state = 'running' AND fence = :fence RETURNING 1
""")

_COUNT_DONE = sa.text("UPDATE runs SET n_done = n_done + 1 WHERE id = :run_id RETURNING n_done, n_batches, n_chunks")

_SHOW_CHUNKS = sa.text("""
    UPDATE documents
    SET percent = GREATEST(percent, CASE WHEN CAST(:n_batches AS int) IS NULL THEN 0
                                         ELSE 40 + 55 * :n_done / GREATEST(:n_batches, 1) END),
        updated_at = now(), row_version = row_version + 1
    WHERE id = :id AND active_run = :run_id
    RETURNING (progressed_at IS NULL OR progressed_at < now() - interval '0.5 s' OR progressed_at > now()) AS is_due
""")

_MARK_PROGRESS = sa.text("UPDATE documents SET progressed_at = now() WHERE id = :id")

_DEFER = sa.text("""
    UPDATE batches
    SET state = 'pending', tries = tries - CASE WHEN :counts THEN 0 ELSE 1 END, error_code = :code,
        error_detail_code = :detail_code, lease_owner = NULL, lease_until = NULL, not_before = now() + :wait,
        dispatch_after = now() + :wait, dispatch_count = 0
    WHERE run_id = :run_id AND batch_no = :batch_no AND state = 'running' AND fence = :fence RETURNING 1
""")

_FAIL_BATCH = sa.text("""
    UPDATE batches SET state = 'failed', error_code = :code, lease_owner = NULL, lease_until = NULL
    WHERE run_id = :run_id AND batch_no = :batch_no AND state = 'running' AND fence = :fence RETURNING 1
""")

_POSTPONE_REPAIR = sa.text("""
    UPDATE batches
    SET state = 'pending', tries = 0, error_code = :code, lease_owner = NULL, lease_until = NULL,
        not_before = now() + :wait, dispatch_after = now() + :wait, dispatch_count = 0
    WHERE run_id = :run_id AND batch_no = :batch_no AND state = 'running' AND fence = :fence RETURNING 1
""")

_FAIL_DOCUMENT = sa.text("""
    UPDATE documents
    SET state = 'failed', error_code = :code, error_detail = :detail, error_detail_code = :detail_code,
        active_run = NULL, lease_owner = NULL, lease_until = NULL, dispatch_after = NULL, finished_at = now(),
        updated_at = now(), row_version = row_version + 1
    WHERE id = :id AND active_run = :run_id AND state IN ('extracting', 'embedding', 'verifying') RETURNING 1
""")

_ABANDON_RUN = sa.text("UPDATE runs SET state = 'abandoned', gc_at = now() WHERE id = :run_id")

_EXPECTED = sa.text("SELECT n_chunks FROM runs WHERE id = :run_id")

_MISSING = sa.text("""
    SELECT DISTINCT c.batch_no FROM chunks c
    LEFT JOIN unnest(CAST(:present AS uuid[])) AS p(id) ON p.id = c.point_id
    WHERE c.run_id = :run_id AND p.id IS NULL ORDER BY 1
""")

_REOPEN = sa.text("""
    UPDATE batches SET state = 'pending', tries = 0, not_before = now(), dispatch_after = now() + :grace,
                       dispatch_count = 0
    WHERE run_id = :run_id AND batch_no = ANY(:batch_nos) AND state = 'done' RETURNING batch_no
""")

_COUNT_REOPENED = sa.text("UPDATE runs SET n_done = n_done - :n WHERE id = :run_id")

_BACK_TO_EMBEDDING = sa.text("""
    UPDATE documents SET state = 'embedding', lease_until = NULL, dispatch_after = NULL, updated_at = now(),
                         row_version = row_version + 1
    WHERE id = :id
""")

_PUBLISH = sa.text("""
    UPDATE documents
    SET state = 'completed', published_run = active_run, active_run = NULL, lease_owner = NULL, lease_until = NULL,
        dispatch_after = NULL, percent = 100, error_code = NULL, error_detail = NULL, error_detail_code = NULL,
        finished_at = now(), updated_at = now(), row_version = row_version + 1
    WHERE id = :id
""")

_PUBLISH_RUN = sa.text("""
    UPDATE runs SET state = 'published', published_at = now(), embed_model = :model, embed_dimensions = :dimensions
    WHERE id = :run_id
""")

# Its points stay for a while: a search that asked the table before the swap asks the store after it.
_SUPERSEDE_RUN = sa.text("UPDATE runs SET state = 'superseded', gc_at = now() + :search WHERE id = :run_id")

# What is ready is the newest content: the chunks of an older one, whose replacement failed, are never made ready again.
_LOCK_PUBLISHED = sa.text("""
    SELECT published_run, request_no FROM documents
    WHERE id = :id AND tenant_id = :tenant_id AND lifecycle = 'active' AND published_run IS NOT NULL
      AND state IN ('completed', 'failed', 'cancelled')
      AND (CAST(:version AS int) IS NULL OR row_version = :version)
      AND NOT EXISTS (SELECT 1 FROM originals o JOIN runs r ON r.id = documents.published_run
                      WHERE o.document_id = documents.id AND o.request_no > r.request_no)
    FOR NO KEY UPDATE
""")

_EMBED_AGAIN = sa.text(f"""
    UPDATE documents
    SET state = 'embedding', request_no = request_no + 1, job_id = :job_id, request_id = :request_id,
        traceparent = :traceparent, active_run = nextval('runs_id_seq'), tries = 0, losses = 0,
        not_before = now(), dispatch_after = NULL, dispatch_count = 0, deadline = {LATEST_TIME} + :deadline,
        error_code = NULL, error_detail = NULL, error_detail_code = NULL, percent = 40, started_at = now(),
        finished_at = NULL, updated_at = now(), row_version = row_version + 1
    WHERE id = :id RETURNING active_run
""")

# The copy keeps the number of the request that its chunks came with: by it the name and the original are found.
_COPY_RUN = sa.text("""
    INSERT INTO runs (id, document_id, tenant_id, collection_id, request_no, state, pipeline_hash, n_chunks, n_batches,
                      analysis)
    SELECT :new, document_id, tenant_id, collection_id, request_no, 'embedding', pipeline_hash, n_chunks, n_batches,
           analysis
    FROM runs WHERE id = :old
""")

_COPY_BATCHES = sa.text("""
    INSERT INTO batches (run_id, batch_no, document_id, first_chunk, last_chunk, dispatch_after)
    SELECT :new, batch_no, document_id, first_chunk, last_chunk, now() FROM batches WHERE run_id = :old
""")

_CHUNK_NUMBERS = sa.text("SELECT chunk_no FROM chunks WHERE run_id = :run_id ORDER BY chunk_no")

_COPY_RUN_CHUNKS = sa.text("""
    INSERT INTO chunks (run_id, chunk_no, batch_no, point_id, text, content_sha256, page_start, page_end, char_start,
                        char_end, tokens, section, sheet, slide, time_start, time_end, boxes)
    SELECT :new, c.chunk_no, c.batch_no, p.id, c.text, c.content_sha256, c.page_start, c.page_end, c.char_start,
           c.char_end, c.tokens, c.section, c.sheet, c.slide, c.time_start, c.time_end, c.boxes
    FROM chunks c JOIN unnest(CAST(:numbers AS int[]), CAST(:points AS uuid[])) AS p(chunk_no, id) USING (chunk_no)
    WHERE c.run_id = :old
""")

_ADD_JOB = sa.text("""
    INSERT INTO jobs (id, tenant_id, kind, document_id, request_no)
    SELECT job_id, tenant_id, 'reprocess', id, request_no FROM documents WHERE id = :id
""")


class Batches:
    """The only writer of batches and chunks."""

    def __init__(self, database: Database, times: Times) -> None:
        self._database = database
        self._times = times

    @marked("forward")
    def forward(self, document_id: UUID, run_id: int, new: Sequence[NewBatch]) -> bool:
        """Hand batches to the embedder while extraction goes on.

        Returns:
            False when the run is no longer the document's active one: nothing was stored.
        """
        with self._database.transaction() as connection:
            if one(connection, _LOCK_EXTRACTING, id=document_id, run_id=run_id) is None:
                return False
            reach("forward.locked")
            self._add(connection, document_id, run_id, new)
            return True

    @marked("finish_extraction")
    def finish_extraction(
        self, document_id: UUID, run_id: int, new: Sequence[NewBatch], extraction: Extraction
    ) -> State | None:
        """Store the last batches and close the run: from now on it is known how many batches it has.

        Returns:
            `verifying` when the embedder had already done all of them, else `embedding`; None when the run is no
            longer the active one.
        """
        with self._database.transaction() as connection:
            row = one(
                connection,
                _FINISH_EXTRACTION,
                id=document_id,
                run_id=run_id,
                warnings=orjson.dumps(list(extraction.warnings)).decode(),
                pages_done=extraction.pages_done,
                pages_total=extraction.pages_total,
            )
            if row is None:
                return None
            reach("finish_extraction.document_moved")
            self._add(connection, document_id, run_id, new)
            reach("finish_extraction.batches_added")
            connection.execute(
                _SET_MEDIA_TYPE,
                {"id": document_id, "request_no": row.request_no, "media_type": extraction.media_type},
            )
            sizes = {"n_chunks": extraction.n_chunks, "n_batches": extraction.n_batches}
            analysis = None if extraction.analysis is None else orjson.dumps(extraction.analysis).decode()
            closed = one(connection, _CLOSE_RUN, run_id=run_id, analysis=analysis, **sizes)
            reach("finish_extraction.run_closed")
            events.record(connection, [document_id], run_id=run_id, facts={"chunks": extraction.n_chunks})
            assert closed is not None, "an active run has a row"
            if closed.n_done < extraction.n_batches:
                return State.EMBEDDING
            self._to_verifying(connection, document_id, run_id, wait=self._times.grace)
            return State.VERIFYING

    @marked("claim_batch")
    def claim(self, run_id: int, batch_no: int, owner: str) -> BatchClaim | None:
        """Begin to embed a batch; the try is counted before the work starts.

        Returns:
            None when there is nothing to claim.
        """
        with self._database.single() as connection:
            row = one(
                connection,
                _CLAIM,
                run_id=run_id,
                batch_no=batch_no,
                owner=owner,
                lease=self._times.lease,
                far=self._times.far,
            )
            if row is None:
                return None
            texts = rows(connection, _CHUNKS_OF_BATCH, run_id=run_id, batch_no=batch_no)  # chunks never change
        return BatchClaim(
            run_id=run_id,
            batch_no=batch_no,
            fence=row.fence,
            tries=row.tries,
            document_id=row.document_id,
            tenant_id=row.tenant_id,
            collection_id=row.collection_id,
            attributes=row.attributes,
            request_id=row.request_id,
            is_rebought=row.fence > 1 or row.has_earlier_run,
            chunks=tuple(ClaimedChunk(chunk.chunk_no, chunk.point_id, chunk.text, chunk.page) for chunk in texts),
            traceparent=row.traceparent,
        )

    @marked("finish_batch")
    def finish(self, claim: BatchClaim) -> str | None:
        """Mark a batch done, after its points are in the store.

        Returns:
            `verify` when it was the last one of its run, which the caller must now verify; `more` otherwise;
            None when the claim was lost: drop everything.
        """
        with self._database.transaction() as connection:
            one(connection, _LOCK_DOCUMENT, id=claim.document_id)  # lock order: document first, always
            reach("finish_batch.locked")
            token = {"run_id": claim.run_id, "batch_no": claim.batch_no, "fence": claim.fence}
            if one(connection, _FINISH, **token) is None:
                return None
            reach("finish_batch.batch_done")
            counted = one(connection, _COUNT_DONE, run_id=claim.run_id)
            reach("finish_batch.counted")
            assert counted is not None, "a batch belongs to a run"
            self._show_progress(connection, claim, counted.n_done, counted.n_batches)
            if counted.n_done != counted.n_batches:
                return "more"
            is_last = self._to_verifying(connection, claim.document_id, claim.run_id, wait=self._times.resend)
            return "verify" if is_last else "more"

    @marked("defer_batch")
    def defer(
        self,
        claim: BatchClaim,
        *,
        code: str,
        wait: timedelta,
        detail_code: str | None = None,
        costs_a_try: bool = False,
    ) -> bool:
        """Put a batch back to be claimed after *wait*; waiting for others gives the try back.

        Returns:
            False when the claim was lost.
        """
        with self._database.single() as connection:
            row = one(
                connection,
                _DEFER,
                run_id=claim.run_id,
                batch_no=claim.batch_no,
                fence=claim.fence,
                code=code,
                detail_code=detail_code,
                wait=min(wait, self._times.longest),
                counts=costs_a_try,
            )
            return row is not None

    @marked("fail_batch")
    def fail(self, claim: BatchClaim, *, code: str, detail: str | None = None, detail_code: str | None = None) -> bool:
        """End a batch that can never be embedded; its document fails with it.

        A batch that only repairs a published run waits and starts afresh instead: its document stays as it is.

        Returns:
            False when the claim was lost.
        """
        token = {"run_id": claim.run_id, "batch_no": claim.batch_no, "fence": claim.fence}
        with self._database.transaction() as connection:
            document = one(connection, _LOCK_DOCUMENT, id=claim.document_id)
            if document is not None and document.published_run == claim.run_id:
                return one(connection, _POSTPONE_REPAIR, code=code, wait=self._times.longest, **token) is not None
            if one(connection, _FAIL_BATCH, code=code, **token) is None:
                return False
            reach("fail_batch.batch_failed")
            fail_document(
                connection, claim.document_id, claim.run_id, code=code, detail=detail, detail_code=detail_code
            )
            return True

    def chunks_of_run(self, run_id: int) -> int | None:
        """How many chunks a closed run has; None while it is still being extracted, or when it is gone."""
        with self._database.single() as connection:
            row = one(connection, _EXPECTED, run_id=run_id)
            return None if row is None else row.n_chunks

    @marked("publish")
    def publish(
        self,
        document_id: UUID,
        run_id: int,
        *,
        model: str,
        dimensions: int,
        present: Collection[UUID] | None = None,
    ) -> Published:
        """Make a verified run the one that searches see, and retire the one before, in one step.

        Args:
            document_id: whose run it is.
            run_id: the run, in state verifying.
            model: name of the model its embeddings are from.
            dimensions: length of its embeddings.
            present: ids of the run's points that the store returned *after* every batch was done; None when an
                exact count has shown that all are there.
        """
        with self._database.transaction() as connection:
            document = one(connection, _LOCK_DOCUMENT, id=document_id)
            if document is None or (document.active_run, document.state, document.lifecycle) != (
                run_id,
                State.VERIFYING,
                "active",
            ):
                return Published("stale")
            reach("publish.locked")
            missing = [] if present is None else self._missing(connection, run_id, present)
            if missing:
                return self._reopen_active(connection, document_id, run_id, missing)
            connection.execute(_PUBLISH, {"id": document_id})
            reach("publish.document_moved")
            connection.execute(_PUBLISH_RUN, {"run_id": run_id, "model": model, "dimensions": dimensions})
            reach("publish.run_published")
            if document.published_run is not None:
                connection.execute(_SUPERSEDE_RUN, {"run_id": document.published_run, "search": self._times.search})
            events.record(connection, [document_id], run_id=run_id)
            return Published("published")

    @marked("repair")
    def repair(self, document_id: UUID, run_id: int, present: Collection[UUID]) -> tuple[int, ...]:
        """Reopen the batches of a published run whose points the store has lost; the run goes on serving.

        Returns:
            The numbers of the reopened batches.
        """
        with self._database.transaction() as connection:
            document = one(connection, _LOCK_DOCUMENT, id=document_id)
            if document is None or document.published_run != run_id:
                return ()
            reach("repair.locked")
            return self._reopen(connection, run_id, self._missing(connection, run_id, present))

    @marked("embed_again")
    def embed_again(
        self,
        tenant_id: UUID,
        document_id: UUID,
        *,
        request_id: str | None = None,
        traceparent: str | None = None,
        version: int | None = None,
    ) -> int | None:
        """Make a new run from the chunks of the published one, to be embedded without extracting anything again.

        Returns:
            The new run's id; None when the document is unfinished, not active or has no published run of its
            newest content, or its row is not of *version*.
        """
        with self._database.transaction() as connection:
            document = one(connection, _LOCK_PUBLISHED, id=document_id, tenant_id=tenant_id, version=version)
            if document is None:
                return None
            again = one(
                connection,
                _EMBED_AGAIN,
                id=document_id,
                job_id=new_id(),
                request_id=request_id,
                traceparent=traceparent,
                deadline=self._times.deadline,
            )
            assert again is not None, "the row is locked"
            reach("embed_again.document_moved")
            self._copy_run(connection, old=document.published_run, new=again.active_run)
            connection.execute(_ADD_JOB, {"id": document_id})
            events.record(connection, [document_id], run_id=again.active_run)
            return int(again.active_run)

    def _add(self, connection: sa.Connection, document_id: UUID, run_id: int, new: Sequence[NewBatch]) -> None:
        if not new:
            return
        ranges = [
            {"batch_no": b.batch_no, "first_chunk": b.chunks[0].chunk_no, "last_chunk": b.chunks[-1].chunk_no}
            for b in new
        ]
        connection.execute(
            _ADD_BATCHES,
            {
                "run_id": run_id,
                "document_id": document_id,
                "batches": orjson.dumps(ranges).decode(),
                "grace": self._times.grace,
            },
        )
        driver = connection.connection.driver_connection
        assert driver is not None, "the connection is open"
        with driver.cursor() as cursor, cursor.copy(_COPY_CHUNKS) as copy:
            for batch in new:
                for chunk in batch.chunks:
                    copy.write_row(_row_of(run_id, batch.batch_no, chunk))

    def _to_verifying(self, connection: sa.Connection, document_id: UUID, run_id: int, *, wait: timedelta) -> bool:
        row = one(connection, _TO_VERIFYING, id=document_id, run_id=run_id, lease=self._times.lease, wait=wait)
        if row is None:
            return False
        events.record(connection, [document_id], run_id=run_id)
        return True

    def _show_progress(self, connection: sa.Connection, claim: BatchClaim, n_done: int, n_batches: int | None) -> None:
        values = {"id": claim.document_id, "run_id": claim.run_id, "n_done": n_done, "n_batches": n_batches}
        shown = one(connection, _SHOW_CHUNKS, **values)
        if shown is not None and shown.is_due:
            connection.execute(_MARK_PROGRESS, {"id": claim.document_id})
            facts = {"batches_done": n_done, "batches_total": n_batches}
            events.record(connection, [claim.document_id], event=events.PROGRESS, run_id=claim.run_id, facts=facts)

    def _missing(self, connection: sa.Connection, run_id: int, present: Collection[UUID]) -> list[int]:
        return [row.batch_no for row in rows(connection, _MISSING, run_id=run_id, present=list(present))]

    def _reopen(self, connection: sa.Connection, run_id: int, batch_nos: Sequence[int]) -> tuple[int, ...]:
        found = rows(connection, _REOPEN, run_id=run_id, batch_nos=list(batch_nos), grace=self._times.grace)
        connection.execute(_COUNT_REOPENED, {"run_id": run_id, "n": len(found)})
        return tuple(row.batch_no for row in found)

    def _reopen_active(
        self, connection: sa.Connection, document_id: UUID, run_id: int, missing: Sequence[int]
    ) -> Published:
        reopened = self._reopen(connection, run_id, missing)
        connection.execute(_BACK_TO_EMBEDDING, {"id": document_id})
        events.record(connection, [document_id], run_id=run_id, facts={"reopened": len(reopened)})
        return Published("reopened", reopened)

    def _copy_run(self, connection: sa.Connection, *, old: int, new: int) -> None:
        connection.execute(_COPY_RUN, {"old": old, "new": new})
        connection.execute(_COPY_BATCHES, {"old": old, "new": new})
        numbers = [row.chunk_no for row in rows(connection, _CHUNK_NUMBERS, run_id=old)]
        points = [point_id(new, number) for number in numbers]
        connection.execute(_COPY_RUN_CHUNKS, {"old": old, "new": new, "numbers": numbers, "points": points})


def fail_document(
    connection: sa.Connection,
    document_id: UUID,
    run_id: int,
    *,
    code: str,
    detail: str | None = None,
    detail_code: str | None = None,
) -> bool:
    """Fail the document whose active run this is; the caller's transaction holds its row lock or takes it here."""
    values = {"id": document_id, "run_id": run_id, "code": code, "detail": detail, "detail_code": detail_code}
    if one(connection, _FAIL_DOCUMENT, **values) is None:
        return False
    connection.execute(_ABANDON_RUN, {"run_id": run_id})
    events.record(connection, [document_id], run_id=run_id, facts={"error_code": code, "detail_code": detail_code})
    return True


def _row_of(run_id: int, batch_no: int, chunk: NewChunk) -> tuple[object, ...]:
    return (
        run_id,
        chunk.chunk_no,
        batch_no,
        point_id(run_id, chunk.chunk_no),
        chunk.text,
        hashlib.sha256(chunk.text.encode()).digest(),
        chunk.page_start,
        chunk.page_end,
        chunk.char_start,
        chunk.char_end,
        chunk.tokens,
        chunk.section,
        chunk.sheet,
        chunk.slide,
        chunk.time_start,
        chunk.time_end,
        None if chunk.boxes is None else orjson.dumps(chunk.boxes).decode(),
    )
