"""The page of metrics says what the services show."""

import re

from pages import ROOT, SOURCES, table_of, word
from prometheus_client import CollectorRegistry

from sluice_api.loops import BacklogCollector, LoopMetrics
from sluice_api.metrics import GatewayMetrics
from sluice_common.measuring import MeasuredProvider
from sluice_common.metrics import StageMetrics, make_registry
from sluice_common.reconciling import Backlog
from sluice_embedder.metrics import EmbeddingMetrics
from sluice_extractor.metrics import ExtractionMetrics

PAGE = "docs/reference/metrics.md"
FROM = {
    "all": lambda _: None,  # what `make_registry` brings
    "api": GatewayMetrics,
    "api, embedder": lambda registry: MeasuredProvider(None, registry),
    "extractor, embedder": StageMetrics,
    "extractor": ExtractionMetrics,
    "embedder": EmbeddingMetrics,
    "reconciler": lambda registry: (LoopMetrics(registry), registry.register(BacklogCollector(EmptyTable()))),
}


class EmptyTable:
    """A table with nothing unfinished in it."""

    def backlog(self) -> Backlog:
        return Backlog(documents={}, oldest_s={}, oldest_unfinished_s=0, batches_waiting=0, chunks_waiting=0, stuck=0)


def families_of(register) -> list[tuple[str, str, str, str]]:
    registry = make_registry(version="test") if register is FROM["all"] else CollectorRegistry()
    register(registry)
    labels = {name: ", ".join(map(word, metric)) for name, metric in labels_of(registry).items()}
    return [
        (shown_name(family), family.type, labels[family.name], family.documentation)
        for family in registry.collect()
        if family.name.startswith("sluice_")
    ]


def labels_of(registry: CollectorRegistry) -> dict[str, tuple[str, ...]]:
    """The labels of each family; a collector that reads the table has them in its samples."""
    found = {}
    for collector in list(registry._collector_to_names):
        for family in collector.collect():
            of_samples = tuple(family.samples[0].labels) if family.samples else ()
            found[family.name] = tuple(getattr(collector, "_labelnames", of_samples))
    return found


def shown_name(family) -> str:
    return word(family.name + ("_total" if family.type == "counter" else ""))


def test_every_metric_stands_on_the_page_with_its_type_labels_and_meaning():
    expected = {
        (name, kind, labels, source, meaning)
        for source, register in FROM.items()
        for name, kind, labels, meaning in families_of(register)
    }

    assert set(table_of(PAGE, "Metrics")) == expected


def test_no_metric_is_defined_anywhere_else():
    written = set().union(*(re.findall(r'"(sluice_[a-z_]+)",', path.read_text("utf-8")) for path in SOURCES))
    written -= {path.relative_to(ROOT).parts[3] for path in SOURCES}  # packages begin like metrics
    shown = {cells[0].strip("`") for cells in table_of(PAGE, "Metrics")}

    assert {name if name in shown else f"{name}_total" for name in written} == shown
