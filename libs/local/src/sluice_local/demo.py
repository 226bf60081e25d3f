"""Uploads a few documents to the running stack and searches them."""

import argparse
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from sluice_common.settings import SettingsError
from sluice_local.console import complain, say
from sluice_local.settings import default_home, read_given
from sluice_local.stack import Home
from sluice_local.supervisor import stack_of

DOCUMENTS = Path(__file__).parent / "demo_documents"
COLLECTION = "demo"
QUESTIONS = (
    "How long does the dough rest in the refrigerator?",
    "What should I do when the bicycle chain squeaks?",
    "온돌은 방을 어떻게 따뜻하게 하나요?",
)
HITS_PER_QUESTION = 3
EXCERPT_CHARS = 160
SENTENCE_END = re.compile(r"(?<=[.!?]) ")
READY_TIMEOUT_S = 120
POLL_INTERVAL_S = 0.3
ENDED = ("ready", "failed", "cancelled")


class DemoFailed(Exception):
    """The demonstration cannot go on; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Upload, wait, search and print; returns 0 when every document became ready."""
    parser = argparse.ArgumentParser(prog="sluice-local demo", description=__doc__)
    parser.add_argument("--home", type=Path, help="folder of the local stack; else SLUICE_HOME, else .sluice")
    options = parser.parse_args(arguments)
    try:
        given = read_given()
        home = Home((options.home or given.local.home or default_home()).absolute())
        with _client_of(home) as client:
            show(client)
    except (DemoFailed, SettingsError) as error:
        complain(f"sluice-local demo: {error}")
        return 1
    except httpx.HTTPError as error:
        complain(f"sluice-local demo: the gateway did not answer: {error}")
        return 1
    return 0


def show(client: httpx.Client) -> None:
    """Do it all against the gateway that *client* talks to.

    Raises:
        DemoFailed: a request was refused, or a document did not become ready.
    """
    _answer_of(client.post("/v1/collections", json={"name": COLLECTION}), also=(httpx.codes.CONFLICT,))
    names = {_upload(client, path): path.name for path in demo_documents()}
    _wait_until_ready(client, names)
    for question in QUESTIONS:
        _print_hits(question, _search(client, question))


def demo_documents() -> list[Path]:
    """The documents that come with this package, in order."""
    return sorted(path for path in DOCUMENTS.iterdir() if path.suffix in {".md", ".html", ".txt", ".pdf"})


def _client_of(home: Home) -> httpx.Client:
    gateway = next((record for record in stack_of(home.folder) if record.name == "api"), None)
    if gateway is None or not home.api_key_file.is_file():
        raise DemoFailed(f"nothing runs in {home.folder}; start it by 'make run' in another terminal")
    key = home.api_key_file.read_text(encoding="utf-8").strip()
    return httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False)


def _upload(client: httpx.Client, path: Path) -> str:
    say(f"uploading {path.name}")
    with path.open("rb") as file:
        answer = client.post("/v1/documents", data={"collection": COLLECTION}, files={"file": (path.name, file)})
    return str(_answer_of(answer)["id"])


def _wait_until_ready(client: httpx.Client, names: Mapping[str, str]) -> None:
    waiting, deadline = dict(names), time.monotonic() + READY_TIMEOUT_S
    while waiting:
        if time.monotonic() > deadline:
            raise DemoFailed(f"not ready within {READY_TIMEOUT_S} s: {', '.join(waiting.values())}")
        for document_id in list(waiting):
            status = _answer_of(client.get(f"/v1/documents/{document_id}/status"))
            if status["status"] in ENDED:
                _report(waiting.pop(document_id), status, left=len(waiting))
        time.sleep(POLL_INTERVAL_S)


def _report(name: str, status: Mapping[str, Any], *, left: int) -> None:  # the HTTP body
    if status["status"] != "ready":
        raise DemoFailed(f"{name} is {status['status']}: {status['message']}")
    say(f"ready     {name} ({status['total_chunks']} chunks; {left} to go)")


def _search(client: httpx.Client, question: str) -> Sequence[Mapping[str, Any]]:  # the HTTP body
    body = {"query": question, "collection": COLLECTION, "top_k": HITS_PER_QUESTION}
    hits: Sequence[Mapping[str, Any]] = _answer_of(client.post("/v1/search", json=body))["results"]
    return hits


def _print_hits(question: str, hits: Sequence[Mapping[str, Any]]) -> None:  # the HTTP body
    say("\n" + "-" * 78)
    say(f"Question: {question}")
    for number, hit in enumerate(hits, start=1):
        page = f", page {hit['page_start']}" if hit.get("page_start") else ""
        excerpt = excerpt_of(str(hit["text"]), question)
        say(f"  {number}. {hit['name']}{page}  (score {hit['score']:.3f})\n     {excerpt}")
    if not hits:
        say("  nothing was found")


def excerpt_of(text: str, question: str) -> str:
    """The part of *text* from the sentence on that shares most with *question*, in one line."""
    wanted = _pieces_of(question)
    sentences = SENTENCE_END.split(" ".join(text.split()))
    best = max(range(len(sentences)), key=lambda number: len(wanted & _pieces_of(sentences[number])))
    return " ".join(sentences[best:])[:EXCERPT_CHARS]


def _pieces_of(text: str) -> set[str]:
    """Three letters at a time, because Korean words end differently in a question and its answer."""
    folded = text.casefold()
    return {folded[start : start + 3] for start in range(len(folded) - 2)}


def _answer_of(answer: httpx.Response, *, also: Sequence[int] = ()) -> Any:  # whatever JSON the route answers
    if answer.is_error and answer.status_code not in also:
        raise DemoFailed(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:300]}")
    return answer.json()


if __name__ == "__main__":
    sys.exit(main())
