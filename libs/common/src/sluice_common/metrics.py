"""Metrics that several services have, and the port they are read from."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from sluice_common.errors import FailureCode
from sluice_common.settings import MetricsSettings, SettingsError

STAGE_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class StageMetrics:
    """How often each stage runs, how long it takes, and why it fails."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._runs = Counter(
            "sluice_stage_runs",
            "Tasks that a stage has worked on, by how they ended; hints that found nothing to do are not counted.",
            ["stage", "outcome"],
            registry=registry,
        )
        self._skipped = Counter(
            "sluice_hints_skipped",
            "Hints that found nothing to do: repeated by the broker or the dispatch loop, or overtaken.",
            ["stage"],
            registry=registry,
        )
        self._duration = Histogram(
            "sluice_stage_duration_seconds",
            "Time that one stage spent on one task.",
            ["stage"],
            buckets=STAGE_BUCKETS_S,
            registry=registry,
        )

    def begin(self, stage: str) -> None:
        """Show every outcome of a stage as 0, or nobody could see the first one as an increase."""
        for outcome in ("ok", *FailureCode):
            self._runs.labels(stage, outcome)
        self._skipped.labels(stage)

    def count(self, stage: str, outcome: str, duration_s: float) -> None:
        """Count one task that a stage has worked on."""
        self._runs.labels(stage, outcome).inc()
        self._duration.labels(stage).observe(duration_s)

    def count_skipped(self, stage: str) -> None:
        """Count one hint that found nothing to do."""
        self._skipped.labels(stage).inc()


def make_registry(*, version: str, revision: str = "unknown") -> CollectorRegistry:
    """A registry with what every process shows: its build, its memory and its CPU time."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    build = Gauge("sluice_build_info", "Which build runs here; always 1.", ["version", "revision"], registry=registry)
    build.labels(version, revision).set(1)
    return registry


def serve_metrics(settings: MetricsSettings, registry: CollectorRegistry) -> Callable[[], None]:
    """Answer scrapes on a port of their own, in a thread; returns what ends it.

    Raises:
        SettingsError: the port is taken, or not ours to take.
    """
    try:
        server, thread = start_http_server(settings.port, addr=settings.host, registry=registry)
    except OSError as error:
        raise SettingsError(f"SLUICE_METRICS__PORT: {settings.port}: {error.strerror}") from error

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join(timeout=2)

    return close
