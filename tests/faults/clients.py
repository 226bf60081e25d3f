"""Clients that use Sluice all the while: upload, repeat, replace, cancel, delete, and try what is not theirs."""

import io
import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any

import httpx
from faults.contents import CANARIES, Content, Writer
from faults.history import NO_ANSWER, Cancelled, History, Told, now_s

OPEN = frozenset({429, 500, 502, 503, 504, 507})
"""Statuses after which a client does not know whether it was done."""
WAIT_S = 10
DRIPS = 12
"""In so many pieces a slow client sends its file."""
DRIP_S = (0.05, 0.6)
"""How long it waits before each."""


@dataclass(frozen=True)
class Answer:
    """What came back; `status` is None where nothing did."""

    status: int | None
    body: dict[str, Any]
    headers: httpx.Headers

    @property
    def is_open(self) -> bool:
        """Whether the request may or may not have been done."""
        return self.status is None or self.status in OPEN or self.body.get("code") == "idempotency_in_flight"

    def __str__(self) -> str:
        return NO_ANSWER if self.status is None else f"{self.status} {self.body.get('code') or ''}".strip()


class Gateway:
    """Requests with the key of one tenant, to each gateway in turn; each is sent once, and its answer is noted."""

    def __init__(
        self,
        urls: Sequence[str],
        key: str,
        *,
        who: str,
        history: History,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self._http = httpx.Client(headers=headers, timeout=WAIT_S, trust_env=False, transport=transport)
        self._urls = itertools.cycle(urls)
        self._who = who
        self._history = history

    def close(self) -> None:
        self._http.close()

    def ask(
        self,
        method: str,
        path: str,
        *,
        what: str,
        expected: set[int],
        document_id: str | None = None,
        **request: Any,
    ) -> Answer:
        """Send a request once; an answer that is neither expected nor a refusal for now breaks a promise."""
        try:
            response = self._http.request(method, next(self._urls) + path, **request)
        except httpx.TransportError:
            answer = Answer(None, {}, httpx.Headers())
        else:
            is_json = "json" in response.headers.get("content-type", "")
            answer = Answer(response.status_code, response.json() if is_json else {}, response.headers)
            if response.is_error:
                self._history.see("answers of errors")
                self._history.accuse_leak(f"the answer {answer} to {what}", response.content)
        self._history.note(self._who, what, str(answer), document_id or answer.body.get("id"))
        if answer.status == httpx.codes.INTERNAL_SERVER_ERROR or not (answer.is_open or answer.status in expected):
            self._history.accuse("unexpected answer", f"{what}: {answer} {answer.body.get('detail', '')}", document_id)
        return answer


class Pace:
    """How fast clients go: slower the more is unfinished, so that what is measured is no backlog."""

    def __init__(self, *, most_unfinished: int, pause_s: float = 0.45) -> None:
        self._pause_s = pause_s
        self._most_unfinished = most_unfinished
        self.unfinished = 0
        self.stopping = threading.Event()

    @property
    def is_behind(self) -> bool:
        """Whether nothing new should be sent just now."""
        return self.unfinished >= self._most_unfinished

    def wait(self, rng: random.Random) -> None:
        self.stopping.wait(rng.uniform(0.5, 1.5) * self._pause_s * (2 if self.is_behind else 1))


class Dripping(io.BytesIO):
    """The body of a slow client, which sends a little and waits."""

    def __init__(self, body: bytes, rng: random.Random) -> None:
        super().__init__(body)
        self._piece = -(-len(body) // DRIPS)
        self._rng = rng

    def read(self, _size: int | None = -1) -> bytes:
        time.sleep(self._rng.uniform(*DRIP_S))
        return super().read(self._piece)


class Client:
    """One user of one tenant, who changes only documents of their own, and tries to change those of the other."""

    def __init__(self, number: int, tenant: str, gateway: Gateway, *, pace: Pace, history: History, seed: int) -> None:
        self._thread = threading.Thread(target=self._use, name=f"client {number}", daemon=True)
        self._rng = random.Random(f"{seed}:{number}")
        self._writer = Writer(number, self._rng)
        self._tenant = tenant
        self._gateway = gateway
        self._pace = pace
        self._history = history
        self._mine: list[Told] = []
        self._new: dict[Callable[[], None], int] = {
            self._upload: 34,
            self._upload_at_once: 4,
            self._upload_in_drips: 3,
            self._replace: 7,
            self._extract_again: 3,
            self._embed_again: 4,
            self._retry: 4,
            self._send_same_bytes: 4,
        }
        self._old: dict[Callable[[], None], int] = {
            self._repeat: 4,
            self._reuse_key: 2,
            self._cancel: 6,
            self._delete: 7,
            self._touch_foreign: 8,
            self._read: 13,
        }

    def start(self) -> None:
        self._thread.start()

    def join(self, *, timeout_s: float) -> None:
        """Wait until it has ended after `Pace.stopping` was set."""
        self._thread.join(timeout_s)

    def _use(self) -> None:
        while not self._pace.stopping.is_set():
            choice = self._old if self._pace.is_behind else self._new | self._old
            self._rng.choices(list(choice), list(choice.values()))[0]()
            self._pace.wait(self._rng)
        self._gateway.close()

    # What makes documents

    def _upload(self) -> None:
        """Some clients give up when no answer comes, others repeat until one does."""
        content, key = self._fresh()
        for _ in range(self._rng.choice([1, 10, 10])):
            answer = self._submit(content, key, "upload")
            if not answer.is_open:
                return self._take(answer, content, key)
            self._pace.stopping.wait(1)
        return None

    def _upload_at_once(self) -> None:
        """The same request several times at once, as impatient clients and proxies send it."""
        content, key = self._fresh()
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda _: self._submit(content, key, "upload at once"), range(4)))
        for answer in answers:
            if answer.status in (200, 202):
                self._take(answer, content, key)

    def _upload_in_drips(self) -> None:
        """Seconds pass between the first and the last byte, and faults strike meanwhile."""
        content, key = self._fresh()
        slow = Dripping(content.body, self._rng)
        self._take(self._submit(content, key, "upload in drips", body=slow), content, key)

    def _send_same_bytes(self) -> None:
        if (told := self._any_of_mine()) is None:
            return
        answer = self._submit(told.content, f"{told.key}-again{self._rng.random()}", "same bytes", told)
        self._moved(told, answer)

    def _replace(self) -> None:
        if (told := self._any_of_mine()) is None:
            return
        content = self._writer.next_of(told.content)
        self._history.sent[content.sha256] = content
        what = f"replace by generation {content.generation} ({content.kind})"
        answer = self._submit(content, f"{told.key}-{content.generation}", what, told, on_duplicate="replace")
        if answer.is_open:
            told.contents.append(content)
        elif answer.status == httpx.codes.ACCEPTED:
            told.contents = [content]
        self._moved(told, answer)

    # What changes documents

    def _repeat(self) -> None:
        told = self._any_of_mine()
        if told is None or told.content.generation != 1:
            return
        self._settle(told, self._submit(told.content, told.key, "repeat", told))

    def _reuse_key(self) -> None:
        """Refused either way: a clock that jumped by days makes keys expire, and then it is the external id's turn."""
        told = self._any_of_mine()
        if told is None:
            return
        content = Content(told.content.marker, 0, "text", ".txt", f"{told.key} {self._rng.random()}".encode())
        self._submit(content, told.key, "other content under the same key", told, expected={409, 422})

    def _cancel(self) -> None:
        if (told := self._any_of_mine()) is None:
            return
        answer = self._act(told, "cancel")
        if answer.status == httpx.codes.ACCEPTED:
            told.cancelled = Cancelled.YES
        elif answer.is_open and told.cancelled is Cancelled.NO:
            told.cancelled = Cancelled.MAYBE

    def _delete(self) -> None:
        told = self._any_of_mine(also_unsettled=True)
        if told is None:
            return
        told.may_be_deleted = True
        for _ in range(self._rng.randint(1, 3)):
            answer = self._gateway.ask(
                "DELETE", f"/v1/documents/{told.id}", what="delete", expected={202}, document_id=told.id
            )
            if answer.status == httpx.codes.ACCEPTED:
                told.deleted_at = told.deleted_at or now_s()

    def _extract_again(self) -> None:
        if told := self._any_of_mine():
            self._moved(told, self._act(told, "reprocess", json={"from": "extract"}))

    def _embed_again(self) -> None:
        if told := self._any_of_mine():
            self._moved(told, self._act(told, "reprocess", expected={200, 202, 422}, json={"from": "embed"}))

    def _retry(self) -> None:
        if told := self._any_of_mine(prefer_cancelled=True):
            self._moved(told, self._act(told, "retry"))

    def _moved(self, told: Told, answer: Answer) -> None:
        """A new request was made of the document: what was cancelled before counts no more."""
        self._settle(told, answer)
        if answer.status == httpx.codes.ACCEPTED:
            told.cancelled = Cancelled.NO
        elif answer.is_open and told.cancelled is Cancelled.YES:
            told.cancelled = Cancelled.MAYBE

    def _settle(self, told: Told, answer: Answer) -> None:
        told.is_settled = told.is_settled and not answer.is_open

    # What changes nothing

    def _read(self) -> None:
        if (told := self._any_of_mine()) is None:
            return
        part = self._rng.choice(["", "/status", "/events", "/chunks", "/content"])
        self._gateway.ask(
            "GET",
            f"/v1/documents/{told.id}{part}",
            what=f"read {part.strip('/') or 'document'}",
            expected={200},
            document_id=told.id,
        )

    def _touch_foreign(self) -> None:
        """Whatever is tried with another tenant's document, the answer is that there is none."""
        other = [told for told in list(self._history.told.values()) if told.tenant != self._tenant]
        if not other:
            return
        told = self._rng.choice(other)
        method, part = self._rng.choice(
            [
                *(("GET", part) for part in ("", "/status", "/events", "/chunks", "/chunks/0", "/content")),
                *(("POST", part) for part in ("/cancel", "/retry", "/reprocess")),
                ("DELETE", ""),
            ]
        )
        path = f"/v1/documents/{told.id}{part}"
        self._gateway.ask(method, path, what=f"foreign {method} {part}", expected={404}, document_id=told.id)

    # The steps of the above

    def _fresh(self) -> tuple[Content, str]:
        content = self._writer.new()
        self._history.sent[content.sha256] = content
        return content, f"{CANARIES['key']}-{content.marker}"

    def _submit(
        self,
        content: Content,
        key: str,
        what: str,
        told: Told | None = None,
        *,
        expected: set[int] | None = None,
        body: IO[bytes] | None = None,
        **fields: str,
    ) -> Answer:
        answer = self._gateway.ask(
            "POST",
            "/v1/documents",
            what=what,
            expected=expected or {200, 202},
            document_id=told.id if told else None,
            headers={"Idempotency-Key": key},
            files={"file": (content.name, body or content.body)},
            data={
                "external_id": content.marker,
                "attributes": f'{{"note": "{CANARIES["attribute"]}", "by": "{self._tenant}"}}',
                **fields,
            },
        )
        if told is not None and answer.body.get("id", told.id) != told.id:
            self._history.accuse("one document", f"{what} made {answer.body['id']}", told.id)
        return answer

    def _act(self, told: Told, action: str, *, expected: set[int] | None = None, **request: Any) -> Answer:
        answer = self._gateway.ask(
            "POST",
            f"/v1/documents/{told.id}/{action}",
            what=f"{action} {request.get('json', {}).get('from', '')}".strip(),
            expected=expected or {200, 202},
            document_id=told.id,
            **request,
        )
        self._settle(told, answer)
        return answer

    def _take(self, answer: Answer, content: Content, key: str) -> None:
        if answer.status not in (200, 202):
            return
        told = Told(answer.body["id"], self._tenant, [content], key)
        if not any(other.id == told.id for other in self._mine):
            self._mine.append(told)
        self._history.take(told)

    def _any_of_mine(self, *, also_unsettled: bool = False, prefer_cancelled: bool = False) -> Told | None:
        """A document of this client, rather a new one, on which there is something going on."""
        able = [told for told in self._mine if told.is_alive and (told.is_settled or also_unsettled)]
        if prefer_cancelled:
            able = [told for told in able if told.cancelled is Cancelled.YES or not told.content.is_healthy] or able
        if not able:
            return None
        return self._rng.choice(able[-8:] if self._rng.random() < 0.7 else able)
