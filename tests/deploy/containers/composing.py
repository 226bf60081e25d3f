"""docker-compose.yml, started by `make up`'s own script on an engine of a test's own."""

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
from deploy.containers.engine import ROOT, Engine
from oracle import wait_until

PROJECT = "sluicetest"
PORT = "18443"
PROMETHEUS_PORT = "19090"
SECRETS = ROOT / "deploy" / "compose" / "secrets"
ENDED_S = 240
SMALL_LEASE = {
    "SLUICE_TIMES__LEASE_S": "6",
    "SLUICE_OCR__WALL_CLOCK_S": "300",  # on a machine that is busy with everything else
    "COMPOSE_PROJECT_NAME": PROJECT,
    "HTTPS_PORT": PORT,
    "PROMETHEUS_PORT": PROMETHEUS_PORT,
}


@dataclass(frozen=True)
class Composed:
    """The running stack."""

    engine: Engine
    client: httpx.Client

    def compose(self, *arguments: str) -> str:
        return self.engine.compose(*arguments)

    def containers_of(self, service: str) -> list[str]:
        return self.compose("ps", "--quiet", service).split()

    def asked_of_postgres(self, query: str) -> str:
        """The one value of a query, asked inside PostgreSQL's container."""
        psql = ("psql", "--username=sluice", "--dbname=sluice", "--tuples-only", "--no-align")
        return self.compose("exec", "-T", "postgres", *psql, "--command", query).strip()

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


@contextlib.contextmanager
def open_composed(all_images: Engine) -> Iterator[Composed]:
    """Start everything with a small lease, and remove it again with its volumes."""
    engine = Engine(all_images.socket, SMALL_LEASE)
    key = SECRETS / "api-key"
    kept = key.read_bytes() if key.exists() else None
    key.unlink(missing_ok=True)
    try:
        engine.run("python3", "scripts/compose_up.py")
        headers = {"Authorization": f"Bearer {key.read_text().strip()}"}
        tls = ssl.create_default_context(cafile=str(SECRETS / "tls.crt"))
        with httpx.Client(base_url=f"https://localhost:{PORT}", verify=tls, headers=headers, timeout=60) as client:
            yield Composed(engine, client)
    finally:
        engine.compose("down", "--volumes", "--timeout", "5", check=False)
        _put_back(key, kept)


def _put_back(key: Path, kept: bytes | None) -> None:
    key.unlink(missing_ok=True)
    if kept is not None:
        key.write_bytes(kept)
