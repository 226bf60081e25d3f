"""The committed configuration as a test runs it: the same, sixty times as fast and with addresses of its own."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pages import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = (PROMETHEUS / "rules" / "recording.yml", PROMETHEUS / "rules" / "alerts.yml")
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
HURRY = 60
"""How many times as fast time passes in the rules that a test runs."""
SCRAPE_S = 1

_FASTER = {"h": "m", "m": "s"}
_SPAN = re.compile(r"(\[|offset |for: )(\d+)([hm])\b")
_AGE = re.compile(r"(?<=> )(300|900|1800|3600|14400)\b")


def hurried(rules: str) -> str:
    """*rules* in which an hour is a minute: every span, and every age that a value is compared with."""
    faster = _SPAN.sub(lambda found: f"{found[1]}{found[2]}{_FASTER[found[3]]}", rules)
    return _AGE.sub(lambda found: str(int(found[1]) // HURRY), faster)


def write_prometheus(folder: Path, targets: Mapping[str, Sequence[str]], alertmanager: str) -> Path:
    """The configuration with *targets* by job in place of what DNS would answer; returns its path."""
    (folder / "rules").mkdir(parents=True)
    for path in RULES:
        (folder / "rules" / path.name).write_text(hurried(path.read_text("utf-8")), "utf-8")
    settings = _read(PROMETHEUS / "prometheus.yml")
    settings["global"] |= dict.fromkeys(["scrape_interval", "scrape_timeout", "evaluation_interval"], f"{SCRAPE_S}s")
    settings["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
    for job in settings["scrape_configs"]:
        if job.pop("dns_sd_configs", None):
            job["static_configs"] = [{"targets": list(targets[job["job_name"]])}]
    return _write(folder / "prometheus.yml", settings)


def write_alertmanager(folder: Path, webhook: str) -> Path:
    """The configuration with a webhook for both receivers, and without long waits; returns its path."""
    settings = _read(ALERTMANAGER)
    for receiver in settings["receivers"]:
        receiver["webhook_configs"] = [{"url": f"{webhook}/{receiver['name']}", "send_resolved": True}]
    for route in (settings["route"], *settings["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "1s"}
    return _write(folder / "alertmanager.yml", settings)


def alerts() -> list[dict[str, Any]]:
    """Every alert as it is written."""
    return [rule for group in _read(RULES[1])["groups"] for rule in group["rules"]]


def recorded() -> list[dict[str, Any]]:
    """Every recording rule as it is written."""
    return [rule for group in _read(RULES[0])["groups"] for rule in group["rules"]]


def _read(path: Path) -> Any:  # whatever YAML says
    return yaml.safe_load(path.read_text("utf-8"))


def _write(path: Path, settings: Any) -> Path:  # as above
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(settings), "utf-8")
    return path
