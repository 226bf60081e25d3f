"""Turns Qdrant's JSON filters into those of the engine."""

from typing import Any, cast  # JSON has no narrower type than Any; the names of unions are only in the stubs

import numpy as np
import qdrant_edge as edge

from sluice_local.vectors.refusals import BadRequest

_CLAUSES = {"must", "should", "must_not", "min_should"}
_BOUNDS = {"gt", "gte", "lt", "lte"}


def filter_of(body: Any) -> edge.Filter | None:
    """The engine's filter for *body*; None for none.

    Raises:
        BadRequest: a condition is malformed, or of a kind that this server does not have.
    """
    if body is None:
        return None
    if not isinstance(body, dict) or not body.keys() <= _CLAUSES:
        raise BadRequest("Format error in JSON body: a filter has must, should, must_not and min_should")
    return edge.Filter(
        must=_conditions(body.get("must")),
        should=_conditions(body.get("should")),
        must_not=_conditions(body.get("must_not")),
        min_should=_min_should(body.get("min_should")),
    )


def _conditions(body: Any) -> list[Any] | None:
    if body is None:
        return None
    return [_condition(item) for item in (body if isinstance(body, list) else [body])]


def _min_should(body: Any) -> edge.MinShould | None:
    if body is None:
        return None
    return edge.MinShould(conditions=_conditions(body["conditions"]) or [], min_count=body["min_count"])


def _condition(body: Any) -> Any:
    if not isinstance(body, dict):
        raise BadRequest("Format error in JSON body: a condition is an object")
    if "key" in body:
        return _field_condition(body)
    if "has_id" in body:
        return edge.HasIdCondition(set(body["has_id"]))
    if "is_empty" in body:
        return edge.IsEmptyCondition(body["is_empty"]["key"])
    if "is_null" in body:
        return edge.IsNullCondition(body["is_null"]["key"])
    nested = filter_of(body)
    assert nested is not None
    return nested


def _field_condition(body: dict[str, Any]) -> edge.FieldCondition:
    unknown = {name for name, value in body.items() if value is not None} - {"key", "match", "range"}
    if unknown:
        raise BadRequest(f"Not supported by the embedded vector server: condition {', '.join(sorted(unknown))}")
    match, bounds = body.get("match"), body.get("range")
    if match is not None:
        return edge.FieldCondition(body["key"], match=_match(match))
    if not isinstance(bounds, dict) or not bounds.keys() <= _BOUNDS:
        raise BadRequest("Format error in JSON body: a condition on a field has match or range")
    return edge.FieldCondition(body["key"], range=edge.RangeFloat(**bounds))


def _match(body: dict[str, Any]) -> Any:
    if "value" in body:
        value = body["value"]
        # The engine's binding takes Python's True for the integer 1; NumPy's is no integer.
        return edge.MatchValue(cast("bool", np.bool_(value)) if isinstance(value, bool) else value)
    if "any" in body:
        return edge.MatchAny(body["any"])
    if "except" in body:
        return edge.MatchExcept(body["except"])
    raise BadRequest(f"Not supported by the embedded vector server: match {', '.join(sorted(body))}")
