import csv
from collections import Counter

import pytest

from sluice_common.errors import FailureCode, PipelineError
from sluice_extractor.parsing.encodings import decode
from sluice_extractor.sandbox import ReadLimits, ReadRequest, Sandbox

pytestmark = pytest.mark.corpus

LIMITS = ReadLimits(1 << 30, 60, 5, 120, 5_000, 50_000_000)
REFUSED_FORMATS = {"doc", "ppt", "bin"}
PICTURES = {"png", "jpg", "jpeg", "tiff"}
RECORDINGS = {"wav", "mp3", "m4a", "ogg", "flac"}
"""Their text is made of what is measured, by the extractor itself: see `audio_outcomes.tsv`."""


@pytest.fixture(scope="module")
def manifest(corpus):
    with (corpus / "MANIFEST.tsv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file, delimiter="\t") if row["type"] not in RECORDINGS]


@pytest.fixture(scope="module")
def endings(corpus, manifest):
    """By path: the text of each document, or its failure code."""
    found = {}
    with Sandbox(LIMITS) as sandbox:
        for row in manifest:
            try:
                with sandbox.read(ReadRequest(corpus / row["path"], row["path"].rpartition("/")[2])) as reading:
                    found[row["path"]] = "\n\n".join(page.text for page in reading)
            except PipelineError as error:
                found[row["path"]] = FailureCode(error.code)
    return found


def test_every_file_ends_in_text_or_in_a_listed_code(manifest, endings):
    assert len(endings) == len(manifest)
    assert all(isinstance(ending, FailureCode) or ending.strip() for ending in endings.values())


def test_no_file_crashes_its_reader_or_passes_a_limit(endings):
    crashes = {FailureCode.EXTRACTOR_CRASHED, FailureCode.EXTRACTION_TIMEOUT, FailureCode.EXTRACTOR_OUT_OF_MEMORY}

    assert not {path: ending for path, ending in endings.items() if ending in crashes}


def test_every_pdf_with_text_gives_text(manifest, endings):
    with_text = [row["path"] for row in manifest if row["type"] == "pdf" and int(row["chars"] or 0) > 0]

    assert not [path for path in with_text if isinstance(endings[path], FailureCode)]


def test_as_much_text_comes_out_of_the_pdfs_as_other_readers_find(manifest, endings):
    with_text = [row for row in manifest if row["type"] == "pdf" and int(row["chars"] or 0) > 0]

    found = sum(len("".join(endings[row["path"]].split())) for row in with_text)
    assert found >= 0.99 * sum(int(row["chars"]) for row in with_text)


def test_every_encrypted_pdf_is_told_from_one_that_opens_without_a_password(manifest, endings):
    kinds = Counter((row["category"], endings[row["path"]] == FailureCode.ENCRYPTED) for row in manifest)

    assert kinds[("pdf-encrypted-needs-password", False)] == 0
    assert kinds[("pdf-encrypted-opens-without-password", True)] == 0


def test_formats_without_a_reader_are_refused_as_such(manifest, endings):
    refused = [row for row in manifest if row["type"] in REFUSED_FORMATS]

    assert {endings[row["path"]] for row in refused} == {FailureCode.UNSUPPORTED_FORMAT}


def test_pictures_want_text_recognition(manifest, endings):
    pictures = [row for row in manifest if row["type"] in PICTURES]

    assert {endings[row["path"]] for row in pictures} == {FailureCode.OCR_REQUIRED}


def test_every_odd_encoding_is_decoded_whole(corpus, manifest):
    odd = [row["path"] for row in manifest if row["category"] == "odd-encoding"]

    assert all(decode((corpus / path).read_bytes()).is_whole for path in odd)


@pytest.mark.parametrize(
    ("end_of_path", "written"),
    [
        ("_ude_euc1.txt", "역사적 예수"),
        ("_ude_iso1.txt", "역사적 예수"),
        ("_chromium_windows-949_with_no_encoding_specified.html", "windows-949"),
        ("korean-text-with-tables.pdf", "이"),
    ],
)
def test_korean_comes_out_as_written(endings, end_of_path, written):
    (text,) = (ending for path, ending in endings.items() if path.endswith(end_of_path))

    assert written in text
    assert any("가" <= char <= "힣" for char in text)
