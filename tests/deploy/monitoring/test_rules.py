import json
import re
import subprocess
from functools import cache

import pytest
import yaml
from deploy.monitoring.configurations import ALERTMANAGER, DASHBOARDS, PROMETHEUS, RULES, alerts, hurried, recorded
from pages import ROOT, section_of, table_of

from sluice_local.services import SERVICES

TESTS = PROMETHEUS / "tests" / "alerts.yml"
OF_EXPORTERS = {
    "up", "ALERTS", "redis_up", "redis_memory_used_bytes", "redis_memory_max_bytes", "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes", "node_filesystem_readonly", "process_resident_memory_bytes", "process_open_fds",
    "process_cpu_seconds_total", "process_max_fds",
}  # fmt: skip
_METRIC = re.compile(r"\b(?:\w+:)?sluice[_:][a-z0-9_:]+|\b(?:redis|node|process)_[a-z_]+")
_SUFFIX = re.compile(r"_(bucket|count|sum)$")


def run(*command: str) -> str:
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


@cache
def all_written_tests() -> list[dict]:
    return yaml.safe_load(TESTS.read_text("utf-8"))["tests"]


def written_tests(alert: str) -> list[dict]:
    return [test for test in all_written_tests() if test["name"].startswith(f"{alert} ")]


def expressions() -> list[str]:
    of_panels = [
        target["expr"]
        for path in DASHBOARDS.glob("*.json")
        for panel in json.loads(path.read_text("utf-8"))["panels"]
        for target in panel.get("targets", [])
        if "expr" in target
    ]
    return [rule["expr"] for rule in (*alerts(), *recorded())] + of_panels


@pytest.fixture(autouse=True)
def _programs(programs_installed):
    return


def test_prometheus_accepts_its_configuration_and_every_rule():
    run("promtool", "check", "config", str(PROMETHEUS / "prometheus.yml"))


def test_every_alert_fires_on_what_it_is_for_and_stays_silent_on_what_looks_like_it():
    run("promtool", "test", "rules", str(TESTS))


@pytest.mark.parametrize("alert", [alert["alert"] for alert in alerts()])
def test_an_alert_has_a_test_in_which_it_fires_and_one_in_which_it_stays_silent(alert):
    found = [bool(asked["exp_samples"]) for test in written_tests(alert) for asked in test["promql_expr_test"]]

    assert set(found) == {True, False}
    for test in written_tests(alert):
        (asked,) = test["promql_expr_test"]
        assert f'alertname="{alert}", alertstate="firing"' in asked["expr"]
        assert ("is silent" in test["name"]) is not bool(asked["exp_samples"])


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_what_is_wrong_and_where_to_read_on(alert):
    page = alert["annotations"]["runbook_url"]

    assert alert["alert"].startswith("Sluice")
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert len(alert["annotations"]["summary"]) <= 80
    assert alert["annotations"]["description"].endswith(".")
    assert f"`{alert['alert']}`" in (ROOT / page).read_text("utf-8")
    for heading in ("What users feel", "See it", "What to do"):
        assert section_of(page, heading).strip()


def test_every_page_of_the_runbooks_belongs_to_an_alert():
    named = {(ROOT / alert["annotations"]["runbook_url"]) for alert in alerts()}

    assert set((ROOT / "docs" / "runbooks").glob("*.md")) == named


def test_every_metric_that_rules_and_dashboards_ask_for_is_shown_by_something():
    shown = {cells[0].strip("`") for cells in table_of("docs/reference/metrics.md", "Metrics")}
    known = shown | OF_EXPORTERS | {rule["record"] for rule in recorded()}

    asked = {_SUFFIX.sub("", name) for expression in expressions() for name in _METRIC.findall(expression)}

    assert asked <= known


def test_every_recording_rule_is_asked_for():
    asked = "\n".join(expressions())

    assert [rule["record"] for rule in recorded() if not re.search(rf"{rule['record']}\b", asked)] == []


def test_every_replica_of_every_service_is_scraped_as_dns_names_it():
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    discovered = {
        job["job_name"]: [*job["dns_sd_configs"][0]["names"], job["dns_sd_configs"][0]["port"]]
        for job in jobs
        if "dns_sd_configs" in job
    }

    assert {f"sluice-{name}": [name, 9464] for name in SERVICES}.items() <= discovered.items()


def test_a_hurried_rule_asks_the_same_a_minute_for_an_hour():
    assert hurried("expr: max(a) > 3600 and increase(b[15m]) == 0 unless c offset 1h\nfor: 5m") == (
        "expr: max(a) > 60 and increase(b[15s]) == 0 unless c offset 1m\nfor: 5s"
    )
    assert not re.search(r"\b\d+[hd]\b", "".join(hurried(path.read_text("utf-8")) for path in RULES))


def test_alertmanager_accepts_its_configuration():
    run("amtool", "check-config", str(ALERTMANAGER))


@pytest.mark.parametrize(("severity", "receiver"), [("critical", "page"), ("warning", "ticket"), ("other", "ticket")])
def test_what_is_critical_wakes_somebody_and_everything_else_waits(severity, receiver):
    told = run("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", f"severity={severity}")

    assert told.strip() == receiver


def test_inhibition_names_alerts_that_there_are_and_none_silences_itself():
    settings = yaml.safe_load(ALERTMANAGER.read_text("utf-8"))
    names = {alert["alert"] for alert in alerts()}

    for rule in settings["inhibit_rules"]:
        sources, targets = (
            set(re.findall(r"Sluice\w+", " ".join(rule[side]))) for side in ("source_matchers", "target_matchers")
        )
        assert sources
        assert targets
        assert sources | targets <= names
        assert not sources & targets
