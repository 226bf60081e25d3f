"""What the embedder counts beside its runs."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from sluice_embedder.pacing import Gate
from sluice_embedder.shared_pacing import SharedPacer


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
        self._gate = Gauge(
            "sluice_provider_gate",
            "Whether requests to the provider go out: 1 for the gate's present state, closed being the good one.",
            ["gate"],
            registry=registry,
        )
        self._rate = Gauge(
            "sluice_provider_rate",
            "Requests per second that all embedders together may send; infinite while nothing bounds it.",
            registry=registry,
        )
        self._probes = Counter(
            "sluice_provider_probes",
            "Requests let through to a provider that was away, to see whether it is back.",
            registry=registry,
        )

    def watch(self, pacer: SharedPacer) -> None:
        """Show the state of *pacer*."""
        for gate in Gate:
            self._gate.labels(gate.value).set_function(partial(_is_now, pacer, gate))
        self._rate.set_function(lambda: pacer.rate)
        pacer.when_probing(self._probes.inc)

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


def _is_now(pacer: SharedPacer, gate: Gate) -> float:
    return float(pacer.state.gate is gate)
