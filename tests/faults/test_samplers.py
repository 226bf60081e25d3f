"""What looks at a run notices what may never be shown: each of its checks, on answers that break a promise."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from uuid import UUID

import httpx
import pytest
from faults import verdict
from faults.census import MORE_KEYS, Census
from faults.clients import DRIPS, Dripping, Gateway
from faults.contents import CANARIES, Content
from faults.history import Cancelled, History, Told, now_s
from faults.kinds import Kind
from faults.samplers import DeletedWatch, Follower, LastLook, LeakWatch, Searcher
from faults.schedule import schedule
from faults.verdict import PREVIOUS_SERVED, Verdict
from oracle import CLEAN

ID = f"doc_{UUID(int=7).hex}"
TEXT = "zq0x1 generation 1 line 1 of 1 quernstone7f3a heron."
CONTENT = Content("zq0x1", 1, "text", ".txt", TEXT.encode(), lines=1)
HIT = {"document_id": ID, "run": 5, "text": TEXT}
READY = {"id": ID, "status": "ready", "job_id": "job", "progress": {"percent": 100}, "warnings": []}


class World:
    """A gateway that answers as told, a table that says as told, and what was seen to be wrong."""

    def __init__(self) -> None:
        self.history = History()
        self.told = Told(ID, "default", [CONTENT], "key")
        self.history.take(self.told)
        self.history.sent[CONTENT.sha256] = CONTENT
        self.answer: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(503, json={})
        self.published: list[tuple[int, UUID]] = []
        transport = httpx.MockTransport(self._answer)
        gateway = Gateway(["http://gateway"], "key", who="sampler", history=self.history, transport=transport)
        self.gateways = {"default": gateway}

    def query(self, _statement: str, *_values: object) -> list[tuple]:
        return list(self.published)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        return self.answer(request)

    def answers(self, status: int, body: dict, **headers: str) -> None:
        self.answer = lambda _: httpx.Response(status, json=body, headers=headers)

    @property
    def broken(self) -> set[str]:
        return {violation.promise for violation in self.history.violations}

    def is_deleted(self) -> None:
        self.told.deleted_at, self.told.may_be_deleted = now_s(), True


@pytest.fixture
def world() -> World:
    return World()


def test_a_document_that_is_read_after_the_answer_to_its_delete_breaks_a_promise(world):
    follower = Follower(world.gateways, world.history, 1)
    world.answers(200, READY, etag='"3"')
    follower.look()
    assert (world.broken, world.history.seen["documents read"]) == (set(), 1)

    world.is_deleted()
    follower.look()

    assert world.broken == {"unexpected answer"}


@pytest.mark.parametrize("seed", range(8))
def test_whatever_shows_a_deleted_document_breaks_a_promise(world, seed):
    watch = DeletedWatch(world.gateways, world.history, seed)
    world.answers(200, {"data": [READY]})
    watch.look()
    assert (world.broken, world.history.counts) == (set(), Counter())

    world.is_deleted()
    watch.look()

    assert world.broken in ({"unexpected answer"}, {"no list shows what is deleted"})


def test_answers_that_are_right_about_what_is_deleted_are_counted(world):
    watch = DeletedWatch(world.gateways, world.history, 1)
    world.is_deleted()
    world.answer = lambda request: (
        httpx.Response(200, json={"data": []})
        if request.url.path == "/v1/documents"
        else httpx.Response(410, json={"code": "deleted"})
    )
    for _ in range(40):
        watch.look()

    assert not world.broken
    assert world.history.seen["lists"] > 0
    assert world.history.seen["deleted documents asked for"] > 0


def test_a_hit_of_a_run_that_was_not_published_when_it_was_shown_breaks_a_promise(world):
    searcher = Searcher(world.gateways, world, world.history, 1)
    world.answers(200, {"results": [HIT]})
    world.published = [(5, UUID(int=7))]
    searcher.look()
    assert (world.broken, world.history.seen["answers compared with what is published"]) == (set(), 1)

    world.published = []
    searcher.look()

    assert world.broken == {"search shows published runs only"}


@pytest.mark.parametrize("body", [{"results": []}, None])
def test_searches_that_are_never_answered_or_find_nothing_have_shown_nothing(world, body):
    searcher = Searcher(world.gateways, world, world.history, 1)
    world.answers(200 if body else 503, body or {})
    for _ in range(5):
        searcher.look()

    assert world.history.seen["searches that found something"] == 0


@pytest.mark.parametrize("what", CANARIES)
def test_an_error_that_quotes_what_was_sent_breaks_a_promise(world, what):
    world.answers(503, {"detail": f"cannot read {CANARIES[what]}.txt"})

    world.gateways["default"].ask("GET", "/v1/documents", what="list", expected={200})

    assert world.broken == {"no word of a document leaks"}
    assert CANARIES[what] not in str(world.history.violations)


def test_an_answer_with_the_clients_own_document_is_no_leak(world):
    world.answers(200, {"name": CANARIES["name"]})

    world.gateways["default"].ask("GET", "/v1/documents", what="list", expected={200})

    assert not world.broken


class Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f'sluice_documents{{name="{CANARIES["name"]}"}} 1\n'.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def metrics_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()


def test_a_metric_that_is_labelled_with_a_name_breaks_a_promise(world, metrics_url):
    watch = LeakWatch(Path("/nowhere"), "redis://127.0.0.1:1/0", world.history)

    watch.look_at_metrics([metrics_url])

    assert world.broken == {"no word of a document leaks"}


class Table:
    """One document, as the table has it at the end, and nothing else to complain of."""

    def __init__(self, **row: object) -> None:
        self.row = {
            "document_id": UUID(int=7),
            "tenant": "default",
            "lifecycle": "active",
            "state": "completed",
            "error_code": None,
            "error_detail_code": None,
            "published_run": 5,
            "last_published": 5,
            "storage_key": "aa/1",
            "sha256": CONTENT.sha256,
            **row,
        }

    def query(self, statement: str, *_: object) -> list[tuple]:
        if statement == verdict._ROWS:
            return [tuple(self.row.values())]
        return [(TEXT,)] if statement == verdict._TEXTS else []

    def original(self, _key: str) -> bytes:
        return CONTENT.body

    def findings(self) -> object:
        return CLEAN

    def nothing(self) -> list[str]:
        return []

    remains_of_deleted = originals_without_row = unfinished_uploads = nothing


def broken_at_the_end(world: World, table: Table, *, hits: list[dict], warnings: list[str] = []) -> set[str]:  # noqa: B006 - never changed
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/search":
            return httpx.Response(200, json={"results": hits})
        return httpx.Response(200, json={**READY, "warnings": [{"code": code} for code in warnings]})

    world.answer = answer
    searcher = Searcher(world.gateways, world, world.history, 1)
    judged = Verdict(table, world.history, searcher, LastLook(world.gateways))
    return {violation.promise for violation in judged.violations()}


def test_a_ready_document_that_is_found_is_right(world):
    assert broken_at_the_end(world, Table(), hits=[HIT]) == set()
    assert world.history.seen["served documents searched for at the end"] == 1


@pytest.mark.parametrize(
    "hits", [[], [{**HIT, "run": 4}], [HIT, {**HIT, "run": 4}], [HIT, {**HIT, "document_id": "doc_another"}]]
)
def test_a_ready_document_that_is_not_found_or_not_alone_breaks_a_promise(world, hits):
    assert broken_at_the_end(world, Table(), hits=hits) == {"what is served is found, and it alone"}


def test_a_deleted_document_that_is_found_at_the_end_breaks_a_promise(world):
    world.is_deleted()
    table = Table(lifecycle="deleted", published_run=None)

    assert broken_at_the_end(world, table, hits=[]) == set()
    assert broken_at_the_end(world, table, hits=[HIT]) == {"search shows nothing deleted"}


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_replacement_that_came_to_nothing_must_leave_the_older_version_and_say_so(world, state):
    world.told.cancelled = Cancelled.MAYBE
    broken = Content("zq0x1", 2, "corrupt", ".pdf", b"%PDF", frozenset({"corrupt"}))
    world.history.sent[CONTENT.sha256] = Content(**{**vars_of(CONTENT), "codes": broken.codes, "lines": None})
    code = "corrupt" if state == "failed" else None
    kept, lost = (Table(state=state, error_code=code, published_run=served, last_published=5) for served in (5, None))

    assert broken_at_the_end(world, kept, hits=[HIT], warnings=[PREVIOUS_SERVED]) == set()
    assert broken_at_the_end(world, kept, hits=[HIT]) == {"an older version that is served is named"}
    assert "what was ready is served until a newer version is" in broken_at_the_end(world, lost, hits=[])
    assert "an older version that is served is named" in broken_at_the_end(
        world, lost, hits=[], warnings=[PREVIOUS_SERVED]
    )


def vars_of(content: Content) -> dict[str, object]:
    return {name: getattr(content, name) for name in content.__dataclass_fields__}


def test_keys_that_pile_up_in_redis_are_left_over():
    def census(**keys: int) -> Census:
        return Census(Counter(), Counter(), Counter(), Counter(keys), frozenset())

    assert census(acks=1 + MORE_KEYS).grown_since(census(acks=1)) == []
    assert len(census(acks=2 + MORE_KEYS).grown_since(census(acks=1))) == 1


def test_a_kind_that_found_nothing_strikes_again_before_chance_decides():
    kinds = [Kind(name, "kill", lambda: True) for name in ("kill api", "kill a child", "wipe redis")]
    struck: list[str] = []
    groups = schedule(kinds, random.Random(1), is_wanted_again=lambda kind: kind.name == "kill a child")
    while len(struck) < 6:
        struck += [kind.name for kind in next(groups).kinds]

    assert sorted(struck[:3]) == ["kill a child", "kill api", "wipe redis"]
    assert set(struck[3:]) == {"kill a child"}


def test_a_slow_client_sends_its_whole_file_in_pieces(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("faults.clients.time.sleep", slept.append)
    request = httpx.Request(
        "POST", "http://gateway", files={"file": ("slow.txt", Dripping(CONTENT.body, random.Random(1)))}
    )

    pieces = list(request.stream)

    body = b"".join(pieces)
    assert re.search(re.escape(CONTENT.body), body)
    assert int(request.headers["content-length"]) == len(body)
    assert len(slept) >= DRIPS / 2
