"""What every vector store promises, on the embedded server and on a real Qdrant."""

import os
import threading
from concurrent import futures
from uuid import UUID, uuid4

import grpc
import numpy as np
import pytest
from contracts import vector_fixtures
from contracts.vector_fixtures import DIMENSIONS, free_port, make_point, unit_vectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import grpc as messages

from sluice_common.adapters.qdrant import QdrantVectorStore, index_name, open_qdrant
from sluice_common.errors import DimensionMismatch, VectorStoreUnavailable
from sluice_common.lexical import lexical_query
from sluice_common.ports import SearchScope
from sluice_common.settings import QdrantSettings

# Assigned, not imported by name: a fixture is found as an attribute of the module that asks for it.
embedded_vector_server = vector_fixtures.embedded_vector_server
vector_client = vector_fixtures.vector_client
vector_store = vector_fixtures.vector_store

TENANT, FOREIGN, COLLECTION = UUID(int=1), UUID(int=9), UUID(int=2)
MODES = ("dense", "lexical", "hybrid")
INTERNAL_FIELDS = ("tenant", "collection", "document", "run", "chunk", "page", "attributes")


@pytest.fixture
def store(vector_store):
    return vector_store


@pytest.fixture
def client(vector_client):
    return vector_client


def scope(**changes):
    return SearchScope(**{"tenant_id": TENANT, "collection_ids": None, **changes})


def search(store, mode, seen, *, text="chunk about nothing", vector=None, limit=100):
    dense = unit_vectors(1)[0] if vector is None else vector
    if mode == "dense":
        return store.search_dense(dense, seen, limit=limit)
    if mode == "lexical":
        return store.search_lexical(lexical_query(text), seen, limit=limit)
    return store.search_hybrid(dense, lexical_query(text), seen, limit=limit)


def ids_of(hits):
    return {hit.id for hit in hits}


def put(store, *points):
    store.upsert(points, unit_vectors(len(points)))
    return [point.id for point in points]


def found_by(store, **asked):
    return ids_of(store.search_dense(unit_vectors(1)[0], scope(filter=asked), limit=100))


def test_the_nearest_point_comes_first_with_its_cosine(store):
    rows = unit_vectors(20)
    points = [make_point() for _ in rows]
    store.upsert(points, rows)

    hits = store.search_dense(rows[7], scope(), limit=3)

    assert [hit.id for hit in hits][:1] == [points[7].id]
    assert hits[0].score == pytest.approx(1, abs=1e-5)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_the_same_id_overwrites(store):
    point_id = uuid4()
    put(store, make_point(id=point_id, run_id=1))

    put(store, make_point(id=point_id, run_id=2))

    assert (store.count_of_run(1), store.count_of_run(2)) == (0, 1)


def test_lexical_search_finds_a_korean_phrase_whatever_its_particles(store):
    wanted, _ = put(
        store,
        make_point(text="벡터 데이터베이스를 이용한 검색은 문서를 청크로 나눈다."),
        make_point(text="오늘의 날씨는 맑고 기온은 평년보다 높다."),
    )

    hits = search(store, "lexical", scope(), text="데이터베이스의 검색")

    assert [hit.id for hit in hits] == [wanted]


def test_a_rare_word_weighs_more_than_a_common_one(store):
    rare, *_ = put(store, make_point(text="common rare"), *[make_point(text=f"common word{n}") for n in range(9)])

    hits = search(store, "lexical", scope(), text="common rare")

    assert hits[0].id == rare
    assert hits[0].score > 2 * hits[1].score


def test_hybrid_search_prefers_what_both_find(store):
    rows = unit_vectors(3)
    both, near, worded = (make_point(text=text) for text in ("invoice number", "weather", "invoice"))
    store.upsert([both, near, worded], np.stack([rows[0], (rows[0] + rows[1]) / 2, rows[2]]))

    hits = search(store, "hybrid", scope(), text="invoice number", vector=rows[0])

    assert hits[0].id == both.id
    assert ids_of(hits) == {both.id, near.id, worded.id}


def test_a_question_without_terms_is_answered_by_the_dense_half(store):
    (only,) = put(store, make_point())

    assert search(store, "lexical", scope(), text="?!") == []
    assert ids_of(search(store, "hybrid", scope(), text="?!")) == {only}


