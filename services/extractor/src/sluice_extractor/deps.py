"""Exactly what the extractor's handlers use."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sluice_common.batches import Batches
from sluice_common.documents import Documents
from sluice_common.hints import Hints
from sluice_common.jobs import Pings
from sluice_common.page_images import PageImages
from sluice_common.ports import ObjectStore
from sluice_common.settings import ChunkingSettings, ExtractionSettings
from sluice_common.spans import NO_SPANS, Spans
from sluice_common.times import Times
from sluice_extractor.enriching import Enrichment
from sluice_extractor.isolation import Isolation
from sluice_extractor.leases import Leases
from sluice_extractor.metrics import ExtractionMetrics
from sluice_extractor.sandbox import Sandbox


@dataclass(frozen=True)
class ExtractorDeps:
    documents: Documents
    batches: Batches
    page_images: PageImages
    objects: ObjectStore
    sandbox: Sandbox
    enrichments: Sequence[Enrichment]
    """What turns media into text, in this order."""
    leases: Leases
    hints: Hints
    pings: Pings
    times: Times
    chunking: ChunkingSettings
    extraction: ExtractionSettings
    max_chunks: int
    metrics: ExtractionMetrics
    pipeline_hash: str
    """What made a run: the release and its first reader; a run made by another pipeline may read differently."""
    owner: str
    """Who holds the leases: host and process."""
    isolation: Isolation = field(default_factory=Isolation)
    spans: Spans = NO_SPANS
    wants_sound: bool = False
    """Whether one of the enrichments hears recordings."""
    wants_colour: bool = False
    """Whether one of the enrichments sees the colours of pictures."""
    can_recognise: bool = False
    """Whether one of the enrichments reads the text in pictures."""
