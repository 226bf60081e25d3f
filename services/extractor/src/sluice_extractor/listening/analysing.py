"""The enrichment that has a recording judged by the ensemble, and writes down what came out."""

import wave
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import structlog

from sluice_common.errors import LeaseLost
from sluice_extractor.enriching import Findings
from sluice_extractor.listening.describing import analysis_of, words_on
from sluice_extractor.listening.ensemble import Ensemble
from sluice_extractor.listening.work_folders import WorkFolders
from sluice_extractor.parsing.media import Recording, Sound
from sluice_extractor.parsing.page import Page

log = structlog.get_logger(__name__)


class Analysis:
    """An `Enrichment`: the last page of a recording gets its description; the sound stays for others."""

    def __init__(self, ensemble: Ensemble, folders: WorkFolders) -> None:
        self._ensemble = ensemble
        self._folders = folders

    def enriched(self, pages: Iterator[Page], findings: Findings) -> Iterator[Page]:
        with ExitStack() as stack:
            kept = _KeptSound(self._folders, stack) if self._ensemble.wants_sound else None
            for page in pages:
                recording = next((media for media in page.media if isinstance(media, Recording)), None)
                if findings.analysis is not None:  # a document is one recording at most
                    yield page
                    continue
                if kept is not None:
                    kept.take(page)
                if recording is None:
                    yield page
                    continue
                file = None if kept is None else kept.finish()
                votes = self._ensemble.votes_on(recording, file, findings.is_stopped)
                if findings.is_stopped():
                    raise LeaseLost("nobody waits for the votes any more")
                findings.analysis = analysis_of(recording, votes)
                yield replace(page, text=words_on(recording, findings.analysis))


class _KeptSound:
    """The sound as a WAV file in a private folder, for members that want a file."""

    def __init__(self, folders: WorkFolders, stack: ExitStack) -> None:
        self._folders = folders
        self._stack = stack
        self._path: Path | None = None
        self._file: wave.Wave_write | None = None
        self._has_room = True

    def take(self, page: Page) -> None:
        for media in page.media:
            if isinstance(media, Sound) and self._has_room:
                try:
                    self._write(media)
                except OSError as error:  # a full disk costs some votes and no document
                    log.warning("sound_not_kept", reason=type(error).__name__)
                    self._has_room = False

    def finish(self) -> Path | None:
        """The whole file; None where there was no room for it, or no sound."""
        if self._file is not None and self._has_room:
            try:
                self._file.close()
            except OSError:
                self._has_room = False
        return self._path if self._has_room else None

    def _write(self, sound: Sound) -> None:
        if self._file is None:
            self._path = self._stack.enter_context(self._folders.folder()) / "recording.wav"
            self._file = wave.open(str(self._path), "wb")  # noqa: SIM115 - closed by `finish`, or with its folder
            self._file.setparams((1, 2, sound.rate, 0, "NONE", ""))
        self._file.writeframes(sound.samples)
