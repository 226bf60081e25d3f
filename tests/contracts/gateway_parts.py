"""A running gateway with a new tenant for each test: the real application and server over real parts but the queue."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
import uvicorn
from builders import Protocol, make_extraction, make_original
from contracts.vector_fixtures import VectorServer
from prometheus_client import CollectorRegistry

from sluice_api.app import create_app
from sluice_api.deps import ApiDeps
from sluice_api.metrics import GatewayMetrics
from sluice_api.settings import ApiSettings
from sluice_api.waiting import Watch
from sluice_common.adapters.filesystem import FilesystemObjectStore
from sluice_common.adapters.qdrant import QdrantVectorStore, open_qdrant
from sluice_common.batches import Batches, NewBatch, NewChunk
from sluice_common.catalogue import Catalogue
from sluice_common.collections import Collections
from sluice_common.contract import Task
from sluice_common.database import Database, open_database
from sluice_common.documents import Documents, ExtractionClaim, NewDocument
from sluice_common.errors import QueueUnavailable
from sluice_common.events import Events
from sluice_common.hints import Hints
from sluice_common.hits import Hits
from sluice_common.idempotency import Idempotency
from sluice_common.jobs import Pings
from sluice_common.keys import Keys, Scope
from sluice_common.lexical import lexical_vector
from sluice_common.page_images import PageImages
from sluice_common.ports import Point
from sluice_common.settings import DatabaseSettings, QdrantSettings
from sluice_common.testing import FakeEmbeddings

ALL_SCOPES = tuple(Scope)


class FakeQueue:
    """A `TaskQueue` that keeps what is sent; `on_send` may answer in a worker's place."""

    def __init__(self) -> None:
        self.sent: list[Task] = []
        self.is_away = False
        self.on_send: Callable[[Task], None] = lambda _task: None

    def forget(self) -> None:
        """As new."""
        FakeQueue.__init__(self)

    def send(self, task: Task) -> None:
        self.ping()
        self.sent.append(task)
        self.on_send(task)

    def has_room(self, queue: str) -> bool:  # noqa: ARG002 - the port's signature
        return True

    def epoch(self) -> tuple[str, int]:
        self.ping()
        return "fake", len(self.sent)

    def ping(self) -> None:
        if self.is_away:
            raise QueueUnavailable("ConnectionError")


@dataclass
class Gateway:
    """The running gateway, and what a test needs to bring about what it talks of."""

    deps: ApiDeps
    url: str
    embeddings: FakeEmbeddings
    queue: FakeQueue
    tenant_id: UUID
    protocol: Protocol
    clients: list[httpx.Client] = field(default_factory=list)

    def key(self, *scopes: Scope, tenant_id: UUID | None = None, collections: list[str] | None = None) -> str:
        """The secret of a new key."""
        tenant_id = tenant_id or self.tenant_id
        chosen = None if collections is None else [self.collection_id(name, tenant_id) for name in collections]
        made = self.deps.keys.create(tenant_id, name="test", scopes=scopes or ALL_SCOPES, collection_ids=chosen)
        return made.secret

    def client(self, *scopes: Scope, **key) -> httpx.Client:
        """A client with a new key."""
        headers = {"Authorization": f"Bearer {self.key(*scopes, **key)}"}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False)
        self.clients.append(client)
        return client

    def close_clients(self) -> None:
        while self.clients:
            self.clients.pop().close()

    def other_tenant(self) -> UUID:
        return self.deps.keys.ensure_tenant(f"other-{uuid4().hex}")

    def collection_id(self, name: str, tenant_id: UUID | None = None) -> UUID:
        tenant_id = tenant_id or self.tenant_id
        self.deps.collections.create(tenant_id, name, chunking={})
        found = self.deps.collections.find(tenant_id, name)
        assert found is not None
        return found.id

    def accept(self, name: str = "report.txt", *, collection: str = "default", tenant_id=None, **fields) -> UUID:
        """A queued document."""
        tenant_id = tenant_id or self.tenant_id
        new = NewDocument(tenant_id, self.collection_id(collection, tenant_id), make_original(name=name), **fields)
        return self.deps.documents.accept(new, on_duplicate="allow").document_id

    def embed(self, document_id: UUID, texts: list[str]) -> ExtractionClaim:
        """Take a queued document as far as verifying: its points are in the store and its run is not published."""
        claim = self.deps.documents.claim_extraction(document_id, "extractor")
        assert claim is not None
        batch = NewBatch(0, [_chunk(number, text) for number, text in enumerate(texts)])
        self.deps.batches.finish_extraction(document_id, claim.run_id, [batch], make_extraction([batch]))
        claimed = self.deps.batches.claim(claim.run_id, 0, "embedder")
        assert claimed is not None
        points = [
            Point(
                id=chunk.point_id,
                tenant_id=claimed.tenant_id,
                collection_id=claimed.collection_id,
                document_id=document_id,
                run_id=claim.run_id,
                chunk_no=chunk.chunk_no,
                page=chunk.page,
                lexical=lexical_vector(chunk.text),
                attributes=claimed.attributes,
            )
            for chunk in claimed.chunks
        ]
        self.deps.vectors.upsert(points, FakeEmbeddings().embed(texts))
        self.deps.batches.finish(claimed)
        return claim

    def publish(self, claim: ExtractionClaim) -> None:
        published = self.deps.batches.publish(claim.document_id, claim.run_id, model="fake", dimensions=32)
        assert published.outcome == "published"

    def ready(self, texts: list[str], name: str = "report.txt", **fields) -> UUID:
        """A document that searches can see."""
        document_id = self.accept(name, **fields)
        self.publish(self.embed(document_id, texts))
        return document_id


