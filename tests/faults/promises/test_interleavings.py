"""Two real workers, driven through exact orders: what came too late changes nothing."""

from functools import partial
from uuid import uuid4

import httpx
import pytest
from faults.promises.parts import (
    STOPS,
    Site,
    accepted,
    bare,
    ended,
    found,
    lose_points,
    nobody_works_on,
    other_than,
    text_about,
    upload,
)
from oracle import CLEAN, wait_until

PARTS = 4
"""As many chunks as one batch has."""

TRACED = "pause:0"
"""Nothing happens, but the hit is written down."""


@pytest.fixture
def word() -> str:
    return f"zi{uuid4().hex[:8]}"


def send(client: httpx.Client, word: str, **fields: str) -> str:
    return accepted(client, text_about(word, PARTS), f"{word}.txt", **fields)


def is_whole(site: Site, client: httpx.Client, document_id: str, word: str) -> None:
    """Ready, every chunk with its one point and counted once, and found."""
    assert client.get(f"/v1/documents/{document_id}").json()["status"] == "ready"
    counted = site.oracle.query(
        "SELECT r.n_done, r.n_batches, r.n_chunks FROM runs r JOIN documents d ON d.published_run = r.id "
        f"WHERE d.id = '{bare(document_id)}'"
    )
    assert counted == [(1, 1, PARTS)]
    assert len(found(client, word)) == PARTS
    wait_until(
        lambda: (site.points_of(document_id), site.chunks_of(document_id)) == (PARTS, PARTS),
        seconds=30,
        message=lambda: f"{site.points_of(document_id)} points, {site.chunks_of(document_id)} chunks",
    )


def test_an_extractor_that_finishes_after_another_one_took_over_changes_nothing(site, client, word):
    with site.frozen("extractor", "finish_extraction.before", lambda: send(client, word)) as (late, document_id):
        assert ended(client, document_id)["status"] == "ready"
        published, losses, tries = site.facts_of(document_id, "published_run, losses, tries")
        site.points[late].arm(**{"finish_extraction.after": TRACED})
    site.points[late].wait_for_hit("finish_extraction.after")

    assert (losses, tries) == (1, 1), "the lease that ran out is a loss and no try"
    assert site.facts_of(document_id, "published_run") == (published,)
    site.let_second_pass_come(document_id)
    is_whole(site, client, document_id, word)


@pytest.mark.parametrize(("stopped_before", "late_move"), STOPS)
def test_a_batch_that_two_embedders_did_counts_once(site, client, word, stopped_before, late_move):
    begin = partial(send, client, word)
    with site.frozen("embedder", f"{stopped_before}.before", begin) as (late, document_id):
        assert ended(client, document_id)["status"] == "ready"
        site.points[late].arm(**{f"{late_move}.after": TRACED})
    site.points[late].wait_for_hit(f"{late_move}.after")

    is_whole(site, client, document_id, word)
    batches = site.oracle.query(f"SELECT state, losses FROM batches WHERE document_id = '{bare(document_id)}'")
    assert batches == [("done", 1)]


def test_points_lost_between_count_and_publication_are_repaired(site, client, word):
    with site.armed("embedder", **{"publish.before": "hold"}):
        document_id = send(client, word)
        site.hit_in("embedder", "publish.before")
        lose_points(site, document_id)
        assert site.points_of(document_id) == 0
    assert ended(client, document_id)["status"] == "ready"

    wait_until(lambda: site.points_of(document_id) == PARTS, seconds=60, message="the audit does not repair")
    wait_until(lambda: nobody_works_on(site, document_id), seconds=30, message="the repair does not end")
    is_whole(site, client, document_id, word)


def test_points_lost_before_the_count_are_embedded_again_before_anything_is_published(site, client, word):
    with site.armed("embedder", **{"vectors.count_of_run.before": "hold"}):
        document_id = send(client, word)
        site.hit_in("embedder", "vectors.count_of_run.before")
        lose_points(site, document_id)
        assert site.points_of(document_id) == 0

    assert ended(client, document_id)["status"] == "ready"
    assert site.points_of(document_id) == PARTS
    is_whole(site, client, document_id, word)


