"""Looks at a stack from outside while faults strike: what no answer and no state of the table may ever show."""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
import redis
from faults.clients import Answer, Gateway, Pace
from faults.contents import CANARIES, generations_in
from faults.history import History, Told, now_s
from oracle import Oracle, wait_until

FENCED = b'"outcome": "fenced"'
"""How a worker's log ends a task whose work was somebody else's by then."""
ILLEGAL_MOVE = "illegal move of"
"""How the guard of the test databases begins its refusal, which PostgreSQL writes to its log."""


class Sampler:
    """Looks again and again, with a pause between, until it is told to stop."""

    def __init__(self, name: str, look: Callable[[], None], *, pause_s: float) -> None:
        self._thread = threading.Thread(target=self._repeat, name=name, daemon=True)
        self._look = look
        self._pause_s = pause_s
        self._stopping = threading.Event()

    def _repeat(self) -> None:
        while not self._stopping.wait(self._pause_s):
            self._look()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(timeout=60)


class Searcher:
    """Searches: an answer shows one run of a document, and nothing that was deleted, foreign or never published."""

    def __init__(self, gateways: dict[str, Gateway], oracle: Oracle, history: History, seed: int) -> None:
        self._gateways = gateways
        self._oracle = oracle
        self._history = history
        self._rng = random.Random(f"{seed}:searcher")
        self.shown: dict[int, tuple[str, int]] = {}
        """Which document, and which generation of it, each run stood for."""

    def look(self) -> None:
        tenant = self._rng.choice(sorted(self._gateways))
        every = list(self._history.told.values())
        if not every:
            return
        asked = self._rng.choice(every)  # also one that is deleted, or the other tenant's
        query = self._rng.choice([asked.content.marker] * 4 + [CANARIES["text"]])
        mode = self._rng.choice(["lexical", "lexical", "hybrid", "dense"])
        began = now_s()
        answer = self._gateways[tenant].ask(
            "POST",
            "/v1/search",
            what=f"search {mode}",
            expected={200},
            json={"query": query, "mode": mode, "top_k": 50},
        )
        if answer.status == 200:
            self._judge(tenant, began, answer.body["results"])
            if asked.deleted_at is not None and asked.deleted_at < began:
                self._history.see("searches for what is deleted")

    def _judge(self, tenant: str, began: float, hits: list[dict[str, Any]]) -> None:
        if not hits:
            return
        self._history.see("searches that found something")
        self._judge_published({hit["run"]: hit["document_id"] for hit in hits})
        by_document = defaultdict(list)
        for hit in hits:
            by_document[hit["document_id"]].append(hit)
        for document_id, found in by_document.items():
            told = self._history.told.get(document_id)
            if told is not None:
                self._judge_known(told, tenant, began)
            self._judge_hits(document_id, found)

    def _judge_published(self, shown: dict[int, str]) -> None:
        """What an answer showed was published before it: who asks after it finds that, whatever the clocks say."""
        try:
            rows = self._oracle.query(_PUBLISHED, list(shown))
        except psycopg.Error:
            return  # PostgreSQL is what was struck
        published = {run: f"doc_{document_id.hex}" for run, document_id in rows}
        self._history.see("answers compared with what is published")
        for run, document_id in shown.items():
            if published.get(run) != document_id:
                self._history.accuse(
                    "search shows published runs only", f"run {run} was not published yet", document_id
                )

    def _judge_known(self, told: Told, tenant: str, began: float) -> None:
        if told.tenant != tenant:
            self._history.accuse("search shows nobody else's", f"{tenant} saw it", told.id)
        if told.deleted_at is not None and told.deleted_at < began:
            late = began - told.deleted_at
            self._history.accuse("search shows nothing deleted", f"{late:.3f} s after the answer", told.id)

    def _judge_hits(self, document_id: str, hits: list[dict[str, Any]]) -> None:
        runs = {hit["run"] for hit in hits}
        named = set().union(*(generations_in(hit["text"]) for hit in hits))
        if len(runs) > 1 or len(named) > 1:
            self._history.accuse("search shows one run", f"runs {runs}, generations {named}", document_id)
        for _, generation in named:
            shown = self.shown.setdefault(min(runs), (document_id, generation))
            if shown != (document_id, generation):
                self._history.accuse("a run never changes", f"{shown}, then {generation}", document_id)


