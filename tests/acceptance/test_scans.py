"""Scanned pages over HTTP, on a local stack beside which Tesseract is installed."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from conftest import system
from unit.extractor.scans import KOREAN, Grey, looks_of, require_tesseract, scanned

from sluice_client import SluiceClient
from sluice_local.postgres import VOLATILE
from sluice_local.stack import LocalStack

SAID = "건강보험/국민연금/고용보험/산재보험 및 장애인 고용부담금"
TOP_PT, BOTTOM_PT = 300, 460
"""Between these the page is printed, in points from its top."""


@pytest.fixture(scope="module")
def reading_stack(tmp_path_factory) -> Iterator[LocalStack]:
    require_tesseract()
    settings = {"SLUICE_OCR__ENABLED": "on", "SLUICE_OCR__WALL_CLOCK_S": "300"}
    folder = tmp_path_factory.mktemp("scans")
    with LocalStack(folder, environment=system(**settings), postgres_settings=VOLATILE) as running:
        running.wait_until_ready()
        yield running


@pytest.fixture
def client(reading_stack) -> Iterator[SluiceClient]:
    with SluiceClient(reading_stack.url, reading_stack.api_key) as client:
        yield client


@pytest.fixture
def http(reading_stack) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {reading_stack.api_key}"}
    with httpx.Client(base_url=reading_stack.url, headers=headers, timeout=60) as http:
        yield http


def korean_page() -> Grey:
    """A page of 600 by 800 points with a few Korean lines in its middle."""
    page = np.full((1600, 1200), 255, np.uint8)
    page[600:920, 80:1120] = looks_of(KOREAN.read_bytes())[1690:2010, 60:1100]
    return page


@pytest.fixture(scope="module")
def korean_scan() -> bytes:
    return scanned([korean_page(), b"BT /F 12 Tf 50 700 Td (The second page is text) Tj ET"])


def test_a_scanned_korean_page_is_found_by_its_words_with_boxes(client, http, korean_scan):
    document = client.wait(client.upload(korean_scan, name="scan.pdf", multimodal=True).id, timeout_s=300)

    assert (document.status, document.warnings) == ("ready", ())
    query = {"query": "건강보험 국민연금 고용부담금", "mode": "lexical", "top_k": 1}
    (hit,) = http.post("/v1/search", json=query).raise_for_status().json()["results"]
    assert (hit["document_id"], hit["page_start"]) == (document.id, 1)
    assert SAID in hit["text"]
    boxes = {of_page["page"]: of_page["rects"] for of_page in hit["boxes"]}
    assert len(boxes[1]) >= 4
    for x0, y0, x1, y1 in boxes[1]:
        assert 0 < x0 < x1 < 600
        assert TOP_PT <= y0 < y1 <= BOTTOM_PT


def test_a_scan_that_failed_is_read_when_it_is_uploaded_again_as_its_remedy_says(client):
    content = scanned([korean_page()])
    failed = client.wait(client.upload(content, name="again.pdf").id, timeout_s=120)

    again = client.wait(client.upload(content, name="again.pdf", multimodal=True).id, timeout_s=300)

    assert (failed.status, failed.error.code) == ("failed", "ocr_required")
    assert "multimodal=true" in failed.error.remedy
    assert (again.id, again.status) == (failed.id, "ready")
