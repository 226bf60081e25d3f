"""Everybody who moves documents, in one place: users, workers dead or alive, the reconciler, and a store of points."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import psycopg
from builders import MODEL, Protocol, make_batches, make_extraction, make_original
from faults.protocol.invariants import Invariants
from prometheus_client import CollectorRegistry

from sluice_api.loops import LoopMetrics, Loops
from sluice_common.batches import BatchClaim, NewBatch
from sluice_common.contract import EmbedBatch, ExtractDocument, Task, VerifyRun
from sluice_common.database import Database
from sluice_common.documents import Accepted, Documents, DuplicateDocument, NewDocument, Setback
from sluice_common.ids import point_id
from sluice_common.keys import Keys
from sluice_common.ports import PointRef, ScoredPoint
from sluice_common.times import Times

TIMES = Times(lease=timedelta(hours=1), deadline=timedelta(days=1))
"""So long that nothing happens by itself: an order of moves can be repeated."""

MAX_TRIES, MAX_LOSSES, BATCH_TRIES = 2, 3, 3
"""Fewer than usual, so that they run out within a test."""

ROUNDS_TO_SETTLE = 40

_EMPTY = """
    TRUNCATE documents, originals, runs, batches, chunks, document_events, jobs CASCADE;
    ALTER SEQUENCE runs_id_seq RESTART;
    UPDATE keeper SET redis_run = '', redis_seq = 0, clock_seen_at = NULL
"""

_LEASES_RUN_OUT = """
    UPDATE documents SET lease_until = {to} WHERE lease_until IS NOT NULL;
    UPDATE batches SET lease_until = {to} WHERE lease_until IS NOT NULL
"""

_TIMERS_PASS = """
    UPDATE documents SET not_before = now(), dispatch_after = now() WHERE dispatch_after IS NOT NULL;
    UPDATE batches SET not_before = now(), dispatch_after = now() WHERE dispatch_after IS NOT NULL;
    UPDATE runs SET gc_at = now() WHERE gc_at IS NOT NULL;
    UPDATE documents SET purge_at = now() WHERE purge_at IS NOT NULL
"""

_UNSETTLED = """
    SELECT format('document %s is %s %s', id, lifecycle, state) FROM documents
    WHERE lifecycle = 'deleting'
       OR (lifecycle = 'active' AND state IN ('queued', 'extracting', 'embedding', 'verifying'))
    UNION ALL SELECT format('run %s is not collected', id) FROM runs WHERE gc_at IS NOT NULL
    UNION ALL SELECT format('run %s has chunks still', k.run_id) FROM chunks k
              WHERE k.run_id NOT IN (SELECT published_run FROM documents WHERE published_run IS NOT NULL)
    UNION ALL SELECT format('the name of document %s is kept', d.id)
              FROM documents d JOIN originals o ON o.document_id = d.id WHERE d.lifecycle = 'deleted' AND o.name <> ''
