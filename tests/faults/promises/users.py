"""Users who do everything that can be done, again and again, and repeat what nobody answered."""

import itertools
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Self
from uuid import uuid4

import httpx
from faults.promises.parts import (
    ENDED,
    SEED,
    SMALL_CHUNKS,
    Site,
    asked_of_any,
    bare,
    lose_points,
    pdf_of,
    plant_orphan,
    text_about,
    unreadable,
)
from faults.promises.provider import REFUSED

PATIENCE_S = 120
PAUSE_S = 0.1
PARTS = 9
"""Of a text: three batches."""


class User(threading.Thread):
    """Leads documents of every kind through their lives; a context manager."""

    def __init__(self, site: Site, number: int) -> None:
        super().__init__(name=f"user {number}", daemon=True)
        self._site = site
        self._number = number
        self._rng = random.Random(f"{SEED}:{number}")
        self._stopping = threading.Event()
        self._lives: list[Callable[[str], None]] = [
            self._reprocessed_and_deleted, self._cancelled, self._torn, self._refused, self._overdue, self._exhausted,
            self._gone_with_its_collection, self._kept,
        ]  # fmt: skip
        self.documents = 0
        self.kept: list[str] = []
        """What stays, and is ready."""
        self.wrong: list[str] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join(timeout=2 * PATIENCE_S)

    def run(self) -> None:
        for live in itertools.cycle(self._lives[self._number :] + self._lives[: self._number]):
            if self._stopping.wait(PAUSE_S):
                return
            self.documents += 1
            try:
                live(f"zu{self._number}n{self.documents}r{uuid4().hex[:6]}")
            except AssertionError as error:
                self.wrong.append(f"{live.__name__}: {error}")

    # The lives of documents

    def _reprocessed_and_deleted(self, word: str) -> None:
        document_id = self._send(text_about(word, PARTS), f"{word}.txt", word)
        self._expect(document_id, "ready")
        for start in ("extract", "embed"):
            self._ask("POST", f"/v1/documents/{document_id}/reprocess", json={"from": start})
            self._expect(document_id, "ready")
        hits = self._ask("POST", "/v1/search", json={"query": word, "mode": "lexical", "top_k": 50}).json()["results"]
        assert len(hits) == PARTS, f"{len(hits)} hits of {PARTS}"
        assert self._ask("DELETE", f"/v1/documents/{document_id}").status_code == 202
        assert self._ask("GET", f"/v1/documents/{document_id}").status_code == 410

    def _cancelled(self, word: str) -> None:
        document_id = self._send(pdf_of(40, word), f"{word}.pdf", word)
        deadline = time.monotonic() + PATIENCE_S
        while (document := self._read(document_id))["progress"]["pages"]["done"] < 5:
            if document["status"] in ENDED or time.monotonic() > deadline:
                break
            self._stopping.wait(PAUSE_S)
        self._ask("POST", f"/v1/documents/{document_id}/cancel")
        self._expect(document_id, "cancelled", "ready")

    def _torn(self, word: str) -> None:
        body, name, code = unreadable(self.documents, self._rng)
        document = self._expect(self._send(body, name, word), "failed")
        assert document["error"]["code"] == code, document["error"]

    def _refused(self, word: str) -> None:
        document_id = self._send(text_about(word, 3, note=REFUSED), f"{word}.txt", word)
        document = self._expect(document_id, "failed")
        assert document["error"]["code"] == "embedding_rejected", document["error"]

    def _overdue(self, word: str) -> None:
        """Its deadline passes, by somebody who goes behind everybody's back, while it is read."""
        document_id = self._send(pdf_of(80, word), f"{word}.pdf", word)
        where = f"id = '{bare(document_id)}'"
        self._site.oracle.query(f"UPDATE documents SET deadline = now() - interval '1 s' WHERE {where} RETURNING 1")
        self._expect(document_id, "failed", "ready")

    def _exhausted(self, word: str) -> None:
        """A batch of it has failed, by somebody who goes behind everybody's back, and the document not yet."""
        document_id = self._send(pdf_of(80, word), f"{word}.pdf", word)
        where = f"document_id = '{bare(document_id)}' AND state = 'pending'"
        failed = f"UPDATE batches SET state = 'failed', error_code = 'internal' WHERE {where} RETURNING 1"
        while not self._site.oracle.query(failed) and self._read(document_id)["status"] not in ENDED:
            self._stopping.wait(PAUSE_S)
        self._expect(document_id, "failed", "ready")

    def _gone_with_its_collection(self, word: str) -> None:
        """Everything is asked for with an idempotency key, also what is refused."""
        content = {"files": {"file": (f"{word}.txt", text_about(word, 3))}}
        assert self._once("/v1/documents", f"{word}a", **content, data={"collection": word}).status_code == 404
        made = self._once("/v1/collections", f"{word}b", json={"name": word})
        assert made.status_code in (201, 409), made.text  # by a gateway that died before it could say so
        where = {"collection": word, "external_id": word, "chunking": SMALL_CHUNKS}
        document_id = str(self._once("/v1/documents", f"{word}c", **content, data=where).json()["id"])
        self._expect(document_id, "ready")
        newer = {"files": {"file": (f"{word}.txt", text_about(word, 5))}, "data": where | {"on_duplicate": "replace"}}
        assert self._once("/v1/documents", f"{word}d", **newer).status_code == 202
        self._expect(document_id, "ready")
        assert self._ask("DELETE", f"/v1/collections/{word}").status_code in (202, 404)
        assert self._ask("GET", f"/v1/documents/{document_id}").status_code == 410

    def _kept(self, word: str) -> None:
        document_id = self._send(text_about(word, PARTS), f"{word}.txt", word)
        self._expect(document_id, "ready")
        assert self._ask("GET", f"/v1/documents/{document_id}/content").content == text_about(word, PARTS)
        self.kept.append(document_id)

    # The steps of the above

    def _send(self, body: bytes, name: str, word: str) -> str:
        """The same bytes under the same id of ours make one document, however often they are sent."""
        data = {"external_id": word, "chunking": SMALL_CHUNKS}
        answer = self._ask("POST", "/v1/documents", files={"file": (name, body)}, data=data)
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["id"])

    def _once(self, path: str, key: str, **request: Any) -> httpx.Response:
        """The answer to a POST with a key; whose gateway died is in flight until its minute is over."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self._ask("POST", path, headers={"Idempotency-Key": key}, **request)
            if answer.json().get("code") != "idempotency_in_flight" or time.monotonic() > deadline:
                return answer
            time.sleep(PAUSE_S)  # paces the repeats, as Retry-After does

    def _expect(self, document_id: str, *statuses: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while (document := self._read(document_id))["status"] not in ENDED:
            assert time.monotonic() < deadline, f"{document_id} does not end: {document}"
            time.sleep(PAUSE_S)  # paces the questions of a user who watches
        assert document["status"] in statuses, document
        return document

    def _read(self, document_id: str) -> dict[str, Any]:
        answer = self._ask("GET", f"/v1/documents/{document_id}")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        return asked_of_any(self._site, method, path, patience_s=PATIENCE_S, **request)


class Vandal(threading.Thread):
    """Takes the points of kept documents away, and plants others that belong to nobody; a context manager."""

    def __init__(self, site: Site, users: list[User]) -> None:
        super().__init__(name="vandal", daemon=True)
        self._site = site
        self._users = users
        self._rng = random.Random(SEED)
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join(timeout=PATIENCE_S)

    def run(self) -> None:
        while not self._stopping.wait(1):
            kept = [document_id for user in self._users for document_id in user.kept]
            if kept:
                plant_orphan(self._site, self._rng.choice(kept))
                lose_points(self._site, self._rng.choice(kept))
