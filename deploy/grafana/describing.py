"""How the dashboards are described: panels with their queries, which become Grafana's JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

COLUMNS = 24
SCHEMA_VERSION = 38
PROMETHEUS = {"type": "prometheus", "uid": "sluice-prometheus"}
POSTGRESQL = {"type": "postgres", "uid": "sluice-postgresql"}

GREEN, YELLOW, RED = "green", "yellow", "red"

Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """One question in PromQL and how its series are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Sql:
    """One question in SQL, as the role `sluice_dashboards` may ask it."""

    text: str
    is_over_time: bool = False
    """Its first column is `time`, and each other one is a series."""


@dataclass(frozen=True)
class Panel:
    """One picture."""

    title: str
    description: str
    """What a person should conclude from it."""
    queries: Sequence[Query | Sql]
    kind: Literal["stat", "timeseries", "table"] = "timeseries"
    unit: str = "short"
    width: int = 12
    height: int = 8
    warns_at: float | None = None
    """Yellow from here on."""
    fails_at: float | None = None
    """Red from here on; less than `warns_at` where less is worse."""
    is_stacked: bool = False
    is_bars: bool = False
    words: dict[str, str] = field(default_factory=dict)
    """Shown instead of single values."""


@dataclass(frozen=True)
class Row:
    """A heading with the panels below it."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Dashboard:
    """One page."""

    name: str
    title: str
    description: str
    rows: Sequence[Row]
    has_tenant: bool = False
    since: str = "now-3h"


def dashboard_json(dashboard: Dashboard) -> Json:
    """The page as Grafana reads it."""
    return {
        "uid": f"sluice-{dashboard.name}",
        "title": f"Sluice: {dashboard.title}",
        "description": dashboard.description,
        "tags": ["sluice"],
        "timezone": "browser",
        "editable": False,
        "refresh": "30s",
        "schemaVersion": SCHEMA_VERSION,
        "time": {"from": dashboard.since, "to": "now"},
        "templating": {"list": [_TENANT] if dashboard.has_tenant else []},
        "links": [_LINKS],
        "panels": list(_laid_out(dashboard.rows)),
    }


_LINKS: Json = {"type": "dashboards", "title": "Sluice", "tags": ["sluice"], "asDropdown": True, "keepTime": True}
_TENANT: Json = {
    "type": "query",
    "name": "tenant",
    "label": "Tenant",
    "datasource": POSTGRESQL,
    "query": "SELECT name AS __text, id AS __value FROM tenants ORDER BY name",
    "refresh": 1,
    "sort": 1,
}


def _laid_out(rows: Sequence[Row]) -> Iterator[Json]:
    number, top = 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            number += 1
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield {"id": number, "gridPos": place, **_panel_json(panel)}
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel_json(panel: Panel) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": POSTGRESQL if isinstance(panel.queries[0], Sql) else PROMETHEUS,
        "targets": [_target_json(query, "ABCDEFGH"[at], panel) for at, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _field_json(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


def _target_json(query: Query | Sql, letter: str, panel: Panel) -> Json:
    if isinstance(query, Sql):
        shape = "time_series" if query.is_over_time else "table"
        return {
            "refId": letter,
            "datasource": POSTGRESQL,
            "rawQuery": True,
            "editorMode": "code",
            "format": shape,
            "rawSql": query.text,
        }
    is_now = panel.kind != "timeseries"
    return {
        "refId": letter,
        "datasource": PROMETHEUS,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": is_now,
        "range": not is_now,
        "format": "table" if panel.kind == "table" else "time_series",
    }


def _field_json(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": _steps(panel)}}
    if panel.words:
        shown = {value: {"text": text, "index": at} for at, (value, text) in enumerate(panel.words.items())}
        defaults["mappings"] = [{"type": "value", "options": shown}]
    if panel.kind == "timeseries":
        defaults |= {"min": 0, "color": {"mode": "palette-classic"}, "custom": _drawing(panel)}
    else:
        defaults["color"] = {"mode": "thresholds"}
    return defaults


def _drawing(panel: Panel) -> Json:
    return {
        "drawStyle": "bars" if panel.is_bars else "line",
        "fillOpacity": 60 if panel.is_bars or panel.is_stacked else 10,
        "lineWidth": 1,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.is_stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off" if panel.warns_at is None and panel.fails_at is None else "dashed"},
    }


def _steps(panel: Panel) -> list[Json]:
    """From the lowest value up; where less is worse the colours begin with red."""
    warns, fails = panel.warns_at, panel.fails_at
    if warns is not None and fails is not None and fails < warns:
        return [_step(RED, None), _step(YELLOW, fails), _step(GREEN, warns)]
    marks = [_step(colour, value) for colour, value in ((YELLOW, warns), (RED, fails)) if value is not None]
    return [_step(GREEN, None), *marks]


def _step(colour: str, value: float | None) -> Json:
    return {"color": colour, "value": value}


_OPTIONS: dict[str, Json] = {
    "stat": {
        "colorMode": "background",
        "graphMode": "none",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "timeseries": {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
}