_PUBLISHED = "SELECT id, document_id FROM runs WHERE id = ANY(%s) AND published_at IS NOT NULL"


class Follower:
    """Reads documents: the version of a row never goes back, and the percent of a request never falls.

    A document whose delete was answered before it is asked for is never shown.
    """

    def __init__(self, gateways: dict[str, Gateway], history: History, seed: int) -> None:
        self._gateways = gateways
        self._history = history
        self._rng = random.Random(f"{seed}:follower")
        self._versions: dict[str, int] = {}
        self._percents: dict[str, int] = {}

    def look(self) -> None:
        every = list(self._history.told.values())
        if not every:
            return
        told = self._rng.choice(every[-12:])
        path = f"/v1/documents/{told.id}"
        expected = {200, 410} if told.deleted_at is None else {410}
        answer = self._gateways[told.tenant].ask("GET", path, what="follow", expected=expected, document_id=told.id)
        if answer.status != 200:
            return
        self._history.see("documents read")
        version = int(answer.headers["etag"].strip('"'))
        if version < self._versions.setdefault(told.id, version):
            self._history.accuse("versions grow", f"{self._versions[told.id]}, then {version}", told.id)
        self._versions[told.id] = version
        job, percent = answer.body["job_id"], answer.body["progress"]["percent"]
        if percent < self._percents.setdefault(job, percent):
            self._history.accuse("percent never falls", f"{self._percents[job]}, then {percent}", told.id)
        self._percents[job] = percent


class DeletedWatch:
    """Asks in every way for documents whose delete was answered: none shows them, and no list does."""

    def __init__(self, gateways: dict[str, Gateway], history: History, seed: int) -> None:
        self._gateways = gateways
        self._history = history
        self._rng = random.Random(f"{seed}:deleted")

    def look(self) -> None:
        deleted = [told for told in list(self._history.told.values()) if told.deleted_at is not None]
        if deleted:
            self._rng.choice([self._read, self._list])(self._rng.choice(deleted))

    def _read(self, told: Told) -> None:
        part = self._rng.choice(["", "/status", "/events", "/chunks", "/chunks/0", "/content", "/content"])
        answer = self._gateways[told.tenant].ask(
            "GET",
            f"/v1/documents/{told.id}{part}",
            what=f"deleted {part.strip('/') or 'document'}",
            expected={410},
            document_id=told.id,
        )
        if answer.status == httpx.codes.GONE:
            self._history.see("deleted documents asked for")

    def _list(self, told: Told) -> None:
        """By the id that its client gave it, or the newest of all."""
        began = now_s()
        chosen = self._rng.choice([{"external_id": told.content.marker}, {"limit": 100}])
        answer = self._gateways[told.tenant].ask("GET", "/v1/documents", what="list", expected={200}, params=chosen)
        if answer.status != 200:
            return
        self._history.see("lists")
        for item in answer.body["data"]:
            listed = self._history.told.get(item["id"])
            if listed is not None and listed.deleted_at is not None and listed.deleted_at < began:
                self._history.accuse("no list shows what is deleted", f"as {item['status']}", listed.id)
            if listed is not None and listed.tenant != told.tenant:
                self._history.accuse("a list shows nobody else's", f"{told.tenant} saw it", listed.id)


class LastLook:
    """Asks when everything is quiet and up: every question is repeated until it is answered."""

    def __init__(self, gateways: dict[str, Gateway]) -> None:
        self._gateways = gateways

    def found(self, tenant: str, marker: str) -> dict[str, set[int]]:
        """The documents that a search for *marker* finds, each with the runs of its hits."""
        wanted = {"query": marker, "mode": "lexical", "top_k": 50}
        found: dict[str, set[int]] = defaultdict(set)
        for hit in self._surely(tenant, "POST", "/v1/search", what="last search", json=wanted)["results"]:
            found[hit["document_id"]].add(hit["run"])
        return found

    def warnings(self, tenant: str, document_id: str) -> set[str]:
        """The codes of a document's warnings."""
        document = self._surely(tenant, "GET", f"/v1/documents/{document_id}", what="last read")
        return {warning["code"] for warning in document["warnings"]}

    def _surely(self, tenant: str, method: str, path: str, *, what: str, **request: Any) -> dict[str, Any]:
        answers: list[Answer] = []

        def is_answered() -> bool:
            answers.append(self._gateways[tenant].ask(method, path, what=what, expected={200}, **request))
            return not answers[-1].is_open

        wait_until(is_answered, seconds=60, message=lambda: f"{what}: {answers[-1]}")
        return answers[-1].body


