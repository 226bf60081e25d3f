"""The extractor's settings."""

from sluice_common.settings import (
    AudioSettings,
    ChunkingSettings,
    ExtractionSettings,
    LimitsSettings,
    ObjectsSettings,
    ServiceSettings,
    TranscriptionSettings,
    VisionSettings,
)


class ExtractorSettings(ServiceSettings):
    objects: ObjectsSettings
    limits: LimitsSettings = LimitsSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    extraction: ExtractionSettings = ExtractionSettings()
    audio: AudioSettings = AudioSettings()
    transcription: TranscriptionSettings = TranscriptionSettings()
    vision: VisionSettings = VisionSettings()
