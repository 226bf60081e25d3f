"""Times every request to the embedding provider, whoever makes it."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Histogram

from sluice_common.errors import PipelineError
from sluice_common.failpoints import marked
from sluice_common.ports import EmbeddingProvider

_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class MeasuredProvider:
    """An `EmbeddingProvider` that shows how long its requests take and how they end."""

    def __init__(self, provider: EmbeddingProvider, registry: CollectorRegistry) -> None:
        self._provider = provider
        self._durations = Histogram(
            "sluice_embedding_request_duration_seconds",
            "Time of one request to the embedding provider; provider is the configured model.",
            ["provider", "outcome"],
            buckets=_BUCKETS_S,
            registry=registry,
        )

    @property
    def model(self) -> str:
        return self._provider.model

    def dimensions(self) -> int:
        return self._provider.dimensions()

    @marked("provider.embed")
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        started = time.monotonic()
        outcome = "ok"
        try:
            return self._provider.embed(texts)
        except PipelineError as error:
            outcome = error.detail_code or str(error.code)
            raise
        finally:
            self._durations.labels(self.model, outcome).observe(time.monotonic() - started)

    def ping(self) -> None:
        self._provider.ping()
