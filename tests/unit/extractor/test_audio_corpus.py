"""What each recording of the corpus ends as; the table beside this module says it, file by file.

The loudness is what FFmpeg's own filter (`ebur128`) measured.
"""

import csv
from pathlib import Path

import pytest

from sluice_extractor.enriching import Findings, enriched
from sluice_extractor.listening.analysing import Analysis
from sluice_extractor.listening.ensemble import Ensemble
from sluice_extractor.listening.work_folders import WorkFolders
from sluice_extractor.sandbox import ReadLimits, ReadRequest, Sandbox

pytestmark = pytest.mark.corpus

LIMITS = ReadLimits(1 << 30, 60, 5, 120, 5_000, 50_000_000)
OUTCOMES = Path(__file__).with_name("audio_outcomes.tsv")
TYPES = {"wav", "mp3", "flac", "ogg", "m4a"}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_the_table_has_every_recording_of_the_corpus(corpus):
    paths = {row["path"] for row in rows_of(corpus / "MANIFEST.tsv") if row["type"] in TYPES}

    assert {row["path"] for row in rows_of(OUTCOMES)} == paths


def test_every_recording_ends_as_its_row_says(corpus):
    with Sandbox(LIMITS) as sandbox:
        for row in rows_of(OUTCOMES):
            path, findings = corpus / row["path"], Findings()
            analysis = Analysis(Ensemble(), WorkFolders())
            with sandbox.read(ReadRequest(path, path.name)) as reading:
                text = "".join(page.text for page in enriched(reading, [analysis], findings))

            found = findings.analysis
            assert found is not None, path
            speech = {one["label"]: one["confidence"] for one in found["labels"]}["speech"]
            assert (reading.media_type, reading.remarks) == (row["media_type"], ()), path
            assert found["duration_s"] == pytest.approx(float(row["seconds"]), abs=0.05), path
            assert found["measures"]["loudness_lufs"] == pytest.approx(float(row["lufs"]), abs=0.15), path
            assert (speech >= 0.5) == (row["speech"] == "yes"), path
            assert row["phrase"] in text, path
