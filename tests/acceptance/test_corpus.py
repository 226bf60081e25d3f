"""Real documents that nobody here wrote, all at once."""

import csv
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from oracle import CLEAN, Oracle, wait_until

from sluice_client import SluiceClient
from sluice_common.errors import FailureCode

pytestmark = pytest.mark.corpus

READABLE = re.compile(r"^pdf-(text|korean|cjk)|^pdf-encrypted-opens")
COLLECTION = "corpus"


@pytest.fixture(scope="module")
def manifest(corpus) -> list[dict[str, str]]:
    with (corpus / "MANIFEST.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


@pytest.fixture(scope="module")
def documents(corpus, manifest, stack):
    """Every file of the corpus, uploaded at once, when it has ended: by its path."""
    with SluiceClient(stack.url, stack.api_key, timeout_s=120) as client:
        client.create_collection(COLLECTION)

        def send(row: dict[str, str]) -> tuple[str, str]:
            uploaded = client.upload(Path(corpus / row["path"]), collection=COLLECTION, on_duplicate="allow")
            return row["path"], uploaded.id

        with ThreadPoolExecutor(8) as pool:
            ids = dict(pool.map(send, manifest))
        wait_until(lambda: not Oracle(stack).unfinished(), seconds=300, message="the corpus does not end")
        found = {document.id: document for document in client.list(collection=COLLECTION)}
    return {path: found[document_id] for path, document_id in ids.items()}


def test_every_document_ends_ready_or_failed_with_a_listed_code(documents, manifest):
    assert len(documents) == len(manifest)
    for path, document in documents.items():
        assert document.status in ("ready", "failed"), path
        assert document.status == "ready" or document.error.code in set(FailureCode), path
        assert document.status == "failed" or document.total_chunks > 0, path


def test_no_document_is_anybodys_mistake(documents):
    broken = {"internal", "extractor_crashed", "store_unavailable", "provider_unavailable", "embedding_rejected"}

    assert {path: d.error.code for path, d in documents.items() if d.error and d.error.code in broken} == {}


def test_every_pdf_that_has_text_is_ready(documents, manifest):
    with_text = [row for row in manifest if READABLE.match(row["category"]) and int(row["chars"] or 0) > 0]

    assert with_text
    assert [row["path"] for row in with_text if documents[row["path"]].status != "ready"] == []


def test_every_odd_encoding_is_read(documents, manifest):
    odd = [row["path"] for row in manifest if row["category"] == "odd-encoding"]

    unread = {path: documents[path].error.code for path in odd if documents[path].status != "ready"}
    assert set(unread.values()) <= {"unsupported_format"}, unread


def test_points_and_chunks_of_published_runs_are_the_same(documents, stack):
    assert len(documents) > 0
    assert Oracle(stack).settle(seconds=60) == CLEAN


def test_a_phrase_of_a_document_finds_it_in_the_first_three_hits(documents, stack):
    with SluiceClient(stack.url, stack.api_key) as client:
        phrases = phrases_of(documents, client)
        assert sum(has_hangul(phrase) for phrase, _, _ in phrases) >= 3
        missed = [
            (path, phrase)
            for phrase, path, same in phrases
            if not {hit.document_id for hit in client.search(phrase, collection=COLLECTION, top_k=3)} & same
        ]
    assert missed == []


def phrases_of(documents, client) -> list[tuple[str, str, set[str]]]:
    """A phrase that only one content has, from twenty documents and more, Korean ones first; and who has it.

    The corpus holds some contents twice or nearly so: a phrase of several would be found in any of them.
    """
    words_by_path = {
        path: " ".join(chunk.text for chunk in client.chunks(document.id, limit=100)).split()
        for path, document in sorted(documents.items())
        if document.status == "ready"
    }
    text_by_sha = {documents[path].sha256: " ".join(words) for path, words in words_by_path.items()}
    korean, others = [], []
    for path, words in words_by_path.items():
        phrase = own_phrase(words, documents[path].sha256, text_by_sha)
        if phrase is not None:
            holders = {d.id for d in documents.values() if d.sha256 == documents[path].sha256}
            (korean if has_hangul(phrase) else others).append((phrase, path, holders))
    return korean[:10] + others[:: max(1, len(others) // 25)]


def own_phrase(words: list[str], sha256: str, text_by_sha: dict[str, str]) -> str | None:
    """Twelve words of the middle, or eight of a short document, that stand in no other content, however punctuated."""
    length = 12 if len(words) >= 40 else 8
    phrase = " ".join(words[len(words) // 2 :][:length])
    is_own = all(bare(phrase) not in bare(text) for other, text in text_by_sha.items() if other != sha256)
    return phrase if len(phrase.split()) == length and is_own else None


def bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text))


def has_hangul(text: str) -> bool:
    return any("가" <= letter <= "힣" for letter in text)
