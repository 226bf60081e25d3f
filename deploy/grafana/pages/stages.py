"""One page for each service: what it does, how long that takes, what fails, and what it uses."""

from describing import Dashboard, Panel, Query, Row

SHARES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))


def _quantiles(metric: str, matchers: str = "") -> list[Query]:
    return [
        Query(f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{matchers}[$__rate_interval])))", name)
        for share, name in SHARES
    ]


def _processes(job: str) -> Row:
    of = f'job="sluice-{job}"'
    return Row(
        "Processes",
        [
            Panel(
                "Replicas",
                "Answering the scrapes, and known.",
                [Query(f"sum(up{{{of}}})", "answering"), Query(f"count(up{{{of}}})", "known")],
                width=6,
            ),
            Panel(
                "Memory",
                "Resident, per replica; without the readers' children.",
                [Query(f"process_resident_memory_bytes{{{of}}}", "{{instance}}")],
                unit="bytes",
                width=6,
            ),
            Panel(
                "Processor",
                "Per replica; 1 is one core.",
                [Query(f"rate(process_cpu_seconds_total{{{of}}}[$__rate_interval])", "{{instance}}")],
                width=6,
            ),
            Panel(
                "Open files",
                "Share of what the process may open; at 1 it can take no connection.",
                [Query(f"process_open_fds{{{of}}} / process_max_fds{{{of}}}", "{{instance}}")],
                unit="percentunit",
                width=6,
                warns_at=0.7,
                fails_at=0.9,
            ),
        ],
    )


def _tasks(stage: str) -> list[Panel]:
    return [
        Panel(
            "Tasks by outcome",
            "Per second. `fenced`, `released` and `reopened` are no errors: the work was or will be done elsewhere.",
            [
                Query(
                    f'sum by (outcome) (rate(sluice_stage_runs_total{{stage="{stage}"}}[$__rate_interval])) > 0',
                    "{{outcome}}",
                )
            ],
            unit="ops",
            is_stacked=True,
        ),
        Panel(
            "Duration of a task",
            "Half of the tasks were quicker than p50, 95 % quicker than p95.",
            _quantiles("sluice_stage_duration_seconds", f'{{stage="{stage}"}}'),
            unit="s",
        ),
        Panel(
            "Time to work off what waits",
            "At the pace of the last ten minutes; add replicas when it is long and rises.",
            [Query(f'stage:sluice_backlog_seconds:ratio{{stage="{stage}"}} < +Inf', "backlog")],
            unit="s",
            width=8,
            warns_at=1800,
        ),
        Panel(
            "Hints",
            "Sent again by the reconciler, and found without work. Many of both: Redis loses or repeats messages.",
            [
                Query(f'sum(rate(sluice_tasks_resent_total{{stage="{stage}"}}[$__rate_interval]))', "sent again"),
                Query(f'sum(rate(sluice_hints_skipped_total{{stage="{stage}"}}[$__rate_interval]))', "nothing to do"),
            ],
            unit="ops",
            width=8,
        ),
    ]


API = Dashboard(
    "api",
    "api",
    "What clients ask for, what they get, and how long it takes.",
    [
        Row(
            "Requests",
            [
                Panel(
                    "Requests by status",
                    "5xx are ours, 4xx the clients'; 499 went away before the answer.",
                    [Query("sum by (status) (rate(sluice_http_requests_total[$__rate_interval]))", "{{status}}")],
                    unit="reqps",
                    is_stacked=True,
                ),
                Panel(
                    "Failing requests",
                    "Share of 5xx among searches and among all else.",
                    [
                        Query(
                            "(area:sluice_http_failures:rate5m or area:sluice_http_requests:rate5m * 0) "
                            "/ (area:sluice_http_requests:rate5m > 0)",
                            "{{area}}",
                        )
                    ],
                    unit="percentunit",
                    warns_at=0.01,
                    fails_at=0.05,
                ),
                Panel(
                    "Slowest of twenty by route",
                    "95 % were quicker. Event streams and long polls last as long as their clients want.",
                    [
                        Query(
                            "histogram_quantile(0.95, sum by (le, method, route) "
                            "(rate(sluice_http_request_duration_seconds_bucket[$__rate_interval])))",
                            "{{method}} {{route}}",
                        )
                    ],
                    unit="s",
                ),
                Panel(
                    "Search",
                    "The embedding of the question included.",
                    _quantiles("sluice_search_duration_seconds"),
                    unit="s",
                    warns_at=1,
                    fails_at=2,
                ),
            ],
        ),
        Row(
            "Uploads",
            [
                Panel(
                    "Taken in by type",
                    "Documents per minute, by the type that the client declared.",
                    [
                        Query(
                            "sum by (media_type) (rate(sluice_documents_submitted_total[$__rate_interval])) * 60",
                            "{{media_type}}",
                        )
                    ],
                    unit="suffix:/min",
                    width=8,
                    is_stacked=True,
                ),
                Panel(
                    "Bytes",
                    "Refused uploads count too.",
                    [Query("sum(rate(sluice_upload_bytes_total[$__rate_interval]))", "received")],
                    unit="Bps",
                    width=8,
                ),
                Panel(
                    "Refused by code",
                    "queue_full, storage_full, unavailable and internal are ours; the others are the clients'.",
                    [Query("sum by (code) (increase(sluice_uploads_refused_total[$__rate_interval])) > 0", "{{code}}")],
                    width=8,
                    is_stacked=True,
                    is_bars=True,
                ),
            ],
        ),
        _processes("api"),
    ],
)

