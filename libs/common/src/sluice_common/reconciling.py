"""The statements of the reconciler: they only move what a clock, a lost message or a lost worker left behind.

Every one of them may run in several processes at once: row locks keep them apart, and each repeats safely.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa

from sluice_common import events
from sluice_common.batches import fail_document
from sluice_common.contract import EMBED_QUEUE, EXTRACT_QUEUE, EmbedBatch, ExtractDocument, Task, VerifyRun
from sluice_common.database import Database, one, rows
from sluice_common.errors import FailureCode
from sluice_common.failpoints import marked, reach
from sluice_common.times import Times

MOST_AT_ONCE = 1000
"""Hints of one kind that one pass gives out."""

_QUEUE_OF_STATE = {"queued": EXTRACT_QUEUE, "verifying": EMBED_QUEUE}

# In turn over tenants: the first waiting document of each, then the second of each, and so on. The tenants are found
# by hopping through the index, and of each one only so many rows are looked at, however many wait. Rows are locked by
# their id alone: with the rest of the condition, PostgreSQL may look for each through the index of what waits.
_DISPATCH_DOCUMENTS = sa.text("""
    WITH RECURSIVE tenant AS (
        (SELECT tenant_id FROM documents WHERE state IN ('queued', 'verifying') AND lifecycle = 'active'
         ORDER BY tenant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT d.tenant_id FROM documents d
                WHERE d.state IN ('queued', 'verifying') AND d.lifecycle = 'active' AND d.tenant_id > t.tenant_id
                ORDER BY d.tenant_id LIMIT 1)
        FROM tenant t WHERE t.tenant_id IS NOT NULL),
    waiting AS (
        SELECT next.id, next.priority, next.dispatch_after,
               row_number() OVER (PARTITION BY t.tenant_id ORDER BY next.priority, next.dispatch_after) AS turn
        FROM tenant t CROSS JOIN LATERAL (
            SELECT id, priority, dispatch_after FROM documents
            WHERE tenant_id = t.tenant_id AND lifecycle = 'active' AND state IN ('queued', 'verifying')
              AND state = ANY(:states)
              AND (dispatch_after <= now() OR dispatch_after > now() + :far)
              AND (not_before <= now() OR not_before > now() + :far)
            ORDER BY priority, dispatch_after LIMIT :room) AS next),
    head AS (SELECT id FROM waiting ORDER BY priority, turn, dispatch_after LIMIT :room),
    locked AS (
        SELECT one.id FROM head CROSS JOIN LATERAL (
            SELECT d.id FROM documents d WHERE d.id = head.id FOR NO KEY UPDATE SKIP LOCKED) AS one)
    UPDATE documents d
    SET dispatch_count = dispatch_count + 1,
        dispatch_after = now() + :resend * power(2, LEAST(dispatch_count, 3))
    FROM locked
    WHERE d.id = locked.id AND d.state = ANY(:states) AND d.lifecycle = 'active'
      AND (d.dispatch_after <= now() OR d.dispatch_after > now() + :far)
    RETURNING d.id, d.state, d.active_run
