"""The embedder's settings."""

from sluice_common.settings import EmbedderSettings as WorkerSettings
from sluice_common.settings import EmbeddingsSettings, QdrantSettings, ServiceSettings


class EmbedderSettings(ServiceSettings):
    qdrant: QdrantSettings
    embeddings: EmbeddingsSettings
    embedder: WorkerSettings = WorkerSettings()
