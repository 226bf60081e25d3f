"""Promise 6: cancel frees the machine, and so do delete and a replacement in the middle."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from uuid import uuid4

import httpx
import psutil
import pytest
from faults.promises.parts import Site, accepted, ended, found, is_within, nobody_works_on, pdf_of, text_about, upload
from oracle import wait_until

PAGES = 1000
STROKES = 20_000
CANCELLED_AT_PERCENT = 20
CANCELLED_S = 3
CHILD_GONE_S = 5
CALLED_S = 5
"""So long the provider may still be asked for what an embedder had in its hands."""


@cache
def large_pdf(word: str) -> bytes:
    """Its children are not done before it is cancelled: each page takes as long to read as one full of drawings."""
    return pdf_of(PAGES, word, strokes=STROKES)


@dataclass
class Freed:
    """How long it took until the machine was free again, in seconds from the request."""

    ended_s: float
    child_gone_s: float


def cancel(client: httpx.Client, document_id: str) -> bool:
    answer = client.post(f"/v1/documents/{document_id}/cancel")
    return answer.status_code == 202 and answer.json()["status"] == "cancelled"


def delete(client: httpx.Client, document_id: str) -> bool:
    client.delete(f"/v1/documents/{document_id}").raise_for_status()
    return client.get(f"/v1/documents/{document_id}").status_code == 410


def replace(client: httpx.Client, document_id: str) -> bool:
    word = client.get(f"/v1/documents/{document_id}").json()["external_id"]
    body = text_about(f"{word}new", 3)
    answer = upload(client, body, "short.txt", external_id=word, on_duplicate="replace")
    return answer.status_code == 202 and answer.json()["id"] == document_id


@pytest.mark.parametrize("act", [cancel, delete, replace])
def test_a_long_document_stops_at_a_fifth_and_its_child_is_gone(site, client, provider, figures, act):
    word = f"zl{uuid4().hex[:8]}"
    body = large_pdf(word)
    document_id = accepted(client, body, f"{word}.pdf", external_id=word, chunking='{"max_chars": 3000}')
    wait_until(
        lambda: pages_of(client, document_id) >= PAGES * CANCELLED_AT_PERCENT // 100,
        seconds=120,
        message="the pages do not come",
    )
    children = site.children()
    assert children, "nobody reads"
    asked_at_s = time.monotonic()
    freed = measured(client, document_id, children, act)

    assert is_within(freed.ended_s, CANCELLED_S)
    assert is_within(freed.child_gone_s, CHILD_GONE_S)
    leave_nothing(site, client, document_id, word, act)
    late_calls = provider.calls_about(f"{word} page", since_s=asked_at_s + CALLED_S)
    assert late_calls == 0, "texts were embedded for nobody"
    figures.note(
        6,
        f"{PAGES:,} pages, {act.__name__} at {CANCELLED_AT_PERCENT} %: answered after {freed.ended_s:.2f} s, "
        f"child gone after {freed.child_gone_s:.2f} s, no request to the provider later than {CALLED_S} s, "
        "no points left",
    )


def pages_of(client: httpx.Client, document_id: str) -> int:
    done: int = client.get(f"/v1/documents/{document_id}").json()["progress"]["pages"]["done"]
    return done


def measured(
    client: httpx.Client, document_id: str, children: list[int], act: Callable[[httpx.Client, str], bool]
) -> Freed:
    started_s = time.monotonic()
    assert act(client, document_id)
    ended_s = time.monotonic() - started_s
    wait_until(lambda: not any(map(psutil.pid_exists, children)), seconds=30, message="a child lives on")
    return Freed(ended_s, time.monotonic() - started_s)


def leave_nothing(site: Site, client: httpx.Client, document_id: str, word: str, act: object) -> None:
    """After both collections there is no point and no chunk but those of what replaced it."""
    left = 0
    if act is replace:
        assert ended(client, document_id)["status"] == "ready"
        left = 3
        assert len(found(client, f"{word}new")) == left
    assert found(client, word) == []
    site.let_second_pass_come(document_id)
    wait_until(
        lambda: (site.points_of(document_id), site.chunks_of(document_id)) == (left, left),
        seconds=30,
        message=lambda: f"left: {site.points_of(document_id)} points, {site.chunks_of(document_id)} chunks",
    )


@pytest.mark.parametrize("point", ["provider.embed.before", "vectors.upsert.before", "publish.before"])
def test_a_document_cancelled_while_it_is_embedded_or_verified_stays_cancelled(site, client, provider, point):
    word = f"ze{uuid4().hex[:8]}"
    with site.armed("embedder", **{point: "hold"}):
        document_id = accepted(client, text_about(word, 12), f"{word}.txt")
        site.hit_in("embedder", point)
        if point == "publish.before":
            wait_until(
                lambda: site.facts_of(document_id, "state") == ("verifying",), seconds=20, message="not verified"
            )
        assert cancel(client, document_id)

    assert found(client, word) == []
    wait_until(lambda: nobody_works_on(site, document_id), seconds=30, message="somebody works on it still")
    site.let_second_pass_come(document_id)
    wait_until(
        lambda: (site.points_of(document_id), site.chunks_of(document_id)) == (0, 0),
        seconds=30,
        message=lambda: f"left: {site.points_of(document_id)} points, {site.chunks_of(document_id)} chunks",
    )
    assert client.get(f"/v1/documents/{document_id}").json()["status"] == "cancelled"
