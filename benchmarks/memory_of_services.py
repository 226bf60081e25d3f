"""Shows the memory of each service at rest and after a burst: `python benchmarks/memory_of_services.py`."""

import tempfile
from pathlib import Path

import psutil

from sluice_client import SluiceClient
from sluice_local.postgres import VOLATILE
from sluice_local.settings import read_given
from sluice_local.stack import LocalStack

SERVICES = ("api", "reconciler", "extractor", "embedder")
DOCUMENTS = 40


def megabytes_of(stack: LocalStack, name: str) -> int:
    """Proportional memory of a service and its children, so that what they share counts once."""
    process = psutil.Process(stack.pid_of(name))
    family = [process, *process.children(recursive=True)]
    return round(sum(member.memory_full_info().pss for member in family) / 1e6)


def main() -> None:
    """Run the local stack, upload a burst, and print a line for each service."""
    with (
        tempfile.TemporaryDirectory() as home,
        LocalStack(Path(home), environment=read_given().system, postgres_settings=VOLATILE) as stack,
        SluiceClient(stack.url, stack.api_key) as client,
    ):
        idle = {name: megabytes_of(stack, name) for name in SERVICES}
        text = "\n\n".join(f"Line {line} about the weather." for line in range(4000))
        uploaded = [client.upload(f"{number}\n\n{text}".encode(), name="a.txt").id for number in range(DOCUMENTS)]
        for document_id in uploaded:
            client.wait(document_id)
        for name in SERVICES:
            print(f"{name:<12}{idle[name]:>6} MB idle{megabytes_of(stack, name):>6} MB after {DOCUMENTS} documents")


if __name__ == "__main__":
    main()
