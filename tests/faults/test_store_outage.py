"""A vector store that is away: work waits and says so, no try is lost, and what was bought is not bought over again.

`LONG=1` takes more embedders, 200 documents, and three minutes for the outage.
"""

import os
import time
from collections.abc import Iterator

import pytest
from faults.provider import FaultyProvider
from faults.tools.proxy import Routes
from faults.tools.proxy_server import Weather
from faults.tools.rig import Rig
from oracle import CLEAN, Oracle, wait_until

from sluice_client import SluiceClient

IS_LONG = os.environ.get("LONG") == "1"
SEED = int(os.environ.get("SEED", "20261120"))
EMBEDDERS = 6 if IS_LONG else 3
WORKERS = 4
"""Of one embedder; what they have in their hands when the store goes away is bought once more."""
DOCUMENTS = 200 if IS_LONG else 40
CHUNKS = 40
BATCH_CHUNKS = 8
LEASE_S = 8
OUTAGE_S = 180.0 if IS_LONG else 40.0
OUTAGES = (Weather(refuse=True), Weather(hold_requests=True, hold_replies=True), Weather(unavailable=True))
"""One after the other, with no moment between in which the store answers."""
SOLD = 1.3
"""Texts that may be sold for each one that there is."""
LOOKED_AT = 5
"""Documents that are asked for why they wait."""

SETTINGS = {
    "SLUICE_TIMES__LEASE_S": str(LEASE_S),
    "SLUICE_CHUNKING__MAX_CHARS": "100",
    "SLUICE_CHUNKING__OVERLAP_CHARS": "0",
    "SLUICE_EXTRACTION__BATCH_CHUNKS": str(BATCH_CHUNKS),
    "SLUICE_EMBEDDER__WORKERS": str(WORKERS),
}


@pytest.fixture
def provider() -> Iterator[FaultyProvider]:
    with FaultyProvider() as provider:
        yield provider


@pytest.fixture
def rig(provider, tmp_path) -> Iterator[Rig]:
    with Rig(tmp_path, seed=SEED, provider=provider, scale={"embedder": EMBEDDERS}, environment=SETTINGS) as running:
        yield running


@pytest.fixture
def store(rig) -> Routes:
    """Every way to the store but the oracle's."""
    return rig.proxies.named(end=":qdrant")


@pytest.fixture
def client(rig) -> Iterator[SluiceClient]:
    with SluiceClient(rig.stack.url, rig.stack.api_key, retries=20) as client:
        yield client


@pytest.mark.timeout(1200)
def test_an_outage_of_the_store_costs_no_try_and_buys_little_and_ends_by_itself(rig, store, provider, client, figures):
    oracle = Oracle(rig)
    provider.slow_down(0.2)  # so that the outage meets documents half-way
    documents = [uploaded(client, number) for number in range(DOCUMENTS // 4)]
    wait_until(lambda: provider.counts().sold_texts > 100, seconds=60, message="nothing was embedded")

    store.set(OUTAGES[0])
    store.cut()
    started_s, before = time.monotonic(), provider.counts()
    documents += [uploaded(client, number) for number in range(len(documents), DOCUMENTS)]
    reasons = reasons_until(started_s + OUTAGE_S, store, client, oracle, documents)
    during, waiting = provider.counts(), len(oracle.unfinished())
    rig.calm()
    back_s = time.monotonic()
    wait_until(lambda: not oracle.unfinished(), seconds=120, message=lambda: f"left: {oracle.unfinished()[:5]}")

    counts = provider.counts()
    figures.note(
        9,
        f"the store away for {OUTAGE_S:.0f} s ({OUTAGE_S / LEASE_S:.0f} leases; refused, silent, 503) with "
        f"{waiting} documents under way and {EMBEDDERS} embedders: {during.sold_texts - before.sold_texts} texts sold "
        f"meanwhile, {counts.sold_texts / counts.unique_texts:.3f} x the unique ones in all, no try consumed, "
        f"all ready {time.monotonic() - back_s:.1f} s after it",
    )
    assert waiting >= DOCUMENTS * 3 / 4
    assert {client.get(document_id).status for document_id in documents} == {"ready"}
    assert "retry_backoff" in reasons
    assert counts.sold_texts <= SOLD * counts.unique_texts
    assert most_tries(oracle, "done") <= 1
    assert oracle.settle(seconds=60) == CLEAN


def uploaded(client: SluiceClient, number: int) -> str:
    lines = (f"document {number} line {line} says " + "sluice gate " * 5 for line in range(CHUNKS))
    return client.upload("\n\n".join(lines).encode(), name=f"{number}.txt").id


def reasons_until(
    end_s: float, store: Routes, client: SluiceClient, oracle: Oracle, documents: list[str]
) -> set[str | None]:
    """Let the store be away in every way, and collect why documents are said to wait."""
    left_s = end_s - time.monotonic()
    reasons: set[str | None] = set()
    for number, weather in enumerate(OUTAGES, 1):
        store.set(weather)
        while time.monotonic() < end_s - left_s * (1 - number / len(OUTAGES)):
            reasons |= {client.get(document_id).waiting_reason for document_id in documents[-LOOKED_AT:]}
            assert most_tries(oracle, "pending") == 0
            time.sleep(1)  # between two looks, for as long as the outage is meant to be
    return reasons


def most_tries(oracle: Oracle, state: str) -> int:
    """The most tries that any batch in *state* has used up and not given back."""
    return int(oracle.query("SELECT COALESCE(max(tries), 0) FROM batches WHERE state = %s", state)[0][0])
