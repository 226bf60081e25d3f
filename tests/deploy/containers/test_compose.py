"""docker-compose.yml with a real engine: documents go through while containers are killed, scaled and rolled."""

import random
import threading
from uuid import uuid4

import pytest
from deploy.containers.composing import PROJECT, SECRETS

WORKERS = ("extractor", "embedder", "reconciler")
PARTS = ("postgres", "redis", "qdrant", "api", "nginx")

pytestmark = pytest.mark.timeout(1800)


def test_nothing_is_lost_when_everything_is_killed_inside_its_container_while_documents_go_through(composed):
    word = f"k{uuid4().hex}"
    documents: list[str] = []
    sender = threading.Thread(
        target=lambda: documents.extend(composed.upload(f"{word} number {number}") for number in range(30))
    )
    sender.start()
    for service in random.sample([*WORKERS, *PARTS, *WORKERS], 11):
        for container in composed.containers_of(service):
            # not `docker kill`, after which the engine leaves a container alone
            composed.engine.docker("exec", container, "sh", "-c", "kill -9 -1", check=False)
    sender.join()

    composed.all_become_ready(documents)

    assert len(documents) == 30
    assert composed.finds(word) == set(documents)


def test_three_extractors_work_side_by_side(composed):
    word = f"s{uuid4().hex}"
    composed.compose("up", "--detach", "--no-recreate", "--scale", "extractor=3")

    documents = [composed.upload(f"{word} number {number}") for number in range(20)]
    composed.all_become_ready(documents)

    assert len(composed.containers_of("extractor")) == 3
    assert composed.finds(word) == set(documents)


def test_extractors_that_are_taken_away_while_they_read_hand_their_documents_back(composed):
    word = f"d{uuid4().hex}"
    documents = [composed.upload(f"{word} number {number}\n" * 2000) for number in range(12)]

    composed.compose("up", "--detach", "--no-recreate", "--scale", "extractor=1")
    composed.all_become_ready(documents)

    ids = ",".join(document.removeprefix("doc_") for document in documents)
    losses = composed.asked_of_postgres(f"SELECT sum(losses) FROM documents WHERE id = ANY ('{{{ids}}}')")
    assert len(composed.containers_of("extractor")) == 1
    assert losses == "0"


@pytest.mark.parametrize("service", ["api", "reconciler", "extractor", "embedder", "nginx"])
def test_a_service_is_rolled_while_documents_go_through_and_nothing_is_lost(composed, service):
    word = f"r{uuid4().hex}"
    before = composed.containers_of(service)
    documents: list[str] = []
    sender = threading.Thread(
        target=lambda: documents.extend(composed.upload(f"{word} number {number}") for number in range(10))
    )
    sender.start()
    composed.compose("up", "--detach", "--no-deps", "--force-recreate", service)
    sender.join()

    composed.all_become_ready(documents)

    assert not set(before) & set(composed.containers_of(service))
    assert len(documents) == 10
    assert composed.finds(word) == set(documents)


def test_while_qdrant_is_away_documents_are_taken_in_and_a_search_says_why(composed):
    word = f"q{uuid4().hex}"
    composed.compose("stop", "--timeout", "5", "qdrant")

    document = composed.upload(f"{word} came while nobody kept points")
    refused = composed.client.post("/v1/search", json={"query": word, "mode": "lexical"})
    composed.compose("start", "qdrant")
    composed.all_become_ready([document])

    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert composed.finds(word) == {document}


def test_the_stores_cannot_be_reached_from_outside_and_workers_cannot_reach_the_outside(composed):
    shown = composed.engine.docker("ps", "--format", "{{.Names}} {{.Ports}}")
    published = {line.split()[0] for line in shown.splitlines() if "->" in line and PROJECT in line}

    assert {name.split("_")[1] for name in published} == {"nginx"}
    networks = composed.engine.docker("network", "inspect", f"{PROJECT}_stores", "--format", "{{.Internal}}")
    assert networks.strip() == "true"


def test_a_key_that_the_tables_do_not_know_is_replaced_by_a_new_one(composed):
    key = SECRETS / "api-key"
    good = key.read_text()
    key.write_text("sk_of_tables_that_are_gone\n")

    composed.engine.run("python3", "scripts/compose_up.py")

    made, _ = key.read_text(), key.write_text(good)
    assert made.startswith("sk_")
    assert made not in {good, "sk_of_tables_that_are_gone\n"}


def test_a_backup_of_containers_becomes_an_installation_again(composed, tmp_path):
    word = f"b{uuid4().hex}"
    documents = [composed.upload(f"{word} number {number}") for number in range(5)]
    composed.all_become_ready(documents)
    composed.engine.run("python3", "scripts/compose_backup.py", "backup", str(tmp_path / "backup"))
    refused = composed.engine.run(
        "python3", "scripts/compose_backup.py", "restore", str(tmp_path / "backup"), check=False
    )
    composed.compose("down", "--volumes", "--timeout", "5")

    composed.engine.run("python3", "scripts/compose_backup.py", "restore", str(tmp_path / "backup"))

    assert "the installation has documents" in refused
    assert composed.finds(word) == set(documents)
    assert composed.client.get(f"/v1/documents/{documents[0]}/content").text == f"{word} number 0"