def test_content_that_was_replaced_while_its_publication_waited_is_never_shown(site, client, word):
    old, new = f"{word}old", f"{word}new"
    with site.armed("embedder", **{"publish.before": "hold"}):
        document_id = accepted(client, text_about(old, PARTS), "old.txt", external_id=word)
        late = site.hit_in("embedder", "publish.before")
        answer = upload(client, text_about(new, PARTS), "new.txt", external_id=word, on_duplicate="replace")
        assert (answer.status_code, answer.json()["id"]) == (202, document_id)
        site.points[late].arm(**{"publish.after": TRACED})
    site.points[late].wait_for_hit("publish.after")

    assert found(client, old) == []
    assert ended(client, document_id)["status"] == "ready"
    assert found(client, old) == []
    site.let_second_pass_come(document_id)
    is_whole(site, client, document_id, new)


def test_what_a_zombie_writes_while_its_run_is_collected_goes_with_the_second_collection(site, client, word):
    assert collected_after_a_zombie(site, client, word, reconcilers=("reconciler",)) == 0


def test_two_reconcilers_that_collect_the_same_run_at_once_still_collect_it_twice(site, client, word):
    assert collected_after_a_zombie(site, client, word, reconcilers=("reconciler", "reconciler2")) == 0


def collected_after_a_zombie(site: Site, client: httpx.Client, word: str, *, reconcilers: tuple[str, ...]) -> int:
    """How many points are left when a zombie wrote between the two halves of the first collection.

    The audit is held all the while: it would remove them too, but here the second collection must.
    """
    site.arm("reconciler", **{"vectors.page_of_points.before": "hold", "collect.before": "hold"})
    for name in reconcilers:
        site.points[name].wait_for_hit("collect.before")
    with site.frozen("embedder", "vectors.upsert.before", lambda: send(client, word)) as (late, document_id):
        assert client.post(f"/v1/documents/{document_id}/cancel").status_code == 202
        for name in reconcilers:
            site.points[name].arm(**{"collect.points_dropped": "hold"})
            site.points[name].disarm("collect.before")
        for name in reconcilers:
            site.points[name].wait_for_hit("collect.points_dropped")
        site.points[late].arm(**{"vectors.upsert.after": TRACED})
    site.points[late].wait_for_hit("vectors.upsert.after")
    assert site.points_of(document_id) == PARTS, "the late write is what is tried here"
    for name in reconcilers:
        site.points[name].disarm("collect.points_dropped")
    wait_until(lambda: passes_of(site, document_id) >= 1, seconds=30, message="the first collection does not end")

    site.let_second_pass_come(document_id)
    wait_until(lambda: passes_of(site, document_id) >= 2, seconds=30, message="there is no second collection")
    return site.points_of(document_id)


def passes_of(site: Site, document_id: str) -> int:
    statement = f"SELECT min(gc_pass) FROM runs WHERE document_id = '{bare(document_id)}'"
    return int(site.oracle.query(statement)[0][0])


def test_a_hint_that_was_noted_as_sent_and_never_left_is_sent_again(site, client, word):
    document_id = send(client, word)
    assert ended(client, document_id)["status"] == "ready"
    dispatcher = site.points["reconciler"]
    site.arm("reconciler", **{"dispatch.before": "hold"})
    for name in ("reconciler", "reconciler2"):
        site.points[name].wait_for_hit("dispatch.before")
    # only the dispatch loop sends the hints of a run that is embedded again
    assert client.post(f"/v1/documents/{document_id}/reprocess", json={"from": "embed"}).status_code == 202
    dispatcher.arm_kill("dispatch.after")
    dispatcher.disarm("dispatch.before")
    dispatcher.killed("dispatch.after")

    counts = site.oracle.query(
        "SELECT b.dispatch_count FROM batches b JOIN documents d ON d.active_run = b.run_id "
        f"WHERE d.id = '{bare(document_id)}'"
    )
    assert counts == [(1,)], "the hint should be noted as sent"
    assert ended(client, document_id)["status"] == "ready"
    assert site.points[other_than("reconciler")].hits("dispatch.before"), "the other one stood still all the while"
    site.disarm("reconciler")
    site.let_second_pass_come(document_id)
    is_whole(site, client, document_id, word)


def test_after_every_order_nothing_is_missing_and_nothing_is_left_over(site):
    assert site.oracle.settle(seconds=60) == CLEAN
