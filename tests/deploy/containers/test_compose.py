"""docker-compose.yml with a real engine: documents go through while containers are killed, scaled and rolled."""

import random
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from deploy.containers.engine import ROOT, Engine
from oracle import wait_until

PROJECT = "sluicetest"
SECRETS = ROOT / "deploy" / "compose" / "secrets"
WORKERS = ("extractor", "embedder", "reconciler")
ENDED_S = 240
SMALL_LEASE = {"SLUICE_TIMES__LEASE_S": "6", "COMPOSE_PROJECT_NAME": PROJECT, "HTTPS_PORT": "18443"}
PDF = ROOT / "libs/local/src/sluice_local/demo_documents/bicycle.pdf"


@dataclass(frozen=True)
class Composed:
    """The running stack."""

    engine: Engine
    client: httpx.Client

    def compose(self, *arguments: str) -> str:
        return self.engine.run("docker-compose", "--profile", "local-embeddings", *arguments)

    def containers_of(self, service: str) -> list[str]:
        return self.compose("ps", "--quiet", service).split()

    def upload(self, text: str, name: str = "note.txt") -> str:
        """The id of the accepted document; asked again while the gateway is being replaced."""
        key = uuid4().hex
        answers: list[httpx.Response] = []

        def is_accepted() -> bool:
            try:
                answer = self.client.post(
                    "/v1/documents", files={"file": (name, text.encode())}, headers={"Idempotency-Key": key}
                )
            except httpx.TransportError:
                return False
            answers.append(answer)
            return answer.status_code == 202

        wait_until(is_accepted, seconds=90, message=lambda: str([answer.text for answer in answers[-1:]]))
        return str(answers[-1].json()["id"])

    def status_of(self, document_id: str) -> str:
        try:
            return str(self.client.get(f"/v1/documents/{document_id}").json().get("status"))
        except httpx.TransportError:
            return "no answer"

    def all_become_ready(self, documents: list[str]) -> None:
        wait_until(
            lambda: {self.status_of(document) for document in documents} == {"ready"},
            seconds=ENDED_S,
            message=lambda: str([(document, self.status_of(document)) for document in documents]),
        )

    def finds(self, question: str) -> set[str]:
        found = self.client.post("/v1/search", json={"query": question, "mode": "lexical", "top_k": 50})
        return {hit["document_id"] for hit in found.json()["results"]}


@pytest.fixture(scope="module")
def composed(all_images) -> Iterator[Composed]:
    engine = Engine(all_images.socket, SMALL_LEASE)
    key = SECRETS / "api-key"
    kept = key.read_bytes() if key.exists() else None
    key.unlink(missing_ok=True)
    try:
        engine.run("python3", "scripts/compose_up.py")
        headers = {"Authorization": f"Bearer {key.read_text().strip()}"}
        tls = ssl.create_default_context(cafile=str(SECRETS / "tls.crt"))
        with httpx.Client(base_url="https://localhost:18443", verify=tls, headers=headers, timeout=60) as client:
            yield Composed(engine, client)
    finally:
        engine.run(
            "docker-compose", "--profile", "local-embeddings", "down", "--volumes", "--timeout", "5", check=False
        )
        _put_back(key, kept)


def _put_back(key: Path, kept: bytes | None) -> None:
    key.unlink(missing_ok=True)
    if kept is not None:
        key.write_bytes(kept)


def test_a_pdf_is_read_inside_the_container_and_found_through_nginx(composed):
    answer = composed.client.post("/v1/documents", files={"file": ("bicycle.pdf", PDF.read_bytes())})

    composed.all_become_ready([answer.json()["id"]])

    assert answer.json()["id"] in composed.finds("bicycle")


def test_nothing_is_lost_when_containers_are_killed_while_documents_go_through(composed):
    word = f"k{uuid4().hex}"
    documents: list[str] = []
    sender = threading.Thread(
        target=lambda: documents.extend(composed.upload(f"{word} number {number}") for number in range(30))
    )
    sender.start()
    for service in random.sample([*WORKERS, "redis", "api", "qdrant", *WORKERS], 9):
        for container in composed.containers_of(service):
            composed.engine.docker("kill", "--signal", "KILL", container, check=False)
            composed.engine.docker("start", container)
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


def test_the_stores_cannot_be_reached_from_outside_and_workers_cannot_reach_the_outside(composed):
    shown = composed.engine.docker("ps", "--format", "{{.Names}} {{.Ports}}")
    published = {line.split()[0] for line in shown.splitlines() if "->" in line and PROJECT in line}

    assert {name.split("_")[1] for name in published} == {"nginx"}
    networks = composed.engine.docker("network", "inspect", f"{PROJECT}_stores", "--format", "{{.Internal}}")
    assert networks.strip() == "true"
