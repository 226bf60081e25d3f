"""The extractor's settings."""

from sluice_common.settings import (
    ChunkingSettings,
    ExtractionSettings,
    LimitsSettings,
    ObjectsSettings,
    ServiceSettings,
)


class ExtractorSettings(ServiceSettings):
    objects: ObjectsSettings
    limits: LimitsSettings = LimitsSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    extraction: ExtractionSettings = ExtractionSettings()
