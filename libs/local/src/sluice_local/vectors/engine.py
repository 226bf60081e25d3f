"""Opens the engine's shards, configured for flat search."""

from pathlib import Path
from typing import Any  # JSON has no narrower type

import qdrant_edge as edge

from sluice_local.vectors.points import UNNAMED, VectorShape
from sluice_local.vectors.refusals import BadRequest

VACUUM_ABOVE = 0.5
"""A shard is optimised at start when more than this share of its points is deleted or overwritten."""

_NEVER_KB = 10**9
"""Larger than any shard: optimising must only vacuum, because building a search graph takes minutes."""

_DISTANCES = {
    "Cosine": edge.Distance.Cosine,
    "Dot": edge.Distance.Dot,
    "Euclid": edge.Distance.Euclid,
    "Manhattan": edge.Distance.Manhattan,
}


def create_shard(folder: Path, body: dict[str, Any]) -> edge.EdgeShard:
    """A new shard in *folder* for the vectors that a create request names.

    Raises:
        BadRequest: the request names no vectors, or of a kind that the engine does not have.
    """
    config = _config(body)
    folder.mkdir(parents=True)
    return edge.EdgeShard.create(str(folder), config)


def load_shard(folder: Path, body: dict[str, Any]) -> edge.EdgeShard:
    """The shard in *folder* that was created with *body*, vacuumed where that is worth it.

    It freezes the process meanwhile, so not while serving.
    """
    shard = edge.EdgeShard.load(str(folder), _config(body))
    shard.optimize()
    return shard


def shape_of(body: dict[str, Any]) -> VectorShape:
    """Which vectors the points of a collection may have that was created with *body*."""
    return VectorShape(
        size_by_dense={name: params["size"] for name, params in _dense_vectors(body).items()},
        sparse=frozenset(body.get("sparse_vectors") or {}),
    )


def _dense_vectors(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    vectors = body.get("vectors") or {}
    return {UNNAMED: vectors} if "size" in vectors else vectors


def _dense(params: dict[str, Any]) -> edge.EdgeVectorParams:
    distance = _DISTANCES.get(params["distance"])
    if distance is None:
        raise BadRequest(f"Format error in JSON body: unknown distance {params['distance']}")
    return edge.EdgeVectorParams(size=params["size"], distance=distance)


def _sparse(params: dict[str, Any]) -> edge.EdgeSparseVectorParams:
    return edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if params.get("modifier") == "idf" else None)


def _config(body: dict[str, Any]) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors={name: _dense(params) for name, params in _dense_vectors(body).items()},
        sparse_vectors={name: _sparse(params) for name, params in (body.get("sparse_vectors") or {}).items()},
        optimizers=edge.EdgeOptimizersConfig(
            deleted_threshold=VACUUM_ABOVE,
            vacuum_min_vector_number=1000,
            default_segment_number=1,
            max_segment_size=_NEVER_KB,
            indexing_threshold=_NEVER_KB,
        ),
    )