@pytest.mark.parametrize("mode", MODES)
def test_no_search_sees_another_tenant(store, mode):
    mine, _ = put(store, make_point(), make_point(tenant_id=FOREIGN))

    assert ids_of(search(store, mode, scope())) == {mine}


@pytest.mark.parametrize("mode", MODES)
def test_no_search_sees_a_hidden_run(store, mode):
    shown, _, _ = put(store, make_point(run_id=1), make_point(run_id=2), make_point(run_id=3))

    assert ids_of(search(store, mode, scope(hidden_runs=[2, 3]))) == {shown}


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_list_of_collections_or_documents_means_none(store, mode):
    put(store, make_point())

    assert search(store, mode, scope(collection_ids=[])) == []
    assert search(store, mode, scope(document_ids=[])) == []


@pytest.mark.parametrize("mode", MODES)
def test_collections_and_documents_narrow_a_search(store, mode):
    wanted, *_ = put(
        store,
        make_point(document_id=UUID(int=5)),
        make_point(document_id=UUID(int=6)),
        make_point(document_id=UUID(int=5), collection_id=UUID(int=8)),
    )

    narrowed = scope(collection_ids=[COLLECTION], document_ids=[UUID(int=5)])

    assert ids_of(search(store, mode, narrowed)) == {wanted}


@pytest.fixture
def described(store):
    """Three points: a (number 3, text, true), b (3.5, false) and c without attributes."""
    a = make_point(attributes={"n": 3, "kind": "report", "open": True, "a.b": "dotted"})
    b = make_point(attributes={"n": 3.5, "kind": "letter", "open": False, 'quo"te\\[]%': "odd"})
    c = make_point()
    put(store, a, b, c)
    return {"a": a.id, "b": b.id, "c": c.id}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"type": "eq", "key": "n", "value": 3}, "a"),
        ({"type": "eq", "key": "n", "value": 3.0}, "a"),
        ({"type": "eq", "key": "n", "value": 3.5}, "b"),
        ({"type": "eq", "key": "n", "value": "3"}, ""),
        ({"type": "eq", "key": "n", "value": 2**60}, ""),
        ({"type": "eq", "key": "n", "value": 2**70}, ""),
        ({"type": "eq", "key": "kind", "value": "report"}, "a"),
        ({"type": "eq", "key": "open", "value": True}, "a"),
        ({"type": "eq", "key": "open", "value": False}, "b"),
        ({"type": "eq", "key": "open", "value": 1}, ""),
        ({"type": "ne", "key": "kind", "value": "report"}, "bc"),
        ({"type": "gt", "key": "n", "value": 3}, "b"),
        ({"type": "gte", "key": "n", "value": 3}, "ab"),
        ({"type": "lt", "key": "n", "value": 3.5}, "a"),
        ({"type": "lte", "key": "n", "value": 3.5}, "ab"),
        ({"type": "gt", "key": "kind", "value": "a"}, ""),
        ({"type": "in", "key": "kind", "value": ["letter", "report", 3]}, "ab"),
        ({"type": "in", "key": "n", "value": [3, True, "x"]}, "a"),
        ({"type": "in", "key": "n", "value": []}, ""),
        ({"type": "nin", "key": "kind", "value": ["letter"]}, "ac"),
        ({"type": "nin", "key": "kind", "value": []}, "abc"),
        ({"type": "eq", "key": "a.b", "value": "dotted"}, "a"),
        ({"type": "eq", "key": 'quo"te\\[]%', "value": "odd"}, "b"),
        ({"type": "and", "filters": []}, "abc"),
        ({"type": "or", "filters": []}, ""),
        (
            {
                "type": "or",
                "filters": [
                    {"type": "eq", "key": "kind", "value": "letter"},
                    {
                        "type": "and",
                        "filters": [
                            {"type": "eq", "key": "n", "value": 3},
                            {"type": "ne", "key": "open", "value": False},
                        ],
                    },
                ],
            },
            "ab",
        ),
    ],
)
def test_attributes_are_filtered_as_asked(store, described, asked, expected):
    assert found_by(store, **asked) == {described[name] for name in expected}


