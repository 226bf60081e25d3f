"""Promise 8: the same request or the same bytes twice make one document, whatever dies in between."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest
from faults.promises.parts import ended, found, in_threads, sha256, text_about, upload
from oracle import wait_until

AT_ONCE = 10


def documents_with(site, body: bytes) -> int:
    statement = f"SELECT count(DISTINCT document_id) FROM originals WHERE sha256 = '{sha256(body)}'"
    return site.oracle.query(statement)[0][0]


def at_once(site, send) -> list[httpx.Response]:
    """Ten answers, asked for at the same moment of both gateways in turn."""
    gateways = site.gateways()

    def ask(number: int) -> httpx.Response:
        with site.client(gateways[number % len(gateways)]) as client:
            return send(client)

    return in_threads(ask, AT_ONCE)


def test_ten_requests_at_once_with_one_key_make_one_document_and_nine_replays(site, client, figures):
    word = f"zk{uuid4().hex[:8]}"
    body = text_about(word, 3)

    answers = at_once(site, lambda one: upload(one, body, f"{word}.txt", key=word))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1, "a replay is another answer"
    replays = sum(answer.headers.get("idempotent-replayed") == "true" for answer in answers)
    assert (documents_with(site, body), replays) == (1, 9)
    other = upload(client, body + b" changed", f"{word}.txt", key=word)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reuse")
    assert ended(client, answers[0].json()["id"])["status"] == "ready"
    figures.note(8, "ten at once with one key through two gateways: 1 document, 9 replays, other content 422")


def test_the_same_bytes_ten_times_at_once_without_keys_make_one_document(site, figures):
    body = text_about(f"zb{uuid4().hex[:8]}", 3)

    answers = at_once(site, lambda one: upload(one, body, "same.txt"))

    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {202: 1, 200: 9}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert documents_with(site, body) == 1
    figures.note(8, "the same bytes ten times at once without keys: 1 document, 9 times 200")


@pytest.mark.parametrize("point", ["objects.commit.after", "accept.before", "accept.after"])
def test_a_gateway_that_dies_while_it_answers_makes_one_document_with_the_repeat(site, client, figures, point):
    word = f"zd{uuid4().hex[:8]}"
    body = text_about(word, 3)
    gateway = site.points["api"]

    gateway.arm_kill(point)
    with pytest.raises(httpx.TransportError):
        upload(client, body, f"{word}.txt", key=word)
    gateway.killed(point)
    # the minute after which a request that has not answered is taken for dead
    site.oracle.query(f"UPDATE idempotency_keys SET locked_until = now() WHERE key = '{word}' RETURNING 1")
    with site.client(site.gateways()[-1]) as other:
        answer = upload(other, body, f"{word}.txt", key=word)
        again = upload(other, body, f"{word}.txt", key=word)

        assert (answer.status_code, again.status_code) == (202, 202)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.content == answer.content
        assert documents_with(site, body) == 1
        assert ended(other, answer.json()["id"])["status"] == "ready"
    kept = site.oracle.query(f"SELECT storage_key FROM originals WHERE sha256 = '{sha256(body)}'")
    wait_until(
        lambda: {key for (key,) in kept} <= site.originals() and not strangers(site),
        seconds=30,
        message="an object without a row stays",
    )
    figures.note(8, f"gateway killed at {point}, repeated with the same key through the other one: 1 document")


@pytest.mark.parametrize("since", ["deleted", "made twice", "replaced"])
def test_a_gateway_that_stands_still_until_its_repeat_has_answered_changes_nothing_any_more(
    site, client, since, figures
):
    word = f"zs{uuid4().hex[:8]}"
    body, newer = text_about(word, 3), text_about(word, 4)
    fields = {
        "deleted": {},
        "made twice": {"on_duplicate": "allow"},
        "replaced": {"external_id": word, "on_duplicate": "replace"},
    }[since]
    gateway = site.points["api"]

    with ThreadPoolExecutor(1) as pool, site.client(site.gateways()[-1]) as other:
        gateway.arm(**{"objects.commit.after": "hold"})
        late = pool.submit(upload, client, body, f"{word}.txt", key=word, **fields)
        gateway.wait_for_hit("objects.commit.after")
        site.oracle.query(f"UPDATE idempotency_keys SET locked_until = now() WHERE key = '{word}' RETURNING 1")
        repeat = upload(other, body, f"{word}.txt", key=word, **fields)
        assert repeat.status_code == 202
        assert ended(other, repeat.json()["id"])["status"] == "ready"
        if since == "deleted":
            assert other.delete(f"/v1/documents/{repeat.json()['id']}").status_code == 202
        if since == "replaced":
            assert upload(other, newer, f"{word}.txt", **fields).status_code == 202
            assert ended(other, repeat.json()["id"])["status"] == "ready"
        gateway.disarm()
        answer = late.result()

    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_flight")
    left = site.oracle.query(f"SELECT count(*) FROM originals WHERE sha256 = '{sha256(body)}'")[0][0]
    shown = {hit["document_id"] for hit in found(client, word)}
    assert (left, shown) == (1, set() if since == "deleted" else {repeat.json()["id"]})
    if since == "replaced":
        assert client.get(f"/v1/documents/{repeat.json()['id']}/content").content == newer
    figures.note(8, f"a gateway that stood still until its repeat was answered, {since} since: 409, nothing changed")


def strangers(site) -> set[str]:
    """Originals that no row names."""
    return site.originals() - {key for (key,) in site.oracle.query("SELECT storage_key FROM originals")}
