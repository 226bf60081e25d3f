"""Exactly what the embedder's handlers use."""

from dataclasses import dataclass

from sluice_common.batches import Batches
from sluice_common.hints import Hints
from sluice_common.jobs import Pings
from sluice_common.ports import EmbeddingProvider, VectorStore
from sluice_common.spans import NO_SPANS, Spans
from sluice_common.times import Times
from sluice_embedder.batching import Coalescer
from sluice_embedder.claims import Claims
from sluice_embedder.metrics import EmbeddingMetrics
from sluice_embedder.store_gate import StoreGate


@dataclass(frozen=True)
class EmbedderDeps:
    batches: Batches
    vectors: VectorStore
    store_gate: StoreGate
    """Before the same store; what is written goes through it."""
    provider: EmbeddingProvider
    coalescer: Coalescer
    claims: Claims
    hints: Hints
    pings: Pings
    times: Times
    metrics: EmbeddingMetrics
    owner: str
    """Who holds the claims: host and process."""
    spans: Spans = NO_SPANS
