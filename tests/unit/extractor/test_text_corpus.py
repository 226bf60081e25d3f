"""What each mail, table, text and old document of the corpus ends as; the table beside this module says it."""

import csv
from pathlib import Path

import pytest

from sluice_common.errors import PipelineError
from sluice_extractor.sandbox import ReadLimits, ReadRequest, Sandbox

pytestmark = pytest.mark.corpus

LIMITS = ReadLimits(1 << 30, 60, 5, 120, 5_000, 50_000_000)
OUTCOMES = Path(__file__).with_name("text_outcomes.tsv")
TYPES = {
    "eml", "msg", "hwp", "csv", "tsv", "rtf", "json", "xml", "ipynb", "srt", "vtt", "rst", "asciidoc", "org",
    "doc", "ppt", "txt", "html", "htm", "md", "bin",
}  # fmt: skip


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def endings(corpus):
    """By path: the media type or the code, the codes of the remarks, and the text with single spaces."""
    found = {}
    with Sandbox(LIMITS) as sandbox:
        for row in rows_of(OUTCOMES):
            path = corpus / row["path"]
            try:
                with sandbox.read(ReadRequest(path, path.name)) as reading:
                    text = " ".join(" ".join(page.text for page in reading).split())
                    remarks = ",".join(sorted({remark.code for remark in reading.remarks}))
                    found[row["path"]] = (reading.media_type, remarks, text)
            except PipelineError as error:
                found[row["path"]] = (str(error.code), "", "")
    return found


def test_the_table_has_every_text_of_the_corpus(corpus):
    paths = {row["path"] for row in rows_of(corpus / "MANIFEST.tsv") if row["type"] in TYPES}

    assert {row["path"] for row in rows_of(OUTCOMES)} == paths


def test_every_text_ends_as_its_row_says(endings):
    expected = {row["path"]: (row["outcome"], row["remarks"]) for row in rows_of(OUTCOMES)}

    assert {path: ending[:2] for path, ending in endings.items()} == expected


def test_the_phrase_of_each_row_is_in_the_text(endings):
    phrases = {row["path"]: row["phrase"] for row in rows_of(OUTCOMES)}

    assert {path for path, phrase in phrases.items() if phrase not in endings[path][2]} == set()
