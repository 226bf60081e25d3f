"""What is particular to the embedded vector server."""

import subprocess
import threading
import urllib.error
import urllib.request
import warnings
from uuid import UUID, uuid4

import pytest
from contracts import vector_fixtures
from contracts.vector_fixtures import DIMENSIONS, VectorServer, free_port, make_point, unit_vectors, wait_until
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from sluice_common.adapters.qdrant import QdrantVectorStore
from sluice_common.errors import VectorStoreUnavailable

# Assigned, not imported by name: a fixture is found as an attribute of the module that asks for it.
own_vector_server = vector_fixtures.own_vector_server

TWICE = models.SparseVector.model_construct(indices=[1, 1], values=[1.0, 1.0])
VECTORS = {"dense": models.VectorParams(size=4, distance=models.Distance.COSINE)}


@pytest.fixture
def own_server(own_vector_server):
    return own_vector_server


def store_on(client):
    store = QdrantVectorStore(client, index="kept", dimensions=DIMENSIONS)
    store.ensure_index()
    return store


def test_killing_it_loses_no_acknowledged_point(own_server):
    client = own_server.client()
    store = store_on(client)
    acknowledged = set()

    def write_until_it_dies():
        while True:
            points = [make_point() for _ in range(20)]
            try:
                store.upsert(points, unit_vectors(20))
            except VectorStoreUnavailable:
                return
            acknowledged.update(point.id for point in points)

    for _ in range(3):
        target = len(acknowledged) + 200
        writer = threading.Thread(target=write_until_it_dies)
        writer.start()
        wait_until(lambda at=target: len(acknowledged) >= at, seconds=30, what="points are written")
        own_server.kill()
        writer.join()
        own_server.start()

        assert acknowledged <= store.ids_of_run(1)


def test_deletes_payloads_indexes_and_aliases_survive_being_killed(own_server):
    client = own_server.client()
    store = store_on(client)
    gone, kept = make_point(run_id=1), make_point(run_id=2)
    store.upsert([gone, kept], unit_vectors(2))
    store.delete_runs([1])
    client.set_payload("kept", {"seen": True}, points=[str(kept.id)])
    client.update_collection_aliases([create_alias("kept", "live")])

    own_server.kill()
    own_server.start()

    (record,) = client.scroll("live")[0]
    assert (record.id, record.payload["seen"]) == (str(kept.id), True)
    assert set(client.get_collection("kept").payload_schema) == {"tenant", "collection", "document", "run"}


def test_a_refused_write_stores_nothing_and_does_not_harm_the_next_start(own_server):
    client = own_server.client()
    store_on(client)
    good = {"dense": [1.0] * DIMENSIONS}

    for vector in ({"dense": [1.0]}, {"none": [1.0]}, {"lexical": TWICE}):
        points = [models.PointStruct.model_construct(id=n, vector=v) for n, v in ((1, good), (2, vector))]
        with pytest.raises(UnexpectedResponse, match="400"):
            client.upsert("kept", models.PointsList.model_construct(points=points).points)
    with pytest.raises(UnexpectedResponse, match="404"):
        client.set_payload("kept", {"a": 1}, points=[str(uuid4())])
    own_server.kill()
    own_server.start()

    assert client.count("kept").count == 0


def test_it_stops_when_asked_and_starts_with_everything(own_server):
    client = own_server.client()
    store = store_on(client)
    store.upsert([make_point() for _ in range(50)], unit_vectors(50))

    own_server.stop()
    own_server.start()

    assert store.count_of_run(1) == 50


def test_a_shard_that_is_mostly_deleted_is_vacuumed_at_the_start(own_server):
    client = own_server.client()
    store = store_on(client)
    for run in range(1, 5):
        store.upsert([make_point(run_id=run) for _ in range(500)], unit_vectors(500))
    store.delete_runs([1, 2, 3])
    own_server.stop()

    own_server.start()
    store.upsert([make_point(run_id=5)], unit_vectors(1))
    own_server.kill()
    own_server.start()

    assert [store.count_of_run(run) for run in (1, 4, 5)] == [0, 500, 1]


