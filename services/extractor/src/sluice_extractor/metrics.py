"""What the extractor counts beside its runs."""

from prometheus_client import CollectorRegistry, Counter


class ExtractionMetrics:
    """How much was read, and how children ended."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._pages = Counter("sluice_pages_extracted", "Pages read from documents.", registry=registry)
        self._chunks = Counter("sluice_chunks_forwarded", "Chunks handed to the embedder.", registry=registry)
        self._setbacks = Counter(
            "sluice_extraction_setbacks",
            "Extractions that ended without a result, by error code.",
            ["code"],
            registry=registry,
        )

        self._transcribed = Counter(
            "sluice_transcribed_seconds", "Seconds of sound that a provider transcribed.", registry=registry
        )

        self._described = Counter("sluice_figures_described", "Figures that a provider described.", registry=registry)

    def count_described(self) -> None:
        self._described.inc()

    def count_transcribed(self, seconds: float) -> None:
        self._transcribed.inc(seconds)

    def count_pages(self, pages: int) -> None:
        self._pages.inc(pages)

    def count_chunks(self, chunks: int) -> None:
        self._chunks.inc(chunks)

    def count_setback(self, code: str) -> None:
        self._setbacks.labels(code).inc()
