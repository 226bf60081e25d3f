"""The settings of the gateway and of the reconciler that shares its image."""

from sluice_common.settings import (
    ChunkingSettings,
    EmbeddingsSettings,
    HttpSettings,
    LimitsSettings,
    ObjectsSettings,
    QdrantSettings,
    ServiceSettings,
)


class ApiSettings(ServiceSettings):
    """What the gateway reads of the environment."""

    qdrant: QdrantSettings
    embeddings: EmbeddingsSettings
    objects: ObjectsSettings
    limits: LimitsSettings = LimitsSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    http: HttpSettings = HttpSettings()
