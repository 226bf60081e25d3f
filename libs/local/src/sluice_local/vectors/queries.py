"""Turns Qdrant's JSON queries into those of the engine."""

from typing import Any  # JSON has no narrower type

import qdrant_edge as edge

from sluice_local.vectors.conditions import filter_of
from sluice_local.vectors.points import sparse_vector_of
from sluice_local.vectors.refusals import BadRequest

DEFAULT_LIMIT = 10
DEFAULT_RRF_K = 2
"""Qdrant's own; the engine's binding has no default."""


def query_of(body: Any) -> edge.QueryRequest:
    """The engine's query for *body*. `params` are left out: a flat search is always exact.

    Raises:
        BadRequest: the query is malformed, or of a kind that this server does not have.
    """
    return edge.QueryRequest(
        limit=body.get("limit") or DEFAULT_LIMIT,
        offset=body.get("offset"),
        query=_scoring(body.get("query"), body.get("using")),
        prefetches=_prefetches(body.get("prefetch")),
        with_vector=body.get("with_vector") or False,
        with_payload=payload_choice(body.get("with_payload")),
        filter=filter_of(body.get("filter")),
        score_threshold=body.get("score_threshold"),
    )


def payload_choice(body: Any) -> Any:
    """Which payload fields are wanted: all, none, those named, or all but those named."""
    if isinstance(body, dict):
        if "include" in body:
            return edge.PayloadSelector.Include(body["include"])
        return edge.PayloadSelector.Exclude(body["exclude"])
    return False if body is None else body


def _prefetches(body: Any) -> list[edge.Prefetch]:
    if body is None:
        return []
    return [_prefetch(item) for item in (body if isinstance(body, list) else [body])]


def _prefetch(body: dict[str, Any]) -> edge.Prefetch:
    return edge.Prefetch(
        limit=body.get("limit") or DEFAULT_LIMIT,
        query=_scoring(body.get("query"), body.get("using")),
        prefetches=_prefetches(body.get("prefetch")),
        filter=filter_of(body.get("filter")),
        score_threshold=body.get("score_threshold"),
    )


def _scoring(body: Any, using: str | None) -> Any:
    if body is None:
        return None
    if isinstance(body, dict) and "nearest" in body:
        body = body["nearest"]
    if isinstance(body, list):
        return edge.Query.Nearest(body, using=using)
    if isinstance(body, dict) and "indices" in body:
        return edge.Query.Nearest(sparse_vector_of(body), using=using)
    return _fusion(body)


def _fusion(body: Any) -> Any:
    if body == {"fusion": "rrf"}:
        return edge.Fusion.Rrf(k=DEFAULT_RRF_K)
    if body == {"fusion": "dbsf"}:
        return edge.Fusion.Dbsf()
    if isinstance(body, dict) and "rrf" in body:
        return edge.Fusion.Rrf(k=body["rrf"].get("k") or DEFAULT_RRF_K, weights=body["rrf"].get("weights"))
    raise BadRequest("Not supported by the embedded vector server: this kind of query")