values = st.one_of(
    st.booleans(),
    st.integers(-5, 5),
    st.floats(-1e9, 1e9),
    st.text(max_size=8),
    st.sampled_from([str(TENANT), str(FOREIGN), str(COLLECTION)]),
)
keys = st.one_of(
    st.sampled_from(INTERNAL_FIELDS),
    st.sampled_from(['".tenant."', 'x".tenant', '"', '\\"].tenant', "[].tenant", "..tenant", "", "tenant[]", "\n"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
comparisons = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]), "key": keys, "value": values}
    ),
    st.fixed_dictionaries({"type": st.sampled_from(["in", "nin"]), "key": keys, "value": st.lists(values, max_size=3)}),
)
filters = st.recursive(
    comparisons,
    lambda parts: st.fixed_dictionaries(
        {"type": st.sampled_from(["and", "or"]), "filters": st.lists(parts, max_size=3)}
    ),
    max_leaves=6,
)


FILTERS = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 400


@settings(
    max_examples=FILTERS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(asked=filters, mode=st.sampled_from(MODES))
def test_no_filter_reaches_another_tenant_or_a_hidden_run(store, asked, mode):
    mine, foreign, hidden = (UUID(int=number) for number in (101, 102, 103))
    if not store.count_of_run(7):
        put(store, make_point(id=mine), make_point(id=foreign, tenant_id=FOREIGN), make_point(id=hidden, run_id=7))

    hits = search(store, mode, scope(filter=asked, hidden_runs=[7]))

    assert ids_of(hits) <= {mine}


@pytest.mark.parametrize("field", INTERNAL_FIELDS)
def test_an_internal_field_is_only_an_attribute_to_a_filter(store, field):
    named, _ = put(store, make_point(attributes={field: str(TENANT)}), make_point())

    assert found_by(store, type="eq", key=field, value=str(TENANT)) == {named}


def test_the_ids_of_a_run_are_all_of_its_points(store):
    ids = put(store, *[make_point(run_id=4) for _ in range(30)])
    put(store, make_point(run_id=5))

    assert store.ids_of_run(4) == set(ids)
    assert store.count_of_run(4) == 30


def test_runs_are_deleted_whole_and_nothing_else(store):
    put(store, make_point(run_id=1), make_point(run_id=2), make_point(run_id=3))

    store.delete_runs([1, 2])
    store.delete_runs([])

    assert [store.count_of_run(run) for run in (1, 2, 3)] == [0, 0, 1]


def test_a_document_is_deleted_whole_and_nothing_else(store):
    put(store, make_point(document_id=UUID(int=5)), make_point(document_id=UUID(int=6)))

    store.delete_document(UUID(int=5))

    assert (store.count_of_document(UUID(int=5)), store.count_of_document(UUID(int=6))) == (0, 1)


def test_deleting_points_that_are_not_there_is_no_error(store):
    gone, kept = put(store, make_point(), make_point())

    store.delete_points([gone, uuid4()])
    store.delete_points([])

    assert store.ids_of_run(1) == {kept}


def test_pages_in_the_order_of_ids_show_every_point_once(store):
    ids = put(store, *[make_point(run_id=number) for number in range(25)])

    seen, after = [], None
    while True:
        page, after = store.page_of_points(after, limit=10)
        seen += page
        if after is None:
            break

    assert [ref.id for ref in seen] == sorted(ids)
    assert {ref.run_id for ref in seen} == set(range(25))


def test_making_an_index_twice_or_at_once_is_no_error(client):
    index = f"test_{uuid4().hex}"
    stores = [QdrantVectorStore(client, index=index, dimensions=DIMENSIONS) for _ in range(4)]

    with futures.ThreadPoolExecutor(4) as threads:
        made = [threads.submit(each.ensure_index) for each in stores]

    assert [each.exception() for each in made] == [None] * 4
    client.delete_collection(index)


def test_vectors_of_another_size_are_a_dimension_mismatch(store, client):
    other = QdrantVectorStore(client, index=store._index, dimensions=DIMENSIONS + 1)

    with pytest.raises(DimensionMismatch):
        store.upsert([make_point()], unit_vectors(1, dimensions=DIMENSIONS + 1))
    with pytest.raises(DimensionMismatch):
        other.upsert([make_point()], unit_vectors(1, dimensions=DIMENSIONS + 1))
    with pytest.raises(DimensionMismatch):
        other.ensure_index()
    with pytest.raises(DimensionMismatch):
        other.search_dense(unit_vectors(1, dimensions=DIMENSIONS + 1)[0], scope(), limit=1)
    assert store.count_of_run(1) == 0


def test_a_missing_index_is_named(client):
    lost = QdrantVectorStore(client, index="test_nowhere", dimensions=DIMENSIONS)

    with pytest.raises(VectorStoreUnavailable) as failure:
        lost.count_of_run(1)

    assert failure.value.detail_code == "index_missing"


def test_a_store_that_answers_passes_the_ping(store):
    store.ping()


@pytest.mark.parametrize("prefer_grpc", [False, True])
def test_a_store_that_cannot_be_reached_is_unavailable(prefer_grpc):
    port = free_port()
    away = open_qdrant(QdrantSettings(url=f"http://127.0.0.1:{port}", grpc_port=port, prefer_grpc=prefer_grpc))
    store = QdrantVectorStore(away, index="any", dimensions=DIMENSIONS)

    for call in (store.ping, store.ensure_index, lambda: put(store, make_point()), lambda: store.count_of_run(1)):
        with pytest.raises(VectorStoreUnavailable):
            call()


class RecordingPoints(messages.PointsServicer):
    """A gRPC server that keeps what it was sent; nothing embedded speaks gRPC."""

    def __init__(self):
        self.upserts = []

    def Upsert(self, request, context):  # noqa: ARG002, N802 - gRPC's signature
        self.upserts.append(request)
        result = messages.UpdateResult(status=messages.UpdateStatus.Completed)
        return messages.PointsOperationResponse(result=result)

    def Count(self, request, context):  # noqa: N802 - gRPC's name
        context.abort(grpc.StatusCode.NOT_FOUND, f"Not found: Collection `{request.collection_name}` doesn't exist!")


@pytest.fixture
def grpc_points():
    points, server, port = RecordingPoints(), grpc.server(futures.ThreadPoolExecutor(2)), free_port()
    messages.add_PointsServicer_to_server(points, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    made = open_qdrant(QdrantSettings(url="http://127.0.0.1:1", grpc_port=port, prefer_grpc=True))
    points.store = QdrantVectorStore(made, index="any", dimensions=DIMENSIONS)
    yield points
    made.close()
    server.stop(0).wait()


def test_points_travel_whole_over_grpc(grpc_points):
    point, row = make_point(attributes={"n": 3, "s": "x"}, page=None, chunk_no=4), unit_vectors(1)

    grpc_points.store.upsert([point], row)

    (request,) = grpc_points.upserts
    (sent,) = request.points
    vectors = sent.vectors.vectors.vectors
    assert request.wait
    assert sent.id.uuid == str(point.id)
    assert list(vectors["dense"].dense.data) == row[0].tolist()
    assert list(vectors["lexical"].sparse.indices) == point.lexical.indices.tolist()
    assert list(vectors["lexical"].sparse.values) == point.lexical.values.tolist()
    assert sent.payload["tenant"].string_value == str(TENANT)
    assert sent.payload["chunk"].integer_value == 4
    assert sent.payload["page"].WhichOneof("kind") == "null_value"
    assert sent.payload["attributes"].struct_value.fields["n"].integer_value == 3


def test_an_error_over_grpc_is_one_of_ours(grpc_points):
    with pytest.raises(VectorStoreUnavailable) as failure:
        grpc_points.store.count_of_run(1)

    assert failure.value.detail_code == "index_missing"


def test_names_of_indexes_never_collide():
    models = ["text-embedding-3-small", "Text-Embedding-3-Small", "a/b", "a-b", "a b", "모델", "모형", "x" * 300]

    names = {index_name("sluice", model, size) for model in models for size in (8, 9)}

    assert len(names) == 2 * len(models)
    assert index_name("sluice", "text-embedding-3-small", 1536) == "sluice_text-embedding-3-small_1536_l1"
    assert all(len(name) < 200 for name in names)


def test_several_threads_may_write_and_search_at_once(store):
    def work(run):
        for _ in range(5):
            put(store, *[make_point(run_id=run) for _ in range(10)])
            search(store, "hybrid", scope())

    threads = [threading.Thread(target=work, args=(run,)) for run in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [store.count_of_run(run) for run in range(4)] == [50] * 4
