"""Every panel shows what happened in a real run, and an alert reaches a person and is taken back."""

import json
import math
import re
import signal
import subprocess
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from deploy.monitoring.configurations import DASHBOARDS, SCRAPE_S
from faults.provider import Mode
from pages import ROOT

READER = ROOT / "deploy" / "grafana" / "reader.sql"
READER_PASSWORD = "reads only"
DOCUMENTS = 12
BROKEN = 3
NOT_FOR_READERS = (
    "SELECT text FROM chunks",
    "SELECT name FROM originals",
    "SELECT attributes FROM documents",
    "SELECT external_id FROM documents",
    "SELECT secret_sha256 FROM api_keys",
    "SELECT cursor_secret FROM keeper",
)


def panels() -> Iterator[tuple[str, dict]]:
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text("utf-8"))["panels"]:
            if panel["type"] != "row":
                yield f"{path.stem}: {panel['title']}", panel


def queries(kind: str) -> Iterator[tuple[str, str]]:
    for name, panel in panels():
        for target in panel["targets"]:
            if kind in target:
                yield name, target[kind]


def has_numbers(series: list[dict]) -> bool:
    return any(not math.isnan(float(value)) for one in series for _, value in one["values"])


@pytest.fixture(scope="module")
def eventful(watched):
    """A run in which everything that a panel shows has happened: work, mistakes, refusals and an outage."""
    ids = [watched.upload(f"good {number}") for number in range(DOCUMENTS)]
    broken = [watched.client.upload(b"%PDF-1.7 broken" + bytes([n]), name=f"broken-{n}.pdf").id for n in range(BROKEN)]
    for document_id in ids + broken:
        watched.client.wait(document_id)
    be_refused(watched)
    search(watched, 5)
    watched.provider.fail(Mode.UNAVAILABLE)
    late = watched.upload("late")
    told = watched.wait_until_told("SluiceProviderAway", "firing")
    be_refused(watched)
    watched.provider.behave()
    watched.client.wait(late)
    search(watched, 5)
    watched.wait_until_told("SluiceProviderAway", "resolved")
    return told


def search(watched, times: int) -> None:
    for number in range(times):
        assert watched.client.search(f"how is a sluice gate opened {number}")


def be_refused(watched) -> None:
    """Upload something that the gateway cannot read, a few times."""
    headers = {"Authorization": f"Bearer {watched.stack.api_key}"}
    for _ in range(3):
        answer = httpx.post(f"{watched.stack.url}/v1/documents", headers=headers, data={"x": "y"}, timeout=10)
        assert answer.is_client_error


def test_an_outage_of_the_provider_is_told_at_once_to_who_must_act_and_so_is_its_end(watched, eventful):
    receiver, alert = eventful

    assert receiver == "page"
    assert alert["labels"]["severity"] == "critical"
    assert alert["annotations"]["summary"] == "The embedding provider does not answer"
    assert (ROOT / alert["annotations"]["runbook_url"]).is_file()


def test_every_panel_of_metrics_showed_something(watched, eventful):
    span = f"{5 * SCRAPE_S}s"
    empty = [
        f"{name}: {expr}"
        for name, expr in queries("expr")
        if not has_numbers(watched.over_the_run(expr.replace("$__rate_interval", span)))
    ]

    assert not empty, "\n".join(empty)


@pytest.fixture(scope="module")
def reader(watched) -> str:
    """The address of the database for the role of the dashboards."""
    owner = watched.stack.environment_of("api")["SLUICE_DATABASE__URL"]
    for _ in range(2):  # again after a migration
        subprocess.run(
            ["psql", owner, "-q", "-v", "ON_ERROR_STOP=1", "-v", f"password={READER_PASSWORD}", "-f", READER],
            check=True,
            capture_output=True,
        )
    host = owner.rpartition("@")[2]
    return f"postgresql://sluice_dashboards:{READER_PASSWORD.replace(' ', '%20')}@{host}"


def as_grafana_asks(sql: str, tenant: str) -> str:
    """*sql* with the macros of Grafana's PostgreSQL source written out for the last hour."""
    filled = sql.replace("$tenant", tenant).replace("$__interval", "60")
    filled = re.sub(r"\$__timeFilter\(([\w.]+)\)", r"\1 BETWEEN now() - interval '1 hour' AND now()", filled)
    group = r"to_timestamp(floor(EXTRACT(EPOCH FROM \1) / \2) * \2) AS time"
    filled = re.sub(r"\$__timeGroupAlias\(([\w.]+), (\d+)\)", group, filled)
    assert "$" not in filled
    return filled


def test_every_panel_of_a_tenant_is_answered_to_the_role_of_the_dashboards(watched, eventful, reader):
    page = json.loads((DASHBOARDS / "tenant.json").read_text("utf-8"))
    variable = page["templating"]["list"][0]["query"]
    with psycopg.connect(reader) as connection:
        tenants = dict(connection.execute(variable).fetchall())
        rows = {
            name: connection.execute(as_grafana_asks(sql, str(tenants["default"]))).fetchall()
            for name, sql in queries("rawSql")
        }

    assert [name for name, found in rows.items() if not found] == []
    assert rows["tenant: Documents"] == [(DOCUMENTS + BROKEN + 1,)]
    assert rows["tenant: Failures by code"][0][0] == "corrupt"
    shown = rows["tenant: Latest failures"][0][0]
    assert watched.client.get(shown).error.code == "corrupt"


@pytest.mark.parametrize("forbidden", NOT_FOR_READERS)
def test_the_role_of_the_dashboards_sees_no_text_no_name_of_a_file_and_no_secret(reader, forbidden):
    with psycopg.connect(reader) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(forbidden)


def test_the_role_of_the_dashboards_changes_nothing(reader):
    with psycopg.connect(reader) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("DELETE FROM documents")


def test_a_service_that_hangs_is_told_once_and_what_follows_from_it_is_not(watched, eventful):
    before = len(watched.told.alerts)
    watched.stack.kill("extractor", signal.SIGSTOP)
    try:
        waiting = watched.upload("waits for the extractor")
        watched.wait_until_told("SluiceServiceAbsent", "firing", job="sluice-extractor")
        watched.wait_until_firing("SluiceReplicaAbsent", job="sluice-extractor")
        watched.wait_until_firing("SluiceNothingMoves")
    finally:
        watched.stack.kill("extractor", signal.SIGCONT)
    watched.client.wait(waiting)
    watched.wait_until_told("SluiceServiceAbsent", "resolved", job="sluice-extractor")

    told = {alert["labels"]["alertname"] for _, alert in watched.told.alerts[before:]}
    assert "SluiceServiceAbsent" in told
    assert not told & {"SluiceReplicaAbsent", "SluiceNothingMoves"}


def test_nothing_that_was_scraped_names_a_tenant_a_document_or_a_file(watched, eventful):
    labels = httpx.get(f"{watched.prometheus}/api/v1/labels", timeout=10).json()["data"]
    ids = watched.now('{__name__=~"sluice_.+"}')

    assert not {"tenant", "tenant_id", "document", "document_id", "filename", "name"} & set(labels)
    assert not [one for one in ids if re.search(r"doc_[0-9a-f]{8}|good \d|broken-\d|waits for", str(one["metric"]))]
