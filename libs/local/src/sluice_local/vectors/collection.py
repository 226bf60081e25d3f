"""One collection: a shard of the engine, its shape and its lock."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self  # JSON has no narrower type than Any

import orjson
import qdrant_edge as edge

from sluice_local.vectors.conditions import filter_of
from sluice_local.vectors.durable import sync_folder, write_durably
from sluice_local.vectors.engine import VACUUM_ABOVE, create_shard, load_shard, shape_of
from sluice_local.vectors.points import points_of, record_of
from sluice_local.vectors.queries import DEFAULT_LIMIT, payload_choice, query_of
from sluice_local.vectors.refusals import BadRequest, Missing, Refusal

_DESCRIPTION = "collection.json"
_SHARD = "shard"
_COMPLETED = {"status": "completed"}
_INDEX_TYPES = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
    "bool": edge.PayloadSchemaType.Bool,
    "datetime": edge.PayloadSchemaType.Datetime,
    "uuid": edge.PayloadSchemaType.Uuid,
}


class Unreadable(Exception):
    """A collection's folder is damaged."""


class Collection:
    """One thread at a time may be in the engine; requests are parsed before the lock is taken.

    A write is in the engine's log when its method returns: killing the process afterwards loses nothing.
    `flush` protects it from a power cut as well.
    """

    def __init__(self, folder: Path, body: dict[str, Any], shard: edge.EdgeShard) -> None:
        self._folder = folder
        self._body = body
        self._shape = shape_of(body)
        self._shard = shard
        self._lock = threading.Lock()
        self._is_closed = False
        self._has_unflushed = False

    @classmethod
    def create(cls, folder: Path, body: dict[str, Any]) -> Self:
        """A new, empty collection in *folder*; its description is written last and is what makes it exist."""
        shutil.rmtree(folder, ignore_errors=True)  # what a creation that was cut short left
        with _refused_as_qdrant_does():
            shard = create_shard(folder / _SHARD, body)
            collection = cls(folder, {name: body.get(name) for name in ("vectors", "sparse_vectors")}, shard)
        write_durably(folder / _DESCRIPTION, collection._body)
        sync_folder(folder.parent)
        return collection

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The collection in *folder*; may vacuum, so not while serving.

        Raises:
            Unreadable: the folder is damaged; nothing in it was changed.
        """
        try:
            body = orjson.loads((folder / _DESCRIPTION).read_bytes())
            return cls(folder, body, load_shard(folder / _SHARD, body))
        except Exception as error:  # the engine's binding raises nothing narrower
            raise Unreadable(f"{folder} cannot be opened: {error}") from error

    @staticmethod
    def is_in(folder: Path) -> bool:
        """Whether *folder* holds a collection, and not what is left of one."""
        return (folder / _DESCRIPTION).is_file()

    def upsert(self, body: bytes) -> dict[str, str]:
        """Store the points of a request; all of them or, when it is refused, none."""
        with _refused_as_qdrant_does():
            operation = edge.UpdateOperation.upsert_points(points_of(orjson.loads(body), self._shape))
        return self._update(operation)

    def set_payload(self, body: Any) -> dict[str, str]:
        """Set payload fields of the points that ids or a filter name; missing ids are refused."""
        with _refused_as_qdrant_does():
            if body.get("points") is not None:
                self._check_present(body["points"])
                operation = edge.UpdateOperation.set_payload(body["points"], body["payload"], body.get("key"))
            else:
                selected = _required_filter(body)
                operation = edge.UpdateOperation.set_payload_by_filter(selected, body["payload"], body.get("key"))
        return self._update(operation)

    def delete(self, body: Any) -> dict[str, str]:
        """Remove the points that ids or a filter name; missing ones are no error."""
        with _refused_as_qdrant_does():
            if body.get("points") is not None:
                operation = edge.UpdateOperation.delete_points(body["points"])
            else:
                operation = edge.UpdateOperation.delete_points_by_filter(_required_filter(body))
        return self._update(operation)

    def create_index(self, body: Any) -> dict[str, str]:
        """Make a payload index; one that is there already stays."""
        with _refused_as_qdrant_does():
            schema = _schema(body.get("field_schema") or body["field_type"])
            operation = edge.UpdateOperation.create_field_index(body["field_name"], schema)
        return self._update(operation)

    def delete_index(self, field: str) -> dict[str, str]:
        """Remove a payload index."""
        with _refused_as_qdrant_does():
            operation = edge.UpdateOperation.delete_field_index(field)
        return self._update(operation)

    def query(self, body: Any) -> dict[str, Any]:
        """The answer to one query."""
        with _refused_as_qdrant_does():
            request = query_of(body)
        with self._open_shard() as shard:
            found = shard.query(request)
        return {"points": [record_of(point) for point in found]}

    def query_batch(self, body: Any) -> list[dict[str, Any]]:
        """The answers to several queries, in their order."""
        with _refused_as_qdrant_does():
            request = edge.QueryBatchRequest([query_of(search) for search in body["searches"]])
        with self._open_shard() as shard:
            answers = shard.query_batch(request)
        return [{"points": [record_of(point) for point in found]} for found in answers]

    def scroll(self, body: Any) -> dict[str, Any]:
        """A page of points in the order of their ids, and the id the next one begins with."""
        with _refused_as_qdrant_does():
            request = edge.ScrollRequest(
                offset=body.get("offset"),
                limit=body.get("limit") or DEFAULT_LIMIT,
                filter=filter_of(body.get("filter")),
                with_payload=payload_choice(body.get("with_payload", True)),
                with_vector=body.get("with_vector") or False,
            )
        with self._open_shard() as shard:
            records, following = shard.scroll(request)
        return {"points": [record_of(record) for record in records], "next_page_offset": following}

    def count(self, body: Any) -> dict[str, int]:
        """How many points there are; always exact."""
        with _refused_as_qdrant_does():
            request = edge.CountRequest(exact=True, filter=filter_of(body.get("filter")))
        with self._open_shard() as shard:
            return {"count": shard.count(request)}

    def retrieve(self, body: Any) -> list[dict[str, Any]]:
        """The points with these ids, those that there are."""
        with _refused_as_qdrant_does():
            wanted = payload_choice(body.get("with_payload", True))
            ids, with_vector = body["ids"], body.get("with_vector") or False
        with self._open_shard() as shard:
            records = shard.retrieve(ids, wanted, with_vector)
        return [record_of(record) for record in records]

    def description(self) -> dict[str, Any]:
        """What Qdrant tells of a collection; the figures of search graphs are there because clients require them."""
        with self._open_shard() as shard:
            info = shard.info()
        return {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": info.indexed_vectors_count,
            "points_count": info.points_count,
            "segments_count": info.segments_count,
            "config": {
                "params": {"shard_number": 1, "replication_factor": 1, **self._body},
                "hnsw_config": {"m": 0, "ef_construct": 100, "full_scan_threshold": 10_000},
                "optimizer_config": {
                    "deleted_threshold": VACUUM_ABOVE,
                    "vacuum_min_vector_number": 1000,
                    "default_segment_number": 1,
                    "flush_interval_sec": 5,
                },
            },
            "payload_schema": {
                field: {"data_type": _type_name(index.data_type), "points": index.points}
                for field, index in info.payload_schema.items()
            },
        }

    def flush(self) -> None:
        """Bring what was written since the last flush to the disk itself, and shorten the engine's log."""
        if not self._has_unflushed:
            return
        with self._open_shard() as shard:
            shard.flush()
            self._has_unflushed = False

    def close(self) -> None:
        """Give the shard back; later calls are refused as if the collection were gone."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._shard.close()

    def remove(self) -> None:
        """Close and remove everything; a removal that is cut short is finished at the next start."""
        self.close()
        (self._folder / _DESCRIPTION).unlink(missing_ok=True)
        sync_folder(self._folder)
        shutil.rmtree(self._folder)

    def _check_present(self, ids: list[Any]) -> None:
        with self._open_shard() as shard:
            present = {str(record.id) for record in shard.retrieve(ids, False, False)}  # noqa: FBT003 - the binding takes no keywords here
        missing = [point_id for point_id in ids if str(point_id) not in present]
        if missing:
            raise Missing(f"Not found: No point with id {missing[0]}")

    def _update(self, operation: edge.UpdateOperation) -> dict[str, str]:
        with self._open_shard() as shard:
            self._has_unflushed = True
            shard.update(operation)
        return _COMPLETED

    @contextmanager
    def _open_shard(self) -> Iterator[edge.EdgeShard]:
        with self._lock, _refused_as_qdrant_does():
            if self._is_closed:
                raise Missing("Not found: the collection was deleted")
            yield self._shard


@contextmanager
def _refused_as_qdrant_does() -> Iterator[None]:
    try:
        yield
    except Refusal:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRequest(f"Format error in JSON body: {type(error).__name__} {error}") from error
    except Exception as error:  # the engine's binding raises nothing narrower
        raise _refusal_of(error) from error


def _refusal_of(error: Exception) -> Refusal:
    text = str(error)
    if text.startswith(("Vector dimension error", "Not existing vector name")):
        return BadRequest(f"Wrong input: {text}")
    if text.startswith("No point with id"):
        return Missing(f"Not found: {text}")
    return Refusal(f"Service internal error: {text}")


def _required_filter(body: Any) -> edge.Filter:
    selected = filter_of(body["filter"])
    if selected is None:
        raise BadRequest("Format error in JSON body: expected points or a filter")
    return selected


def _schema(body: Any) -> Any:
    name = body if isinstance(body, str) else body["type"]
    if name not in _INDEX_TYPES:
        raise BadRequest(f"Not supported by the embedded vector server: payload index of type {name}")
    if name == "keyword" and isinstance(body, dict):
        return edge.KeywordIndexParams(is_tenant=body.get("is_tenant"))
    return _INDEX_TYPES[name]


def _type_name(data_type: edge.PayloadSchemaType) -> str:
    return next((name for name, known in _INDEX_TYPES.items() if known == data_type), "keyword")
