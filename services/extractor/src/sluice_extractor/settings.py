"""The extractor's settings."""

from sluice_common.settings import (
    AudioSettings,
    ChunkingSettings,
    ExtractionSettings,
    LimitsSettings,
    ObjectsSettings,
    OcrSettings,
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
    ocr: OcrSettings = OcrSettings()
    transcription: TranscriptionSettings = TranscriptionSettings()
    vision: VisionSettings = VisionSettings()
