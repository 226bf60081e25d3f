"""What each office document and book of the corpus ends as; the table beside this module says it, file by file."""

import csv
from pathlib import Path

import pytest

from sluice_common.errors import PipelineError
from sluice_extractor.sandbox import ReadLimits, ReadRequest, Sandbox

pytestmark = pytest.mark.corpus

LIMITS = ReadLimits(1 << 30, 60, 5, 120, 5_000, 50_000_000)
OUTCOMES = Path(__file__).with_name("office_outcomes.tsv")
TYPES = {"docx", "pptx", "xlsx", "xls", "odt", "ods", "odp", "epub", "hwpx"}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def endings(corpus):
    """By path: the text of each document with single spaces, or its code."""
    found = {}
    with Sandbox(LIMITS) as sandbox:
        for row in rows_of(OUTCOMES):
            path = corpus / row["path"]
            try:
                with sandbox.read(ReadRequest(path, path.name)) as reading:
                    found[row["path"]] = ("text", " ".join(" ".join(page.text for page in reading).split()))
            except PipelineError as error:
                found[row["path"]] = (str(error.code), "")
    return found


def test_the_table_has_every_office_document_of_the_corpus(corpus):
    paths = {row["path"] for row in rows_of(corpus / "MANIFEST.tsv") if row["type"] in TYPES}

    assert {row["path"] for row in rows_of(OUTCOMES)} == paths


def test_every_office_document_ends_as_its_row_says(endings):
    expected = {row["path"]: row["outcome"] for row in rows_of(OUTCOMES)}

    assert {path: outcome for path, (outcome, _) in endings.items()} == expected


def test_a_phrase_that_another_reader_found_is_in_the_text(endings):
    phrases = {row["path"]: row["phrase"] for row in rows_of(OUTCOMES)}

    assert {path for path, phrase in phrases.items() if phrase not in endings[path][1]} == set()
