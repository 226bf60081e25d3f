"""Promise 4: a search never shows two runs of a document, or none during a replacement."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
from faults.promises.parts import (
    IS_LONG,
    SEED,
    Site,
    accepted,
    ended,
    found,
    in_threads,
    text_about,
    unreadable,
    upload,
)
from faults.promises.watching import Searchers
from oracle import wait_until

DOCUMENTS = 10
REPLACERS = 5
REPLACEMENTS = REPLACERS * (80 if IS_LONG else 10)
"""Every fifth one of each replacer fails."""


@dataclass
class Served:
    """One document, and what it must serve."""

    word: str
    id: str
    generation: int
    body: bytes
    collection: str

    def body_of(self, generation: int) -> bytes:
        """The next content; its number of parts changes from one to the next."""
        return text_about(self.word, 3 + generation % 5, note=f"generation{generation}")

    def replace(self, client: httpx.Client, body: bytes, name: str) -> dict[str, Any]:
        fields = {"external_id": self.word, "collection": self.collection, "on_duplicate": "replace"}
        answer = upload(client, body, name, **fields)
        assert (answer.status_code, answer.json()["id"]) == (202, self.id), answer.text
        return ended(client, self.id)


@dataclass(frozen=True)
class Library:
    """A collection of its own with ten documents that are ready."""

    site: Site
    client: httpx.Client
    collection: str
    documents: list[Served]

    def searchers(self) -> Searchers:
        """Searches that expect every one of the documents in every answer."""
        return Searchers(self.site, self.collection, {document.word for document in self.documents})

    def reprocess(self, document: Served, start: str) -> None:
        answer = self.client.post(f"/v1/documents/{document.id}/reprocess", json={"from": start})
        assert answer.status_code == 202, answer.text


@pytest.fixture
def library(site, client) -> Library:
    collection = f"versions-{uuid4().hex[:8]}"
    assert client.post("/v1/collections", json={"name": collection}).status_code == 201

    def make(number: int) -> Served:
        document = Served(f"zv{number}", "", 1, b"", collection)
        document.body = document.body_of(1)
        fields = {"external_id": document.word, "collection": collection}
        document.id = accepted(client, document.body, f"{document.word}.txt", **fields)
        return document

    documents = in_threads(make, DOCUMENTS, threads=4)
    for document in documents:
        assert ended(client, document.id)["status"] == "ready"
    return Library(site, client, collection, documents)


def test_every_search_during_many_replacements_shows_exactly_one_run(library, figures):
    with library.searchers() as searchers:
        failed = sum(in_threads(lambda number: replace_all(library, number), REPLACERS))

    seen = searchers.seen
    assert seen.wrong == [], f"seed {SEED}"
    assert failed == REPLACEMENTS // 5
    assert seen.answers > REPLACEMENTS
    figures.note(
        4,
        f"{seen.answers} searches ({seen.answers / searchers.seconds:.0f} a second, {seen.by_mode}, "
        f"{seen.refused} more answered 503) during "
        f"{REPLACEMENTS} replacements, {failed} of them failing: every answer from exactly one run of each of "
        f"{DOCUMENTS} documents, none missing",
    )


def replace_all(library: Library, number: int) -> int:
    """Replace the documents of one replacer in turn; returns how many replacements failed, as they should."""
    rng = random.Random(f"{SEED}:{number}")
    mine = library.documents[number::REPLACERS]
    failed = 0
    with library.site.client(library.site.gateways()[number % 2]) as client:
        for step in range(REPLACEMENTS // REPLACERS):
            document = mine[step % len(mine)]
            if step % 5 == 4:
                failed += 1
                replace_in_vain(client, document, step, rng)
            else:
                replace_well(client, document)
    return failed


def replace_well(client: httpx.Client, document: Served) -> None:
    document.generation += 1
    document.body = document.body_of(document.generation)
    after = document.replace(client, document.body, f"{document.word}.txt")
    assert (after["status"], after["error"], after["warnings"]) == ("ready", None, [])
    serves(client, document)


def replace_in_vain(client: httpx.Client, document: Served, step: int, rng: random.Random) -> None:
    body, name, code = unreadable(step, rng)
    after = document.replace(client, body, name)
    assert (after["status"], after["error"]["code"]) == ("failed", code)
    assert [warning["code"] for warning in after["warnings"]] == ["previous_version_served"]
    assert after["name"] == f"{document.word}.txt", "the name is not that of what is served"
    serves(client, document)


def serves(client: httpx.Client, document: Served) -> None:
    """The download and the list of chunks are those of the published run."""
    assert client.get(f"/v1/documents/{document.id}/content").content == document.body
    chunks = client.get(f"/v1/documents/{document.id}/chunks", params={"limit": 100}).json()["data"]
    parts = document.body.decode().split("\n\n")
    assert [" ".join(chunk["text"].split()) for chunk in chunks] == [" ".join(part.split()) for part in parts]


@pytest.mark.parametrize("start", ["extract", "embed"])
def test_the_published_run_serves_until_the_reprocessing_is_published(library, figures, start):
    client, documents = library.client, library.documents
    with library.searchers() as searchers:
        for _ in range(2):
            before = {document.id: run_of(client, document) for document in documents}
            for document in documents:
                library.reprocess(document, start)
            for document in documents:
                assert ended(client, document.id)["status"] == "ready"
                assert run_of(client, document) > before[document.id], "no new run was published"

    assert searchers.seen.wrong == []
    figures.note(
        4, f"{searchers.seen.answers} searches during {2 * DOCUMENTS} reprocessings from {start}: one run each, whole"
    )


@pytest.mark.parametrize(
    ("start", "kind", "point"),
    [
        ("extract", "extractor", "finish_extraction.before"),
        ("embed", "embedder", "vectors.upsert.before"),
        ("extract", "embedder", "publish.before"),
    ],
)
def test_a_reprocessing_cancelled_in_the_middle_leaves_the_old_run_serving(library, start, kind, point):
    client, document = library.client, library.documents[0]
    published = run_of(client, document)
    with library.searchers() as searchers:
        with library.site.armed(kind, **{point: "hold"}):
            library.reprocess(document, start)
            library.site.hit_in(kind, point)
            cancelled = client.post(f"/v1/documents/{document.id}/cancel").json()
            assert cancelled["status"] == "cancelled"
            assert "previous_version_served" in [warning["code"] for warning in cancelled["warnings"]]
        wait_until(lambda: searchers.seen.answers > 20, seconds=60, message="nothing is found any more")

    assert searchers.seen.wrong == []
    assert run_of(client, document) == published
    serves(client, document)


def test_a_search_that_is_overtaken_by_a_replacement_and_its_collection_still_finds_the_document(library):
    site, client, document = library.site, library.client, library.documents[0]
    body, left = document.body_of(2), document.body_of(2).count(b"\n\n") + 1
    gateway = site.points["api"]
    with ThreadPoolExecutor(2) as pool, site.client(site.gateways()[-1]) as other:
        with site.armed("embedder", **{"publish.before": "hold"}):
            replaced = pool.submit(document.replace, other, body, f"{document.word}.txt")
            site.hit_in("embedder", "publish.before")
            gateway.arm(**{"vectors.search.before": "hold"})
            # it has read that the new run is hidden, and has not asked the store yet
            late = pool.submit(found, client, document.word, collection=library.collection)
            gateway.wait_for_hit("vectors.search.before")
        assert replaced.result()["status"] == "ready"
        wait_until(lambda: site.points_of(document.id) == left, seconds=30, message="the old points stay")
        gateway.disarm()
        hits = late.result()

    assert {hit["document_id"] for hit in hits} == {document.id}, "the document is not found at all"
    assert all("generation2 " in hit["text"] for hit in hits)


def run_of(client: httpx.Client, document: Served) -> int:
    run: int = client.get(f"/v1/documents/{document.id}").json()["published_run"]
    return run
