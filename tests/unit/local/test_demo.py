import json

import httpx
import pytest
from unit.local.gateway import Gateway

from sluice_local import demo

READY = {"status": "ready", "total_chunks": 4, "message": "The document is ready."}
HIT = {"name": "온돌.md", "page_start": None, "score": 0.5, "text": "온돌은\n방을 데웁니다."}


def answers(status):
    return {
        "POST /v1/collections": (409, {"code": "conflict"}),
        "POST /v1/documents": (202, {"id": "doc_1"}),
        "GET /v1/documents/doc_1/status": (200, status),
        "POST /v1/search": (200, {"results": [HIT]}),
    }


def test_every_document_is_uploaded_and_three_questions_are_asked(capsys):
    with Gateway(answers(READY)) as gateway, httpx.Client(base_url=gateway.url, timeout=60) as client:
        demo.show(client)

    asked = [request for request, _, _ in gateway.requests]
    questions = [json.loads(body)["query"] for request, _, body in gateway.requests if request == "POST /v1/search"]
    assert asked.count("POST /v1/documents") == len(demo.demo_documents())
    assert questions == list(demo.QUESTIONS)
    assert "1. 온돌.md  (score 0.500)\n     온돌은 방을 데웁니다." in capsys.readouterr().out


def test_a_document_that_fails_ends_the_demonstration_with_its_reason():
    failed = {"status": "failed", "message": "The document is empty."}

    with (
        Gateway(answers(failed)) as gateway,
        httpx.Client(base_url=gateway.url, timeout=60) as client,
        pytest.raises(demo.DemoFailed, match="is failed: The document is empty"),
    ):
        demo.show(client)


def test_without_a_stack_it_says_how_to_start_one(tmp_path, capsys):
    assert demo.main(["--home", str(tmp_path)]) == 1

    assert "make run" in capsys.readouterr().err


def test_the_documents_are_of_four_kinds_in_two_languages():
    documents = demo.demo_documents()

    assert {path.suffix for path in documents} == {".md", ".html", ".txt", ".pdf"}
    assert any(not path.name.isascii() for path in documents)
    assert 5 <= len(documents) <= 6


def test_an_excerpt_begins_with_the_sentence_that_is_most_like_the_question():
    text = "Tyres lose air. A chain that squeaks\nis dry. Brakes wear."

    assert demo.excerpt_of(text, "Why does the chain squeak?").startswith("A chain that squeaks is dry.")
