"""What Sluice needs of the outside world; every adapter and every fake keeps the same contract suite."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sluice_common.contract import Task


class ObjectWriter(Protocol):
    """One object that is being written; nobody can read it before `commit`."""

    def write(self, data: bytes) -> None:
        """Append *data*.

        Raises:
            ObjectStoreUnavailable: nothing was stored; abort and tell the client to try again.
            StorageFull: the store has no room; abort and say so.
        """

    def commit(self) -> None:
        """Make the object durable and visible under its key, whole; when this returns, a crash cannot lose it.

        Raises:
            ObjectStoreUnavailable: the outcome is unknown; the object may or may not be there.
        """

    def abort(self) -> None:
        """Throw away what was written; never raises, safe after `commit` (does nothing then)."""


@dataclass(frozen=True)
class StoredObject:
    """What a listing says about one object."""

    key: str
    size_bytes: int
    modified_at: datetime


class ObjectStore(Protocol):
    """Keeps originals under generated keys (never a file name), immutable once committed."""

    def create(self, key: str) -> ObjectWriter:
        """Begin a new object; the caller ends it by `commit` or `abort`."""

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The bytes from *start*, at most *length* of them, in pieces of at most 1 MiB.

        Raises:
            ObjectMissing: at the call, not at the first piece.
            ObjectStoreUnavailable: trying again may help.
        """

    def local_copy(self, key: str) -> AbstractContextManager[Path]:
        """A path on this machine with the object's bytes, valid inside the `with`; do not write to it.

        Raises:
            ObjectMissing: there is no such object.
            ObjectStoreUnavailable: trying again may help.
        """

    def size_of(self, key: str) -> int:
        """Size in bytes.

        Raises:
            ObjectMissing: there is no such object.
        """

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""

    def entries(self, *, older_than: datetime) -> Iterator[StoredObject]:
        """All committed objects last changed before *older_than*, in no order."""

    def discard_unfinished(self, *, older_than: datetime) -> int:
        """Remove what crashed writers left behind before *older_than*; returns how many."""

    def ping(self) -> None:
        """Raise ObjectStoreUnavailable unless an object could be stored now."""


@dataclass(frozen=True)
class SparseVector:
    """A lexical vector: distinct term numbers, ascending, with their weights."""

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Point:
    """One chunk in an index. The text is not stored: there is one place to delete it from, the table."""

    id: UUID
    tenant_id: UUID
    collection_id: UUID
    document_id: UUID
    run_id: int
    chunk_no: int
    page: int | None
    lexical: SparseVector
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PointRef:
    """A point as a scroll shows it."""

    id: UUID
    run_id: int


@dataclass(frozen=True)
class ScoredPoint:
    """A point that a search found; `score` is cosine (dense), BM25-like (lexical) or RRF (hybrid)."""

    id: UUID
    score: float


@dataclass(frozen=True)
class SearchScope:
    """What a search may see. `collection_ids` None means every collection of the tenant; empty means none."""

    tenant_id: UUID
    collection_ids: Sequence[UUID] | None
    hidden_runs: Sequence[int] = ()
    document_ids: Sequence[UUID] | None = None
    filter: Mapping[str, Any] | None = None
    """Over `attributes`, already validated: `{"type": "eq", "key": …, "value": …}` or nested `and` and `or`."""


class VectorStore(Protocol):
    """One index of points: dense unit vectors with cosine distance, and lexical vectors with IDF.

    Every write is on the store and visible to reads when the call returns. All methods may raise
    VectorStoreUnavailable (trying again may help); DimensionMismatch means that the index was made for
    vectors of another size.
    """

    def ensure_index(self) -> None:
        """Make the index and its payload indexes unless they are there; safe to call from several processes at once."""

    def upsert(self, points: Sequence[Point], dense: NDArray[np.float32]) -> None:
        """Store *points* with the rows of *dense*, shape ``(len(points), dimensions)``; same id overwrites."""

    def count_of_run(self, run_id: int) -> int:
        """Exact number of points of the run."""

    def ids_of_run(self, run_id: int) -> set[UUID]:
        """Ids of all points of the run."""

    def search_dense(self, vector: NDArray[np.float32], scope: SearchScope, *, limit: int) -> list[ScoredPoint]:
        """Nearest by cosine, best first."""

    def search_lexical(self, vector: SparseVector, scope: SearchScope, *, limit: int) -> list[ScoredPoint]:
        """Best by BM25-like weight, best first."""

    def search_hybrid(
        self, dense: NDArray[np.float32], lexical: SparseVector, scope: SearchScope, *, limit: int
    ) -> list[ScoredPoint]:
        """Both, fused by reciprocal rank, best first."""

    def delete_runs(self, run_ids: Sequence[int]) -> None:
        """Remove every point of the runs."""

    def delete_document(self, document_id: UUID) -> None:
        """Remove every point of the document."""

    def delete_points(self, ids: Sequence[UUID]) -> None:
        """Remove the points; missing ones are no error."""

    def count_of_document(self, document_id: UUID) -> int:
        """Exact number of points of the document."""

    def page_of_points(self, after: UUID | None, *, limit: int) -> tuple[list[PointRef], UUID | None]:
        """A page of all points in id order, and the id to continue from (None: that was the last page)."""

    def ping(self) -> None:
        """Raise VectorStoreUnavailable unless the store answers."""


