"""What a newcomer does with containers, once: the images are built, everything starts, and a document is found.

What takes longer is in the folder containers: `make test-containers`.
"""

import socket

import numpy as np
import pytest
from deploy.containers.composing import SECRETS
from deploy.containers.engine import ROOT
from unit.extractor.scans import KOREAN, looks_of, scanned

PDF = ROOT / "libs/local/src/sluice_local/demo_documents/bicycle.pdf"
SPEECH = ROOT / "tests/data/speech.mp3"

pytestmark = pytest.mark.timeout(1800)


def test_make_up_leaves_a_key_and_an_installation_without_documents(composed):
    assert (SECRETS / "api-key").stat().st_mode & 0o777 == 0o600
    assert composed.client.get("/v1/documents").json()["data"] == []


def test_a_pdf_is_read_inside_the_container_and_found_through_nginx(composed):
    answer = composed.client.post("/v1/documents", files={"file": ("bicycle.pdf", PDF.read_bytes())})

    composed.all_become_ready([answer.json()["id"]])

    assert answer.json()["id"] in composed.finds("bicycle")


def test_a_scanned_korean_page_is_recognised_inside_the_container_and_found(composed):
    page = np.full((1600, 1200), 255, np.uint8)
    page[600:920, 80:1120] = looks_of(KOREAN.read_bytes())[1690:2010, 60:1100]

    scan = {"file": ("scan.pdf", scanned([page]))}
    answer = composed.client.post("/v1/documents", files=scan, data={"multimodal": "true"})
    composed.all_become_ready([answer.json()["id"]])

    assert answer.json()["id"] in composed.finds("국민연금")


def test_a_recording_is_decoded_and_judged_inside_the_container(composed):
    answer = composed.client.post("/v1/documents", files={"file": ("speech.mp3", SPEECH.read_bytes())})
    document = answer.json()["id"]
    composed.all_become_ready([document])

    analysis = composed.client.get(f"/v1/documents/{document}/analysis").json()
    assert "speech" in {label["label"] for label in analysis["labels"]}


def test_a_port_that_is_taken_is_named_before_anything_is_built(engine):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ends = engine.run("env", f"HTTPS_PORT={port}", "python3", "scripts/check_engine.py", "start", check=False)

    assert f"missing: port {port}" in ends


def test_a_provider_that_the_extractor_cannot_reach_is_named_before_anything_is_built(engine):
    provider = "SLUICE_TRANSCRIPTION__BASE_URL=https://provider.example/v1"
    start = ("HTTPS_PORT=0", provider, "python3", "scripts/check_engine.py", "start")

    assert "missing: a way out for the extractor" in engine.run("env", *start, check=False)
    assert engine.run("env", "EXTRACTOR_NETWORK=provider", *start) == ""


def test_an_engine_that_does_not_answer_is_named_before_anything_is_built(engine):
    ends = engine.run("env", "DOCKER_HOST=unix:///nowhere", "python3", "scripts/check_engine.py", "build", check=False)

    assert ends.startswith("missing: an engine that answers")


def test_nothing_is_missing_where_everything_is_there(engine):
    assert engine.run("env", "HTTPS_PORT=0", "python3", "scripts/check_engine.py", "start") == ""
