"""What the proofs of this folder share: contents, the gateways, and looks behind a running stack."""

import hashlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import psutil
from faults.armed import Armed
from faults.contents import locked_pdf
from oracle import Oracle, wait_until

from sluice_local.stack import LocalStack

LEASE_S = 4
LONGEST_S = 10 * LEASE_S
"""The pause before a run is collected, or a document purged, for the second time."""

KINDS = ("api", "extractor", "embedder", "reconciler")
PROCESSES = tuple(name for kind in KINDS for name in (kind, f"{kind}2"))
SEED = int(os.environ.get("SEED", "20261120"))
IS_LONG = "LONG" in os.environ
"""Whether the numbers of the promises are wanted in full; they take minutes."""

STOPS = [("provider.embed", "defer_batch"), ("vectors.upsert", "finish_batch"), ("finish_batch", "finish_batch")]
"""Where an embedder stands still for longer than its lease, and the move that its fence then refuses: who has written
nothing yet knows that it is too late, and puts the batch back."""

ENDED = frozenset({"ready", "failed", "cancelled"})


TIMES_THE_BOUND = 1 if IS_LONG else 10
"""The long form runs on a machine that does nothing else; elsewhere a promised time may become so many."""


def is_within(seconds: float, bound_s: float) -> bool:
    """Whether a promised time was kept."""
    return seconds <= bound_s * TIMES_THE_BOUND


T = TypeVar("T")


@dataclass(frozen=True)
class Site:
    """The running stack, and what a test can do to each of its processes."""

    stack: LocalStack
    oracle: Oracle
    points: Mapping[str, Armed]
    """By the name of the process."""

    def gateways(self) -> list[str]:
        """The addresses of the gateways that run now."""
        return [record.url for record in self.stack.processes() if record.name.startswith("api")]

    def client(self, url: str | None = None) -> httpx.Client:
        """A client of one gateway, which repeats nothing by itself."""
        headers = {"Authorization": f"Bearer {self.stack.api_key}"}
        limits = httpx.Limits(max_connections=50, max_keepalive_connections=50)
        return httpx.Client(base_url=url or self.stack.url, headers=headers, timeout=30, trust_env=False, limits=limits)

    def arm(self, kind: str, **actions: str) -> None:
        """Arm points in both processes of a kind."""
        for name in (kind, f"{kind}2"):
            self.points[name].arm(**actions)

    def disarm(self, kind: str, *names: str) -> None:
        """Disarm these points, or all, in both processes of a kind."""
        for name in (kind, f"{kind}2"):
            self.points[name].disarm(*names)

    @contextmanager
    def armed(self, kind: str, **actions: str) -> Iterator[None]:
        """These points are armed in both processes of a kind inside the `with`."""
        self.arm(kind, **actions)
        try:
            yield
        finally:
            self.disarm(kind, *actions)

    @contextmanager
    def frozen(self, kind: str, point: str, begin: Callable[[], T]) -> Iterator[tuple[str, T]]:
        """One process of a kind stands still at the point, as a machine that is paused would, inside the `with`.

        Args:
            kind: which service.
            point: where the first of its processes to come there stops.
            begin: makes the work that brings it there.

        Yields:
            The name of the process, and what *begin* returned.
        """
        with self.armed(kind, **{point: "hold"}):
            begun = begin()
            name = self.hit_in(kind, point)
            self.stack.kill(name, signal.SIGSTOP)
        try:
            yield name, begun
        finally:
            self.stack.kill(name, signal.SIGCONT)

    def hit_in(self, kind: str, point: str, *, seconds: float = 30) -> str:
        """Wait until one process of a kind stands at the point; returns its name. No hits may be older."""
        names = (kind, f"{kind}2")
        wait_until(
            lambda: any(self.points[name].hits(point) for name in names),
            seconds=seconds,
            message=f"no {kind} reached {point}",
        )
        return next(name for name in names if self.points[name].hits(point))

    def forget_hits(self) -> None:
        for armed in self.points.values():
            (armed.folder / "hits").unlink(missing_ok=True)

    def points_of(self, document_id: str) -> int:
        """How many points the store holds of a document's runs."""
        runs = {row[0] for row in self.oracle.query(f"SELECT id FROM runs WHERE document_id = '{bare(document_id)}'")}
        return sum(run in runs for _, run in self.oracle.points())

    def chunks_of(self, document_id: str) -> int:
        """How many chunks the table holds of a document's runs."""
        statement = (
            f"SELECT count(*) FROM chunks k JOIN runs r ON r.id = k.run_id WHERE r.document_id = '{bare(document_id)}'"
        )
        return int(self.oracle.query(statement)[0][0])

    def facts_of(self, document_id: str, columns: str) -> tuple[Any, ...]:
        """Columns of a document's row."""
        return self.oracle.query(f"SELECT {columns} FROM documents WHERE id = '{bare(document_id)}'")[0]

    def let_second_pass_come(self, document_id: str) -> None:
        """Ten leases pass at once for what waits for its second collection or purge."""
        bare_id = bare(document_id)
        self.oracle.query(
            f"UPDATE runs SET gc_at = now() WHERE document_id = '{bare_id}' AND gc_at IS NOT NULL RETURNING 1"
        )
        self.oracle.query(
            f"UPDATE documents SET purge_at = now() WHERE id = '{bare_id}' AND purge_at IS NOT NULL RETURNING 1"
        )

    def children(self) -> list[int]:
        """The pids of the children that read documents now."""
        found: list[int] = []
        for name in ("extractor", "extractor2"):
            for server in psutil.Process(self.stack.pid_of(name)).children():
                found += [child.pid for child in server.children(recursive=True)]
        return found

    def originals(self) -> set[str]:
        """The keys of the originals that are kept."""
        root = Path(self.stack.environment_of("reconciler")["SLUICE_OBJECTS__ROOT"])
        return {str(path.relative_to(root)) for path in root.glob("??/*")}


