"""The vector store in Qdrant, over REST or gRPC."""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any  # attribute values and filters are JSON
from uuid import UUID

import grpc  # type: ignore[import-untyped]  # it ships no types
import httpx  # qdrant-client takes its limits from it
import numpy as np
import orjson
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as messages
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.conversions.conversion import payload_to_grpc
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from sluice_common.errors import DimensionMismatch, VectorStoreUnavailable
from sluice_common.lexical import LEXICAL_VERSION
from sluice_common.ports import Point, PointRef, ScoredPoint, SearchScope, SparseVector
from sluice_common.settings import QdrantSettings

DENSE = "dense"
LEXICAL = "lexical"

_PAGE = 10_000
_KEPT_CONNECTIONS = 32
_KEPT_S = 4
"""Shorter than Qdrant keeps an idle connection (5 s), so that no request meets one that is just being closed."""

_LEAST_LEG = 50
"""Each half of a hybrid search offers at least so many points to be fused."""

_EXACT_FLOAT = 2**53
_UNADDRESSABLE = str.maketrans({"%": "%25", '"': "%22", "\\": "%5C"})

_INDEXED: dict[str, models.KeywordIndexParams | models.PayloadSchemaType] = {
    "tenant": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    "collection": models.PayloadSchemaType.KEYWORD,
    "document": models.PayloadSchemaType.KEYWORD,
    "run": models.PayloadSchemaType.INTEGER,
}
_NOTHING = models.HasIdCondition(has_id=[])


