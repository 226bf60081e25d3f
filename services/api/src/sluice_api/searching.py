"""Finds chunks by meaning, by words or by both; shows what is published and nothing else."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

import numpy as np
import structlog
from numpy.typing import NDArray

from sluice_api.deps import ApiDeps
from sluice_api.problems import Problem
from sluice_common.collections import Collection
from sluice_common.errors import DimensionMismatch, EmbeddingRejected, PipelineError
from sluice_common.hits import Hit
from sluice_common.keys import Principal
from sluice_common.lexical import lexical_query
from sluice_common.ports import ScoredPoint, SearchScope, SparseVector, VectorStore

log = structlog.get_logger(__name__)

Mode = Literal["dense", "lexical", "hybrid"]

NAME_RULE = "a letter or digit, then at most 63 letters, digits, spaces, dots, hyphens and underscores"
_NAME = re.compile(r"[^\W_][\w .-]{0,63}(?<! )")

SPARE_POINTS = 10
"""Points asked for beyond what is wanted: so many may turn out to be unpublished before it must be asked again."""

POINTS_PER_DOCUMENT = 4
"""Points asked for per document wanted, when only a document's best chunk counts."""

MAX_ROUNDS = 20
"""How often a search asks the store at most."""


@dataclass(frozen=True)
class SearchQuery:
    """What to look for, already validated; see the HTTP interface for the meaning of each part."""

    text: str
    collection: str | None = None
    """None: every collection that the key may read."""
    top_k: int = 10
    mode: Mode = "hybrid"
    filter: Mapping[str, Any] | None = None  # as SearchScope.filter
    score_threshold: float | None = None
    group_by_document: bool = False


@dataclass(frozen=True)
class SearchAnswer:
    """What was found, best first, and how it was really looked for."""

    hits: Sequence[Hit]
    mode: Mode
    is_degraded: bool
    """The provider did not embed the question, so only its words counted."""


Ask = Callable[[SearchScope, int], list[ScoredPoint]]
"""Asks the store for at most so many points, best first."""


@dataclass(frozen=True)
class _Plan:
    mode: Mode
    ask: Ask
    is_degraded: bool = False


def search(query: SearchQuery, principal: Principal, deps: ApiDeps) -> SearchAnswer:
    """Find the chunks that fit *query* best, among what the key may read.

    Raises:
        Problem: 404 for an unknown collection, 422 for a question that the provider refuses.
        TransientError: a store is away, or in dense mode the provider.
    """
    collection_ids = _collections_of(query, principal, deps)
    plan = _plan_of(query, deps)
    scope = SearchScope(
        tenant_id=principal.tenant_id,
        collection_ids=collection_ids,
        # Read before the store is asked: a run that is made later is kept out by the join in `resolve`.
        hidden_runs=deps.hits.hidden_runs(principal.tenant_id),
        filter=query.filter,
    )
    hits = _published_hits(query, plan.ask, scope, deps)
    return SearchAnswer(hits, plan.mode, plan.is_degraded)


def proper_name(text: str) -> str | None:
    """The collection name that *text* stands for, in NFC; None when no collection can have it."""
    name = unicodedata.normalize("NFC", text)
    return name if _NAME.fullmatch(name) else None


def collection_named(text: str, principal: Principal, deps: ApiDeps) -> Collection | None:
    """The collection of that name, when there is one and the key may see it."""
    name = proper_name(text)
    collection = None if name is None else deps.collections.find(principal.tenant_id, name)
    if collection is None or (principal.collection_ids is not None and collection.id not in principal.collection_ids):
        return None
    return collection


def no_collection() -> Problem:
    """The answer when a request names a collection that there is not, or that the key may not see."""
    return Problem(404, "not_found", "There is no such collection.", pointer="/collection")


def _collections_of(query: SearchQuery, principal: Principal, deps: ApiDeps) -> Sequence[UUID] | None:
    if query.collection is None:
        return None if principal.collection_ids is None else list(principal.collection_ids)
    collection = collection_named(query.collection, principal, deps)
    if collection is None:
        raise no_collection()
    return [collection.id]


