"""Which pictures each document of the corpus comes with; the table beside this module says it."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice_common.errors import PipelineError
from sluice_extractor.parsing.media import Picture
from sluice_extractor.sandbox import ReadLimits, ReadRequest, Sandbox

pytestmark = pytest.mark.corpus

LIMITS = ReadLimits(1536 << 20, 120, 5, 240, 5_000, 50_000_000)
HERE = Path(__file__).parent
OUTCOMES = HERE / "picture_outcomes.tsv"
SILENT = {"wav", "mp3", "m4a", "ogg", "flac"}
PDF_WITH_TEXT = ("pdf-text", "pdf-korean", "pdf-cjk", "pdf-encrypted-opens")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def is_tried(row: dict[str, str]) -> bool:
    """Scans are left to those who recognise their text."""
    return row["type"] not in SILENT and (row["type"] != "pdf" or row["category"].startswith(PDF_WITH_TEXT))


def endings_of(corpus: Path) -> Iterator[tuple[str, str, str]]:
    """The path of each document, how it ends, and its pictures: a `*` before the size is a whole page."""
    with Sandbox(LIMITS) as sandbox:
        for row in filter(is_tried, rows_of(corpus / "MANIFEST.tsv")):
            path = corpus / row["path"]
            try:
                with sandbox.read(ReadRequest(path, path.name, wants_media=True)) as reading:
                    media = [media for page in reading for media in page.media]
            except PipelineError as error:
                yield row["path"], str(error.code), ""
            else:
                yield row["path"], "read", " ".join(_told(picture) for picture in media if isinstance(picture, Picture))


def _told(picture: Picture) -> str:
    return f"{'*' if picture.is_whole_page else ''}{picture.width}x{picture.height}"


@pytest.fixture(scope="module")
def endings(corpus):
    return {path: (outcome, pictures) for path, outcome, pictures in endings_of(corpus)}


def test_every_document_comes_with_the_pictures_of_its_row_and_the_others_with_none(endings):
    expected = {row["path"]: row["pictures"] for row in rows_of(OUTCOMES)}

    assert {path: pictures for path, (_, pictures) in endings.items() if pictures} == expected


@pytest.mark.parametrize("table", ["office_outcomes.tsv", "text_outcomes.tsv"])
def test_no_document_fails_that_can_be_read_without_its_pictures(endings, table):
    readable = {row["path"] for row in rows_of(HERE / table) if row["outcome"] == "text" or "/" in row["outcome"]}

    assert readable & endings.keys()
    assert {path: endings[path] for path in readable & endings.keys() if endings[path][0] != "read"} == {}


def test_every_picture_of_the_corpus_can_be_opened(endings, corpus):
    pictures = {row["path"] for row in rows_of(corpus / "MANIFEST.tsv") if row["category"] == "image"}

    assert pictures
    assert {path for path in pictures if endings[path][0] != "read"} == set()