def _chunk(number: int, text: str) -> NewChunk:
    return NewChunk(number, text, number * 100, number * 100 + len(text), tokens=len(text) // 4, page_start=1)


def wait_until(condition: Callable[[], object], what: str, *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def running_gateway(new_database_url, tmp_path_factory, embedded_vector_server) -> Iterator[Gateway]:
    database_url = new_database_url()
    database = open_database(DatabaseSettings(url=database_url), application="gateway")
    client = open_qdrant(QdrantSettings(url=embedded_vector_server.url))
    index = f"gateway_{uuid4().hex}"
    vectors = QdrantVectorStore(client, index=index, dimensions=32)
    vectors.ensure_index()
    embeddings, queue = FakeEmbeddings(), FakeQueue()
    settings = _settings(database_url, embedded_vector_server, tmp_path_factory.mktemp("originals"))
    deps = _deps(database, vectors, embeddings, queue, settings)
    with _serving(deps) as url:
        yield Gateway(deps, url, embeddings, queue, deps.keys.ensure_tenant(), Protocol(database))
    client.delete_collection(index)
    client.close()
    database.close()


@pytest.fixture
def gateway(running_gateway) -> Iterator[Gateway]:
    """The running gateway, with a new tenant for each test."""
    running_gateway.tenant_id = running_gateway.deps.keys.ensure_tenant(f"tenant-{uuid4().hex}")
    running_gateway.embeddings.fault, running_gateway.embeddings.calls = None, 0
    running_gateway.queue.forget()
    yield running_gateway
    running_gateway.close_clients()


def _settings(database_url: str, vectors: VectorServer, originals: Path) -> ApiSettings:
    return ApiSettings.model_validate(
        {
            "database": {"url": database_url},
            "broker": {"url": "redis://127.0.0.1:1/0"},
            "qdrant": {"url": vectors.url},
            "embeddings": {"base_url": "http://127.0.0.1:1/v1", "model": "fake"},
            "objects": {"root": originals},
        }
    )


def _deps(
    database: Database, vectors: QdrantVectorStore, embeddings: FakeEmbeddings, queue: FakeQueue, settings: ApiSettings
) -> ApiDeps:
    protocol = Protocol(database)
    events = Events(database)
    return ApiDeps(
        settings=settings,
        documents=Documents(database, protocol.times),
        batches=Batches(database, protocol.times),
        catalogue=Catalogue(database),
        hits=Hits(database),
        collections=Collections(database),
        keys=Keys(database),
        idempotency=Idempotency(database),
        events=events,
        pings=Pings(database),
        page_images=PageImages(database),
        objects=FilesystemObjectStore(settings.objects.root),
        vectors=vectors,
        embeddings=embeddings,
        hints=Hints(queue),
        queue=queue,
        database=database,
        metrics=GatewayMetrics(CollectorRegistry()),
        watch=Watch(events.latest_ids),
    )


class _serving:  # noqa: N801 - reads as a phrase in the `with`
    def __init__(self, deps: ApiDeps) -> None:
        config = uvicorn.Config(create_app(deps), port=0, log_level="error", timeout_graceful_shutdown=2, ws="none")
        self._server = uvicorn.Server(config)
        self._deps = deps
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> str:
        self._thread.start()
        wait_until(lambda: self._server.started, "the gateway listens")
        return f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def __exit__(self, *_error: object) -> None:
        self._deps.watch.close()
        self._server.should_exit = True
        self._thread.join(timeout=20)
        assert not self._thread.is_alive(), "the gateway did not stop"
