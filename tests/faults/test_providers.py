"""A provider that is busy, away or wrong: work waits, nothing fails, nothing wrong is stored, little is bought twice.

`LONG=1` takes ten embedders instead of four, a longer run at the limit, and ten minutes for the outage.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import numpy as np
import psutil
import pytest
from conftest import system
from faults.provider import WRONG_ANSWERS, Counts, FaultyProvider, Limit, Mode, fingerprint
from oracle import CLEAN, Oracle, wait_until

from sluice_client import SluiceClient
from sluice_local.embedding_server import DIMENSIONS, load_model
from sluice_local.stack import LocalStack

IS_LONG = os.environ.get("LONG") == "1"
SEED = int(os.environ.get("SEED", "20261120"))
EMBEDDERS = 10 if IS_LONG else 4
LEASE_S = 60
BATCH_CHUNKS = 32
TEXTS_OF_A_CALL = 8
REFUSED = 0.01 if IS_LONG else 0.1
"""The share of calls that may be refused. The promise is one in a hundred, which a machine that others keep busy
cannot show in half a minute: there requests leave late and together. A storm is every second call and more."""
WORDS = 5

SETTINGS = {
    "SLUICE_TIMES__LEASE_S": str(LEASE_S),
    "SLUICE_EXTRACTION__BATCH_CHUNKS": str(BATCH_CHUNKS),
    "SLUICE_CHUNKING__MAX_CHARS": "100",
    "SLUICE_CHUNKING__OVERLAP_CHARS": "0",
    "SLUICE_EMBEDDINGS__BATCH_SIZE": str(TEXTS_OF_A_CALL),
    "SLUICE_EMBEDDINGS__TIMEOUT_S": "10",
    "SLUICE_DATABASE__POOL_SIZE": "5",
}


@pytest.fixture(scope="module")
def provider() -> Iterator[FaultyProvider]:
    with FaultyProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def stack(provider, tmp_path_factory) -> Iterator[LocalStack]:
    environment = system(**SETTINGS, **provider.settings())
    home = tmp_path_factory.mktemp("providers")
    with LocalStack(home, environment=environment, scale={"embedder": EMBEDDERS}) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def oracle(stack, provider) -> Iterator[Oracle]:
    yield Oracle(stack)
    provider.behave()
    wait_until_all_is_done(Oracle(stack), seconds=180)
    # Each test meets a provider that nobody knows yet.
    Oracle(stack).query("DELETE FROM provider_paces RETURNING 1")
    provider.forget()


@pytest.fixture
def client(stack, oracle) -> Iterator[SluiceClient]:
    with SluiceClient(stack.url, stack.api_key, retries=20) as client:
        yield client


def uploaded(client: SluiceClient, *, chunks: int, name: str = "") -> str:
    """A document of about so many chunks, each with a text of its own."""
    name = name or f"{random.getrandbits(64):016x}"
    lines = (f"{name} line {number} says " + "sluice gate " * WORDS for number in range(chunks))
    return client.upload("\n\n".join(lines).encode(), name=f"{name}.txt").id


def wait_until_all_is_done(oracle: Oracle, *, seconds: float) -> None:
    wait_until(lambda: not oracle.unfinished(), seconds=seconds, message=lambda: f"left: {oracle.unfinished()[:5]}")


def reasons_of(client: SluiceClient, document_ids: list[str]) -> list[str | None]:
    return [client.get(document_id).waiting_reason for document_id in document_ids]


def most_tries(oracle: Oracle) -> int:
    """The most tries that any unfinished batch has used up and not given back."""
    return int(oracle.query("SELECT COALESCE(max(tries), 0) FROM batches WHERE state = 'pending'")[0][0])


def metric(stack: LocalStack, name: str) -> float:
    """The sum of a metric over all embedders."""
    total = 0.0
    for process in stack.processes():
        if process.name.startswith("embedder"):
            lines = httpx.get(f"{process.url}/metrics", trust_env=False, timeout=60).text.splitlines()
            total += sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))
    return total


@pytest.mark.parametrize("unit", ["requests", "tokens"])
def test_many_embedders_stay_below_the_limit_of_their_provider_and_use_it(provider, client, oracle, figures, unit):
    rate = 60.0 if IS_LONG else 40.0
    calls = 3600 if IS_LONG else 700
    tokens_of_a_call = TEXTS_OF_A_CALL * 25
    provider.limit(Limit(**{f"{unit}_per_s": rate * (1 if unit == "requests" else tokens_of_a_call)}))

    documents = [uploaded(client, chunks=calls * TEXTS_OF_A_CALL // 10) for _ in range(10)]
    wait_until_all_is_done(oracle, seconds=300)

    counts = provider.counts()
    used = used_of(provider, counts, unit, rate, tokens_of_a_call)
    figures.note(
        9,
        f"{EMBEDDERS} embedders, limit of {unit} at about {rate:g} calls a second: {counts.calls} calls, "
        f"{counts.refused_for_pace} of them 429 ({counts.refused_for_pace / counts.calls:.2%}), "
        f"tokens {counts.sold_tokens / counts.unique_tokens:.4f} x the unique ones, {used:.0%} of the limit used",
    )
    assert {client.get(document_id).status for document_id in documents} == {"ready"}
    assert counts.calls > 0.9 * calls
    assert counts.refused_for_pace < REFUSED * counts.calls
    assert counts.sold_tokens <= 1.02 * counts.unique_tokens
    assert used > 0.5  # the share that is noted says how well; a busy machine cannot use a provider well


def used_of(provider: FaultyProvider, counts: Counts, unit: str, rate: float, tokens_of_a_call: int) -> float:
    """The share of what the provider would have sold in the same time."""
    if unit == "tokens":
        return counts.sold_tokens / counts.sold_for_s / (rate * tokens_of_a_call)
    return counts.answers["ok"] / counts.sold_for_s / rate


OUTAGES = (Mode.REFUSE, Mode.FAILED, Mode.HANG)


def test_an_outage_costs_no_try_and_few_calls_and_ends_by_itself(provider, stack, client, oracle, figures):
    outage_s = 600.0 if IS_LONG else 24.0
    documents = [uploaded(client, chunks=600) for _ in range(4)]
    wait_until(lambda: provider.counts().sold_texts > 200, seconds=60, message="nothing was embedded")
    probes = metric(stack, "sluice_provider_probes_total")
    provider.fail(OUTAGES[0])
    before = provider.counts()
    started = time.monotonic()
    reasons: set[str | None] = set()

    for number, mode in enumerate(OUTAGES, 1):
        provider.fail(mode)
        while time.monotonic() < started + outage_s * number / len(OUTAGES):
            reasons |= set(reasons_of(client, documents))
            assert most_tries(oracle) == 0
            time.sleep(1)  # between two looks, for as long as the outage is meant to be
    during = provider.counts().calls - before.calls
    probed = metric(stack, "sluice_provider_probes_total") - probes
    is_open = metric(stack, 'sluice_provider_gate{gate="open"}')
    provider.behave()
    back = time.monotonic()
    wait_until_all_is_done(oracle, seconds=180)

    figures.note(
        9,
        f"outage of {outage_s:.0f} s (refused, 500, hanging) with {EMBEDDERS} embedders: {during} calls reached the "
        f"provider, {probed:.0f} probes counted, all ready {time.monotonic() - back:.1f} s after it",
    )
    assert {client.get(document_id).status for document_id in documents} == {"ready"}
    assert "provider_down" in reasons
    assert is_open >= 1
    assert probed >= 1
    in_flight = 16 * EMBEDDERS
    assert during <= in_flight + outage_s / 10 + 2 * EMBEDDERS
    assert oracle.query("SELECT COALESCE(max(tries), 0) FROM batches WHERE state = 'done'")[0][0] <= 1


def test_a_document_says_that_the_provider_asks_to_wait(provider, client, oracle):
    provider.fail(Mode.TOO_MANY, retry_after_s=6)

    document = uploaded(client, chunks=20)

    wait_until(
        lambda: client.get(document).waiting_reason == "provider_rate_limited",
        seconds=30,
        message=lambda: f"it says {client.get(document).waiting_reason}",
    )
    assert most_tries(oracle) == 0
    provider.behave()
    assert client.wait(document, timeout_s=120).status == "ready"


@pytest.mark.parametrize("mode", [Mode.UNAUTHORISED, Mode.FORBIDDEN, Mode.WRONG_DIMENSIONS])
def test_a_mistake_of_the_operator_fails_no_document(provider, client, oracle, mode):
    provider.fail(mode)

    document = uploaded(client, chunks=20)

    wait_until(
        lambda: client.get(document).waiting_reason == "provider_down",
        seconds=30,
        message=lambda: f"it says {client.get(document).waiting_reason}",
    )
    wait_until(lambda: provider.counts().answers.get(mode, 0) >= 3, seconds=60, message="it was not asked again")
    assert client.get(document).status == "processing"
    assert most_tries(oracle) == 0
    provider.behave()
    assert client.wait(document, timeout_s=120).status == "ready"


def test_no_wrong_answer_is_ever_stored(provider, client, oracle, figures):
    documents = [uploaded(client, chunks=1500) for _ in range(4)]
    shown = {}
    for mode in (*WRONG_ANSWERS, Mode.SHUFFLED, Mode.RESET, Mode.FAILED):
        provider.fail(mode, probability=0.4)
        if not any(client.get(document_id).status == "processing" for document_id in documents):
            documents.append(uploaded(client, chunks=1500))
        wait_until(
            lambda mode=mode: provider.counts().answers.get(mode, 0) >= 2,
            seconds=90,
            message=lambda mode=mode: f"seed {SEED}: never answered by {mode}: {provider.counts()}",
        )
        shown[mode.value] = provider.counts().answers[mode]
    provider.behave()
    wait_until_all_is_done(oracle, seconds=180)

    figures.note(10, f"wrong answers by kind: {shown}; stored: 0 of {len(stored_vectors(oracle))} vectors")
    assert {client.get(document_id).status for document_id in documents} == {"ready"}
    assert oracle.settle(seconds=60) == CLEAN
    texts = dict(
        oracle.query("SELECT k.point_id::text, k.text FROM chunks k JOIN documents d ON d.published_run = k.run_id")
    )
    stored = stored_vectors(oracle)
    assert stored.keys() == texts.keys()
    right = load_model().embed(list(texts.values()), dimensions=DIMENSIONS).vectors
    found = np.array([stored[point_id] for point_id in texts])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(found, right, atol=1e-3)


def stored_vectors(oracle: Oracle) -> dict[str, list[float]]:
    """Every dense vector of the store, by the id of its point."""
    found: dict[str, list[float]] = {}
    for collection in oracle._vectors.get("/collections").json()["result"]["collections"]:
        offset = None
        while True:
            body = {"limit": 1000, "with_payload": False, "with_vector": ["dense"], "offset": offset}
            answer = oracle._vectors.post(f"/collections/{collection['name']}/points/scroll", json=body).json()
            found |= {str(point["id"]): point["vector"]["dense"] for point in answer["result"]["points"]}
            offset = answer["result"].get("next_page_offset")
            if offset is None:
                break
    return found


def test_a_text_that_the_provider_refuses_fails_its_own_document_only(provider, client, oracle):
    provider.fail(Mode.TOO_LONG, too_long_text="unspeakable line 3 ")

    bad = uploaded(client, chunks=20, name="unspeakable")
    good = [uploaded(client, chunks=20) for _ in range(5)]
    wait_until_all_is_done(oracle, seconds=60)

    assert client.get(bad).error.code == "embedding_rejected"
    assert {client.get(document_id).status for document_id in good} == {"ready"}


def test_what_is_done_is_not_bought_again_when_embedders_are_killed(provider, stack, client, oracle, figures):
    numbers = random.Random(SEED)
    provider.slow_down(0.05)
    chunks, most_kills = (1000, 2 * EMBEDDERS) if IS_LONG else (200, EMBEDDERS)
    ids = [uploaded(client, chunks=chunks).removeprefix("doc_") for _ in range(4)]
    sold_when_done: dict[str, int] = {}
    kills = 0

    while oracle.unfinished():
        done = oracle.query(
            "SELECT k.text FROM chunks k JOIN batches b USING (run_id, batch_no) "
            "WHERE b.state = 'done' AND b.document_id = ANY(%s::uuid[])",
            ids,
        )
        sold = provider.sold()
        for (text,) in done:
            sold_when_done.setdefault(fingerprint(text), sold[fingerprint(text)])
        if kills < most_kills:
            number = numbers.randint(1, EMBEDDERS)
            with suppress(psutil.NoSuchProcess):  # the one before has not been replaced yet
                stack.kill("embedder" if number == 1 else f"embedder{number}", signal.SIGKILL)
                kills += 1

    sold = provider.sold()
    again = [text for text, times in sold_when_done.items() if sold[text] > times]
    claims = oracle.query(
        "SELECT COALESCE(sum((fence - 1) * (last_chunk - first_chunk + 1)), 0) FROM batches "
        "WHERE document_id = ANY(%s::uuid[])",
        ids,
    )
    bought_twice = sum(sold.values()) - len(sold)
    figures.note(
        9,
        f"{kills} embedders killed: {len(sold_when_done)} chunks done, {len(again)} of them sent again; "
        f"{bought_twice} chunks of unfinished batches bought again",
    )
    assert again == [], f"seed {SEED}"
    assert bought_twice <= int(claims[0][0])


def test_a_search_goes_on_by_words_while_the_provider_is_away(provider, stack, client, oracle):
    document = uploaded(client, chunks=5, name="findable")
    assert client.wait(document, timeout_s=60).status == "ready"
    provider.fail(Mode.REFUSE)

    found = searched(stack, "findable", "hybrid")
    assert (found.status_code, found.json()["degraded"], found.json()["mode"]) == (200, True, "lexical")
    assert document in {hit["document_id"] for hit in found.json()["results"]}
    assert searched(stack, "findable", "lexical").json()["results"]
    refused = searched(stack, "findable", "dense")
    assert (refused.status_code, "retry-after" in refused.headers) == (503, True)

    provider.behave()
    assert searched(stack, "findable", "dense").status_code == 200


def test_a_search_does_not_stand_in_the_queue_of_the_embedders(provider, stack, client, oracle, figures):
    provider.limit(Limit(requests_per_s=20, burst_s=1))
    for _ in range(4):
        uploaded(client, chunks=400)
    wait_until(lambda: provider.counts().calls > 60, seconds=60, message="nothing was embedded")

    started = time.monotonic()
    modes = [searched(stack, "sluice gate", "hybrid").json()["mode"] for _ in range(20)]

    figures.note(9, f"20 searches behind a full queue of the embedders took {time.monotonic() - started:.1f} s")
    assert modes.count("hybrid") >= 10, "the embedders leave nothing of the provider for questions"


def searched(stack: LocalStack, query: str, mode: str) -> httpx.Response:
    return httpx.post(
        f"{stack.url}/v1/search",
        json={"query": query, "mode": mode},
        headers={"Authorization": f"Bearer {stack.api_key}"},
        timeout=30,
        trust_env=False,
    )
