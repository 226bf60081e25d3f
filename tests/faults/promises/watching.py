"""Searches all the while and judges every answer: one run of each document, whole, and never an older one again."""

import itertools
import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from faults.promises.parts import Site

PART = re.compile(r"(zv\d+) generation(\d+) part (\d+) of (\d+)\.")
MODES = ("lexical", "dense", "hybrid")
SEARCHES_PER_S = 50
THREADS = 6


@dataclass
class Watched:
    """What the searches have seen so far."""

    answers: int = 0
    refused: int = 0
    """Searches that were answered 503: nothing was shown, so nothing wrong was."""
    wrong: list[str] = field(default_factory=list)
    by_mode: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODES, 0))


class Searchers:
    """Asks for every document of a collection, fifty times a second or as often as the machine lets it.

    Every document must stand in every answer, whole, with the parts of exactly one generation.
    """

    def __init__(self, site: Site, collection: str, documents: set[str]) -> None:
        self._site = site
        self._collection = collection
        self._documents = documents
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._turns = itertools.count()
        self._threads = [threading.Thread(target=self._search, args=(n,), daemon=True) for n in range(THREADS)]
        self.seen = Watched()
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=30)
        self.seconds = time.monotonic() - self._began_s

    def _search(self, number: int) -> None:
        gateways = self._site.gateways()
        newest: dict[str, int] = defaultdict(int)
        with self._site.client(gateways[number % len(gateways)]) as client:
            while not self._stopping.is_set():
                turn = next(self._turns)
                self._wait_for(turn)
                mode = MODES[turn % len(MODES)]
                self._take(mode, self._asked(client, mode), newest)

    def _wait_for(self, turn: int) -> None:
        """Keeps the pace that was asked for, and never runs to catch up with what was missed."""
        due_s = self._began_s + turn / SEARCHES_PER_S
        self._stopping.wait(max(0.0, due_s - time.monotonic()))

    def _asked(self, client: httpx.Client, mode: str) -> httpx.Response:
        asked = {"query": "barge weir gate", "mode": mode, "top_k": 100, "collection": self._collection}
        return client.post("/v1/search", json=asked)

    def _take(self, mode: str, answer: httpx.Response, newest: dict[str, int]) -> None:
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            with self._lock:
                self.seen.refused += 1
        elif answer.status_code == httpx.codes.OK:
            self._judge(mode, answer.json()["results"], newest)
        else:
            self.seen.wrong.append(f"{mode}: {answer.status_code} {answer.text}")

    def _judge(self, mode: str, hits: list[dict[str, Any]], newest: dict[str, int]) -> None:
        shown: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for hit in hits:
            part = PART.search(hit["text"])
            assert part is not None, hit["text"]
            shown[part[1]].append((int(part[2]), int(part[3]), int(part[4])))
        wrong = [f"{mode}: {word} is not found at all" for word in self._documents - set(shown)]
        for word, parts in shown.items():
            generation, of = parts[0][0], parts[0][2]
            if sorted(parts) != [(generation, number, of) for number in range(1, of + 1)]:
                wrong.append(f"{mode}: {word} shows {sorted(parts)}")
            if generation < newest[word]:
                wrong.append(f"{mode}: {word} shows {generation} after {newest[word]}")
            newest[word] = max(newest[word], generation)
        with self._lock:
            self.seen.answers += 1
            self.seen.by_mode[mode] += 1
            self.seen.wrong += wrong
