"""A vector store whose index is made when it is first needed, and made anew when it vanished."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sluice_common.errors import VectorStoreUnavailable
from sluice_common.failpoints import around, marked
from sluice_common.ports import Point, PointRef, ScoredPoint, SearchScope, SparseVector, VectorStore

T = TypeVar("T")


class EnsuredVectorStore:
    """A `VectorStore` that may be handed out before anybody knows the size of its vectors.

    That size comes from the provider, and a provider that is away must not keep a service from starting. An index
    that somebody removed is made again, empty; the audit fills it from the table.
    """

    def __init__(self, open_store: Callable[[], VectorStore]) -> None:
        self._open = open_store
        self._store: VectorStore | None = None
        self._lock = threading.Lock()

    @marked("vectors.ensure_index")
    def ensure_index(self) -> None:
        self._opened().ensure_index()

    @marked("vectors.upsert")
    def upsert(self, points: Sequence[Point], dense: NDArray[np.float32]) -> None:
        self._do(lambda store: store.upsert(points, dense))

    @marked("vectors.count_of_run")
    def count_of_run(self, run_id: int) -> int:
        return self._do(lambda store: store.count_of_run(run_id))

    @marked("vectors.ids_of_run")
    def ids_of_run(self, run_id: int) -> set[UUID]:
        return self._do(lambda store: store.ids_of_run(run_id))

    @marked("vectors.search")
    def search_dense(self, vector: NDArray[np.float32], scope: SearchScope, *, limit: int) -> list[ScoredPoint]:
        return self._do(lambda store: store.search_dense(vector, scope, limit=limit))

    @marked("vectors.search")
    def search_lexical(self, vector: SparseVector, scope: SearchScope, *, limit: int) -> list[ScoredPoint]:
        return self._do(lambda store: store.search_lexical(vector, scope, limit=limit))

    @marked("vectors.search")
    def search_hybrid(
        self, dense: NDArray[np.float32], lexical: SparseVector, scope: SearchScope, *, limit: int
    ) -> list[ScoredPoint]:
        return self._do(lambda store: store.search_hybrid(dense, lexical, scope, limit=limit))

    @marked("vectors.delete_runs")
    def delete_runs(self, run_ids: Sequence[int]) -> None:
        self._do(lambda store: store.delete_runs(run_ids))

    @marked("vectors.delete_document")
    def delete_document(self, document_id: UUID) -> None:
        self._do(lambda store: store.delete_document(document_id))

    @marked("vectors.delete_points")
    def delete_points(self, ids: Sequence[UUID]) -> None:
        self._do(lambda store: store.delete_points(ids))

    @marked("vectors.count_of_document")
    def count_of_document(self, document_id: UUID) -> int:
        return self._do(lambda store: store.count_of_document(document_id))

    @marked("vectors.page_of_points")
    def page_of_points(self, after: UUID | None, *, limit: int) -> tuple[list[PointRef], UUID | None]:
        return self._do(lambda store: store.page_of_points(after, limit=limit))

    def ping(self) -> None:
        self._opened().ping()

    def _do(self, act: Callable[[VectorStore], T]) -> T:
        store = self._opened()
        try:
            return act(store)
        except VectorStoreUnavailable as error:
            if error.detail_code != "index_missing":
                raise
            with around("vectors.ensure_index"):
                store.ensure_index()
            return act(store)

    def _opened(self) -> VectorStore:
        with self._lock:
            if self._store is None:
                store = self._open()
                with around("vectors.ensure_index"):
                    store.ensure_index()
                self._store = store
            return self._store
