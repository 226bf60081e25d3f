"""What the embedder counts beside its runs."""

from prometheus_client import CollectorRegistry, Counter


class EmbeddingMetrics:
    """How much was embedded, what had to wait, and what was bought twice."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._indexed = Counter("sluice_chunks_indexed", "Chunks whose points are in the store.", registry=registry)
        self._rebought = Counter(
            "sluice_embeddings_rebought",
            "Chunks embedded once more because an earlier try or run of the same request was lost.",
            registry=registry,
        )
        self._published = Counter("sluice_runs_published", "Runs that became visible to searches.", registry=registry)
        self._reopened = Counter(
            "sluice_batches_reopened", "Batches whose points the store had lost.", registry=registry
        )
        self._deferred = Counter(
            "sluice_batches_deferred", "Batches put back to wait, by error code.", ["code"], registry=registry
        )

    def count_indexed(self, chunks: int, *, rebought: bool) -> None:
        self._indexed.inc(chunks)
        if rebought:
            self._rebought.inc(chunks)

    def count_published(self) -> None:
        self._published.inc()

    def count_reopened(self, batches: int) -> None:
        self._reopened.inc(batches)

    def count_deferred(self, code: str) -> None:
        self._deferred.labels(code).inc()
