"""What the pipeline is doing, in one line."""

import re

import httpx

SAMPLE = re.compile(r'^sluice_documents\{[^}]*status="(?P<status>\w+)"[^}]*\} (?P<count>[0-9.e+]+)$', re.MULTILINE)
ORDER = ("queued", "extracting", "embedding", "verifying")


def documents_by_status(metrics_url: str) -> dict[str, int] | None:
    """How many unfinished documents have each state, as the reconciler's metrics say; None when it does not answer."""
    try:
        page = httpx.get(metrics_url, timeout=5, trust_env=False)
    except httpx.TransportError:
        return None
    if page.status_code != httpx.codes.OK:
        return None
    counts: dict[str, int] = {}
    for sample in SAMPLE.finditer(page.text):
        counts[sample["status"]] = counts.get(sample["status"], 0) + int(float(sample["count"]))
    return counts


def describe(counts: dict[str, int]) -> str:
    """One line of ASCII, in the order in which a document goes through them."""
    known = [*ORDER, *sorted(set(counts) - set(ORDER))]
    words = [f"{counts[status]} {status}" for status in known if counts.get(status)]
    return "documents in progress: " + (", ".join(words) or "none")