EXTRACTOR = Dashboard(
    "extractor",
    "extractor",
    "Reading documents: how many, how long, and which could not be read.",
    [
        Row(
            "Work",
            [
                *_tasks("extract"),
                Panel(
                    "Waiting documents",
                    "What no extractor has taken yet.",
                    [Query('sluice:documents:max{status="queued"}', "queued")],
                    width=8,
                ),
            ],
        ),
        Row(
            "Results",
            [
                Panel(
                    "Pages",
                    "Read per second, counted at the end of each document.",
                    [Query("sum(rate(sluice_pages_extracted_total[$__rate_interval]))", "pages")],
                    unit="ops",
                    width=8,
                ),
                Panel(
                    "Chunks",
                    "Handed to the embedder per second.",
                    [Query("sum(rate(sluice_chunks_forwarded_total[$__rate_interval]))", "chunks")],
                    unit="ops",
                    width=8,
                ),
                Panel(
                    "Setbacks by code",
                    "Extractions without a result; corrupt, encrypted and the like are the documents' own fault.",
                    [Query("sum by (code) (increase(sluice_extraction_setbacks_total[$__rate_interval]))", "{{code}}")],
                    width=8,
                    is_stacked=True,
                    is_bars=True,
                ),
            ],
        ),
        _processes("extractor"),
    ],
)

EMBEDDER = Dashboard(
    "embedder",
    "embedder",
    "Embedding and publishing, and how the provider behaves.",
    [
        Row(
            "Work",
            [
                *_tasks("embed"),
                Panel(
                    "Waiting chunks",
                    "What no embedder has taken yet.",
                    [Query("max(sluice_chunks_waiting)", "chunks"), Query("max(sluice_batches_waiting)", "batches")],
                    width=8,
                ),
                Panel(
                    "Chunks",
                    "Stored in Qdrant per second, and how many of them were bought twice because work was lost.",
                    [
                        Query("sum(rate(sluice_chunks_indexed_total[$__rate_interval]))", "stored"),
                        Query("sum(rate(sluice_embeddings_rebought_total[$__rate_interval]))", "bought twice"),
                    ],
                    unit="ops",
                    width=8,
                ),
                Panel(
                    "Published",
                    "Documents that became searchable, per minute.",
                    [Query("sum(rate(sluice_runs_published_total[$__rate_interval])) * 60", "published")],
                    unit="suffix:/min",
                    width=8,
                ),
                Panel(
                    "Batches put back",
                    "By code, and those that were opened again because Qdrant had lost their points.",
                    [
                        Query(
                            "sum by (code) (increase(sluice_batches_deferred_total[$__rate_interval]))",
                            "put back: {{code}}",
                        ),
                        Query("sum(increase(sluice_batches_reopened_total[$__rate_interval]))", "opened again"),
                    ],
                    width=8,
                    is_stacked=True,
                    is_bars=True,
                ),
            ],
        ),
        Row(
            "Provider",
            [
                Panel(
                    "Gate",
                    "1 is the present state: closed lets requests out, limited waits as asked, open is away.",
                    [Query("max by (gate) (sluice_provider_gate)", "{{gate}}")],
                    width=8,
                ),
                Panel(
                    "Requests by outcome",
                    "Of the embedders and of searches, per second.",
                    [
                        Query(
                            "sum by (outcome) "
                            "(rate(sluice_embedding_request_duration_seconds_count[$__rate_interval]))",
                            "{{outcome}}",
                        )
                    ],
                    unit="reqps",
                    width=8,
                    is_stacked=True,
                ),
                Panel(
                    "Duration of a request",
                    "By whoever asks: the embedder sends batches, the api single questions.",
                    [
                        Query(
                            "histogram_quantile(0.95, sum by (le, job) "
                            "(rate(sluice_embedding_request_duration_seconds_bucket[$__rate_interval])))",
                            "{{job}} p95",
                        )
                    ],
                    unit="s",
                    width=8,
                ),
                Panel(
                    "Pace",
                    "Requests per second that all embedders together may send; infinite while nothing bounds it.",
                    [Query("min(sluice_provider_rate)", "allowed")],
                    unit="reqps",
                    width=12,
                ),
                Panel(
                    "Probes",
                    "Requests that went out to see whether a provider that was away is back.",
                    [Query("sum(increase(sluice_provider_probes_total[$__rate_interval]))", "probes")],
                    width=12,
                ),
            ],
        ),
        _processes("embedder"),
    ],
)

