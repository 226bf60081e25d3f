"""The adapters that the settings ask for; a vendor's library is loaded only when it is used."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from sluice_common.adapters.ensured import EnsuredVectorStore
from sluice_common.adapters.filesystem import FilesystemObjectStore
from sluice_common.ports import ObjectStore, TranscriptionProvider, VectorStore, VisionProvider
from sluice_common.settings import (
    EmbeddingsSettings,
    ObjectsSettings,
    QdrantSettings,
    SettingsError,
    TracingSettings,
    TranscriptionSettings,
    VisionSettings,
)
from sluice_common.spans import NO_SPANS, Spans

if TYPE_CHECKING:
    from sluice_common.adapters.openai_embeddings import OpenAIEmbeddings


def build_object_store(settings: ObjectsSettings) -> ObjectStore:
    """The object store of the wanted kind; nothing is opened yet.

    Raises:
        SettingsError: the folder or the bucket is not named.
    """
    if settings.kind == "s3":
        from sluice_common.adapters.s3 import open_s3  # noqa: PLC0415 - a store on disk needs no boto3

        return open_s3(settings)
    if settings.root is None:
        raise SettingsError("SLUICE_OBJECTS__ROOT: is needed when SLUICE_OBJECTS__KIND is filesystem")
    return FilesystemObjectStore(settings.root)


def build_spans(settings: TracingSettings, service: str, stack: ExitStack) -> Spans:
    """Where *service* sends its spans; nowhere unless an address is set. The stack sends the last ones."""
    if settings.endpoint is None:
        return NO_SPANS
    from sluice_common.adapters.otlp import OtlpSpans  # noqa: PLC0415 - who does not trace pays nothing

    spans = OtlpSpans(settings, service=service)
    stack.callback(spans.close)
    return spans


def build_transcription(settings: TranscriptionSettings) -> TranscriptionProvider | None:
    """The provider of transcripts; None where none is configured. Nothing is sent yet."""
    if settings.base_url is None:
        return None
    from sluice_common.adapters.openai_transcription import OpenAITranscription  # noqa: PLC0415 - needs an HTTP client

    return OpenAITranscription(settings)


def build_vision(settings: VisionSettings) -> VisionProvider | None:
    """The provider that describes figures; None where none is configured. Nothing is sent yet."""
    if settings.base_url is None:
        return None
    from sluice_common.adapters.openai_vision import OpenAIVision  # noqa: PLC0415 - needs an HTTP client

    return OpenAIVision(settings)


def build_embeddings(settings: EmbeddingsSettings) -> "OpenAIEmbeddings":
    """The embedding provider; nothing is sent yet. The caller closes it."""
    from sluice_common.adapters.openai_embeddings import OpenAIEmbeddings  # noqa: PLC0415 - half a second to load

    return OpenAIEmbeddings(settings)


def build_vector_store(
    settings: QdrantSettings, embeddings: EmbeddingsSettings, ask_dimensions: Callable[[], int] | None = None
) -> VectorStore:
    """The index for the configured model; made at its first use.

    Args:
        settings: where Qdrant is.
        embeddings: names the model, and perhaps the length of its vectors.
        ask_dimensions: asked once where the settings do not tell the length; a provider of its own when None,
            so that a service which embeds nothing need not load the provider's library.
    """
    from sluice_common.adapters.qdrant import QdrantVectorStore, index_name, open_qdrant  # noqa: PLC0415 - as above

    client = open_qdrant(settings)

    def open_store() -> VectorStore:
        dimensions = embeddings.dimensions or (ask_dimensions or ask_provider)()
        index = index_name(settings.index_prefix, embeddings.model, dimensions)
        return QdrantVectorStore(client, index=index, dimensions=dimensions)

    def ask_provider() -> int:
        provider = build_embeddings(embeddings)
        try:
            return provider.dimensions()
        finally:
            provider.close()

    return EnsuredVectorStore(open_store)