def index_name(prefix: str, model: str, dimensions: int) -> str:
    """The name of the index for *model*: different models, sizes or lexical rules never share one."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", model.lower()).strip("-.")[:100]
    if slug != model:
        slug = f"{slug}-{hashlib.blake2b(model.encode(), digest_size=4).hexdigest()}"
    return f"{prefix}_{slug}_{dimensions}_{LEXICAL_VERSION}"


def open_qdrant(settings: QdrantSettings) -> QdrantClient:
    """A client that connects at its first call; the caller closes it."""
    key = settings.api_key.get_secret_value() if settings.api_key else None
    return QdrantClient(
        url=str(settings.url).rstrip("/"),
        # qdrant-client takes port 6333 where the address has none, also for https behind a proxy.
        port=settings.url.port,
        grpc_port=settings.grpc_port,
        prefer_grpc=settings.prefer_grpc,
        timeout=math.ceil(settings.timeout_s),
        # As a header, because `api_key` warns on every start where TLS ends before Qdrant.
        headers={"api-key": key} if key else None,
        check_compatibility=False,
        # qdrant-client opens a connection for every request to this machine, which costs more than the request.
        limits=httpx.Limits(
            max_connections=None, max_keepalive_connections=_KEPT_CONNECTIONS, keepalive_expiry=_KEPT_S
        ),
    )


class QdrantVectorStore:
    """One index in Qdrant, which several threads and processes may use at once.

    A call that finds no index raises VectorStoreUnavailable with `detail_code` "index_missing"; `ensure_index`
    makes it anew, empty.
    """

    def __init__(self, client: QdrantClient, *, index: str, dimensions: int) -> None:
        self._client = client
        self._index = index
        self._dimensions = dimensions
        self._speaks_grpc = bool(client.init_options.get("prefer_grpc"))
        self._timeout_s = client.init_options.get("timeout")

    def ensure_index(self) -> None:
        """Make the index and its payload indexes unless they are there; safe from several processes at once.

        Raises:
            DimensionMismatch: an index of this name holds vectors of another size.
        """
        with self._named_errors():
            if not self._client.collection_exists(self._index):
                self._create_index()
            description = self._client.get_collection(self._index)
        self._check_size_of(description)
        for field, schema in _INDEXED.items():
            if field not in description.payload_schema:
                with self._named_errors():
                    self._client.create_payload_index(self._index, field, field_schema=schema, wait=True)

    def upsert(self, points: Sequence[Point], dense: NDArray[np.float32]) -> None:
        """Store *points* with the rows of *dense*, shape ``(len(points), dimensions)``; same id overwrites.

        Raises:
            DimensionMismatch: the vectors have another size than the index.
        """
        if dense.shape != (len(points), self._dimensions):
            raise DimensionMismatch(
                f"{len(points)} points, vectors of shape {dense.shape}, index of {self._dimensions}"
            )
        if not points:
            return
        rows = np.ascontiguousarray(dense, np.float32)
        with self._named_errors():
            if self._speaks_grpc:
                self._upsert_messages(_messages_of(points, rows))
            else:
                self._upsert_json(_json_of(points, rows))

    def count_of_run(self, run_id: int) -> int:
        """Exact number of points of the run."""
        return self._count(_is("run", run_id))

    def count_of_document(self, document_id: UUID) -> int:
        """Exact number of points of the document."""
        return self._count(_is("document", str(document_id)))

    def ids_of_run(self, run_id: int) -> set[UUID]:
        """Ids of all points of the run."""
        selected, ids, offset = models.Filter(must=[_is("run", run_id)]), set(), None
        while True:
            with self._named_errors():
                records, offset = self._client.scroll(
                    self._index, scroll_filter=selected, limit=_PAGE, offset=offset, with_payload=False
                )
                ids |= {UUID(str(record.id)) for record in records}
            if offset is None:
                return ids

    def search_dense(self, vector: NDArray[np.float32], scope: SearchScope, *, limit: int) -> list[ScoredPoint]:
        """Nearest by cosine, best first."""
        return self._search(scope, limit=limit, query=self._dense_query(vector), using=DENSE)

    def search_lexical(self, vector: SparseVector, scope: SearchScope, *, limit: int) -> list[ScoredPoint]:
        """Best by BM25-like weight, best first; nothing for a question without terms."""
        if not len(vector.indices):
            return []
        return self._search(scope, limit=limit, query=_sparse_query(vector), using=LEXICAL)

    def search_hybrid(
        self, dense: NDArray[np.float32], lexical: SparseVector, scope: SearchScope, *, limit: int
    ) -> list[ScoredPoint]:
        """Both, fused by reciprocal rank in the store, best first."""
        legs: dict[str, Any] = {DENSE: self._dense_query(dense)}
        if len(lexical.indices):
            legs[LEXICAL] = _sparse_query(lexical)
        return self._search(scope, limit=limit, legs=legs, query=models.FusionQuery(fusion=models.Fusion.RRF))

    def delete_runs(self, run_ids: Sequence[int]) -> None:
        """Remove every point of the runs."""
        if run_ids:
            self._delete(models.Filter(must=[_is_any("run", list(run_ids))]))

    def delete_document(self, document_id: UUID) -> None:
        """Remove every point of the document."""
        self._delete(models.Filter(must=[_is("document", str(document_id))]))

    def delete_points(self, ids: Sequence[UUID]) -> None:
        """Remove the points; missing ones are no error."""
        if not ids:
            return
        with self._named_errors():
            self._client.delete(self._index, [str(point_id) for point_id in ids], wait=True)

    def page_of_points(self, after: UUID | None, *, limit: int) -> tuple[list[PointRef], UUID | None]:
        """A page of all points in id order, and the id to continue from (None: that was the last page)."""
        offset = None if after is None else str(after)
        with self._named_errors():
            records, following = self._client.scroll(self._index, limit=limit, offset=offset, with_payload=["run"])
            refs = [PointRef(UUID(str(record.id)), int((record.payload or {}).get("run", 0))) for record in records]
            return refs, None if following is None else UUID(str(following))

    def ping(self) -> None:
        """Raise VectorStoreUnavailable unless the store answers."""
        with self._named_errors():
            self._client.collection_exists(self._index)

    def _create_index(self) -> None:
        try:
            self._client.create_collection(
                self._index,
                vectors_config={DENSE: models.VectorParams(size=self._dimensions, distance=models.Distance.COSINE)},
                sparse_vectors_config={LEXICAL: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            )
        except (UnexpectedResponse, grpc.RpcError):
            if not self._client.collection_exists(self._index):  # else another process was faster
                raise

    def _check_size_of(self, description: models.CollectionInfo) -> None:
        vectors = description.config.params.vectors
        params = vectors.get(DENSE) if isinstance(vectors, dict) else None
        if params is None or params.size != self._dimensions:
            found = "no vectors of that name" if params is None else f"vectors of {params.size}"
            raise DimensionMismatch(f"index {self._index} has {found}, not of {self._dimensions} dimensions")

    def _upsert_messages(self, rows: list[messages.PointStruct]) -> None:
        request = messages.UpsertPoints(collection_name=self._index, wait=True, points=rows)
        self._client.grpc_points.Upsert(request, timeout=self._timeout_s)

    def _upsert_json(self, body: bytes) -> None:
        # Through the client's own connection, but not its models: they cost six times the processor time.
        answer = self._client.http.client.request(
            type_=dict[str, Any],
            method="PUT",
            url="/collections/{collection_name}/points",
            path_params={"collection_name": self._index},
            params={"wait": "true"},
            headers={"Content-Type": "application/json"},
            content=body,
        )
        if answer.get("status") != "ok":
            raise ValueError("the answer to an upsert is not one of Qdrant")

    def _dense_query(self, vector: NDArray[np.float32]) -> list[float]:
        if vector.shape != (self._dimensions,):
            raise DimensionMismatch(f"a question of shape {vector.shape}, index of {self._dimensions}")
        values: list[float] = vector.tolist()
        return values

    def _search(
        self,
        scope: SearchScope,
        *,
        limit: int,
        query: Any,
        using: str | None = None,
        legs: Mapping[str, Any] | None = None,
    ) -> list[ScoredPoint]:
        """Every search passes here: this is the one place where a scope becomes a filter."""
        if _is_empty(scope):
            return []
        selected = _filter_of(scope)
        prefetch = [
            models.Prefetch(query=leg, using=name, filter=selected, limit=max(limit, _LEAST_LEG))
            for name, leg in (legs or {}).items()
        ]
        with self._named_errors():
            answer = self._client.query_points(
                self._index,
                query=query,
                using=using,
                prefetch=prefetch or None,
                query_filter=selected,
                limit=limit,
                with_payload=False,
            )
            return [ScoredPoint(UUID(str(point.id)), point.score) for point in answer.points]

    def _count(self, condition: models.Condition) -> int:
        with self._named_errors():
            return self._client.count(self._index, count_filter=models.Filter(must=[condition]), exact=True).count

    def _delete(self, selected: models.Filter) -> None:
        with self._named_errors():
            self._client.delete(self._index, models.FilterSelector(filter=selected), wait=True)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """ValueError and AssertionError are what the client raises for answers that are not Qdrant's."""
        try:
            yield
        except (ApiException, QdrantException, grpc.RpcError, ValueError, AssertionError) as error:
            raise self._named(error) from error

    def _named(self, error: Exception) -> DimensionMismatch | VectorStoreUnavailable:
        reason = _reason_of(error)
        if "dimension error" in reason:
            return DimensionMismatch(f"index {self._index}: {reason}")
        missing = "doesn't exist" in reason
        return VectorStoreUnavailable(
            f"index {self._index}: {reason}", detail_code="index_missing" if missing else None
        )