RECONCILER = Dashboard(
    "reconciler",
    "reconciler",
    "What was lost and brought back, whether the loops run, and the parts below.",
    [
        Row(
            "Loops",
            [
                Panel(
                    "Documents that nothing moves",
                    "Must be 0, always.",
                    [Query("max(sluice_stuck_documents)")],
                    kind="stat",
                    width=4,
                    fails_at=1,
                ),
                Panel(
                    "Since the last good pass",
                    "Per loop. audit and tidy pause long; all others come within a lease.",
                    [Query("time() - max by (loop) (sluice_reconciler_last_pass_timestamp_seconds)", "{{loop}}")],
                    unit="s",
                    width=10,
                ),
                Panel(
                    "Passes that failed",
                    "Per loop; a part was away, or there is a mistake of ours in the log.",
                    [
                        Query(
                            "sum by (loop) (increase(sluice_reconciler_loop_failures_total[$__rate_interval]))",
                            "{{loop}}",
                        )
                    ],
                    width=10,
                    is_stacked=True,
                    is_bars=True,
                ),
                Panel(
                    "Found and put right",
                    "Collected runs and purged documents are daily work; everything else was lost by somebody.",
                    [
                        Query(
                            "sum by (kind) (increase(sluice_reconciler_found_total[$__rate_interval]))",
                            "{{kind}}",
                        )
                    ],
                    is_stacked=True,
                    is_bars=True,
                ),
                Panel(
                    "Hints sent again",
                    "By stage; rises when hints are lost, or when more waits than the workers can do.",
                    [Query("sum by (stage) (rate(sluice_tasks_resent_total[$__rate_interval]))", "{{stage}}")],
                    unit="ops",
                ),
            ],
        ),
        Row(
            "Parts",
            [
                Panel(
                    "Redis memory",
                    "Hints need a few MB. Used beside maxmemory, which is 0 where there is none.",
                    [
                        Query("max(redis_memory_used_bytes)", "used"),
                        Query("max(redis_memory_max_bytes)", "maxmemory"),
                    ],
                    unit="bytes",
                    width=8,
                ),
                Panel(
                    "Redis answers",
                    "1 while its exporter reaches it.",
                    [Query("max(redis_up)", "Redis")],
                    width=8,
                ),
                Panel(
                    "Free disk",
                    "Share per mount point; uploads are refused below 1 %.",
                    [
                        Query(
                            'min by (mountpoint) (node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|overlay"} '
                            '/ node_filesystem_size_bytes{fstype!~"tmpfs|ramfs|overlay"})',
                            "{{mountpoint}}",
                        )
                    ],
                    unit="percentunit",
                    width=8,
                    warns_at=0.1,
                    fails_at=0.03,
                ),
            ],
        ),
        _processes("reconciler"),
    ],
)

STAGES = (API, EXTRACTOR, EMBEDDER, RECONCILER)
