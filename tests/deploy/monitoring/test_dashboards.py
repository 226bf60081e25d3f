import json
import re
import subprocess
import sys
from itertools import combinations

import pytest
from deploy.monitoring.configurations import DASHBOARDS
from pages import ROOT

GRAFANA = ROOT / "deploy" / "grafana"
PAGES = sorted(DASHBOARDS.glob("*.json"))


def panels_of(path) -> list[dict]:
    return [panel for panel in json.loads(path.read_text("utf-8"))["panels"] if panel["type"] != "row"]


def overlaps(panel: dict, other: dict) -> bool:
    one, two = panel["gridPos"], other["gridPos"]
    return (
        one["x"] < two["x"] + two["w"]
        and two["x"] < one["x"] + one["w"]
        and one["y"] < two["y"] + two["h"]
        and two["y"] < one["y"] + one["h"]
    )


def test_the_dashboards_are_what_their_description_says():
    checked = subprocess.run(
        [sys.executable, str(GRAFANA / "make_dashboards.py"), "--check"], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr


def test_there_is_an_overview_a_page_for_each_service_and_one_for_a_tenant():
    assert {path.stem for path in PAGES} == {"overview", "api", "extractor", "embedder", "reconciler", "tenant"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_dashboard_uses_only_what_the_schema_knows(path):
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(GRAFANA / "dashboard.schema.json")]
    checked = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_schema_refuses_a_wrong_type_and_a_name_that_grafana_does_not_know(tmp_path):
    page = json.loads(PAGES[0].read_text("utf-8"))
    wrong_type, unknown = json.loads(json.dumps(page)), json.loads(json.dumps(page))
    wrong_type["panels"][1]["gridPos"]["w"] = "12"
    unknown["panels"][1]["tittle"] = "Requests"
    for number, spoilt in enumerate((wrong_type, unknown)):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(spoilt), "utf-8")
        command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(GRAFANA / "dashboard.schema.json")]

        assert subprocess.run([*command, str(path)], capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_two_panels_of_a_dashboard_lie_on_each_other_or_have_the_same_id_or_title(path):
    page = json.loads(path.read_text("utf-8"))["panels"]
    titles = [panel["title"] for panel in page]

    assert not [(one["title"], other["title"]) for one, other in combinations(page, 2) if overlaps(one, other)]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in page)
    assert len({panel["id"] for panel in page}) == len(page)
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_rate_is_asked_over_the_span_that_grafana_chooses(path):
    for panel in panels_of(path):
        for target in panel["targets"]:
            spans = set(re.findall(r"\[([^\]]+)\]", target.get("expr", "")))
            allowed = {"$__rate_interval"} if panel["type"] == "timeseries" else {"$__rate_interval", "5m", "1h"}
            assert spans <= allowed, f"{panel['title']}: {spans}"


def test_no_metric_is_asked_for_by_tenant_document_or_file():
    asked = [target.get("expr", "") for path in PAGES for panel in panels_of(path) for target in panel["targets"]]

    assert not [expr for expr in asked if re.search(r"tenant|document_id|filename|\bname=", expr)]
