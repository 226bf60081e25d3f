"""What the gateway's routes use, and nothing else."""

from dataclasses import dataclass

from sluice_api.metrics import GatewayMetrics
from sluice_api.settings import ApiSettings
from sluice_api.waiting import Watch
from sluice_common.batches import Batches
from sluice_common.catalogue import Catalogue
from sluice_common.collections import Collections
from sluice_common.database import Database
from sluice_common.documents import Documents
from sluice_common.events import Events
from sluice_common.hints import Hints
from sluice_common.hits import Hits
from sluice_common.idempotency import Idempotency
from sluice_common.jobs import Pings
from sluice_common.keys import Keys
from sluice_common.page_images import PageImages
from sluice_common.ports import EmbeddingProvider, ObjectStore, TaskQueue, VectorStore
from sluice_common.spans import NO_SPANS, Spans


@dataclass(frozen=True)
class ApiDeps:
    """The open parts of one gateway; every one of them may be used by several threads at once."""

    settings: ApiSettings
    documents: Documents
    batches: Batches
    catalogue: Catalogue
    hits: Hits
    collections: Collections
    keys: Keys
    idempotency: Idempotency
    events: Events
    pings: Pings
    page_images: PageImages
    objects: ObjectStore
    vectors: VectorStore
    embeddings: EmbeddingProvider
    hints: Hints
    queue: TaskQueue
    database: Database
    metrics: GatewayMetrics
    watch: Watch
    """One for the whole process: streams and long polls wait on it; closed when the process stops."""
    spans: Spans = NO_SPANS
