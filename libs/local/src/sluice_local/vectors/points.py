"""Turns Qdrant's JSON points into those of the engine, and back."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any  # JSON has no narrower type

import qdrant_edge as edge

from sluice_local.vectors.refusals import BadRequest

UNNAMED = ""
"""How the engine calls a collection's only vector where it has no name."""


@dataclass(frozen=True)
class VectorShape:
    """Which vectors a collection's points may have: the dense ones with their sizes, and the sparse ones."""

    size_by_dense: Mapping[str, int]
    sparse: frozenset[str]


def points_of(body: Any, shape: VectorShape) -> list[edge.Point]:
    """The points of an upsert, in either of Qdrant's two forms.

    Everything is checked here, because the engine writes a request to its log first: one bad point would
    leave those before it stored, and the request answered with an error.

    Raises:
        BadRequest: a point does not fit the collection; nothing was stored.
    """
    if not isinstance(body, dict):
        raise BadRequest("Format error in JSON body: expected an object")
    rows = body["points"] if "points" in body else _rows_of_batch(body["batch"])
    return [edge.Point(row["id"], _vectors(row["vector"], shape), row.get("payload") or {}) for row in rows]


def _rows_of_batch(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    ids, columns = batch["ids"], batch["vectors"]
    payloads = batch.get("payloads") or [None] * len(ids)
    if isinstance(columns, dict):
        vectors: Iterable[Any] = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    else:
        vectors = columns
    for point_id, vector, payload in zip(ids, vectors, payloads, strict=True):
        yield {"id": point_id, "vector": vector, "payload": payload}


def _vectors(body: Any, shape: VectorShape) -> Any:
    if type(body) is list:
        _check_size(body, UNNAMED, shape)
        return body
    return {name: _named_vector(value, name, shape) for name, value in body.items()}


def _named_vector(value: Any, name: str, shape: VectorShape) -> Any:
    if type(value) is list:
        _check_size(value, name, shape)
        return value
    if name not in shape.sparse:
        raise BadRequest(f"Wrong input: Not existing vector name error: {name}")
    return sparse_vector_of(value)


def _check_size(values: list[Any], name: str, shape: VectorShape) -> None:
    size = shape.size_by_dense.get(name)
    if size is None:
        raise BadRequest(f"Wrong input: Not existing vector name error: {name}")
    if len(values) != size:
        raise BadRequest(f"Wrong input: Vector dimension error: expected dim: {size}, got {len(values)}")


def sparse_vector_of(body: Any) -> edge.SparseVector:
    """The engine's sparse vector.

    Raises:
        BadRequest: indices and values differ in number, or an index stands twice.
    """
    indices, values = body["indices"], body["values"]
    if len(indices) != len(values):
        raise BadRequest("Validation error in JSON body: indices and values differ in length")
    if len(set(indices)) != len(indices):
        raise BadRequest("Validation error in JSON body: indices must be unique")
    return edge.SparseVector(indices, values)


def record_of(record: edge.Record | edge.ScoredPoint) -> dict[str, Any]:
    """A point as it stands in an answer; what was not asked for is left out."""
    body: dict[str, Any] = {"id": record.id}
    if isinstance(record, edge.ScoredPoint):
        body |= {"version": record.version, "score": record.score}
    if record.payload is not None:
        body["payload"] = record.payload
    if record.vector is not None:
        body["vector"] = _vector_body(record.vector)
    return body


def _vector_body(vector: Any) -> Any:
    if isinstance(vector, edge.SparseVector):
        return {"indices": vector.indices, "values": vector.values}
    if isinstance(vector, dict):
        return {name: _vector_body(value) for name, value in vector.items()}
    return vector