def other_than(name: str) -> str:
    """The second process of the same kind."""
    return name.removesuffix("2") if name.endswith("2") else f"{name}2"


def bare(document_id: str) -> UUID:
    """The id as the tables have it."""
    return UUID(document_id.removeprefix("doc_"))


def text_about(word: str, parts: int, *, note: str = "") -> bytes:
    """A text of so many chunks at 200 characters each, with *word* in every one."""
    filling = " ".join(f"{word} {note}".split())
    return "\n\n".join(
        f"{filling} part {number} of {parts}. {'The barge waits at the weir until the gate is lifted. ' * 2}"
        for number in range(1, parts + 1)
    ).encode()


SMALL_CHUNKS = '{"max_chars": 200, "overlap_chars": 0}'
"""The chunking by which each part of `text_about` is a chunk."""


def upload(client: httpx.Client, body: bytes, name: str, *, key: str | None = None, **fields: str) -> httpx.Response:
    """Send a document once."""
    headers = {"Idempotency-Key": key} if key else {}
    data = {"chunking": SMALL_CHUNKS, **fields}
    return client.post("/v1/documents", files={"file": (name, body)}, data=data, headers=headers)


def accepted(client: httpx.Client, body: bytes, name: str, **fields: str) -> str:
    """The id of a document that was taken in."""
    answer = upload(client, body, name, **fields)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def ended(client: httpx.Client, document_id: str, *, seconds: float = 60) -> dict[str, Any]:
    """The document when it has ended."""
    deadline = time.monotonic() + seconds
    while True:
        answer = client.get(f"/v1/documents/{document_id}", headers={"Prefer": "wait=5"})
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        if document["status"] in ENDED:
            return document
        assert time.monotonic() < deadline, f"{document_id} does not end: {document}"


def found(client: httpx.Client, word: str, *, mode: str = "lexical", **fields: Any) -> list[dict[str, Any]]:
    """The hits of a search; asked again while a busy machine has the gateway say that a part does not answer."""
    asked = {"query": word, "mode": mode, "top_k": 100, **fields}
    deadline = time.monotonic() + 60
    while (answer := client.post("/v1/search", json=asked)).status_code == httpx.codes.SERVICE_UNAVAILABLE:
        assert time.monotonic() < deadline, answer.text
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def asked_of_any(site: Site, method: str, path: str, *, patience_s: float = 120, **request: Any) -> httpx.Response:
    """The answer of whichever gateway lives; asked again until there is one, as a client of several does."""
    deadline = time.monotonic() + patience_s
    while True:
        gateways = site.gateways()
        for url in random.sample(gateways, k=len(gateways)):
            try:
                with site.client(url) as client:
                    answer = client.request(method, path, **request)
            except httpx.TransportError:
                continue  # it was stopped or killed, or is not up again
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return answer
        assert time.monotonic() < deadline, f"nobody answers {method} {path}"
        time.sleep(0.1)  # both gateways are being started again