def _plan_of(query: SearchQuery, deps: ApiDeps) -> _Plan:
    if query.mode == "dense":
        return _dense_plan(_embedded(query.text, deps), deps.vectors)
    words = lexical_query(query.text)
    if query.mode == "lexical":
        return _lexical_plan(words, deps.vectors)
    try:
        vector = _embedded(query.text, deps)
    except (PipelineError, Problem) as error:
        log.warning("search_degraded", code=error.code)
        return _lexical_plan(words, deps.vectors, is_degraded=True)
    if not len(words.indices):
        return _dense_plan(vector, deps.vectors)  # nothing but punctuation: there are no words to look for
    return _Plan("hybrid", lambda scope, limit: deps.vectors.search_hybrid(vector, words, scope, limit=limit))


def _dense_plan(vector: NDArray[np.float32], vectors: VectorStore) -> _Plan:
    return _Plan("dense", lambda scope, limit: vectors.search_dense(vector, scope, limit=limit))


def _lexical_plan(words: SparseVector, vectors: VectorStore, *, is_degraded: bool = False) -> _Plan:
    if not len(words.indices):
        return _Plan("lexical", lambda _scope, _limit: [], is_degraded)
    return _Plan("lexical", lambda scope, limit: vectors.search_lexical(words, scope, limit=limit), is_degraded)


def _embedded(text: str, deps: ApiDeps) -> NDArray[np.float32]:
    try:
        vector: NDArray[np.float32] = deps.embeddings.embed([text])[0]
    except EmbeddingRejected as error:
        detail = "The embedding provider refuses this question; a shorter one may pass."
        raise Problem(422, "validation_failed", detail, pointer="/query") from error
    except DimensionMismatch as error:
        log.exception("query_vector_misfit", detail=error.detail)
        detail = "The vectors of the embedding provider do not fit the index."
        raise Problem(503, "unavailable", detail, headers={"Retry-After": "60"}) from error
    return vector


def _published_hits(query: SearchQuery, ask: Ask, scope: SearchScope, deps: ApiDeps) -> list[Hit]:
    limit = _first_limit(query)
    hits: list[Hit] = []
    for _ in range(MAX_ROUNDS):
        points = ask(scope, limit)
        wanted = _above(points, query.score_threshold)
        found = deps.hits.resolve(scope.tenant_id, scope.collection_ids, wanted) if wanted else []
        hits = _best_of_each_document(found) if query.group_by_document else found
        may_miss = len(found) < len(wanted) or deps.hits.is_overtaken(scope.hidden_runs)
        if may_miss and (newer := _newer_scope(scope, deps)):
            # A new run was published between the two questions: the store was asked for the old one, whose points
            # may be gone already, and the table knew the new one. Without this its document would be missing for
            # the moment of the swap.
            scope = newer
            continue
        is_all = len(points) < limit or len(wanted) < len(points)
        if is_all or len(hits) >= query.top_k:
            break
        limit *= 2
    return hits[: query.top_k]


def _first_limit(query: SearchQuery) -> int:
    return query.top_k * (POINTS_PER_DOCUMENT if query.group_by_document else 1) + SPARE_POINTS


def _newer_scope(scope: SearchScope, deps: ApiDeps) -> SearchScope | None:
    """The scope with the runs that are hidden now; None when they are the same."""
    hidden_runs = deps.hits.hidden_runs(scope.tenant_id)
    return None if set(hidden_runs) == set(scope.hidden_runs) else replace(scope, hidden_runs=hidden_runs)


def _above(points: Sequence[ScoredPoint], threshold: float | None) -> Sequence[ScoredPoint]:
    return points if threshold is None else [point for point in points if point.score >= threshold]


def _best_of_each_document(hits: Sequence[Hit]) -> list[Hit]:
    best: dict[UUID, Hit] = {}
    for hit in hits:
        best.setdefault(hit.document_id, hit)
    return list(best.values())