def test_a_second_server_on_the_same_folder_says_so_and_ends(own_server):
    second = subprocess.run(
        own_server.command(port=free_port()), capture_output=True, text=True, timeout=30, check=False
    )

    assert second.returncode == 1
    assert "is served by another vector server" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_damaged_collection_stops_the_start_with_its_name(own_server):
    store_on(own_server.client())
    own_server.stop()
    (own_server.root / "collections" / "kept" / "shard" / "edge_config.json").write_text("{")

    started = subprocess.run(own_server.command(), capture_output=True, text=True, timeout=30, check=False)

    assert started.returncode == 1
    assert "kept cannot be opened" in started.stderr
    assert "Traceback" not in started.stderr


def test_what_is_missing_or_there_already_is_answered_as_qdrant_does(own_server):
    client = own_server.client()
    client.create_collection("made", vectors_config=VECTORS)

    with pytest.raises(UnexpectedResponse) as missing:
        client.count("nowhere")
    with pytest.raises(UnexpectedResponse) as taken:
        client.create_collection("made", vectors_config=VECTORS)

    assert (missing.value.status_code, taken.value.status_code) == (404, 409)
    assert "doesn't exist" in missing.value.structured()["status"]["error"]
    assert client.delete_collection("nowhere") is False
    assert client.collection_exists("made")
    assert [each.name for each in client.get_collections().collections] == ["made"]


def test_an_alias_is_swapped_between_two_searches(own_server):
    client = own_server.client()
    for number, name in enumerate(("old", "new"), start=1):
        client.create_collection(name, vectors_config=VECTORS)
        client.upsert(name, [models.PointStruct(id=number, vector={"dense": [1, 2, 3, 4]})])
    client.update_collection_aliases([create_alias("old", "live")])
    before = client.query_points("live", query=[1, 2, 3, 4], using="dense").points

    client.update_collection_aliases([delete_alias("live"), create_alias("new", "live")])

    after = client.query_points("live", query=[1, 2, 3, 4], using="dense").points
    assert ([point.id for point in before], [point.id for point in after]) == ([1], [2])


def test_alias_changes_are_all_or_none(own_server):
    client = own_server.client()
    client.create_collection("made", vectors_config=VECTORS)

    with pytest.raises(UnexpectedResponse, match="404"):
        client.update_collection_aliases([create_alias("made", "live"), create_alias("nowhere", "other")])

    assert client.get_aliases().aliases == []


def test_both_forms_of_an_upsert_and_a_batch_of_queries_work(own_server):
    client = own_server.client()
    client.create_collection("made", vectors_config=VECTORS)
    ids = [str(UUID(int=number)) for number in (1, 2)]
    client.upsert(
        "made", models.Batch(ids=ids, vectors={"dense": [[1, 0, 0, 0], [0, 1, 0, 0]]}, payloads=[{"n": 1}, {}])
    )

    answers = client.query_batch_points(
        "made",
        [
            models.QueryRequest(query=row, using="dense", limit=1, with_payload=True)
            for row in ([1, 0, 0, 0], [0, 1, 0, 0])
        ],
    )

    assert [answer.points[0].id for answer in answers] == ids
    assert [record.payload for record in client.retrieve("made", ids[:1])] == [{"n": 1}]


def test_what_it_cannot_do_is_refused_and_not_guessed(own_server):
    client = own_server.client()
    client.create_collection("made", vectors_config=VECTORS)
    by_text = models.Filter(must=[models.FieldCondition(key="a", match=models.MatchText(text="x"))])

    with pytest.raises(UnexpectedResponse, match="400"):
        client.count("made", count_filter=by_text)
    with pytest.raises(UnexpectedResponse, match="400"):
        client.query_points("made", query=str(uuid4()), using="dense")


def test_the_client_is_content_with_its_version(own_server):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client = QdrantClient(url=own_server.url, check_compatibility=False)
        assert client.info().version.startswith("1.")
        client._client._check_compatibility(own_server.url, {}, None, 5)


def test_with_a_key_only_its_health_is_open(tmp_path):
    key_file = tmp_path / "key"
    key_file.write_text("secret\n")
    server = VectorServer(tmp_path / "vectors", key_file=key_file).start()
    try:
        assert server.client("secret").get_collections().collections == []
        for wrong in (None, "other"):
            with pytest.raises(ApiException, match="401"):
                server.client(wrong).get_collections()
    finally:
        server.kill()


def test_a_body_that_is_no_json_is_refused(own_server):
    request = urllib.request.Request(f"{own_server.url}/collections/made", data=b"{", method="PUT")

    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request, timeout=5)


def create_alias(collection, alias):
    return models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=alias))


def delete_alias(alias):
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