def nobody_works_on(site: Site, document_id: str) -> bool:
    """Whether no batch of the document is being embedded."""
    statement = f"SELECT count(*) FROM batches WHERE document_id = '{bare(document_id)}' AND state = 'running'"
    return bool(site.oracle.query(statement)[0][0] == 0)


@contextmanager
def store_of(site: Site) -> Iterator[tuple[httpx.Client, str]]:
    """The vector store behind everybody's back, and the path of its one index."""
    settings = site.stack.environment_of("reconciler")
    headers = {"api-key": settings["SLUICE_QDRANT__API_KEY"]}
    with httpx.Client(base_url=settings["SLUICE_QDRANT__URL"], headers=headers, timeout=30) as store:
        (index,) = store.get("/collections").json()["result"]["collections"]
        yield store, f"/collections/{index['name']}"


def lose_points(site: Site, document_id: str) -> None:
    """Remove the points of a document, as a store that forgets would."""
    chosen = {"filter": {"must": [{"key": "document", "match": {"value": str(bare(document_id))}}]}}
    with store_of(site) as (store, index):
        store.post(f"{index}/points/delete?wait=true", json=chosen).raise_for_status()


def plant_orphan(site: Site, document_id: str) -> None:
    """Copy a point of a document to another id and a run that there never was."""
    chosen = {"filter": {"must": [{"key": "document", "match": {"value": str(bare(document_id))}}]}, "limit": 1}
    with store_of(site) as (store, index):
        asked = chosen | {"with_vector": True, "with_payload": True}
        found_points = store.post(f"{index}/points/scroll", json=asked).json()["result"]["points"]
        for point in found_points:
            orphan = {"id": str(uuid4()), "vector": point["vector"], "payload": point["payload"] | {"run": 2**40}}
            store.put(f"{index}/points?wait=true", json={"points": [orphan]}).raise_for_status()


def in_threads(act: Callable[[int], T], count: int, *, threads: int | None = None) -> list[T]:
    """What *act* returns for each number below *count*, many at once."""
    with ThreadPoolExecutor(threads or count) as pool:
        return list(pool.map(act, range(count)))


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def unreadable(generation: int, rng: random.Random) -> tuple[bytes, str, str]:
    """Bytes that fail, their name and the code they fail with; no two are alike."""
    mark = b"\n%%generation %d %d\n" % (generation, rng.getrandbits(60))
    if generation % 2:
        return locked_pdf() + mark, "locked.pdf", "encrypted"
    return b"%PDF-1.7\n" + rng.randbytes(1500) + mark, "torn.pdf", "corrupt"


def pdf_of(pages: int, word: str, *, lines: int = 12, strokes: int = 0) -> bytes:
    """A PDF with so many pages of text, *word* on every line, and on each the same drawing of so many strokes."""
    kids = " ".join(f"{5 + 2 * number} 0 R" for number in range(pages))
    drawing = b"".join(b"%d %d m %d %d l S\n" % (at % 595, at % 842, at % 421, at % 297) for at in range(strokes))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {pages}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawing), drawing),
    ]
    for page in range(1, pages + 1):
        shown = "".join(
            f"({word} page {page} line {line} of the long river book) Tj 0 -14 Td " for line in range(1, lines + 1)
        )
        stream = f"BT /F1 10 Tf 40 780 Td {shown}ET".encode()
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents[4 0 R %d 0 R]"
            b"/Resources<</Font<</F1 3 0 R>>>>>>" % (len(objects) + 2)
        )
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
    return _assembled(objects)


def _assembled(objects: list[bytes]) -> bytes:
    body, offsets = bytearray(b"%PDF-1.7\n"), []
    for number, content in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    end = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(body))
    return bytes(body) + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + end