"""


@dataclass(frozen=True)
class Owned:
    """A document as its owner knows it."""

    tenant: int
    document_id: UUID


@dataclass(frozen=True)
class Token:
    """The right to extract, forward or publish that came with a run; it may have been lost since."""

    document_id: UUID
    run_id: int


@dataclass(frozen=True)
class Sight:
    """Which points of a run somebody saw in the store, some time ago."""

    document_id: UUID
    run_id: int
    present: frozenset[UUID]


@dataclass
class Points:
    """The vector store, as far as the protocol knows it: whose point each is."""

    run_of: dict[UUID, int] = field(default_factory=dict)
    document_of: dict[UUID, UUID] = field(default_factory=dict)
    on_page: Callable[[], None] | None = None
    """Called before a page is read."""

    def upsert(self, claim: BatchClaim) -> None:
        for chunk in claim.chunks:
            self.run_of[chunk.point_id] = claim.run_id
            self.document_of[chunk.point_id] = claim.document_id

    def count_of_run(self, run_id: int) -> int:
        return len(self.ids_of_run(run_id))

    def count_of_document(self, document_id: UUID) -> int:
        return list(self.document_of.values()).count(document_id)

    def ids_of_run(self, run_id: int) -> set[UUID]:
        return {point for point, run in self.run_of.items() if run == run_id}

    def delete_runs(self, run_ids: Sequence[int]) -> None:
        self.delete_points([point for point, run in self.run_of.items() if run in set(run_ids)])

    def delete_document(self, document_id: UUID) -> None:
        self.delete_points([point for point, document in self.document_of.items() if document == document_id])

    def delete_points(self, ids: Collection[UUID]) -> None:
        for point in ids:
            self.run_of.pop(point, None)
            self.document_of.pop(point, None)

    def page_of_points(self, _after: UUID | None = None, *, limit: int = 0) -> tuple[list[PointRef], UUID | None]:  # noqa: ARG002 - every page holds all
        if self.on_page is not None:
            self.on_page()
        return [PointRef(point, run) for point, run in self.run_of.items()], None


class NoHints:
    """A queue that loses every message: the table must suffice."""

    def send(self, tasks: Sequence[Task]) -> int:
        return len(tasks)


class NoOriginals:
    """Bytes are not what is tried here."""

    def delete(self, key: str) -> None:
        assert key


class World:
    """Two tenants, their documents, and whoever works on them; each method is one move of one of them.

    A worker's method returns whether the move took effect, and checks that it did so exactly when its token was good.
    """

    def __init__(self, database: Database, url: str) -> None:
        self.tenants = [_protocol_of(database, name) for name in ("default", "other")]
        self.anyone = self.tenants[0]
        self.points = Points()
        self.happened: Counter[str] = Counter()
        """How often each move had each outcome, over all examples."""
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(f"ALTER TABLE batches ALTER COLUMN max_tries SET DEFAULT {BATCH_TRIES}")
        self.invariants = Invariants(self._connection)
        self._cut: dict[int, list[NewBatch]] = {}
        self._shown: object = None
        self.loops = self._loops()

    def begin(self) -> None:
        """Forget everything."""
        self._connection.execute(_EMPTY)
        self.points.run_of.clear()
        self.points.document_of.clear()
        self._cut.clear()
        self.invariants.start()

    def close(self) -> None:
        self._connection.close()

    def check(self, moved: frozenset[UUID] | None) -> None:
        """Raise AssertionError unless everything is as it must be; only the *moved* documents may have changed."""
        self.invariants.check(moved=moved)
        shown = [row.fingerprint for row in self.invariants.tables.documents.values()], set(self.points.run_of)
        if shown != self._shown:
            self._shown = shown
            self._check_visible()

    # users

    def accept(self, tenant: int, content: int, external_id: str | None, on_duplicate: str) -> Owned | None:
        owner = self.tenants[tenant]
        original = make_original(f"content {content}".encode())
        new = NewDocument(owner.tenant_id, owner.collection_id, original, external_id=external_id)
        try:
            accepted: Accepted = owner.documents.accept(new, on_duplicate=on_duplicate)
        except DuplicateDocument:
            self.happened["accept: duplicate"] += 1
            return None
        self.happened[f"accept: {accepted.how}"] += 1
        return Owned(tenant, accepted.document_id)

    def cancel(self, owned: Owned, tenant: int) -> None:
        owner = self.tenants[tenant]
        self._by_user("cancel", owned, tenant, owner.documents.cancel(owner.tenant_id, owned.document_id))

    def delete(self, owned: Owned, tenant: int) -> None:
        owner = self.tenants[tenant]
        self._by_user("delete", owned, tenant, owner.documents.delete(owner.tenant_id, owned.document_id))

    def reprocess(self, owned: Owned, tenant: int) -> None:
        owner = self.tenants[tenant]
        self._by_user("reprocess", owned, tenant, owner.documents.reprocess(owner.tenant_id, owned.document_id))

    def embed_again(self, owned: Owned, tenant: int) -> None:
        owner = self.tenants[tenant]
        run_id = owner.batches.embed_again(owner.tenant_id, owned.document_id)
        self._by_user("embed_again", owned, tenant, run_id is not None)

    def look(self, owned: Owned, tenant: int) -> None:
        """Read whatever can be read of a document."""
        reader = self.tenants[tenant]
        view = reader.catalogue.find(reader.tenant_id, owned.document_id)
        history = reader.events.history_of(reader.tenant_id, owned.document_id)
        chunks = reader.catalogue.chunks_of(reader.tenant_id, owned.document_id)
        if tenant == owned.tenant:
            assert view is not None
            assert history
        else:
            assert (view, history, chunks) == (None, [], []), "another tenant reads the document"

    def _by_user(self, move: str, owned: Owned, tenant: int, has_moved: bool) -> None:  # noqa: FBT001 - the outcome
        assert tenant == owned.tenant or not has_moved, f"another tenant may {move}"
        self.happened[f"{move}: {'yes' if has_moved else 'no'}"] += 1

    # extractors

    def claim_extraction(self, document_id: UUID) -> Token | None:
        before = self._document(document_id)
        claim = self.anyone.documents.claim_extraction(document_id, "extractor")
        if claim is None:
            return None
        assert (before.lifecycle, before.state) == ("active", "queued"), f"claimed {before}"
        assert before.tries < before.max_tries, f"claimed {before}"
        self._cut[claim.run_id] = []
        return Token(document_id, claim.run_id)

    def heartbeat(self, document_id: UUID, run_id: int, pages: int) -> bool:
        may = self._may_extract(document_id, run_id)
        alive = self.anyone.documents.heartbeat(document_id, run_id, pages_done=pages, pages_total=4)
        return self._by_worker("heartbeat", alive, may)

    def forward(self, token: Token, size: int) -> bool:
        may = self._may_extract(token.document_id, token.run_id)
        new = self._next_batches(token.run_id, [size])
        is_ours = self.anyone.batches.forward(token.document_id, token.run_id, new)
        self._cut.get(token.run_id, []).extend(new if is_ours else [])
        return self._by_worker("forward", is_ours, may)

    def finish_extraction(self, token: Token, sizes: list[int]) -> bool:
        may = self._may_extract(token.document_id, token.run_id)
        known = self._cut.get(token.run_id, [])
        new = self._next_batches(token.run_id, sizes or ([] if known else [1]))
        state = self.anyone.batches.finish_extraction(
            token.document_id, token.run_id, new, make_extraction([*known, *new])
        )
        self.happened[f"finish extraction: {state}"] += 1
        return self._by_worker("finish extraction", state is not None, may)

    def fail_extraction(self, token: Token, setback: Setback) -> bool:
        may = self._may_extract(token.document_id, token.run_id)
        before = self._document(token.document_id)
        state = self.anyone.documents.fail_extraction(token.document_id, token.run_id, setback)
        if state is not None and not setback.is_permanent:
            tries = self._rows("SELECT tries FROM documents WHERE id = %s", token.document_id)[0][0]
            assert tries == before.tries - (not setback.costs_a_try), "only one's own doing costs a try"
        self.happened[f"fail extraction: {state}"] += 1
        return self._by_worker("fail extraction", state is not None, may)

    # embedders

    def runs_of(self, document_id: UUID) -> list[Token]:
        """What anybody can know from a hint."""
        found = self._document(document_id)
        return [Token(document_id, run) for run in (found.active_run, found.published_run) if run is not None]

    def claim_batches(self, run_id: int) -> list[BatchClaim]:
        """Claim all of a run's batches that can be had."""
        numbers = [batch_no for run, batch_no in self.invariants.tables.batches if run == run_id]
        return [claim for claim in (self._claim_batch(run_id, number) for number in numbers) if claim is not None]

    def _claim_batch(self, run_id: int, batch_no: int) -> BatchClaim | None:
        before = self.invariants.tables.batches.get((run_id, batch_no))
        claim = self.anyone.batches.claim(run_id, batch_no, "embedder")
        if claim is None:
            return None
        assert before is not None
        assert before.state == "pending", f"claimed {before}"
        assert (claim.fence, claim.tries) == (before.fence + 1, before.tries + 1), "a claim is a new fence and a try"
        return claim

    def upsert(self, claim: BatchClaim) -> None:
        assert [chunk.point_id for chunk in claim.chunks] == [
            point_id(claim.run_id, chunk.chunk_no) for chunk in claim.chunks
        ], "a point belongs to its run"
        for chunk in claim.chunks:
            assert self.points.run_of.get(chunk.point_id, claim.run_id) == claim.run_id, (
                "wrote over another run's point"
            )
        self.points.upsert(claim)

    def finish_batch(self, claim: BatchClaim) -> bool:
        may = self._may_embed(claim)
        outcome = self.anyone.batches.finish(claim)
        self.happened[f"finish batch: {outcome}"] += 1
        return self._by_worker("finish batch", outcome is not None, may)

    def defer_batch(self, claim: BatchClaim, *, costs_a_try: bool) -> bool:
        may = self._may_embed(claim)
        wait = timedelta(minutes=1)
        is_ours = self.anyone.batches.defer(claim, code="provider_unavailable", wait=wait, costs_a_try=costs_a_try)
        if is_ours:
            statement = "SELECT tries FROM batches WHERE run_id = %s AND batch_no = %s"
            tries = self._rows(statement, claim.run_id, claim.batch_no)[0][0]
            assert tries == claim.tries - (not costs_a_try), "waiting for others costs no try"
        return self._by_worker("defer batch", is_ours, may)

    def fail_batch(self, claim: BatchClaim) -> bool:
        may = self._may_embed(claim)
        return self._by_worker("fail batch", self.anyone.batches.fail(claim, code="embedding_rejected"), may)

    def look_at_points(self, token: Token) -> Sight:
        return Sight(token.document_id, token.run_id, frozenset(self.points.ids_of_run(token.run_id)))

    def publish(self, sight: Sight) -> str:
        """As a verification does that looked at the store when *sight* was had."""
        statement = "SELECT lifecycle, state, active_run FROM documents WHERE id = %s"
        before = self._rows(statement, sight.document_id)[0]
        may = before == ("active", "verifying", sight.run_id)
        expected = "published" if self._chunks_of(sight.run_id) <= sight.present else "reopened"
        outcome = self.anyone.batches.publish(sight.document_id, sight.run_id, present=sight.present, **MODEL).outcome
        self.happened[f"publish: {outcome}"] += 1
        assert outcome == (expected if may else "stale"), f"{outcome} for {before}"
        return outcome

    def verify(self, token: Token) -> None:
        """As the embedder does: an exact count is enough, and only when it differs are the points looked at."""
        expected = self.anyone.batches.chunks_of_run(token.run_id)
        if expected is None or self.points.count_of_run(token.run_id) != expected:
            self.publish(self.look_at_points(token))
        else:
            outcome = self.anyone.batches.publish(token.document_id, token.run_id, **MODEL).outcome
            self.happened[f"publish by count: {outcome}"] += 1

    # the reconciler

    def reap(self) -> None:
        held = self._documents_with_a_lease()
        self.anyone.reconciling.reap()
        assert held <= self._documents_with_a_lease(), "a worker lost a lease that had not run out"

    def fail_exhausted(self) -> None:
        self.happened["exhausted"] += self.anyone.reconciling.fail_exhausted()

    def fail_overdue(self) -> None:
        self.happened["overdue"] += self.anyone.reconciling.fail_overdue().failed

    def dispatch(self) -> None:
        """Send hints that nobody receives."""
        self.anyone.reconciling.due_tasks()

    def extend_deadlines(self) -> None:
        """The clock jumps two days ahead, as far as the reconciler can tell."""
        self._connection.execute("UPDATE keeper SET clock_seen_at = now() - interval '2 days'")
        self.anyone.reconciling.fail_overdue()

    def audit(self) -> None:
        self.loops.audit()

    def remove_orphans(self, page: Sequence[PointRef]) -> None:
        """As the audit does, however long ago the page was read."""
        live = self.anyone.reconciling.live_runs({point.run_id for point in page})
        self.points.delete_points([point.id for point in page if point.run_id not in live])

    def repair(self, sight: Sight) -> None:
        reopened = self.anyone.batches.repair(sight.document_id, sight.run_id, sight.present)
        self.happened[f"repair: {'reopened' if reopened else 'nothing'}"] += 1

    def collect(self, meanwhile: Callable[[], object]) -> None:
        """Collect runs, with something else going on between the points and the rows."""

        def drop(run_ids: Sequence[int]) -> None:
            self.points.delete_runs(run_ids)
            meanwhile()

        self.happened["collected"] += self.anyone.reconciling.collect(drop)

    def purge(self, meanwhile: Callable[[], object]) -> None:
        def drop(purge) -> None:
            self.points.delete_document(purge.document_id)
            meanwhile()

        self.happened["purged"] += self.anyone.reconciling.purge(drop)

    # fate

    def let_leases_expire(self) -> None:
        self._connection.execute(_LEASES_RUN_OUT.format(to="now() - interval '1 s'"))

    def let_leases_jump(self) -> None:
        """The clock had jumped when they were taken."""
        self._connection.execute(_LEASES_RUN_OUT.format(to="now() + interval '2 d'"))

    def let_timers_pass(self) -> None:
        self._connection.execute(_TIMERS_PASS)

    def let_deadline_pass(self, document_id: UUID) -> None:
        self._rows("UPDATE documents SET deadline = now() - interval '1 s' WHERE id = %s RETURNING 1", document_id)

    def lose_point(self, number: int) -> None:
        found = list(self.points.run_of)
        if found:
            self.points.delete_points([found[number % len(found)]])

    def lose_all_points(self) -> None:
        self.points.delete_points(list(self.points.run_of))

    # those who do what they should

    def work_honestly(self) -> None:
        """Deliver every hint that is due to a worker that does its whole job."""
        self.let_timers_pass()
        for task in self.anyone.reconciling.due_tasks():
            self._serve(task)

    def bring(self, document_id: UUID, state: str) -> None:
        """Work on a queued document honestly until it is in that state; `repairing` has lost its points again."""
        if state == "queued":
            return
        claim = self.claim_extraction(document_id)
        assert claim is not None
        if state == "extracting":
            return
        self.anyone.batches.finish_extraction(
            document_id, claim.run_id, make_batches([2, 1]), make_extraction(make_batches([2, 1]))
        )
        if state == "embedding":
            return
        for batch_no in range(2):
            self._embed(claim.run_id, batch_no)
        if state == "verifying":
            return
        self.anyone.batches.publish(document_id, claim.run_id, **MODEL)
        if state == "repairing":
            self.points.delete_runs([claim.run_id])
            self.anyone.batches.repair(document_id, claim.run_id, [])

    def settle(self) -> None:
        """Let everybody work and nothing more go wrong; raise AssertionError unless all comes to rest as it must."""
        for _ in range(ROUNDS_TO_SETTLE):
            self.let_leases_expire()
            self.loops.reap()
            self.work_honestly()
            self.loops.end_exhausted()
            self.loops.collect()
            self.loops.audit()
            self.check(moved=None)
            unsettled = self.unsettled()
            if not unsettled:
                return
        raise AssertionError(f"does not come to rest: {unsettled}")

    def _serve(self, task: Task) -> None:
        if isinstance(task, ExtractDocument):
            self._extract(task.document_id)
        elif isinstance(task, EmbedBatch):
            self._embed(task.run_id, task.batch_no)
        elif isinstance(task, VerifyRun):
            self.verify(Token(task.document_id, task.run_id))

    def _extract(self, document_id: UUID) -> None:
        claim = self.anyone.documents.claim_extraction(document_id, "honest extractor")
        if claim is not None:
            self._cut[claim.run_id] = []
            self.anyone.finish_extraction(claim, [2, 1])

    def _embed(self, run_id: int, batch_no: int) -> None:
        claim = self.anyone.batches.claim(run_id, batch_no, "honest embedder")
        if claim is not None:
            self.upsert(claim)
            self.anyone.batches.finish(claim)

    # what is so

    def _document(self, document_id: UUID):
        return self.invariants.tables.documents[document_id]

    def _documents_with_a_lease(self) -> set[UUID]:
        held = "state = 'extracting' AND lease_until BETWEEN now() + interval '1 s' AND now() + interval '2 h'"
        return {row[0] for row in self._rows(f"SELECT id FROM documents WHERE {held}")}

    def _may_extract(self, document_id: UUID, run_id: int) -> bool:
        found = self._document(document_id)
        return (found.lifecycle, found.state, found.active_run) == ("active", "extracting", run_id)

    def _may_embed(self, claim: BatchClaim) -> bool:
        found = self.invariants.tables.batches.get((claim.run_id, claim.batch_no))
        return found is not None and (found.state, found.fence) == ("running", claim.fence)

    def _by_worker(self, move: str, has_moved: bool, may: bool) -> bool:  # noqa: FBT001 - the outcome and its measure
        assert has_moved == may, f"{move}: {'a lost token still counts' if has_moved else 'a good token is refused'}"
        self.happened[f"{move}: {'yes' if has_moved else 'stale'}"] += 1
        return has_moved

    def _next_batches(self, run_id: int, sizes: list[int]) -> list[NewBatch]:
        known = self._cut.get(run_id, [])
        n_chunks = sum(len(batch.chunks) for batch in known)
        return make_batches(sizes, first_batch=len(known), first_chunk=n_chunks)

    def _chunks_of(self, run_id: int) -> set[UUID]:
        return {row[0] for row in self._rows("SELECT point_id FROM chunks WHERE run_id = %s", run_id)}

    def _check_visible(self) -> None:
        """A search sees exactly the published runs of the tenant's own documents, whatever the store returns."""
        chunks = self._rows("SELECT point_id, run_id FROM chunks")
        asked = [ScoredPoint(point, 1.0) for point in {row[0] for row in chunks} | set(self.points.run_of)]
        documents = self.invariants.tables.documents.values()
        for tenant in self.tenants:
            live = [row for row in documents if row.tenant_id == tenant.tenant_id and row.lifecycle == "active"]
            published = {row.published_run: row.id for row in live if row.published_run is not None}
            expected = sorted((published[run], run) for _, run in chunks if run in published)
            hits = tenant.hits.resolve(tenant.tenant_id, None, asked)
            assert sorted((hit.document_id, hit.run_id) for hit in hits) == expected, "a search sees something else"

    def unsettled(self) -> list[str]:
        found = [row[0] for row in self._rows(_UNSETTLED)]
        chunks = {row[0] for row in self._rows("SELECT point_id FROM chunks")}
        found += [f"point {point} is missing" for point in chunks - set(self.points.run_of)]
        return found + [f"point {point} is an orphan" for point in set(self.points.run_of) - chunks]

    def _rows(self, statement: str, *values: object) -> list[tuple]:
        return self._connection.execute(statement, values or None).fetchall()

    def _loops(self) -> Loops:
        parts = self.anyone
        return Loops(
            reconciling=parts.reconciling,
            batches=parts.batches,
            queue=None,  # type: ignore[arg-type]  # Redis has no part in it
            hints=NoHints(),  # type: ignore[arg-type]  # as a queue that loses everything
            vectors=self.points,  # type: ignore[arg-type]  # what the loops use of it
            objects=NoOriginals(),  # type: ignore[arg-type]  # what the loops use of it
            times=TIMES,
            metrics=LoopMetrics(CollectorRegistry()),
            originals_grace=timedelta(days=1),
            history_kept=timedelta(days=30),
        )


def _protocol_of(database: Database, name: str) -> Protocol:
    protocol = Protocol(database, TIMES)
    protocol.documents = Documents(database, TIMES, max_tries=MAX_TRIES, max_losses=MAX_LOSSES)
    protocol.tenant_id = Keys(database).ensure_tenant(name)
    statement = "SELECT id FROM collections WHERE tenant_id = :t"
    protocol.collection_id = protocol.value(statement, t=protocol.tenant_id)  # type: ignore[assignment]  # a uuid
    return protocol