class EmbeddingProvider(Protocol):
    """Turns texts into vectors."""

    @property
    def model(self) -> str:
        """The model's name, as it stands in the index's name and in the document."""

    def dimensions(self) -> int:
        """Length of one vector; asked of the provider once when it is not configured."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed *texts* in one call to the provider.

        Returns:
            Unit vectors, float32, shape ``(len(texts), dimensions())``, in the order of *texts*.

        Raises:
            RateLimited: with the wait the provider asked for.
            EmbeddingProviderUnavailable: no answer, or one that cannot be right (count, order, NaN, cut off).
            EmbeddingRejected: the provider refuses this input; fewer or shorter texts may pass.
            DimensionMismatch: vectors of another length than configured.
        """

    def ping(self) -> None:
        """Raise EmbeddingProviderUnavailable unless the provider answers."""


@dataclass(frozen=True)
class Spoken:
    """What is said between two times, in seconds from the beginning of the sound."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Transcript:
    """What is said in a sound, in the order of time; nobody may say anything."""

    spoken: tuple[Spoken, ...]
    language: str | None = None
    """As the provider names it, where it does."""


class TranscriptionProvider(Protocol):
    """Turns speech into text."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def asked_as(self) -> str:
        """What an answer depends on beside the sound: the provider, the model and the language."""

    @property
    def longest_s(self) -> float:
        """The longest sound for one call; shorter where the provider was found to tell no times."""

    def transcribe(self, wav: bytes, *, duration_s: float, is_stopped: Callable[[], bool]) -> Transcript:
        """Ask for the transcript of one sound.

        Args:
            wav: a WAV file with one channel of 16-bit samples.
            duration_s: how long it is; no time in the answer lies behind it.
            is_stopped: asked several times a second; once it says so the request is given up.

        Raises:
            RateLimited: with the wait the provider asked for.
            TranscriptionUnavailable: no answer, or one that cannot be right.
            TranscriptionRejected: the provider refuses this sound; a shorter one may pass.
            LeaseLost: it was stopped.
        """


class VisionProvider(Protocol):
    """Says in words what a picture shows."""

    @property
    def asked_as(self) -> str:
        """What an answer depends on beside the picture: the provider, the model and the question."""

    def describe(self, png: bytes, *, is_stopped: Callable[[], bool]) -> str:
        """Ask what one picture shows; empty where it only decorates.

        Args:
            png: a PNG file.
            is_stopped: asked several times a second; once it says so the request is given up.

        Raises:
            RateLimited: with the wait the provider asked for.
            VisionUnavailable: no answer, or one that cannot be right.
            VisionRejected: the provider refuses this picture.
            LeaseLost: it was stopped.
        """


class TaskQueue(Protocol):
    """Carries hints to the stages; it may lose, repeat or reorder them without harm."""

    def send(self, task: Task) -> None:
        """Hand *task* to its stage's queue.

        Raises:
            QueueUnavailable: not sent; the dispatch loop will send it later.
        """

    def has_room(self, queue: str) -> bool:
        """Whether *queue* holds so little that another hint is of use; a backlog waits in the table.

        Raises:
            QueueUnavailable: no answer.
        """

    def epoch(self) -> tuple[str, int]:
        """The server's identity and a counter that this call increments: going back means that it forgot."""

    def ping(self) -> None:
        """Raise QueueUnavailable unless the broker answers."""
