"""One page for a single tenant, read from the tables: no metric has a tenant in its labels."""

from describing import Dashboard, Panel, Row, Sql

_LIVE = "tenant_id = '$tenant' AND lifecycle = 'active'"
_UNFINISHED = "state IN ('queued', 'extracting', 'embedding', 'verifying')"

_NOW = Row(
    "Now",
    [
        Panel(
            "Documents",
            "All that the tenant sees.",
            [Sql(f"SELECT count(*) AS documents FROM documents WHERE {_LIVE}")],
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Unfinished",
            "Taken in and neither ready nor failed.",
            [Sql(f"SELECT count(*) AS unfinished FROM documents WHERE {_LIVE} AND {_UNFINISHED}")],
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Oldest unfinished",
            "Since its last move; the tenant waits at least so long.",
            [
                Sql(
                    "SELECT COALESCE(EXTRACT(EPOCH FROM now() - min(created_at)), 0) AS age "
                    f"FROM documents WHERE {_LIVE} AND {_UNFINISHED}"
                )
            ],
            kind="stat",
            unit="s",
            width=4,
            height=4,
            warns_at=900,
            fails_at=3600,
        ),
        Panel(
            "Failed",
            "Among the documents that are there; the table below says why.",
            [Sql(f"SELECT count(*) AS failed FROM documents WHERE {_LIVE} AND state = 'failed'")],
            kind="stat",
            width=4,
            height=4,
            warns_at=1,
        ),
        Panel(
            "Originals",
            "Bytes kept, with the originals that were replaced.",
            [
                Sql(
                    "SELECT COALESCE(sum(o.size_bytes), 0) AS bytes FROM originals o "
                    f"JOIN documents d ON d.id = o.document_id WHERE d.{_LIVE.replace(' AND ', ' AND d.')}"
                )
            ],
            kind="stat",
            unit="bytes",
            width=4,
            height=4,
        ),
        Panel(
            "Chunks",
            "Searchable, in the published runs.",
            [
                Sql(
                    "SELECT COALESCE(sum(r.n_chunks), 0) AS chunks FROM runs r "
                    "WHERE r.tenant_id = '$tenant' AND r.state = 'published'"
                )
            ],
            kind="stat",
            width=4,
            height=4,
        ),
    ],
)

_OVER_TIME = Row(
    "Over time",
    [
        Panel(
            "Taken in",
            "Documents by the time of their first upload.",
            [
                Sql(
                    "SELECT $__timeGroupAlias(created_at, $__interval), count(*) AS documents FROM documents "
                    "WHERE tenant_id = '$tenant' AND $__timeFilter(created_at) GROUP BY 1 ORDER BY 1",
                    is_over_time=True,
                )
            ],
            is_bars=True,
        ),
        Panel(
            "From upload to searchable",
            "Half of the documents took at most p50, 95 % at most p95; by the time of their first upload.",
            [
                Sql(
                    "SELECT $__timeGroupAlias(d.created_at, $__interval), "
                    "percentile_cont(0.5) WITHIN GROUP (ORDER BY EXTRACT(EPOCH FROM r.published_at - d.created_at)) "
                    "AS p50, "
                    "percentile_cont(0.95) WITHIN GROUP (ORDER BY EXTRACT(EPOCH FROM r.published_at - d.created_at)) "
                    "AS p95 "
                    "FROM documents d JOIN runs r ON r.document_id = d.id AND r.request_no = 1 "
                    "WHERE d.tenant_id = '$tenant' AND r.published_at IS NOT NULL AND $__timeFilter(d.created_at) "
                    "GROUP BY 1 ORDER BY 1",
                    is_over_time=True,
                )
            ],
            unit="s",
        ),
    ],
)

_TABLES = Row(
    "In detail",
    [
        Panel(
            "By state",
            "Where the tenant's documents are.",
            [
                Sql(
                    "SELECT state, count(*) AS documents, min(updated_at) AS unmoved_since "
                    f"FROM documents WHERE {_LIVE} GROUP BY state ORDER BY documents DESC"
                )
            ],
            kind="table",
            width=8,
        ),
        Panel(
            "Failures by code",
            "docs/reference/errors.md says what helps against each.",
            [
                Sql(
                    "SELECT error_code, error_detail_code, count(*) AS documents, max(finished_at) AS last "
                    f"FROM documents WHERE {_LIVE} AND state = 'failed' GROUP BY 1, 2 ORDER BY documents DESC"
                )
            ],
            kind="table",
            width=8,
        ),
        Panel(
            "Collections",
            "With what is in them.",
            [
                Sql(
                    "SELECT c.name AS collection, count(d.id) AS documents, "
                    "count(d.id) FILTER (WHERE d.state = 'completed') AS ready, "
                    "count(d.id) FILTER (WHERE d.state = 'failed') AS failed, max(d.created_at) AS last_upload "
                    "FROM collections c LEFT JOIN documents d ON d.collection_id = c.id AND d.lifecycle = 'active' "
                    "WHERE c.tenant_id = '$tenant' AND c.lifecycle = 'active' GROUP BY c.name ORDER BY documents DESC"
                )
            ],
            kind="table",
            width=8,
        ),
        Panel(
            "Latest failures",
            "By id; the tenant's own key shows the rest: sluice status ID.",
            [
                Sql(
                    "SELECT 'doc_' || replace(CAST(id AS text), '-', '') AS document, error_code, "
                    "error_detail_code, tries, losses, finished_at "
                    f"FROM documents WHERE {_LIVE} AND state = 'failed' ORDER BY finished_at DESC LIMIT 50"
                )
            ],
            kind="table",
            width=24,
        ),
    ],
)

TENANT = Dashboard(
    "tenant",
    "one tenant",
    "What one tenant has, waits for, and could not have read.",
    [_NOW, _OVER_TIME, _TABLES],
    has_tenant=True,
    since="now-7d",
)
