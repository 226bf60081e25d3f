"""A running stack with a Prometheus, an Alertmanager and somebody whom they tell."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
from conftest import system
from deploy.monitoring import programs
from deploy.monitoring.configurations import write_alertmanager, write_prometheus
from faults.provider import FaultyProvider
from oracle import Oracle, wait_until

from sluice_client import SluiceClient
from sluice_local.postgres import VOLATILE
from sluice_local.services import SERVICES
from sluice_local.stack import LocalStack

LEASE_S = 6
SETTINGS = {
    "SLUICE_TIMES__LEASE_S": str(LEASE_S),
    "SLUICE_RECONCILER__AUDIT_INTERVAL_S": "2",
    "SLUICE_RECONCILER__JANITOR_INTERVAL_S": "5",
    "SLUICE_LIMITS__MAX_WAITING_DOCUMENTS_OF_TENANT": "40",
    "SLUICE_EMBEDDINGS__BATCH_SIZE": "8",
    "SLUICE_CHUNKING__MAX_CHARS": "100",
    "SLUICE_CHUNKING__OVERLAP_CHARS": "0",
}


@dataclass
class Told:
    """What the webhook was sent: alerts by receiver, in order."""

    url: str = ""
    alerts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def of(self, name: str, status: str, **labels: str) -> list[tuple[str, dict[str, Any]]]:
        """Those of one alert and status whose labels are among others these."""
        return [
            (receiver, alert)
            for receiver, alert in self.alerts
            if alert["status"] == status and (labels | {"alertname": name}).items() <= alert["labels"].items()
        ]


@dataclass(frozen=True)
class Watched:
    """The stack and those who watch it."""

    stack: LocalStack
    provider: FaultyProvider
    client: SluiceClient
    prometheus: str
    told: Told
    began: float
    """In seconds since 1970."""

    @property
    def oracle(self) -> Oracle:
        return Oracle(self.stack)

    def over_the_run(self, expr: str) -> list[dict[str, Any]]:
        """The series of a query at every second since the beginning."""
        asked = {"query": expr, "start": self.began, "end": time.time(), "step": 1}
        return self._ask("/api/v1/query_range", asked)

    def now(self, expr: str) -> list[dict[str, Any]]:
        """The samples of a query now."""
        return self._ask("/api/v1/query", {"query": expr})

    def is_firing(self, alert: str, **labels: str) -> bool:
        wanted = ", ".join(f'{name}="{value}"' for name, value in labels.items())
        return bool(self.now(f'ALERTS{{alertname="{alert}", alertstate="firing", {wanted}}}'))

    def wait_until_scraped(self, targets: int) -> None:
        """Wait until Prometheus has seen every target twice, so that whatever comes now is an increase."""
        seen = f"count(count_over_time(up[1m]) >= 2) == {targets + 1}"  # and Prometheus itself
        wait_until(lambda: bool(self.now(seen)), seconds=60, message=lambda: f"not scraped: {self.now('up == 0')}")

    def wait_until_firing(self, alert: str, *, seconds: float = 90, **labels: str) -> None:
        wait_until(
            lambda: self.is_firing(alert, **labels),
            seconds=seconds,
            message=lambda: f"{alert} does not fire; active: {self.now('ALERTS')}",
        )

    def wait_until_told(self, alert: str, status: str, *, seconds: float = 60, **labels: str) -> tuple[str, dict]:
        wait_until(
            lambda: bool(self.told.of(alert, status, **labels)),
            seconds=seconds,
            message=lambda: f"nobody was told that {alert} is {status}; active: {self.now('ALERTS')}",
        )
        return self.told.of(alert, status, **labels)[-1]

    def wait_until_quiet(self, *alerts: str, seconds: float = 120) -> None:
        """Wait until none of these fires, or none at all."""
        names = "|".join(alerts) or ".+"
        asked = f'ALERTS{{alertstate="firing", alertname=~"{names}"}}'
        wait_until(lambda: not self.now(asked), seconds=seconds, message=lambda: f"still firing: {self.now(asked)}")

    def upload(self, name: str, *, lines: int = 3) -> str:
        """A small document with a text of its own; returns its id."""
        text = "\n\n".join(f"{name} line {number} tells how a sluice gate is opened" for number in range(lines))
        return self.client.upload(text.encode(), name=f"{name}.txt").id

    def _ask(self, path: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
        answer = httpx.post(self.prometheus + path, data=asked, timeout=30, trust_env=False)
        assert answer.status_code == httpx.codes.OK, f"{asked['query']}: {answer.text}"
        return answer.json()["data"]["result"]


@contextmanager
def listening() -> Iterator[Told]:
    """A webhook that keeps what it is sent."""
    told = Told()

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.alerts += [(self.path.strip("/"), alert) for alert in body["alerts"]]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as server:
        told.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield told
        server.shutdown()


@contextmanager
def watching(folder: Path) -> Iterator[Watched]:
    """Start everything; the stack's provider can be made to fail."""
    began = time.time()
    with (
        FaultyProvider() as provider,
        LocalStack(
            folder / "stack", environment=system(**SETTINGS, **provider.settings()), postgres_settings=VOLATILE
        ) as stack,
        programs.redis_exporter(folder / "redis", stack.environment_of("api")["SLUICE_BROKER__URL"]) as redis,
        programs.node_exporter(folder / "node") as node,
        listening() as told,
        programs.alertmanager(folder, write_alertmanager(folder, told.url)) as alertmanager,
    ):
        targets = {"redis": [redis.address], "node": [node.address]}
        targets |= {f"sluice-{name}": [metrics_address(stack, name)] for name in SERVICES}
        configuration = write_prometheus(folder, targets, alertmanager.address)
        with (
            programs.prometheus(folder / "prometheus", configuration) as prometheus,
            SluiceClient(stack.url, stack.api_key, retries=0) as client,
        ):
            watched = Watched(stack, provider, client, prometheus.url, told, began)
            watched.wait_until_scraped(len(targets))
            yield watched


def metrics_address(stack: LocalStack, name: str) -> str:
    return f"127.0.0.1:{stack.environment_of(name)['SLUICE_METRICS__PORT']}"
