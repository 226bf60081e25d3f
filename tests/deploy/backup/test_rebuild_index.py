"""`make rebuild-index` on the real local stack: the vector store is emptied, and the same searches answer again."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from conftest import system
from oracle import Oracle, wait_until

from sluice_client import SluiceClient
from sluice_local.postgres import VOLATILE
from sluice_local.stack import LocalStack

WORDS = ("harbour", "lantern", "orchard", "granite", "meadow", "copper", "willow", "thunder")
QUESTIONS = [f"what is said about the {word}" for word in WORDS]


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Iterator[LocalStack]:
    """A stack of its own, whose reconciler audits so rarely that nothing but the rebuild brings points back."""
    settings = system(SLUICE_RECONCILER__AUDIT_INTERVAL_S="86400", SLUICE_TIMES__LEASE_S="15")
    home = tmp_path_factory.mktemp("rebuilt")
    with LocalStack(home, environment=settings, postgres_settings=VOLATILE) as running:
        running.wait_until_ready()
        with SluiceClient(running.url, running.api_key) as client:
            uploaded = [client.upload(text_about(word), name=f"{word}.md").id for word in WORDS]
            for document_id in uploaded:
                client.wait(document_id)
        yield running


def text_about(word: str) -> bytes:
    """Paragraphs that share few words: hits of the same score have no order that anybody promises."""
    letters = random.Random(word)
    invented = ["".join(letters.choices("aeiouklmnprst", k=7)) for _ in range(1200)]
    lines = [" ".join(invented[start : start + 30]) for start in range(0, len(invented), 30)]
    return "\n\n".join(f"About the {word}: {line}." for line in lines).encode()


def program(stack: LocalStack) -> list[str]:
    in_stack = [sys.executable, "-m", "sluice_local.main", "--home", str(stack.home), "exec"]
    return [*in_stack, sys.executable, "-m", "sluice_api.rebuild_index"]


def rebuild(stack: LocalStack) -> str:
    settings = system(SLUICE_ENV_FILE="/dev/null")
    done = subprocess.run(program(stack), env=settings, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wipe(stack: LocalStack) -> None:
    """Drop every collection of Qdrant's, as somebody who replaces it."""
    settings = stack.environment_of("reconciler")
    headers = {"api-key": settings["SLUICE_QDRANT__API_KEY"]}
    with httpx.Client(base_url=settings["SLUICE_QDRANT__URL"], headers=headers, timeout=60) as qdrant:
        for collection in qdrant.get("/collections").json()["result"]["collections"]:
            qdrant.delete(f"/collections/{collection['name']}").raise_for_status()


def answers_of(stack: LocalStack) -> list[list[tuple[str, float]]]:
    with SluiceClient(stack.url, stack.api_key) as client:
        return [
            [(hit.text, round(hit.score, 4)) for hit in client.search(question, top_k=3, mode="dense")]
            for question in QUESTIONS
        ]


def test_a_wiped_vector_store_is_rebuilt_and_the_same_searches_find_the_same(filled):
    before = answers_of(filled)
    wipe(filled)

    said = rebuild(filled)

    assert f"the index is whole; {len(WORDS)} runs were not" in said
    assert "chunks are in the index (100 %)" in said
    assert answers_of(filled) == before
    assert Oracle(filled).findings().missing_points == 0


def test_a_rebuild_of_a_whole_index_changes_nothing_and_says_so(filled):
    assert "the index is whole; 0 runs were not" in rebuild(filled)


def test_documents_are_taken_in_and_found_while_the_index_is_rebuilt(filled):
    wipe(filled)
    running = subprocess.Popen(program(filled), env=system(SLUICE_ENV_FILE="/dev/null"), stdout=subprocess.PIPE)

    with SluiceClient(filled.url, filled.api_key) as client:
        added = client.wait(client.upload(b"A newcomer about the volcano.", name="volcano.txt").id)
        found = client.search("the volcano", top_k=1)

    assert added.status == "ready"
    assert "volcano" in found[0].text
    assert running.wait(timeout=120) == 0
    running.stdout.close()


def test_a_rebuild_that_is_killed_is_finished_by_the_next_one(filled):
    wipe(filled)
    running = subprocess.Popen(
        program(filled), env=system(SLUICE_ENV_FILE="/dev/null"), stdout=subprocess.DEVNULL, start_new_session=True
    )
    oracle = Oracle(filled)
    wait_until(lambda: bool(oracle.points()), seconds=60, message="nothing is rebuilt")
    running.send_signal(signal.SIGTERM)
    running.wait(timeout=30)

    rebuild(filled)

    assert oracle.points() == oracle.chunks()
