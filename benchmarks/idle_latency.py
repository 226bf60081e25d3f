"""How long one page takes on an idle stack, from the answer to its upload until a search finds it, and where that goes.

    .venv/bin/python benchmarks/idle_latency.py [--documents 100]

The provider is the local stack's own small model, which answers within about a millisecond. The steps are the times
of the document's history, so they need no clock but the database's. Run it on a machine that does nothing else.
"""

import argparse
import os
import statistics
import tempfile
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import psycopg

from sluice_client import SluiceClient
from sluice_local.stack import LocalStack

STEPS = ("queued", "extracting", "embedding", "verifying", "completed")
MEANING = {
    "extracting": "hint through Redis, claim",
    "embedding": "child, read, chunk, chunks stored",
    "verifying": "hint through Redis, claim, embed, points stored",
    "completed": "points counted, published",
}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100)
    options = parser.parse_args()
    system = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with tempfile.TemporaryDirectory() as folder, LocalStack(Path(folder) / "home", environment=system) as stack:
        stack.wait_until_ready()
        with SluiceClient(stack.url, stack.api_key) as client:
            database = stack.environment_of("api")["SLUICE_DATABASE__URL"]
            for _ in range(10):
                measure(client, database)  # the first ones load what is loaded late
            rows = [measure(client, database) for _ in range(options.documents)]
    report(rows)


def measure(client: SluiceClient, database: str) -> dict[str, float]:
    """Milliseconds of each step of one document, and of the whole."""
    time.sleep(0.3)  # idle between two documents: the consumers have gone to their longest pause
    started = time.perf_counter()
    document = client.upload(f"One page about {uuid4().hex}.".encode(), name="page.txt")
    upload_ms = (time.perf_counter() - started) * 1000
    time.sleep(0.3)  # asking how far it is would be work that the measured processes share the machine with
    client.wait(document.id, timeout_s=30)
    at = moments_of(database, document.id)
    row = {step: (at[step] - at[before]).total_seconds() * 1000 for before, step in pairwise(STEPS)}
    return row | {"upload": upload_ms, "whole": (at["completed"] - at["queued"]).total_seconds() * 1000}


def moments_of(database: str, document_id: str) -> dict[str, datetime]:
    """When the document came into each state, by the database's clock."""
    statement = "SELECT state, created_at FROM document_events WHERE document_id = %s AND event = 'document.status'"
    with psycopg.connect(database) as connection:
        return dict(connection.execute(statement, [document_id.removeprefix("doc_")]).fetchall())


def report(rows: list[dict[str, float]]) -> None:
    """Print medians and the 99th percentile."""
    print(f"{'step':12}{'p50 ms':>8}{'p99 ms':>8}   what it is")
    for step in ("upload", *STEPS[1:], "whole"):
        values = sorted(row[step] for row in rows)
        p99 = values[min(len(values) - 1, int(0.99 * len(values)))]
        meaning = MEANING.get(step, "answer to the upload" if step == "upload" else "row written until published")
        print(f"{step:12}{statistics.median(values):8.1f}{p99:8.1f}   {meaning}")


if __name__ == "__main__":
    main()
