"""Extracts one document: claim, read, chunk, forward, finish, or say why not."""

from contextlib import closing
from datetime import timedelta

import structlog

from sluice_common.contract import ExtractDocument, PingExtractor
from sluice_common.documents import ExtractionClaim, Setback
from sluice_common.errors import CrashError, FailureCode, LeaseLost, PermanentError, PipelineError, RateLimited
from sluice_common.patience import full_jitter, until_database_answers
from sluice_extractor.chunking import Chunker
from sluice_extractor.deps import ExtractorDeps
from sluice_extractor.enriching import Findings, enriched
from sluice_extractor.forwarding import Forwarder
from sluice_extractor.isolation import LOSSES_BEFORE_ALONE
from sluice_extractor.leases import Holding, StopReason
from sluice_extractor.sandbox import Reading, ReadingStopped, ReadRequest

log = structlog.get_logger(__name__)


def extract_document(task: ExtractDocument, deps: ExtractorDeps) -> str:
    """Do the whole stage for one document; returns the outcome."""
    losses = deps.documents.losses_of(task.document_id)
    if losses >= LOSSES_BEFORE_ALONE:
        log.warning("read_alone", losses=losses)
    with deps.isolation.reading(losses=losses, patience=deps.times.lease):
        return _claim_and_extract(task, deps)


def _claim_and_extract(task: ExtractDocument, deps: ExtractorDeps) -> str:
    claim = deps.documents.claim_extraction(task.document_id, deps.owner, pipeline_hash=deps.pipeline_hash)
    if claim is None:
        return "skipped"
    structlog.contextvars.bind_contextvars(run_id=claim.run_id, request_id=claim.request_id, attempt=claim.tries)
    with deps.spans.span("extract document", kind="consumer", parent=claim.traceparent) as span:
        span.note(document_id=str(claim.document_id), run_id=claim.run_id, attempt=claim.tries)
        outcome = _extract_claimed(claim, deps)
        span.note(outcome=outcome)
        return outcome


def _extract_claimed(claim: ExtractionClaim, deps: ExtractorDeps) -> str:
    with deps.leases.hold(claim) as holding:
        try:
            _read_and_forward(claim, holding, deps)
        except (ReadingStopped, LeaseLost):
            return _hand_back(claim, holding, deps)
        except PipelineError as error:
            return _give_up(claim, holding, _setback_of(error, claim, deps), deps)
        except Exception:  # a mistake of ours: costs a try, so that it cannot go round for ever
            log.exception("extraction_crashed")
            setback = Setback(FailureCode.INTERNAL, costs_a_try=True, wait=_pause_after(claim, deps))
            return _give_up(claim, holding, setback, deps)
        return "ok"


def answer_ping(task: PingExtractor, deps: ExtractorDeps) -> str:
    """Say in the table that this worker takes messages."""
    deps.pings.answer(task.job_id, deps.owner)
    return "ok"


def _read_and_forward(claim: ExtractionClaim, holding: Holding, deps: ExtractorDeps) -> None:
    chunker = _chunker_for(claim, deps)
    forwarder = Forwarder(
        claim,
        deps.batches,
        deps.hints,
        batch_chunks=deps.extraction.batch_chunks,
        max_chunks=deps.max_chunks,
    )
    with deps.objects.local_copy(claim.storage_key) as path:
        wants_media = bool(claim.options.get("multimodal"))
        request = ReadRequest(
            path,
            claim.name,
            claim.declared_type,
            deps.extraction.pdf_reader,
            wants_media,
            deps.wants_sound,
            wants_colour=deps.wants_colour,
            can_recognise=deps.can_recognise,
        )
        with deps.sandbox.read(request, holding.begin) as reading:
            holding.open(reading.pages_total)
            findings = Findings(
                document_id=claim.document_id,
                is_stopped=lambda: holding.stopped is not None,
                media_type=reading.media_type,
            )
            with closing(enriched(reading, deps.enrichments, findings)) as pages:
                for page in pages:
                    forwarder.take(chunker.feed(page))
                    holding.pages_done += 1
            forwarder.take(chunker.finish())
            _finish(forwarder, reading, findings, holding, deps)


def _finish(forwarder: Forwarder, reading: Reading, findings: Findings, holding: Holding, deps: ExtractorDeps) -> None:
    if forwarder.n_chunks == 0:
        raise findings.why_no_text()
    holding.end()
    until_database_answers(
        lambda: forwarder.finish(
            media_type=reading.media_type,
            pages_done=holding.pages_done,
            pages_total=reading.pages_total,
            remarks=[*reading.remarks, *findings.all_remarks()],
            analysis=findings.analysis,
        ),
        patience=deps.times.give_up,
    )
    deps.metrics.count_pages(holding.pages_done)
    deps.metrics.count_chunks(forwarder.n_chunks)
    log.info("extraction_finished", chunks=forwarder.n_chunks, pages=holding.pages_done)


def _hand_back(claim: ExtractionClaim, holding: Holding, deps: ExtractorDeps) -> str:
    holding.end()
    if holding.stopped is not StopReason.SHUTDOWN:
        return "fenced"
    deps.documents.release_extraction(claim.document_id, claim.run_id)
    return "released"


def _give_up(claim: ExtractionClaim, holding: Holding, setback: Setback, deps: ExtractorDeps) -> str:
    holding.end()
    moved = until_database_answers(
        lambda: deps.documents.fail_extraction(claim.document_id, claim.run_id, setback), patience=deps.times.give_up
    )
    if moved is None:
        return "fenced"
    deps.metrics.count_setback(setback.code)
    log.info("extraction_failed", code=setback.code, detail_code=setback.detail_code, permanent=setback.is_permanent)
    return setback.code


def _setback_of(error: PipelineError, claim: ExtractionClaim, deps: ExtractorDeps) -> Setback:
    is_permanent, is_own_doing = isinstance(error, PermanentError), isinstance(error, CrashError)
    return Setback(
        code=str(error.code),
        detail=error.detail or None,
        detail_code=error.detail_code,
        is_permanent=is_permanent,
        costs_a_try=is_own_doing,
        wait=_pause_after(claim, deps) if is_own_doing else max(_pause_for_others(claim, deps), _asked_for(error)),
    )


def _pause_after(claim: ExtractionClaim, deps: ExtractorDeps) -> timedelta:
    first = deps.times.lease / 12
    return first if claim.tries == 1 else deps.times.lease


def _pause_for_others(claim: ExtractionClaim, deps: ExtractorDeps) -> timedelta:
    pause = deps.times.grace / 2
    return pause + full_jitter(claim.tries + 2, base=pause, longest=deps.times.lease)


def _asked_for(error: PipelineError) -> timedelta:
    return timedelta(seconds=(error.retry_after_s or 0) if isinstance(error, RateLimited) else 0)


def _chunker_for(claim: ExtractionClaim, deps: ExtractorDeps) -> Chunker:
    wanted = claim.options.get("chunking") or {}
    return Chunker(
        int(wanted.get("max_chars", deps.chunking.max_chars)),
        int(wanted.get("overlap_chars", deps.chunking.overlap_chars)),
    )
