"""The page to open first: is anything wrong, and where."""

from describing import Dashboard, Panel, Query, Row

FAILED = 'outcome!~"ok|reopened|released|fenced"'
JOBS = 'job=~"sluice-.+"'

_NOW = Row(
    "Now",
    [
        Panel(
            "Alerts",
            "Firing now; the table at the bottom names them and where to read on.",
            [Query('count(ALERTS{alertstate="firing"}) or vector(0)')],
            kind="stat",
            width=3,
            height=4,
            fails_at=1,
        ),
        Panel(
            "Services answering",
            "Of the four kinds api, reconciler, extractor and embedder; each needs one replica at least.",
            [Query(f"count(count by (job) (up{{{JOBS}}} == 1)) or vector(0)")],
            kind="stat",
            width=3,
            height=4,
            warns_at=4,
            fails_at=3.5,
        ),
        Panel(
            "Unfinished documents",
            "Taken in and neither ready nor failed. Many are no harm while the oldest is young.",
            [Query("sum(sluice:documents:max)")],
            kind="stat",
            width=3,
            height=4,
        ),
        Panel(
            "Oldest unfinished",
            "Since its request. Users wait so long at most.",
            [Query("max(sluice_oldest_unfinished_document_age_seconds)")],
            kind="stat",
            unit="s",
            width=3,
            height=4,
            warns_at=900,
            fails_at=3600,
        ),
        Panel(
            "Ready per minute",
            "Documents that became searchable, over five minutes.",
            [Query("sum(rate(sluice_runs_published_total[5m])) * 60")],
            kind="stat",
            unit="suffix:/min",
            width=3,
            height=4,
        ),
        Panel(
            "Stages failing",
            "Highest share of a stage's tasks in 15 minutes that failed through no fault of the documents.",
            [
                Query(
                    "max(stage:sluice_stage_failures:increase15m / (stage:sluice_stage_runs:increase15m > 0)) "
                    "or vector(0)"
                )
            ],
            kind="stat",
            unit="percentunit",
            width=3,
            height=4,
            warns_at=0.05,
            fails_at=0.2,
        ),
        Panel(
            "Search, slowest of twenty",
            "95 % of the searches of five minutes were quicker; empty when nobody searched.",
            [Query("sluice:search_duration_seconds:p95_5m")],
            kind="stat",
            unit="s",
            width=3,
            height=4,
            warns_at=1,
            fails_at=2,
        ),
        Panel(
            "Provider",
            "Whether requests to the embedding provider go out.",
            [
                Query(
                    'max(sluice_provider_gate{gate="open"}) * 2 + on () '
                    '(max(sluice_provider_gate{gate="limited"}) or vector(0))'
                )
            ],
            kind="stat",
            width=3,
            height=4,
            warns_at=1,
            fails_at=2,
            words={"0": "answers", "1": "asks to wait", "2": "away", "3": "away"},
        ),
    ],
)

_DOCUMENTS = Row(
    "Documents",
    [
        Panel(
            "Unfinished documents by state",
            "Where documents are. A band that only grows names the stage that is too slow.",
            [Query("sluice:documents:max", "{{status}}")],
            is_stacked=True,
        ),
        Panel(
            "Throughput",
            "Documents per minute: where taken in stays above ready, a backlog grows.",
            [
                Query("sum(rate(sluice_documents_submitted_total[$__rate_interval])) * 60", "taken in"),
                Query("sum(rate(sluice_runs_published_total[$__rate_interval])) * 60", "ready"),
                Query(
                    "sum(rate(sluice_extraction_setbacks_total[$__rate_interval])) * 60", "extractions without a result"
                ),
            ],
            unit="suffix:/min",
        ),
        Panel(
            "Oldest document by state",
            "How long the one that moved least is in its state. A straight rise means that nothing moves.",
            [
                Query("max by (status) (sluice_oldest_unmoved_document_age_seconds)", "{{status}}"),
                Query("max(sluice_oldest_unfinished_document_age_seconds)", "since its request"),
            ],
            unit="s",
            warns_at=900,
            fails_at=3600,
        ),
        Panel(
            "Errors by code",
            "Tasks without a result; docs/reference/errors.md says of each code whose fault it is.",
            [
                Query(
                    f"sum by (stage, outcome) (increase(sluice_stage_runs_total{{{FAILED}}}[$__rate_interval])) > 0",
                    "{{stage}} {{outcome}}",
                )
            ],
            is_stacked=True,
            is_bars=True,
        ),
    ],
)

_LATENCY = Row(
    "How long it takes",
    [
        Panel(
            "Duration of a task",
            "Per stage: half of the tasks were quicker than p50, 95 % quicker than p95.",
            [
                Query("stage:sluice_stage_duration_seconds:p50_5m", "{{stage}} p50"),
                Query("stage:sluice_stage_duration_seconds:p95_5m", "{{stage}} p95"),
            ],
            unit="s",
        ),
        Panel(
            "Duration of a search",
            "The embedding of the question included.",
            [
                Query(
                    f"histogram_quantile({share}, sum by (le) "
                    "(rate(sluice_search_duration_seconds_bucket[$__rate_interval])))",
                    name,
                )
                for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
            ],
            unit="s",
            warns_at=1,
            fails_at=2,
        ),
    ],
)

_ALERTS = Row(
    "What is wrong",
    [
        Panel(
            "Firing alerts",
            "Each name has a page in docs/runbooks.",
            [Query('sum by (alertname, severity, job, stage, code, loop) (ALERTS{alertstate="firing"})')],
            kind="table",
            width=24,
        )
    ],
)

OVERVIEW = Dashboard(
    "overview",
    "overview",
    "Is anything wrong, and where: the first row answers it.",
    [_NOW, _ALERTS, _DOCUMENTS, _LATENCY],
)
