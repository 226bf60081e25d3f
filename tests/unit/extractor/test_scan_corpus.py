"""What each PDF of the corpus without a text layer ends as; the table beside this module says it, file by file."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from unit.extractor.scans import require_tesseract
from unit.extractor.test_office_corpus import LIMITS, rows_of

from sluice_common.errors import PipelineError
from sluice_common.settings import OcrSettings
from sluice_extractor.enriching import Enrichment, Findings, enriched
from sluice_extractor.recognition.opening import open_recognition
from sluice_extractor.sandbox import ReadRequest, Sandbox

pytestmark = pytest.mark.corpus

OUTCOMES = Path(__file__).with_name("scan_outcomes.tsv")
MOST_MISTAKEN = 3
"""Drawings without words in which some are seen; which ones, depends on the release of Tesseract."""
LEAST_READ = 0.8
"""Of the words of a phrase, for the same reason."""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(LIMITS) as sandbox:
        yield sandbox


def ending_of(path: Path, sandbox: Sandbox, enrichments: Sequence[Enrichment]) -> tuple[str, str]:
    """`text` and it with single spaces, or the code of the failure."""
    findings = Findings()
    try:
        with sandbox.read(ReadRequest(path, path.name, wants_media=bool(enrichments))) as reading:
            text = " ".join(" ".join(page.text for page in enriched(reading, enrichments, findings)).split())
    except PipelineError as error:
        return str(error.code), ""
    return ("text", text) if text else (str(findings.why_no_text().code), "")


@pytest.fixture(scope="module")
def recognised(corpus, sandbox) -> dict[str, tuple[str, str]]:
    """Each document's ending with recognition."""
    require_tesseract()
    with ExitStack() as stack:
        recognition = open_recognition(OcrSettings(enabled="on", wall_clock_s=600), sandbox, stack)
        return {row["path"]: ending_of(corpus / row["path"], sandbox, [recognition]) for row in tried()}


def tried() -> list[dict[str, str]]:
    """Every scan with words, and of the drawings without any one of ten unless all are wanted: they take minutes."""
    rows = rows_of(OUTCOMES)
    drawings = [row for row in rows if row["with"] == "no_text"]
    return [row for row in rows if row["with"] != "no_text"] + drawings[:: 1 if "LONG" in os.environ else 10]


def test_the_table_has_every_scan_and_every_drawing_of_the_corpus(corpus):
    rows = rows_of(corpus / "MANIFEST.tsv")

    assert {row["path"] for row in rows_of(OUTCOMES)} == {
        row["path"] for row in rows if row["category"].startswith("pdf-scan-or-graphics")
    }


def test_every_scan_ends_without_recognition_as_its_row_says(corpus, sandbox):
    expected = {row["path"]: row["without"] for row in rows_of(OUTCOMES)}

    assert {path: ending_of(corpus / path, sandbox, [])[0] for path in expected} == expected


def test_every_scan_ends_with_recognition_as_its_row_says(recognised):
    expected = {row["path"]: row["with"] for row in tried()}

    others = {path for path, (outcome, _) in recognised.items() if outcome != expected[path]}
    assert {path for path in others if expected[path] != "no_text"} == set()
    assert len(others) <= MOST_MISTAKEN, others


def test_what_a_person_reads_on_a_scan_is_in_its_text(recognised):
    phrases = {row["path"]: row["phrase"].split() for row in tried() if row["phrase"]}

    read = {path: sum(word in recognised[path][1] for word in words) for path, words in phrases.items()}
    assert {path for path, count in read.items() if count < LEAST_READ * len(phrases[path])} == set()