class TableWatch:
    """Reads the table: nothing is ever stuck; and tells the clients how much is unfinished."""

    def __init__(self, oracle: Oracle, pace: Pace, history: History) -> None:
        self._oracle = oracle
        self._pace = pace
        self._history = history

    def look(self) -> None:
        try:
            unfinished = self._oracle.unfinished()
            stuck = self._oracle.query(_STUCK)
        except psycopg.Error:
            return  # PostgreSQL is what was struck
        self._pace.unfinished = len(unfinished)
        for document_id, state in stuck:
            self._history.accuse("nothing is stuck", state, f"doc_{document_id.hex}")


_STUCK = """
    SELECT id, state FROM documents d WHERE lifecycle = 'active' AND (
        (state IN ('queued', 'verifying') AND dispatch_after IS NULL)
        OR (state = 'extracting' AND lease_until IS NULL)
        OR (state IN ('extracting', 'embedding', 'verifying') AND active_run IS NULL)
        OR (state = 'embedding' AND NOT EXISTS (
            SELECT 1 FROM batches b WHERE b.run_id = d.active_run AND b.state IN ('pending', 'running'))))
"""


class LeakWatch:
    """Reads what every process writes to its log, and all that Redis holds: no word of a document stands there."""

    def __init__(self, home: Path, broker_url: str, history: History) -> None:
        self._home = home
        self._broker_url = broker_url
        self._history = history
        self._read: dict[Path, int] = {}

    def look(self) -> None:
        for log in sorted((self._home / "logs").glob("*.log")):
            for line in self._news_of(log):
                self._judge(log.name, line)
        for file in sorted((self._home / "redis").rglob("*.aof")):
            for line in self._news_of(file):
                self._judge(file.name, line)
        self._look_into_redis()

    def look_at_metrics(self, urls: Iterable[str]) -> None:
        """Read what each of *urls* tells of its process; raises when one tells nothing."""
        for url in urls:
            lines = httpx.get(url, timeout=10, trust_env=False).raise_for_status().content.splitlines()
            self._history.see("lines of metrics", len(lines))
            for line in lines:
                self._judge(url, line)

    def _look_into_redis(self) -> None:
        try:
            with redis.Redis.from_url(self._broker_url, socket_timeout=5, socket_connect_timeout=1) as broker:
                for key in broker.scan_iter(count=1000):
                    self._judge("redis", key + b" " + _value_of(broker, key))
        except redis.RedisError:
            return  # Redis is what was struck

    def _news_of(self, file: Path) -> list[bytes]:
        """The lines that were added since the last look; all, when the file was emptied meanwhile."""
        try:
            with file.open("rb") as stream:
                start = self._read.get(file, 0)
                stream.seek(start if start <= file.stat().st_size else 0)
                news = stream.read()
                self._read[file] = stream.tell()
        except FileNotFoundError:
            return []
        return news.splitlines()

    def _judge(self, where: str, line: bytes) -> None:
        self._history.accuse_leak(where, line)
        if FENCED in line:
            self._history.see("late work that was refused")
        if ILLEGAL_MOVE.encode() in line and b"ERROR" in line:
            self._history.accuse("every move is one that status lists", line.decode(errors="replace")[:300])


def _value_of(broker: redis.Redis, key: bytes) -> bytes:
    kind = broker.type(key)
    read: dict[bytes, Callable[[bytes], Any]] = {
        b"string": broker.get,
        b"hash": broker.hgetall,
        b"list": lambda name: broker.lrange(name, 0, -1),
        b"set": broker.smembers,
        b"zset": lambda name: broker.zrange(name, 0, -1),
    }
    return repr(read[kind](key)).encode() if kind in read else b""
