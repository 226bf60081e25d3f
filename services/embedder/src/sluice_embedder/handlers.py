"""Embeds one batch: claim, embed, store, finish; and publishes the run when it was the last."""

import time
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import structlog
from numpy.typing import NDArray

from sluice_common.batches import BatchClaim
from sluice_common.contract import EmbedBatch, PingEmbedder, VerifyRun
from sluice_common.errors import (
    DimensionMismatch,
    EmbeddingRejected,
    FailureCode,
    PermanentError,
    RateLimited,
    TransientError,
)
from sluice_common.lexical import lexical_vector
from sluice_common.patience import full_jitter, until_database_answers
from sluice_common.ports import Point
from sluice_embedder.deps import EmbedderDeps

log = structlog.get_logger(__name__)


def embed_batch(task: EmbedBatch, deps: EmbedderDeps) -> str:
    """Do the whole stage for one batch; returns the outcome."""
    if deps.claims.is_stopping:
        return "skipped"
    claimed_at = time.monotonic()
    claim = deps.batches.claim(task.run_id, task.batch_no, deps.owner)
    if claim is None:
        return "skipped"
    facts = {"document_id": str(claim.document_id), "request_id": claim.request_id, "attempt": claim.tries}
    structlog.contextvars.bind_contextvars(**facts)
    with deps.spans.span("embed batch", kind="consumer", parent=claim.traceparent) as span:
        span.note(document_id=str(claim.document_id), run_id=claim.run_id, batch_no=claim.batch_no)
        with deps.claims.hold(claim):
            outcome = _embed_claimed(claim, claimed_at, deps)
        span.note(outcome=outcome, chunks=len(claim.chunks), attempt=claim.tries)
        return outcome


def verify_run(task: VerifyRun, deps: EmbedderDeps) -> str:
    """Publish a run if every one of its points is in the store, else reopen the batches of the missing ones."""
    expected = deps.batches.chunks_of_run(task.run_id)
    if expected is None:
        return "skipped"
    is_whole = deps.vectors.count_of_run(task.run_id) == expected
    present = None if is_whole else deps.vectors.ids_of_run(task.run_id)
    published = until_database_answers(
        lambda: deps.batches.publish(
            task.document_id,
            task.run_id,
            model=deps.provider.model,
            dimensions=deps.provider.dimensions(),
            present=present,
        ),
        patience=deps.times.give_up,
    )
    if published.outcome == "stale":
        return "skipped"
    if published.outcome == "reopened":
        deps.metrics.count_reopened(len(published.reopened))
        log.warning("points_missing", run_id=task.run_id, batches=len(published.reopened))
        deps.hints.send([EmbedBatch(run_id=task.run_id, batch_no=number) for number in published.reopened])
        return "reopened"
    deps.metrics.count_published()
    log.info("run_published", run_id=task.run_id, chunks=expected)
    return "ok"


def answer_ping(task: PingEmbedder, deps: EmbedderDeps) -> str:
    """Say in the table that this worker takes messages."""
    deps.pings.answer(task.job_id, deps.owner)
    return "ok"


def _embed_claimed(claim: BatchClaim, claimed_at: float, deps: EmbedderDeps) -> str:
    try:
        deps.store_gate.admit()  # before anything is paid for
        embeddings = _embed([chunk.text for chunk in claim.chunks], deps)
        _check_time(claimed_at, deps)
        _store(claim, embeddings, deps)
    except (TransientError, DimensionMismatch) as error:
        # Vectors of another length are somebody's wrong setting or another model behind the same address: that is
        # no document's doing. They wait until it is put right, and fail with this code at their deadline.
        return _postpone(claim, error, deps)
    except PermanentError as error:
        return _refuse(claim, error, deps)
    except Exception:  # a mistake of ours: costs a try, so that it cannot go round for ever
        log.exception("embedding_crashed")
        return _postpone(claim, TransientError(detail_code="internal"), deps, costs_a_try=True)
    return _finish(claim, deps)


def _embed(texts: Sequence[str], deps: EmbedderDeps) -> NDArray[np.float32]:
    try:
        return deps.coalescer.embed(texts)
    except EmbeddingRejected:
        if len(texts) == 1:
            raise
        middle = len(texts) // 2  # fewer texts may pass; a single one that does not is the document's own fault
        return np.concatenate([_embed(texts[:middle], deps), _embed(texts[middle:], deps)])


def _check_time(claimed_at: float, deps: EmbedderDeps) -> None:
    # What is begun now ends within the lease; a later upsert could write beside the batch's next worker.
    if time.monotonic() - claimed_at > deps.times.give_up.total_seconds():
        raise TransientError(detail_code="too_slow")


def _store(claim: BatchClaim, embeddings: NDArray[np.float32], deps: EmbedderDeps) -> None:
    points = [
        Point(
            id=chunk.point_id,
            tenant_id=claim.tenant_id,
            collection_id=claim.collection_id,
            document_id=claim.document_id,
            run_id=claim.run_id,
            chunk_no=chunk.chunk_no,
            page=chunk.page,
            lexical=lexical_vector(chunk.text),
            attributes=claim.attributes,
        )
        for chunk in claim.chunks
    ]
    deps.store_gate.upsert(points, embeddings)


def _finish(claim: BatchClaim, deps: EmbedderDeps) -> str:
    outcome = until_database_answers(lambda: deps.batches.finish(claim), patience=deps.times.give_up / 2)
    if outcome is None:
        return "fenced"
    deps.metrics.count_indexed(len(claim.chunks), rebought=claim.is_rebought)
    if outcome == "verify":
        with deps.spans.span("publish run", kind="internal") as span:
            task = VerifyRun(document_id=claim.document_id, run_id=claim.run_id)
            span.note(run_id=claim.run_id, outcome=verify_run(task, deps))
    return "ok"


def _postpone(
    claim: BatchClaim, error: TransientError | DimensionMismatch, deps: EmbedderDeps, *, costs_a_try: bool = False
) -> str:
    asked_s = error.retry_after_s if isinstance(error, RateLimited) else None
    base, longest = deps.times.lease / 60, deps.times.lease
    wait = full_jitter(claim.fence, base=base, longest=longest) + base / 2
    if asked_s is not None:
        wait = max(timedelta(seconds=asked_s), base / 2)
    # The open breaker names what opened it.
    code = str(DimensionMismatch.code if error.detail_code == DimensionMismatch.code else error.code)
    is_ours = until_database_answers(
        lambda: deps.batches.defer(claim, code=code, detail_code=error.detail_code, wait=wait, costs_a_try=costs_a_try),
        patience=deps.times.give_up / 2,
    )
    deps.metrics.count_deferred(code)
    log.warning("batch_deferred", code=code, detail_code=error.detail_code, wait_s=round(wait.total_seconds(), 2))
    return code if is_ours else "fenced"


def _refuse(claim: BatchClaim, error: PermanentError, deps: EmbedderDeps) -> str:
    code = str(error.code) if error.code in set(FailureCode) else FailureCode.INTERNAL.value
    is_ours = until_database_answers(
        lambda: deps.batches.fail(claim, code=code, detail=error.detail or None, detail_code=error.detail_code),
        patience=deps.times.give_up / 2,
    )
    if not is_ours:
        return "fenced"
    log.error("batch_refused", code=code, detail_code=error.detail_code)
    return code