def _reason_of(error: Exception) -> str:
    """What the store said, or else only the kind of failure: a vendor's text may repeat what we sent."""
    if isinstance(error, UnexpectedResponse):
        return f"status {error.status_code} {error.content[:200].decode(errors='replace')}"
    if isinstance(error, grpc.Call):
        return f"{error.code().name} {(error.details() or '')[:200]}"
    source = getattr(error, "source", error)
    return type(source).__name__


def _is_empty(scope: SearchScope) -> bool:
    return any(ids is not None and not ids for ids in (scope.collection_ids, scope.document_ids))


def _filter_of(scope: SearchScope) -> models.Filter:
    """The tenant always; what users ask for can only narrow it, because every clause here is a conjunction."""
    must: list[models.Condition] = [_is("tenant", str(scope.tenant_id))]
    if scope.collection_ids is not None:
        must.append(_is_any("collection", [str(item) for item in scope.collection_ids]))
    if scope.document_ids is not None:
        must.append(_is_any("document", [str(item) for item in scope.document_ids]))
    if scope.filter is not None:
        must.append(_attribute_condition(scope.filter))
    hidden = _is_any("run", list(scope.hidden_runs)) if scope.hidden_runs else None
    return models.Filter(must=must, must_not=hidden)


def _attribute_condition(asked: Mapping[str, Any]) -> models.Condition:
    kind = asked["type"]
    if kind not in {"and", "or"}:
        return _comparison(kind, _path_of(asked["key"]), asked["value"])
    parts = [_attribute_condition(part) for part in asked["filters"]]
    return models.Filter(must=parts) if kind == "and" else models.Filter(should=parts or [_NOTHING])


def _comparison(kind: str, path: str, value: Any) -> models.Condition:
    match kind:
        case "eq":
            return _equals(path, value)
        case "ne":
            return models.Filter(must_not=[_equals(path, value)])
        case "in":
            return _equals_any(path, value)
        case "nin":
            return models.Filter(must_not=[_equals_any(path, value)])
        case "gt" | "gte" | "lt" | "lte":
            return _compared(path, kind, value)
    raise ValueError(f"a filter of type {kind} was not validated")


