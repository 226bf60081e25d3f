"""The extractor's stage over real PostgreSQL, a real object store and the real sandbox."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from builders import Protocol, make_original
from prometheus_client import CollectorRegistry
from transcription_server import SEGMENTS, transcription_server
from unit.extractor.scans import looks_of, require_tesseract, scanned, written

from sluice_common.adapters.build import build_transcription
from sluice_common.adapters.filesystem import FilesystemObjectStore
from sluice_common.contract import EmbedBatch, ExtractDocument
from sluice_common.documents import NewDocument
from sluice_common.errors import DatabaseUnavailable
from sluice_common.jobs import Pings
from sluice_common.page_images import PageImages
from sluice_common.settings import ChunkingSettings, ExtractionSettings, OcrSettings, TranscriptionSettings
from sluice_common.status import State
from sluice_common.transcripts import Transcripts
from sluice_extractor.deps import ExtractorDeps
from sluice_extractor.handlers import extract_document
from sluice_extractor.leases import Leases, StopReason
from sluice_extractor.listening.analysing import Analysis
from sluice_extractor.listening.ensemble import Ensemble
from sluice_extractor.listening.transcribing import Transcription
from sluice_extractor.listening.work_folders import WorkFolders
from sluice_extractor.metrics import ExtractionMetrics
from sluice_extractor.recognition.opening import open_recognition
from sluice_extractor.sandbox import ReadLimits, Sandbox


class Sent:
    """Hints that were sent."""

    def __init__(self) -> None:
        self.tasks: list[object] = []

    def send(self, tasks) -> int:
        self.tasks += tasks
        return len(self.tasks)


class Stage:
    """The extractor, without its queue."""

    def __init__(self, protocol: Protocol, objects: FilesystemObjectStore, sandbox: Sandbox) -> None:
        self.protocol = protocol
        self.objects = objects
        self.hints = Sent()
        self.deps = ExtractorDeps(
            documents=protocol.documents,
            batches=protocol.batches,
            page_images=PageImages(protocol.database),
            objects=objects,
            sandbox=sandbox,
            enrichments=(),
            leases=Leases(protocol.documents, protocol.times),
            hints=self.hints,
            pings=Pings(protocol.database),
            times=protocol.times,
            chunking=ChunkingSettings(max_chars=200, overlap_chars=20),
            extraction=ExtractionSettings(batch_chunks=4),
            max_chunks=100,
            metrics=ExtractionMetrics(CollectorRegistry()),
            pipeline_hash="test",
            owner="extractor",
        )

    def accept(self, content: bytes, name: str = "note.txt", **options: object):
        original = make_original(content or b"empty", name)
        writer = self.objects.create(original.storage_key)
        writer.write(content)
        writer.commit()
        new = NewDocument(self.protocol.tenant_id, self.protocol.collection_id, original, options=options)
        return self.protocol.documents.accept(new).document_id

    def extract(self, document_id) -> str:
        return extract_document(ExtractDocument(document_id=document_id), self.deps)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    limits = ReadLimits(
        memory_bytes=2**30,
        wall_clock_s=20,
        wall_clock_per_page_s=1,
        wall_clock_max_s=30,
        max_pages=50,
        max_text_chars=10**6,
    )
    with Sandbox(limits) as sandbox:
        yield sandbox


@pytest.fixture
def stage(database, sandbox, tmp_path) -> Stage:
    (tmp_path / "objects").mkdir()
    return Stage(Protocol(database), FilesystemObjectStore(tmp_path / "objects"), sandbox)


LONG = "\n\n".join(f"Paragraph {n} tells of weir number {n} and its keeper." for n in range(60)).encode()


def test_a_document_becomes_batches_of_chunks_and_a_hint_for_each(stage):
    document_id = stage.accept(LONG)

    assert stage.extract(document_id) == "ok"

    view = stage.protocol.view(document_id)
    n_batches = stage.protocol.value("SELECT n_batches FROM runs")
    assert (view.state, view.media_type) == (State.EMBEDDING, "text/plain")
    assert n_batches > 2
    assert stage.hints.tasks == [EmbedBatch(run_id=view.active_run, batch_no=number) for number in range(n_batches)]


def test_every_hint_of_a_batch_goes_out_when_its_batch_can_be_claimed(stage):
    claims: list[object] = []

    def claim_at_once(tasks) -> int:
        """As an embedder does that is quicker than everybody."""
        claims.extend(stage.protocol.batches.claim(task.run_id, task.batch_no, "embedder") for task in tasks)
        return len(tasks)

    stage.hints.send = claim_at_once

    stage.extract(stage.accept(LONG))

    assert len(claims) > 2
    assert None not in claims


def test_every_chunk_stands_where_it_says_in_the_text(stage):
    document_id = stage.accept(LONG)
    stage.extract(document_id)

    for text, start, end in stage.protocol.query("SELECT text, char_start, char_end FROM chunks"):
        assert LONG.decode()[start:end] == text


def test_a_hint_that_comes_twice_is_skipped(stage):
    document_id = stage.accept(LONG)

    assert [stage.extract(document_id), stage.extract(document_id)] == ["ok", "skipped"]


@pytest.mark.parametrize(
    ("content", "name", "code"),
    [
        (b"", "empty.txt", "empty"),
        (b"%PDF-1.7 broken", "broken.pdf", "corrupt"),
        (b"\x89PNG\r\n\x1a\n" + bytes(32), "photo.png", "ocr_required"),
        (LONG * 20, "long.txt", "too_large"),
    ],
)
def test_a_document_that_cannot_be_read_fails_at_once_with_its_code(stage, content, name, code):
    document_id = stage.accept(content, name)

    assert stage.extract(document_id) == code

    view = stage.protocol.view(document_id)
    assert (view.state, view.error_code, view.tries) == (State.FAILED, code, 1)


def test_a_store_that_is_away_delays_the_document_and_costs_no_try(stage, tmp_path):
    document_id = stage.accept(LONG)
    (tmp_path / "objects").rename(tmp_path / "unplugged")

    assert stage.extract(document_id) == "store_unavailable"

    view = stage.protocol.view(document_id)
    assert (view.state, view.tries) == (State.QUEUED, 0)


def test_an_original_that_is_gone_fails_its_document(stage):
    document_id = stage.accept(LONG)
    stage.objects.delete(stage.protocol.view(document_id).storage_key)

    assert stage.extract(document_id) == "internal"
    assert stage.protocol.view(document_id).state is State.FAILED


def test_a_database_that_is_away_for_a_moment_at_the_end_costs_nothing(stage, monkeypatch):
    document_id = stage.accept(LONG)
    finish, outages = stage.protocol.batches.finish_extraction, [DatabaseUnavailable("away")] * 2

    def shaky(*arguments: object, **fields: object):
        if outages:
            raise outages.pop()
        return finish(*arguments, **fields)

    monkeypatch.setattr(stage.protocol.batches, "finish_extraction", shaky)

    assert stage.extract(document_id) == "ok"
    assert stage.protocol.view(document_id).state is State.EMBEDDING


def test_a_mistake_of_ours_costs_a_try_and_the_third_is_the_last(stage, monkeypatch):
    document_id = stage.accept(LONG)

    def mistaken(*_: object) -> None:
        raise ValueError("a mistake")

    monkeypatch.setattr(stage.protocol.batches, "forward", mistaken)
    outcomes = []
    for _ in range(4):
        stage.protocol.let_timers_pass()
        outcomes.append(stage.extract(document_id))

    assert outcomes == ["internal"] * 3 + ["skipped"]
    assert stage.protocol.view(document_id).state is State.FAILED


def test_a_document_that_is_cancelled_while_it_is_read_is_dropped(stage, monkeypatch):
    document_id = stage.accept(LONG)
    forward = stage.protocol.batches.forward

    def cancelled_meanwhile(*arguments: object) -> bool:
        stage.protocol.documents.cancel(stage.protocol.tenant_id, document_id)
        return forward(*arguments)

    monkeypatch.setattr(stage.protocol.batches, "forward", cancelled_meanwhile)

    assert stage.extract(document_id) == "fenced"
    assert stage.protocol.view(document_id).state is State.CANCELLED


def test_a_worker_that_gives_up_too_late_is_fenced_and_counts_no_setback(stage, monkeypatch):
    registry = CollectorRegistry()
    stage.deps = replace(stage.deps, metrics=ExtractionMetrics(registry))
    document_id = stage.accept(LONG)

    def taken_over_meanwhile(*_: object) -> None:
        stage.protocol.let_leases_expire()
        stage.protocol.reconciling.reap()
        raise ValueError("a mistake")

    monkeypatch.setattr(stage.protocol.batches, "forward", taken_over_meanwhile)

    assert stage.extract(document_id) == "fenced"
    assert registry.get_sample_value("sluice_extraction_setbacks_total", {"code": "internal"}) is None
    view = stage.protocol.view(document_id)
    assert (view.state, view.tries, view.losses) == (State.QUEUED, 0, 1)


def test_a_worker_that_cannot_prolong_its_lease_gives_the_document_up_before_another_may_have_it(stage, monkeypatch):
    document_id = stage.accept(LONG)
    leases = Leases(stage.protocol.documents, replace(stage.protocol.times, lease=timedelta(seconds=1)))
    stage.deps = replace(stage.deps, leases=leases)
    forward = stage.protocol.batches.forward

    def cut_off(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("away")

    def go_on_reading(*arguments: object) -> bool:
        (holding,) = leases._current()
        wait_until(lambda: holding.stopped is StopReason.LOST, "it is still held")
        return forward(*arguments)

    monkeypatch.setattr(stage.protocol.documents, "heartbeat", cut_off)
    monkeypatch.setattr(stage.protocol.batches, "forward", go_on_reading)
    leases.start()

    assert stage.extract(document_id) == "fenced"

    leases.close()
    view = stage.protocol.view(document_id)
    assert (view.state, view.tries) == (State.EXTRACTING, 1)
    assert stage.protocol.value("SELECT n_batches FROM runs") is None


def test_what_is_held_when_the_process_ends_is_handed_back_and_a_late_finish_is_refused(stage):
    claim = stage.protocol.documents.claim_extraction(stage.accept(LONG), "extractor")
    with stage.deps.leases.hold(claim):
        stage.deps.leases.hand_back()

        assert stage.protocol.finish_extraction(claim, [1]) is None

    view = stage.protocol.view(claim.document_id)
    assert (view.state, view.tries, view.losses) == (State.QUEUED, 0, 0)


def test_a_worker_that_is_told_to_stop_hands_back_what_it_has_just_claimed(stage):
    document_id = stage.accept(LONG)
    stage.deps.leases.release_all()

    assert stage.extract(document_id) == "released"

    view = stage.protocol.view(document_id)
    assert (view.state, view.tries, view.losses) == (State.QUEUED, 0, 0)


SPEECH = (Path(__file__).parents[1] / "data" / "speech.mp3").read_bytes()


class Held:
    """The object store; who reads waits until all are let go."""

    def __init__(self, objects: FilesystemObjectStore) -> None:
        self._objects = objects
        self._lock = threading.Lock()
        self._inside = 0
        self.go = threading.Event()
        self.most_beside_each_other = 0

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        with self._lock:
            self._inside += 1
            self.most_beside_each_other = max(self.most_beside_each_other, self._inside)
        assert self.go.wait(30)
        with self._objects.local_copy(key) as path:
            yield path
        with self._lock:
            self._inside -= 1


def test_beside_a_document_that_was_lost_three_times_no_other_is_claimed(stage):
    objects = Held(stage.objects)
    stage.deps = replace(stage.deps, objects=objects)
    first, suspect, later = (stage.accept(LONG + name.encode(), name) for name in ("a.txt", "b.txt", "c.txt"))
    stage.protocol.query("UPDATE documents SET losses = :losses WHERE id = :id", losses=3, id=suspect)

    with ThreadPoolExecutor(3) as pool:
        outcomes = []
        for document_id in (first, suspect, later):
            outcomes.append(pool.submit(stage.extract, document_id))
            threading.Event().wait(0.2)
        states = [stage.protocol.view(document_id).state for document_id in (first, suspect, later)]
        objects.go.set()
        assert [outcome.result(timeout=30) for outcome in outcomes] == ["ok", "ok", "ok"]

    assert states == [State.EXTRACTING, State.QUEUED, State.QUEUED]
    assert objects.most_beside_each_other == 1


def test_a_hint_that_comes_twice_for_such_a_document_keeps_no_worker_waiting(stage):
    document_id = stage.accept(LONG)
    stage.protocol.query("UPDATE documents SET losses = 3 WHERE id = :id", id=document_id)
    assert stage.protocol.documents.losses_of(document_id) == 3

    assert stage.extract(document_id) == "ok"

    assert stage.protocol.documents.losses_of(document_id) == 0
    with stage.deps.isolation.reading(losses=0, patience=stage.deps.times.lease):
        assert stage.extract(document_id) == "skipped"


@pytest.fixture
def hearing(stage, tmp_path) -> Iterator[Stage]:
    """The extractor with everything that hears recordings, and a provider of transcripts."""
    with transcription_server() as stage.provider:
        provider = build_transcription(TranscriptionSettings(base_url=stage.provider.url))
        transcription = Transcription(
            provider, Transcripts(stage.protocol.database), stage.deps.metrics, max_in_flight=2
        )
        analysis = Analysis(Ensemble(), WorkFolders(tmp_path))
        stage.deps = replace(stage.deps, enrichments=(analysis, transcription), wants_sound=True)
        yield stage


def test_a_recording_becomes_chunks_of_what_is_said_with_their_times_and_an_analysis(hearing):
    document_id = hearing.accept(SPEECH, "talk.mp3")

    assert hearing.extract(document_id) == "ok"

    said, *described = hearing.protocol.query("SELECT text, time_start, time_end FROM chunks ORDER BY chunk_no")
    assert said == (f"{SEGMENTS[0]['text'].strip()}\n{SEGMENTS[1]['text'].strip()}", 0.0, 9.5)
    assert described[0][0].startswith("Title: Shakespeare on Scenery\nArtist: Oscar Wilde")
    assert {chunk[1:] for chunk in described} == {(None, None)}
    analysis = hearing.protocol.value("SELECT analysis FROM runs")
    assert analysis["transcript"] == {"outcome": "ok", "model": "whisper-1", "language": "english"}
    assert analysis["labels"][0]["label"] == "speech"
    assert hearing.protocol.view(document_id).media_type == "audio/mpeg"


def test_a_provider_of_transcripts_that_is_away_delays_the_document_and_costs_no_try(hearing, monkeypatch):
    monkeypatch.setattr("sluice_extractor.listening.transcribing._PAUSES_S", (0.0,))
    hearing.provider.status = 503
    document_id = hearing.accept(SPEECH, "talk.mp3")

    assert hearing.extract(document_id) == "provider_unavailable"

    view = hearing.protocol.view(document_id)
    assert (view.state, view.tries, view.waiting_code) == (
        State.QUEUED,
        0,
        "provider_unavailable:transcription_failed",
    )
    hearing.provider.status = 200
    hearing.protocol.let_timers_pass()
    assert hearing.extract(document_id) == "ok"


def test_the_wait_that_the_provider_of_transcripts_asks_for_is_kept(hearing):
    hearing.provider.status, hearing.provider.headers = 429, {"Retry-After": "300"}
    document_id = hearing.accept(SPEECH, "talk.mp3")

    hearing.extract(document_id)

    view = hearing.protocol.view(document_id)
    waits_s = hearing.protocol.value("SELECT EXTRACT(EPOCH FROM not_before - now()) FROM documents")
    assert (view.waiting_code, view.tries) == ("provider_unavailable:rate_limited", 0)
    assert 250 < waits_s <= 300
    assert len(hearing.provider.heard) == 1


def test_a_document_that_is_read_once_more_does_not_pay_for_its_transcript_twice(hearing, monkeypatch):
    document_id = hearing.accept(SPEECH, "talk.mp3")
    monkeypatch.setattr("sluice_extractor.handlers._finish", _no_database)
    hearing.extract(document_id)
    monkeypatch.undo()

    hearing.protocol.let_timers_pass()
    assert hearing.extract(document_id) == "ok"

    assert len(hearing.provider.heard) == 1
    assert hearing.protocol.value("SELECT count(*) FROM chunks WHERE time_start IS NOT NULL") == 1


def _no_database(*_arguments: object) -> None:
    raise DatabaseUnavailable("away")


def test_cancelling_a_recording_ends_the_wait_for_its_transcript(hearing):
    hearing.provider.hold = threading.Event()
    document_id = hearing.accept(SPEECH, "talk.mp3")
    hearing.deps.leases.start()
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(hearing.extract, document_id)
        wait_until(lambda: hearing.provider.heard, "the sound is sent")
        hearing.protocol.documents.cancel(hearing.protocol.tenant_id, document_id)
        next(iter(hearing.deps.leases._current())).pages_done += 1  # so that the next tick looks

        assert outcome.result(timeout=20) == "fenced"
    hearing.deps.leases.close()
    assert hearing.protocol.view(document_id).state is State.CANCELLED


def wait_until(condition, what: str, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        threading.Event().wait(0.02)


def scan_and_text() -> bytes:
    return scanned(
        [looks_of(written(["The weir tells of four rivers."]), dpi=60), b"BT /F 12 Tf 50 700 Td (Text) Tj ET"]
    )


@pytest.fixture
def seeing(stage, sandbox) -> Iterator[Callable[..., Stage]]:
    """The stage with the recognition that these settings open."""
    with ExitStack() as stack:

        def seeing(**settings: object) -> Stage:
            settings = {"wall_clock_s": 300, **settings}
            recognition = open_recognition(OcrSettings(**settings), sandbox, stack)
            stage.deps = replace(stage.deps, enrichments=(recognition,))
            return stage

        yield seeing


def test_pages_that_stay_pictures_are_named_and_the_document_goes_on(seeing):
    stage = seeing(program="no-such-tesseract")
    document_id = stage.accept(scan_and_text(), "mixed.pdf", multimodal=True)

    assert stage.extract(document_id) == "ok"

    warnings = stage.protocol.view(document_id).warnings
    assert [(warning["code"], warning["page"]) for warning in warnings if "page" in warning] == [("page_not_read", 1)]
    assert stage.protocol.query("SELECT text FROM chunks") == [("Text",)]


@pytest.mark.parametrize(("multimodal", "detail_code"), [(False, None), (True, "ocr_not_installed")])
def test_a_scan_that_nobody_can_read_says_what_would_help(seeing, multimodal, detail_code):
    stage = seeing(program="no-such-tesseract")
    scan = scanned([looks_of(written(["The weir tells of four rivers."]), dpi=60)])
    document_id = stage.accept(scan, "scan.pdf", multimodal=multimodal)

    assert stage.extract(document_id) == "ocr_required"

    view = stage.protocol.view(document_id)
    assert (view.state, view.error_code, view.error_detail_code) == (State.FAILED, "ocr_required", detail_code)


def test_a_scan_is_read_when_it_is_uploaded_again_with_multimodal(seeing):
    require_tesseract()
    stage = seeing()
    scan = scanned([looks_of(written(["The weir tells of four rivers."]), dpi=100)])
    document_id = stage.accept(scan, "scan.pdf", multimodal=False)
    stage.extract(document_id)

    assert stage.accept(scan, "scan.pdf", multimodal=True) == document_id
    assert stage.extract(document_id) == "ok"

    assert stage.protocol.query("SELECT text FROM chunks") == [("The weir tells of four rivers.",)]
    assert stage.protocol.value("SELECT boxes IS NOT NULL FROM chunks")


def test_a_document_whose_pictures_show_no_text_has_no_text(seeing):
    require_tesseract()
    stage = seeing()
    slope = np.tile(np.linspace(0, 255, 90, dtype=np.uint8), (60, 1))
    document_id = stage.accept(scanned([slope]), "slope.pdf", multimodal=True)

    assert stage.extract(document_id) == "no_text"
