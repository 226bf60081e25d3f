"""Records what waits while a burst of uploads goes through one extractor: `python record_backlog.py SECONDS FILE`."""

import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from sluice_client import SluiceClient
from sluice_local.postgres import VOLATILE
from sluice_local.settings import read_given
from sluice_local.stack import LocalStack

DOCUMENTS, LINES = 120, 4000
COLUMNS = ("second", "documents_waiting", "oldest_waiting_s", "chunks_waiting", "oldest_embedding_s")


def row_of(metrics: str, second: int) -> tuple[int, ...]:
    """The numbers that the scaling rules read."""
    found = {
        (sample.name, sample.labels.get("status")): sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }
    names = (
        ("sluice_documents", "queued"),
        ("sluice_oldest_unmoved_document_age_seconds", "queued"),
        ("sluice_chunks_waiting", None),
        ("sluice_oldest_unmoved_document_age_seconds", "embedding"),
    )
    return second, *(round(found[name]) for name in names)


def upload_burst(client: SluiceClient, burst: int) -> None:
    for number in range(DOCUMENTS):
        lines = (f"Line {line} of letter {number} of burst {burst}, about the weather." for line in range(LINES))
        client.upload("\n\n".join(lines).encode(), name=f"letter-{number}.txt")


def record(seconds: int, file: Path) -> None:
    """Run the stack, upload three bursts, and write a line a second."""
    given = read_given()
    environment = {**given.system, "SLUICE_EXTRACTION__WORKERS": "1"}
    with (
        tempfile.TemporaryDirectory() as home,
        LocalStack(Path(home), environment=environment, postgres_settings=VOLATILE) as stack,
        SluiceClient(stack.url, stack.api_key) as client,
        file.open("w", encoding="utf-8") as written,
    ):
        written.write("\t".join(COLUMNS) + "\n")
        for second in range(seconds):
            if second % (seconds // 3) == 5:
                threading.Thread(target=upload_burst, args=(client, second), daemon=True).start()
            with urlopen(stack.metrics_url) as answer:
                written.write("\t".join(map(str, row_of(answer.read().decode(), second))) + "\n")
            time.sleep(1)


if __name__ == "__main__":
    record(int(sys.argv[1]), Path(sys.argv[2]))
