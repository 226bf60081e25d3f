"""The profile `monitoring` of docker-compose.yml, but for Grafana, of which there is no package: who finds whom."""

import httpx
import pytest
from deploy.containers.composing import PROMETHEUS_PORT
from deploy.containers.engine import have_standins
from oracle import wait_until

STANDINS = {
    "prom/prometheus:v2.53.4": "prometheus",
    "prom/alertmanager:v0.27.0": "alertmanager",
    "prom/node-exporter:v1.8.2": "node-exporter",
    "oliver006/redis_exporter:v1.62.0": "redis-exporter",
}
SERVICES = ("prometheus", "alertmanager", "node-exporter", "redis-exporter", "dashboards-role")
SCRAPED_S = 120

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def prometheus(composed):
    """Asks Prometheus, which began with two extractors to find."""
    have_standins(composed.engine, STANDINS)
    composed.compose("up", "--detach", "--no-recreate", "--scale", "extractor=2", "extractor", *SERVICES)
    with httpx.Client(base_url=f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1") as client:
        yield client


def values_of(prometheus, query: str) -> list[float]:
    try:
        found = prometheus.get("/query", params={"query": query}).json()["data"]["result"]
    except httpx.TransportError:
        return []
    return [float(one["value"][1]) for one in found]


def test_every_replica_and_every_exporter_is_found_by_its_name_and_scraped(prometheus):
    wait_until(
        lambda: values_of(prometheus, "sum(up)") == [8.0],
        seconds=SCRAPED_S,
        message=lambda: prometheus.get("/targets").text,
    )

    assert values_of(prometheus, 'count(up{job="sluice-extractor"})') == [2.0]
    assert values_of(prometheus, "min(redis_up)") == [1.0]
    assert values_of(prometheus, "count(node_filesystem_avail_bytes)") != []


def test_alertmanager_is_found_and_every_rule_can_be_evaluated(prometheus):
    wait_until(
        lambda: prometheus.get("/alertmanagers").json()["data"]["activeAlertmanagers"] != [],
        seconds=SCRAPED_S,
        message="no Alertmanager",
    )

    rules = [rule for group in prometheus.get("/rules").json()["data"]["groups"] for rule in group["rules"]]
    assert rules
    assert [rule["name"] for rule in rules if rule.get("lastError")] == []


def test_the_role_of_the_dashboards_reads_numbers_and_no_texts(composed, prometheus):
    wait_until(
        lambda: may_read(composed, "count(id)", "runs"), seconds=SCRAPED_S, message="the role was not made in time"
    )

    assert may_read(composed, "count(size_bytes)", "originals")
    assert not may_read(composed, "max(name)", "originals")
    assert not may_read(composed, "max(text)", "chunks")


def may_read(composed, what: str, table: str) -> bool:
    try:
        composed.asked_of_postgres(f"SET ROLE sluice_dashboards; SELECT {what} FROM {table}")
    except AssertionError as error:
        if "permission denied" in str(error) or 'role "sluice_dashboards" does not exist' in str(error):
            return False
        raise
    return True