def _equals(path: str, value: Any) -> models.Condition:
    if isinstance(value, str | bool):
        return _is(path, value)
    if isinstance(value, int) and abs(value) > _EXACT_FLOAT:
        return _is(path, value) if -(2**63) <= value < 2**63 else _NOTHING
    # As a range, since 3 and 3.0 are one number to whoever wrote the filter but not to Qdrant.
    return models.FieldCondition(key=path, range=models.Range(gte=value, lte=value))


def _equals_any(path: str, values: Sequence[Any]) -> models.Condition:
    texts = [value for value in values if isinstance(value, str)]
    others = [_equals(path, value) for value in values if not isinstance(value, str)]
    return models.Filter(should=[*([_is_any(path, texts)] if texts else []), *others] or [_NOTHING])


def _compared(path: str, bound: str, value: Any) -> models.Condition:
    if isinstance(value, bool | str):
        return _NOTHING  # Qdrant orders numbers only
    return models.FieldCondition(key=path, range=models.Range(**{bound: value}))


def _is(path: str, value: models.ValueVariants) -> models.FieldCondition:
    return models.FieldCondition(key=path, match=models.MatchValue(value=value))


def _is_any(path: str, values: list[str] | list[int]) -> models.FieldCondition:
    return models.FieldCondition(key=path, match=models.MatchAny(any=values))


def _path_of(key: str) -> str:
    """Quoted, so that dots and brackets are letters: a key never leaves `attributes`."""
    return f'attributes."{_stored_key(key)}"'


def _stored_key(key: str) -> str:
    # Qdrant's paths have no way to write a quote or a backslash, so such keys are stored in another spelling.
    return key.translate(_UNADDRESSABLE)


def _stored_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {_stored_key(key): value for key, value in attributes.items()}


def _sparse_query(vector: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=vector.indices.tolist(), values=vector.values.tolist())


def _shared_payload(point: Point) -> dict[str, Any]:
    return {
        "tenant": str(point.tenant_id),
        "collection": str(point.collection_id),
        "document": str(point.document_id),
        "run": point.run_id,
        "attributes": _stored_attributes(point.attributes),
    }


def _json_of(points: Sequence[Point], dense: NDArray[np.float32]) -> bytes:
    rows = [
        {
            "id": point.id,
            "vector": {
                DENSE: row,
                LEXICAL: {"indices": point.lexical.indices, "values": point.lexical.values},
            },
            "payload": {**_shared_payload(point), "chunk": point.chunk_no, "page": point.page},
        }
        for point, row in zip(points, dense, strict=True)
    ]
    return orjson.dumps({"points": rows}, option=orjson.OPT_SERIALIZE_NUMPY)


def _messages_of(points: Sequence[Point], dense: NDArray[np.float32]) -> list[messages.PointStruct]:
    """Points as gRPC messages, with their floats copied as bytes: one by one they cost ten times as much."""
    prefix = _bytes_before_floats(dense.shape[1])
    floats = dense.astype("<f4", copy=False)
    shared = {}
    made = []
    for point, row in zip(points, floats, strict=True):
        origin = (point.tenant_id, point.collection_id, point.document_id, point.run_id, id(point.attributes))
        if origin not in shared:
            shared[origin] = messages.PointStruct(payload=payload_to_grpc(_shared_payload(point)))
        made.append(_message_of(point, shared[origin], prefix + row.tobytes()))
    return made


def _message_of(point: Point, shared: messages.PointStruct, dense: bytes) -> messages.PointStruct:
    message = messages.PointStruct()
    message.CopyFrom(shared)
    message.id.uuid = str(point.id)
    message.payload["chunk"].integer_value = point.chunk_no
    if point.page is None:
        message.payload["page"].null_value = 0
    else:
        message.payload["page"].integer_value = point.page
    vectors = message.vectors.vectors.vectors
    vectors[DENSE].dense.MergeFromString(dense)
    vectors[LEXICAL].sparse.indices.extend(point.lexical.indices.tolist())
    vectors[LEXICAL].sparse.values.extend(point.lexical.values.tolist())
    return message


@lru_cache(maxsize=8)
def _bytes_before_floats(dimensions: int) -> bytes:
    """What stands before the floats of a serialized `DenseVector`: the field's number and the length."""
    serialized: bytes = messages.DenseVector(data=[0.0] * dimensions).SerializeToString()
    return serialized[: -4 * dimensions]
