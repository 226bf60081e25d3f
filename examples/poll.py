"""Upload a file, poll its status until it is ready, then search in it: nothing but HTTP."""

import argparse
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx

POLL_S = 0.5


def main() -> int:
    asked = arguments()
    headers = {"Authorization": f"Bearer {asked.key}"}
    with httpx.Client(base_url=asked.url, headers=headers, timeout=60) as gateway:
        document_id = upload(gateway, Path(asked.file))
        status = poll_until_ended(gateway, document_id, time.monotonic() + asked.timeout)
        if status["status"] != "ready":
            error = status["error"] or {}
            print(f"{status['status']}: {error.get('code')}: {error.get('message')} {error.get('remedy')}")
            return 1
        search(gateway, asked.query)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("query")
    parser.add_argument("--url", default=os.environ.get("SLUICE_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--key", default=os.environ.get("SLUICE_API_KEY"))
    parser.add_argument("--timeout", type=float, default=300, help="seconds to wait for the document")
    asked = parser.parse_args()
    if not asked.key:
        parser.error("give --key or set SLUICE_API_KEY")
    return asked


def upload(gateway: httpx.Client, path: Path) -> str:
    """Send the file as it is read; the answer comes at once, the work goes on in the background."""
    # The key makes it safe to send the same request again when no answer came.
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    with path.open("rb") as body:
        answer = gateway.post("/v1/documents", files={"file": (path.name, body)}, headers=headers)
    answer.raise_for_status()
    document = answer.json()
    print(f"uploaded {document['name']} as {document['id']}")
    return str(document["id"])


def poll_until_ended(gateway: httpx.Client, document_id: str, deadline: float) -> dict[str, Any]:
    """Ask for the short status until nothing changes any more; print each change."""
    shown = ""
    while time.monotonic() < deadline:
        answer = gateway.get(f"/v1/documents/{document_id}/status")
        answer.raise_for_status()
        status = answer.json()
        line = f"{status['progress']:>3} %  {status['status']}  {status['stage']}"
        if line != shown:
            print(line, flush=True)
            shown = line
        if status["status"] in {"ready", "failed", "cancelled"}:
            return dict(status)
        time.sleep(POLL_S)
    raise SystemExit("the document was still unfinished when the time was over")


def search(gateway: httpx.Client, query: str) -> None:
    answer = gateway.post("/v1/search", json={"query": query, "top_k": 3})
    answer.raise_for_status()
    for hit in answer.json()["results"]:
        page = f", page {hit['page_start']}" if hit.get("page_start") else ""
        print(f"{hit['score']:.3f}  {hit['name']}{page}: {' '.join(hit['text'].split())[:160]}")


if __name__ == "__main__":
    # A terminal that lacks a character shows a question mark instead of an error.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # a TextIOWrapper unless someone replaced it
    sys.exit(main())
