"""The composition root of the extractor: `python -m sluice_extractor.main`."""

import hashlib
import importlib.util
import os
import socket
import sys
from contextlib import ExitStack

from sluice_common import __version__
from sluice_common.adapters.build import build_object_store, build_spans, build_transcription, build_vision
from sluice_common.agreement import check_lease
from sluice_common.batches import Batches
from sluice_common.contract import EXTRACT_QUEUE, RENDER_QUEUE
from sluice_common.database import open_database
from sluice_common.documents import Documents
from sluice_common.hints import Hints
from sluice_common.jobs import Pings
from sluice_common.metrics import StageMetrics, make_registry, serve_metrics
from sluice_common.migrations import check_schema
from sluice_common.page_images import PageImages
from sluice_common.service import run_service
from sluice_common.tasks import DramatiqQueue, OnShutdown, StageWorker, open_broker
from sluice_common.times import Times, times_of
from sluice_common.transcripts import Transcripts
from sluice_extractor.actors import register
from sluice_extractor.deps import ExtractorDeps
from sluice_extractor.leases import Leases
from sluice_extractor.listening.analysing import Analysis
from sluice_extractor.listening.ensemble import Ensemble
from sluice_extractor.listening.members import open_members
from sluice_extractor.listening.transcribing import NoTranscription, Transcription
from sluice_extractor.listening.work_folders import WorkFolders
from sluice_extractor.metrics import ExtractionMetrics
from sluice_extractor.parsing.audio import can_read_recordings
from sluice_extractor.recognition.opening import open_recognition
from sluice_extractor.sandbox import ReadLimits, Sandbox
from sluice_extractor.seeing.describing import Description, PageDescriptions
from sluice_extractor.settings import ExtractorSettings

_LEASE_CONNECTIONS = 1


def build(settings: ExtractorSettings, stack: ExitStack) -> StageWorker:
    """Open everything the extractor uses; the stack closes it in reverse order."""
    times = times_of(settings.times)
    registry = make_registry(version=__version__)
    stage_metrics = StageMetrics(registry)
    # the children's server starts first, while this process has no threads and no connections to inherit
    sandbox = stack.enter_context(Sandbox(_read_limits(settings), children=_children(settings)))
    database = open_database(settings.database, application="sluice-extractor")
    stack.callback(database.close)
    check_schema(database)
    check_lease(database, times)
    leases = _open_leases(settings, times, stack)
    broker = open_broker(settings.broker, OnShutdown(leases.release_all))
    stack.callback(broker.close)
    tries = {"max_tries": settings.times.max_tries, "max_losses": settings.times.max_losses}
    metrics = ExtractionMetrics(registry)
    members = open_members(settings.audio, stack) if can_read_recordings() else []
    ensemble = Ensemble(members, settings.audio.weights)
    transcription = _transcription(settings, Transcripts(database), metrics)
    recognition = open_recognition(settings.ocr, sandbox, stack)
    seeing = _seeing(settings, Transcripts(database), metrics)
    deps = ExtractorDeps(
        documents=Documents(database, times, **tries),
        batches=Batches(database, times),
        page_images=PageImages(database),
        objects=build_object_store(settings.objects),
        sandbox=sandbox,
        enrichments=(*seeing[:1], recognition, *seeing[1:], Analysis(ensemble, _work_folders(settings)), transcription),
        wants_sound=ensemble.wants_sound or isinstance(transcription, Transcription),
        wants_colour=bool(seeing),
        leases=leases,
        hints=Hints(DramatiqQueue(broker)),
        pings=Pings(database),
        times=times,
        chunking=settings.chunking,
        extraction=settings.extraction,
        max_chunks=settings.limits.max_chunks,
        metrics=metrics,
        pipeline_hash=_pipeline_hash(settings),
        owner=f"{socket.gethostname()}:{os.getpid()}",
        spans=build_spans(settings.tracing, "extractor", stack),
    )
    register(broker, deps, stage_metrics)
    stack.callback(serve_metrics(settings.metrics, registry))
    stack.callback(leases.hand_back)  # first of all, when the worker has stopped
    grace_s = times.stop_grace.total_seconds()
    return StageWorker(broker, EXTRACT_QUEUE, settings.extraction.workers, grace_s, beside={RENDER_QUEUE: 1})


def main() -> int:
    """Run the extractor until it is told to stop; returns the exit status."""
    return run_service(ExtractorSettings, "extractor", lambda settings, stack: build(settings, stack).run())


def _open_leases(settings: ExtractorSettings, times: Times, stack: ExitStack) -> Leases:
    database = open_database(settings.database, application="sluice-extractor-leases", pool_size=_LEASE_CONNECTIONS)
    stack.callback(database.close)
    leases = Leases(Documents(database, times), times)
    leases.start()
    stack.callback(leases.close)
    return leases


def _transcription(
    settings: ExtractorSettings, transcripts: Transcripts, metrics: ExtractionMetrics
) -> Transcription | NoTranscription:
    provider = build_transcription(settings.transcription) if can_read_recordings() else None
    if provider is None:  # the settings may be shared with extractors that have the decoder and the HTTP client
        return NoTranscription()
    return Transcription(provider, transcripts, metrics, max_in_flight=settings.transcription.max_in_flight)


def _seeing(
    settings: ExtractorSettings, kept: Transcripts, metrics: ExtractionMetrics
) -> tuple[Description, PageDescriptions] | tuple[()]:
    """Who describes figures; what recognises text belongs between the two."""
    has_client = importlib.util.find_spec("httpx2") is not None  # the settings may be shared with those that have none
    provider = build_vision(settings.vision) if has_client else None
    return (Description(provider, kept, metrics, settings.vision), PageDescriptions()) if provider else ()


def _work_folders(settings: ExtractorSettings) -> WorkFolders:
    folders = WorkFolders(settings.audio.work_root)
    folders.sweep()  # of extractors that were killed
    return folders


def _pipeline_hash(settings: ExtractorSettings) -> str:
    made_by = f"{__version__}:{settings.extraction.pdf_reader}"
    return hashlib.blake2b(made_by.encode(), digest_size=8).hexdigest()


def _children(settings: ExtractorSettings) -> int:
    """By default every processor has work while one place is kept, see the fork server."""
    return settings.extraction.children or (os.cpu_count() or 1) + 1


def _read_limits(settings: ExtractorSettings) -> ReadLimits:
    extraction = settings.extraction
    return ReadLimits(
        memory_bytes=extraction.memory_bytes,
        wall_clock_s=extraction.wall_clock_s,
        wall_clock_per_page_s=extraction.wall_clock_per_page_s,
        wall_clock_max_s=extraction.wall_clock_max_s,
        max_pages=settings.limits.max_pages,
        max_text_chars=settings.limits.max_text_chars,
        max_audio_s=settings.limits.max_audio_s,
    )


if __name__ == "__main__":
    sys.exit(main())