""")

_DISPATCH_BATCHES = sa.text("""
    WITH due AS (
        SELECT run_id, batch_no FROM batches
        WHERE state = 'pending' AND (dispatch_after <= now() OR dispatch_after > now() + :far)
          AND (not_before <= now() OR not_before > now() + :far)
        ORDER BY dispatch_after LIMIT :room FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE batches b
    SET dispatch_count = dispatch_count + 1,
        dispatch_after = now() + :resend * power(2, LEAST(dispatch_count, 3))
    FROM due WHERE b.run_id = due.run_id AND b.batch_no = due.batch_no RETURNING b.run_id, b.batch_no
""")

_NOT_SENT_DOCUMENTS = sa.text("""
    UPDATE documents SET dispatch_after = now(), dispatch_count = GREATEST(dispatch_count - 1, 0)
    WHERE id = ANY(:ids) AND dispatch_after IS NOT NULL
""")
_NOT_SENT_BATCHES = sa.text("""
    UPDATE batches b SET dispatch_after = now(), dispatch_count = GREATEST(dispatch_count - 1, 0)
    FROM unnest(CAST(:run_ids AS bigint[]), CAST(:batch_nos AS int[])) AS sent(run_id, batch_no)
    WHERE b.run_id = sent.run_id AND b.batch_no = sent.batch_no AND b.state = 'pending'
""")

# The waits differ, so that what a dying worker had in its hands at the same time does not come back at the same time: a
# document that kills workers would take the same neighbours with it, until they too are out of losses.
_REAP_DOCUMENTS = sa.text("""
    WITH lost AS (SELECT id, active_run,
                         LEAST(:grace * power(2, LEAST(losses, 8)), :longest / 2) * (0.5 + random()) AS wait
                  FROM documents
                  WHERE state = 'extracting' AND (lease_until < now() OR lease_until > now() + :far)
                  ORDER BY lease_until LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE documents d
    SET state = CASE WHEN losses + 1 >= max_losses THEN 'failed' ELSE 'queued' END,
        finished_at = CASE WHEN losses + 1 >= max_losses THEN now() END,
        error_code = CASE WHEN losses + 1 >= max_losses THEN 'extractor_crashed' END,
        error_detail_code = 'worker_lost', losses = losses + 1, tries = tries - 1, active_run = NULL,
        lease_owner = NULL, lease_until = NULL, dispatch_count = 0,
        not_before = now() + lost.wait,
        dispatch_after = CASE WHEN losses + 1 >= max_losses THEN NULL ELSE now() + lost.wait END,
        updated_at = now(), row_version = row_version + 1
    FROM lost WHERE d.id = lost.id RETURNING d.id, lost.active_run
""")

_ABANDON_RUNS = sa.text("UPDATE runs SET state = 'abandoned', gc_at = now() WHERE id = ANY(:run_ids)")

_REAP_BATCHES = sa.text("""
    UPDATE batches
    SET state = 'pending', lease_owner = NULL, lease_until = NULL, losses = losses + 1, tries = tries - 1,
        error_code = NULL, error_detail_code = 'worker_lost', dispatch_after = now(), not_before = now(),
        dispatch_count = 0
    WHERE (run_id, batch_no) IN (
        SELECT run_id, batch_no FROM batches
        WHERE state = 'running' AND (lease_until < now() OR lease_until > now() + :far)
        ORDER BY run_id, batch_no LIMIT 500 FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING run_id
""")

_EXHAUSTED_BATCHES = sa.text("""
    SELECT DISTINCT b.run_id, b.document_id, COALESCE(b.error_code, 'internal') AS code, b.error_detail_code
    FROM batches b JOIN documents d ON d.id = b.document_id AND d.active_run = b.run_id
    WHERE b.state IN ('pending', 'failed')
      AND (b.tries >= b.max_tries OR b.losses >= d.max_losses OR b.state = 'failed') LIMIT 50
""")

# A repair of a published run never fails its document: it starts afresh later, and the stuck query shows it.
_POSTPONE_REPAIRS = sa.text("""
    UPDATE batches b
    SET state = 'pending', tries = 0, not_before = now() + :longest, dispatch_after = now() + :longest,
        dispatch_count = 0
    FROM documents d
    WHERE d.id = b.document_id AND d.published_run = b.run_id AND b.state = 'pending' AND b.tries >= b.max_tries
    RETURNING 1
""")

_OVERDUE = sa.text("""
    SELECT d.id, d.state, d.active_run,
           (SELECT b.error_code FROM batches b WHERE b.run_id = d.active_run AND b.error_code IS NOT NULL LIMIT 1)
               AS batch_code, d.error_code
    FROM documents d
    WHERE d.state IN ('queued', 'extracting', 'embedding', 'verifying') AND d.lifecycle = 'active'
      AND d.deadline < now() LIMIT 50
""")

_FAIL_QUEUED = sa.text("""
    UPDATE documents
    SET state = 'failed', error_code = :code, error_detail_code = 'deadline_exceeded', dispatch_after = NULL,
        finished_at = now(), updated_at = now(), row_version = row_version + 1
    WHERE id = :id AND state = 'queued' AND lifecycle = 'active' AND deadline < now() RETURNING id
""")

# Time by the database's clock since any reconciler last looked. `now()` stands still within a transaction: what is
# overdue is judged by the same moment.
_UNSEEN_TIME = sa.text("""
    WITH before AS (SELECT clock_seen_at FROM keeper WHERE id = 1 FOR UPDATE)
    UPDATE keeper SET clock_seen_at = now() FROM before WHERE id = 1
    RETURNING COALESCE(now() - before.clock_seen_at, interval '0') AS unseen
""")

_EXTEND_DEADLINES = sa.text("""
    UPDATE documents SET deadline = deadline + :by
    WHERE state IN ('queued', 'extracting', 'embedding', 'verifying') AND lifecycle = 'active'
""")

# A backlog of a hundred thousand rows takes longer than a statement otherwise may.
_PATIENTLY = sa.text("SET LOCAL statement_timeout = '60s'")

_EXTEND_KEYS = sa.text("UPDATE idempotency_keys SET expires_at = expires_at + :by")

_EPOCH = sa.text("SELECT redis_run, redis_seq FROM keeper WHERE id = 1 FOR UPDATE")
_SET_EPOCH = sa.text("UPDATE keeper SET redis_run = :run, redis_seq = :seq WHERE id = 1")
_ALL_DOCUMENTS_DUE = sa.text("""
    UPDATE documents SET dispatch_after = now(), dispatch_count = 0
    WHERE state IN ('queued', 'verifying') AND lifecycle = 'active' AND dispatch_count > 0
""")
_ALL_BATCHES_DUE = sa.text("""
    UPDATE batches SET dispatch_after = now(), dispatch_count = 0 WHERE state = 'pending' AND dispatch_count > 0
""")

_COLLECTABLE = sa.text("""
    SELECT id, gc_pass FROM runs
    WHERE (gc_at <= now() OR gc_at > now() + :far) AND state IN ('abandoned', 'superseded') ORDER BY gc_at LIMIT 50
""")
_DROP_BATCHES = sa.text("DELETE FROM batches WHERE run_id = ANY(:run_ids)")
# Pass 1 frees the space; pass 2, after every lease and request timeout, catches what zombies wrote in between.
# A pass counts only for who began it: another reconciler may have collected the same run meanwhile, however slowly.
_COLLECTED = sa.text("""
    UPDATE runs r SET gc_pass = r.gc_pass + 1, gc_at = CASE WHEN r.gc_pass = 0 THEN now() + :longest END,
                      analysis = NULL
    FROM unnest(CAST(:run_ids AS bigint[]), CAST(:passes AS int[])) AS begun(id, gc_pass)
    WHERE r.id = begun.id AND r.gc_pass = begun.gc_pass AND r.gc_at IS NOT NULL
""")

_PURGEABLE = sa.text("""
    SELECT id, purge_pass, ARRAY(SELECT storage_key FROM originals o WHERE o.document_id = d.id) AS storage_keys
    FROM documents d
    WHERE lifecycle = 'deleting' AND (purge_at <= now() OR purge_at > now() + :far) ORDER BY purge_at LIMIT 50
""")
_DROP_BATCHES_OF_DOCUMENT = sa.text("DELETE FROM batches b USING runs r WHERE r.id = b.run_id AND r.document_id = :id")
_FORGET_ANALYSES = sa.text("UPDATE runs SET analysis = NULL WHERE document_id = :id AND analysis IS NOT NULL")
_FORGET_TRANSCRIPTS = sa.text("DELETE FROM transcript_pieces WHERE document_id = :id")
_FORGET_IMAGES = sa.text("DELETE FROM page_images WHERE document_id = :id")
_FORGET_NAMES = sa.text("UPDATE originals SET name = '', sha256 = '' WHERE document_id = :id")
_PURGED = sa.text("""
    UPDATE documents
    SET purge_pass = purge_pass + 1, purge_at = CASE WHEN purge_pass = 0 THEN now() + :longest END,
        lifecycle = CASE WHEN purge_pass = 0 THEN 'deleting' ELSE 'deleted' END, attributes = '{}',
        external_id = NULL, dedupe_sha = NULL, row_version = row_version + 1
    WHERE id = :id AND lifecycle = 'deleting' AND purge_pass = :purge_pass RETURNING 1
""")
_PURGE_AGAIN = sa.text("""
    UPDATE documents SET purge_at = now() + :longest
    WHERE id = :id AND lifecycle = 'deleting' AND purge_pass = :purge_pass
""")

_LIVE_RUNS = sa.text("""
    SELECT r.id AS run_id FROM runs r
    JOIN documents d ON d.id = r.document_id AND (d.active_run = r.id OR d.published_run = r.id)
    WHERE r.id = ANY(:run_ids)
""")
_PUBLISHED_RUNS = sa.text("""
    SELECT d.id AS document_id, r.id AS run_id, r.n_chunks FROM documents d JOIN runs r ON r.id = d.published_run
    WHERE r.id > :after AND r.n_done = r.n_batches ORDER BY r.id LIMIT :limit
""")

_PUBLISHED = sa.text("""
    SELECT COALESCE(sum(r.n_chunks), 0) AS chunks FROM documents d JOIN runs r ON r.id = d.published_run
""")
# What is not done is found by the partial indexes, however much is.
_REPAIRS_WAITING = sa.text("""
    SELECT COALESCE(sum(b.last_chunk - b.first_chunk + 1), 0) AS chunks
    FROM batches b JOIN documents d ON d.id = b.document_id AND d.published_run = b.run_id
    WHERE b.state = 'pending' OR b.state = 'running'
""")

_KNOWN_KEYS = sa.text("SELECT storage_key FROM originals WHERE storage_key = ANY(:keys)")

HISTORY_KEPT = timedelta(days=30)
"""A month, in which somebody may still ask what became of a document that is gone."""

_TRIM_KEYS = sa.text("DELETE FROM idempotency_keys WHERE expires_at < now()")
_TRIM = (
    sa.text("DELETE FROM jobs WHERE kind = 'ping' AND created_at < now() - interval '1 hour'"),
    sa.text("DELETE FROM document_events WHERE event = 'document.progress' AND created_at < now() - interval '1 day'"),
    sa.text("DELETE FROM transcript_pieces WHERE created_at < now() - interval '7 days'"),
    sa.text("DELETE FROM page_images WHERE asked_at < now() - interval '1 hour'"),
)

# What was deleted and purged long ago, with its history; a run of it that is still to be collected keeps it.
_FORGET_DOCUMENTS = sa.text("""
    WITH old AS (
        SELECT id FROM documents d
        WHERE lifecycle = 'deleted' AND updated_at < now() - :kept
          AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.document_id = d.id AND r.gc_at IS NOT NULL)
        ORDER BY updated_at LIMIT 1000 FOR UPDATE SKIP LOCKED),
    jobs AS (DELETE FROM jobs j USING old WHERE j.document_id = old.id),
    runs AS (DELETE FROM runs r USING old WHERE r.document_id = old.id),
    originals AS (DELETE FROM originals o USING old WHERE o.document_id = old.id)
    DELETE FROM documents d USING old WHERE d.id = old.id
""")
# Runs whose points are long gone, with their events and the jobs of requests before the newest.
_FORGET_RUNS = sa.text("""
    WITH old AS (
        SELECT id, document_id, request_no FROM runs
        WHERE gc_pass >= 2 AND gc_at IS NULL AND created_at < now() - :kept
        ORDER BY created_at LIMIT 1000 FOR UPDATE SKIP LOCKED),
    jobs AS (
        DELETE FROM jobs j USING old, documents d
        WHERE j.document_id = old.document_id AND j.request_no <= old.request_no
          AND d.id = j.document_id AND j.request_no < d.request_no),
    events AS (
        DELETE FROM document_events e USING old
        WHERE e.document_id = old.document_id
          AND e.id < (SELECT max(n.id) FROM document_events n WHERE n.run_id = old.id)
          AND e.created_at < now() - :kept)
    DELETE FROM runs r USING old WHERE r.id = old.id
""")

# Rows that nothing will ever move again; the protocol is wrong when this is not zero.
_STUCK = sa.text("""
    SELECT count(*) AS n FROM documents d
    WHERE lifecycle = 'active' AND state IN ('queued', 'extracting', 'embedding', 'verifying') AND (
        (state IN ('queued', 'verifying') AND dispatch_after IS NULL)
        OR (state = 'extracting' AND lease_until IS NULL)
        OR (state = 'embedding' AND NOT EXISTS (
            SELECT 1 FROM batches b WHERE b.run_id = d.active_run AND b.state IN ('pending', 'running'))))
""")

_BACKLOG = sa.text("""
    SELECT state, count(*) AS documents, EXTRACT(EPOCH FROM now() - min(updated_at)) AS oldest_s
    FROM documents WHERE lifecycle = 'active' AND state IN ('queued', 'extracting', 'embedding', 'verifying')
    GROUP BY state
""")
# Counted from the deadline, which every request sets anew and a jump of the clock moves along.
_OLDEST_UNFINISHED = sa.text("""
    SELECT EXTRACT(EPOCH FROM :allowed - (min(deadline) - now())) AS age_s
    FROM documents WHERE lifecycle = 'active' AND state IN ('queued', 'extracting', 'embedding', 'verifying')
""")
_WAITING_BATCHES = sa.text("""
    SELECT count(*) AS n, COALESCE(sum(last_chunk - first_chunk + 1), 0) AS chunks FROM batches WHERE state = 'pending'
""")
_KEEP_LEASE = sa.text("UPDATE keeper SET lease_s = :lease_s WHERE id = 1")


@dataclass(frozen=True)
class Reaped:
    """How many leases had run out."""

    documents: int
    batches: int


@dataclass(frozen=True)
class Purge:
    """A deleted document whose points and bytes are to be removed."""

    document_id: UUID
    storage_keys: tuple[str, ...]
    is_last: bool
    """Nobody can write any more: what is still there after it was removed, the store has failed to remove."""


@dataclass(frozen=True)
class Overdue:
    """How many documents failed at their deadline, and by how much all deadlines were moved along instead."""

    failed: int
    unseen: timedelta


@dataclass(frozen=True)
class PublishedRun:
    document_id: UUID
    run_id: int
    n_chunks: int


@dataclass(frozen=True)
class Backlog:
    """What is unfinished, as the table has it now."""

    documents: dict[str, int]
    oldest_s: dict[str, float]
    """By state: how long the document that has not moved for longest has been in it."""
    oldest_unfinished_s: float
    """Since the request for the document that is unfinished for longest."""
    batches_waiting: int
    chunks_waiting: int
    stuck: int


class Reconciling:
    """The only writer beside `Documents` and `Batches`; see architecture, the reconciler's loops."""

    def __init__(self, database: Database, times: Times) -> None:
        self._database = database
        self._times = times

    @marked("dispatch")
    def due_tasks(self, queues: Collection[str] = (EXTRACT_QUEUE, EMBED_QUEUE)) -> list[Task]:
        """The hints to send now on *queues*; each row's next one is put off further each time."""
        pace = {"far": self._times.far, "resend": self._times.resend}
        states = [state for state, queue in _QUEUE_OF_STATE.items() if queue in queues]
        with self._database.transaction() as connection:
            documents = rows(connection, _DISPATCH_DOCUMENTS, states=states, room=MOST_AT_ONCE, **pace)
        reach("dispatch.documents_given_out")
        with self._database.transaction() as connection:
            room = MOST_AT_ONCE if EMBED_QUEUE in queues else 0
            batches = rows(connection, _DISPATCH_BATCHES, room=room, **pace)
        tasks: list[Task] = [
            ExtractDocument(document_id=row.id)
            if row.state == "queued"
            else VerifyRun(document_id=row.id, run_id=row.active_run)
            for row in documents
        ]
        return tasks + [EmbedBatch(run_id=row.run_id, batch_no=row.batch_no) for row in batches]

    def not_sent(self, tasks: Sequence[Task]) -> None:
        """Make due again at once what `due_tasks` gave out and nobody could send."""
        documents = [task.document_id for task in tasks if isinstance(task, ExtractDocument | VerifyRun)]
        batches = [task for task in tasks if isinstance(task, EmbedBatch)]
        with self._database.transaction() as connection:
            connection.execute(_NOT_SENT_DOCUMENTS, {"ids": documents})
        with self._database.transaction() as connection:
            keys = {"run_ids": [task.run_id for task in batches], "batch_nos": [task.batch_no for task in batches]}
            connection.execute(_NOT_SENT_BATCHES, keys)

    @marked("notice_epoch")
    def notice_epoch(self, ask: Callable[[], tuple[str, int]]) -> bool:
        """Compare the broker's identity and counter with what they were.

        Args:
            ask: the broker; called while no other reconciler can, or one that is late would count an older
                number as a broker that went back.

        Returns:
            True when the broker forgot something: every waiting row is due at once.
        """
        with self._database.transaction() as connection:
            known = one(connection, _EPOCH)
            assert known is not None, "the first migration writes this row"
            run, seq = ask()
            connection.execute(_SET_EPOCH, {"run": run, "seq": seq})
            reach("notice_epoch.counter_set")
            if known.redis_run == run and seq > known.redis_seq:
                return False
            connection.execute(_PATIENTLY)
            connection.execute(_ALL_DOCUMENTS_DUE)
            connection.execute(_ALL_BATCHES_DUE)
            return True

    @marked("reap")
    def reap(self) -> Reaped:
        """Take work back whose lease has run out: a loss, not a try, because nobody's fault is proven."""
        times = {"far": self._times.far, "grace": self._times.grace, "longest": self._times.longest}
        with self._database.transaction() as connection:
            lost = rows(connection, _REAP_DOCUMENTS, **times)
            connection.execute(_ABANDON_RUNS, {"run_ids": [row.active_run for row in lost]})
            events.record(connection, [row.id for row in lost], facts={"detail_code": "worker_lost"})
        reach("reap.documents_taken_back")
        with self._database.transaction() as connection:
            batches = rows(connection, _REAP_BATCHES, far=self._times.far)
        return Reaped(len(lost), len(batches))

    @marked("fail_exhausted")
    def fail_exhausted(self) -> int:
        """Fail documents with a batch that is out of tries or losses; repairs start afresh instead."""
        with self._database.transaction() as connection:
            found = rows(connection, _EXHAUSTED_BATCHES)
        failed = 0
        for row in found:
            with self._database.transaction() as connection:
                failed += fail_document(
                    connection,
                    row.document_id,
                    row.run_id,
                    code=_document_code(row.code),
                    detail_code=row.error_detail_code or "batch_tries_used_up",
                )
            reach("fail_exhausted.document_failed")
        with self._database.transaction() as connection:
            connection.execute(_POSTPONE_REPAIRS, {"longest": self._times.longest})
        return failed

    @marked("fail_overdue")
    def fail_overdue(self) -> Overdue:
        """Fail documents that waited for others until their deadline; time that nobody saw pass does not count.

        When the clock has jumped ahead, or no reconciler was there for a while, deadlines are moved along instead.
        """
        with self._database.transaction() as connection:
            unseen = self._make_up_for_unseen_time(connection)
            found = [] if unseen else rows(connection, _OVERDUE)
        failed = 0
        for row in found:
            code = _document_code(row.batch_code or row.error_code or FailureCode.STORE_UNAVAILABLE)
            with self._database.transaction() as connection:
                if row.state == "queued":
                    ended = one(connection, _FAIL_QUEUED, id=row.id, code=code)
                    events.record(connection, [row.id] if ended else [], facts={"error_code": code})
                    failed += ended is not None
                else:
                    failed += fail_document(
                        connection, row.id, row.active_run, code=code, detail_code="deadline_exceeded"
                    )
            reach("fail_overdue.document_failed")
        return Overdue(failed, unseen)

    @marked("collect")
    def collect(self, drop_points: Callable[[Sequence[int]], object]) -> int:
        """Remove the points, then the chunks of abandoned and superseded runs; returns how many runs."""
        with self._database.transaction() as connection:
            found = rows(connection, _COLLECTABLE, far=self._times.far)
        if found:
            run_ids, passes = [row.id for row in found], [row.gc_pass for row in found]
            drop_points(run_ids)
            reach("collect.points_dropped")
            with self._database.transaction() as connection:
                connection.execute(_DROP_BATCHES, {"run_ids": run_ids})
                connection.execute(_COLLECTED, {"run_ids": run_ids, "passes": passes, "longest": self._times.longest})
        return len(found)

    @marked("purge")
    def purge(self, drop_bytes: Callable[[Purge], bool]) -> int:
        """Remove points, bytes and chunks of deleted documents; a document of which something is left comes again.

        Args:
            drop_bytes: removes the points and the bytes of one document; returns whether something is left.

        Returns:
            How many documents; none of which something is left.
        """
        with self._database.transaction() as connection:
            found = rows(connection, _PURGEABLE, far=self._times.far)
        purged = 0
        for row in found:
            is_left = drop_bytes(Purge(row.id, tuple(row.storage_keys), is_last=row.purge_pass > 0))
            reach("purge.bytes_dropped")
            self._end_purge_pass(row.id, row.purge_pass, is_left=is_left)
            purged += not is_left
        return purged

    def live_runs(self, run_ids: Collection[int]) -> set[int]:
        """Those of *run_ids* that are active or published, in one statement.

        Read this *after* the page of points it is compared with: a point in the page proves that its run was
        claimed earlier, and a run outside this set now never comes back.
        """
        with self._database.single() as connection:
            return {row.run_id for row in rows(connection, _LIVE_RUNS, run_ids=list(run_ids))}

    def published_runs(self, *, page_size: int = 500) -> Iterator[PublishedRun]:
        """Every published run whose batches are all done."""
        after = 0
        while True:
            with self._database.single() as connection:
                found = rows(connection, _PUBLISHED_RUNS, after=after, limit=page_size)
            for row in found:
                yield PublishedRun(row.document_id, row.run_id, row.n_chunks)
            if len(found) < page_size:
                return
            after = found[-1].run_id

    def published_chunks(self) -> int:
        """How many chunks all published runs have: what the index must hold."""
        with self._database.single() as connection:
            row = one(connection, _PUBLISHED)
        assert row is not None, "an aggregate returns a row"
        return int(row.chunks)

    def repairs_waiting(self) -> int:
        """How many chunks of published runs are to be embedded again, those that are being embedded too."""
        with self._database.single() as connection:
            row = one(connection, _REPAIRS_WAITING)
        assert row is not None, "an aggregate returns a row"
        return int(row.chunks)

    def unknown_keys(self, keys: Collection[str]) -> set[str]:
        """Those of the object store's keys that no row names."""
        with self._database.single() as connection:
            return set(keys) - {row.storage_key for row in rows(connection, _KNOWN_KEYS, keys=list(keys))}

    @marked("trim")
    def trim(self, *, history_kept: timedelta = HISTORY_KEPT) -> None:
        """Forget old idempotency keys, pings, progress events, pieces of transcripts and images of pages.

        Of documents that were deleted, and of runs that were replaced, the rows go when they are older than
        *history_kept*.
        """
        with self._database.transaction() as connection:
            if not self._make_up_for_unseen_time(connection):
                connection.execute(_TRIM_KEYS)
        for statement in _TRIM:
            with self._database.single() as connection:
                connection.execute(statement)
        for statement in (_FORGET_DOCUMENTS, _FORGET_RUNS):
            with self._database.transaction() as connection:
                connection.execute(statement, {"kept": history_kept})

    def backlog(self) -> Backlog:
        """Count what is unfinished, for the metrics."""
        with self._database.single() as connection:
            states = rows(connection, _BACKLOG)
            oldest = one(connection, _OLDEST_UNFINISHED, allowed=self._times.deadline)
            waiting = one(connection, _WAITING_BATCHES)
            stuck = one(connection, _STUCK)
        assert waiting is not None, "count returns a row"
        assert stuck is not None, "count returns a row"
        assert oldest is not None, "an aggregate returns a row"
        return Backlog(
            documents={row.state: row.documents for row in states},
            oldest_s={row.state: float(row.oldest_s) for row in states},
            oldest_unfinished_s=max(float(oldest.age_s or 0), 0.0),
            batches_waiting=waiting.n,
            chunks_waiting=int(waiting.chunks),
            stuck=stuck.n,
        )

    def keep_lease(self) -> None:
        """Write down the lease that this reconciler judges by; every worker compares its own with it."""
        with self._database.single() as connection:
            connection.execute(_KEEP_LEASE, {"lease_s": self._times.lease.total_seconds()})

    def _end_purge_pass(self, document_id: UUID, purge_pass: int, *, is_left: bool) -> None:
        began = {"id": document_id, "purge_pass": purge_pass, "longest": self._times.longest}
        with self._database.transaction() as connection:
            if is_left:
                connection.execute(_PURGE_AGAIN, began)
            # the document first, as everybody locks it; no row: another reconciler has made this pass
            elif connection.execute(_PURGED, began).first() is not None:
                reach("purge.document_moved")
                connection.execute(_DROP_BATCHES_OF_DOCUMENT, {"id": document_id})
                connection.execute(_FORGET_ANALYSES, {"id": document_id})
                connection.execute(_FORGET_TRANSCRIPTS, {"id": document_id})
                connection.execute(_FORGET_IMAGES, {"id": document_id})
                connection.execute(_FORGET_NAMES, {"id": document_id})

    def _make_up_for_unseen_time(self, connection: sa.Connection) -> timedelta:
        """Move deadlines and keys along with time that no reconciler saw pass; returns how much, or zero."""
        row = one(connection, _UNSEEN_TIME)
        assert row is not None, "the first migration writes this row"
        unseen: timedelta = row.unseen
        if unseen <= self._times.lease:
            return timedelta(0)
        connection.execute(_PATIENTLY)
        connection.execute(_EXTEND_DEADLINES, {"by": unseen})
        connection.execute(_EXTEND_KEYS, {"by": unseen})
        return unseen


def _document_code(code: str) -> str:
    return code if code in set(FailureCode) else FailureCode.INTERNAL.value
