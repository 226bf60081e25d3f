from datetime import datetime, timedelta, timezone

import orjson
import pytest
from unit.api.views import STARTED, make_view

from sluice_api.presenting import chunk_json, document_json, etag_of, moment_json, status_json, waiting_reason_of
from sluice_common.catalogue import ChunkView
from sluice_common.errors import FAILURES, FailureCode
from sluice_common.status import Lifecycle, State


def shown(**changes):
    return document_json(
        make_view(**changes), "en", base_url="https://sluice.example", now=STARTED + timedelta(seconds=60)
    )


def test_a_document_is_shown_field_by_field():
    body = document_json(make_view(), "en", base_url="https://sluice.example/", now=STARTED + timedelta(seconds=60))

    here = "https://sluice.example/v1/documents/doc_0199a3f2c1d47e0b8a5d3c2b1a098877"
    assert body == {
        "id": "doc_0199a3f2c1d47e0b8a5d3c2b1a098877",
        "object": "document",
        "collection": "default",
        "external_id": None,
        "name": "보고서.pdf",
        "status": "processing",
        "stage": "embedding",
        "waiting_reason": None,
        "message": "Embedding 812 of 1320 chunks.",
        "progress": {
            "percent": 60,
            "pages": {"done": 500, "total": 500, "failed": []},
            "chunks": {"done": 812, "total": 1320},
            "queue_position": None,
            "eta_seconds": 40,
            "updated_at": "2026-11-20T11:47:02Z",
        },
        "active_run": 7,
        "published_run": 5,
        "job_id": "job_0199a3f2c1d57b3c9d2e1f0a5b6c7d8e",
        "sha256": "ab" * 32,
        "media_type": "application/pdf",
        "bytes": 1048576,
        "tries": 1,
        "max_tries": 3,
        "total_chunks": 1320,
        "error": None,
        "warnings": [],
        "attributes": {"year": 2026},
        "chunking": {"max_chars": 1000, "overlap_chars": 200},
        "multimodal": False,
        "embedding": {"model": "model", "dimensions": 256},
        "created_at": "2026-11-20T11:46:01Z",
        "started_at": "2026-11-20T11:46:02Z",
        "finished_at": None,
        "links": {"self": here, "events": f"{here}/events", "content": f"{here}/content", "chunks": f"{here}/chunks"},
    }


def test_the_short_form_has_whole_percents():
    assert status_json(make_view(), "ko") == {
        "id": "doc_0199a3f2c1d47e0b8a5d3c2b1a098877",
        "name": "보고서.pdf",
        "status": "processing",
        "stage": "embedding",
        "progress": 60,
        "total_chunks": 1320,
        "message": "1320개 청크 중 812개를 임베딩하고 있습니다.",
        "error": None,
        "job_id": "job_0199a3f2c1d57b3c9d2e1f0a5b6c7d8e",
        "created_at": "2026-11-20T11:46:01Z",
        "started_at": "2026-11-20T11:46:02Z",
        "finished_at": None,
    }


def test_a_name_is_shown_as_it_is_stored():
    assert shown(name='<b>"%0A".pdf')["name"] == '<b>"%0A".pdf'


def test_links_may_be_paths_only():
    body = document_json(make_view(), "en", base_url="")

    assert body["links"]["self"].startswith("/v1/documents/doc_")


@pytest.mark.parametrize(
    ("state", "waiting_code", "reason"),
    [
        (State.QUEUED, None, "worker_slot"),
        (State.QUEUED, "extractor_crashed", "retry_backoff"),
        (State.QUEUED, "backoff", "retry_backoff"),
        (State.QUEUED, "store_unavailable", "retry_backoff"),
        (State.EMBEDDING, None, None),
        (State.EMBEDDING, "rate_limited:", "provider_rate_limited"),
        (State.EMBEDDING, "provider_unavailable:rate_limited", "provider_rate_limited"),
        (State.EMBEDDING, "provider_unavailable:", "provider_down"),
        (State.EMBEDDING, "provider_unavailable:provider_timeout", "provider_down"),
        (State.EMBEDDING, "store_unavailable:", "retry_backoff"),
        (State.EMBEDDING, "dimension_mismatch:", "provider_down"),
        (State.EMBEDDING, "worker_slot", "worker_slot"),
        (State.EMBEDDING, "released:", "worker_slot"),
        (State.COMPLETED, None, None),
    ],
)
def test_a_pause_has_its_reason(state, waiting_code, reason):
    assert waiting_reason_of(make_view(state=state, waiting_code=waiting_code)) == reason


@pytest.mark.parametrize(
    "changes",
    [
        {"percent": 0},
        {"started_at": None},
        {"state": State.QUEUED},
        {"state": State.COMPLETED, "percent": 100},
        {"state": State.FAILED},
        {"lifecycle": Lifecycle.DELETING},
    ],
)
def test_no_time_is_estimated_where_nothing_tells_it(changes):
    assert shown(**changes)["progress"]["eta_seconds"] is None


def test_a_clock_that_is_behind_estimates_nothing_below_zero():
    body = document_json(make_view(), "en", base_url="", now=STARTED - timedelta(hours=1))

    assert body["progress"]["eta_seconds"] == 0


@pytest.mark.parametrize("code", list(FailureCode))
def test_a_failure_says_what_happened_and_what_to_do(code):
    failed = {"state": State.FAILED, "error_code": code.value, "error_detail": "why", "error_detail_code": "finer"}

    error = shown(**failed)["error"]

    assert error == {
        "code": code.value,
        "message": FAILURES[code].en.sentence,
        "retryable": FAILURES[code].retryable,
        "remedy": FAILURES[code].en.remedy,
        "detail": "why",
        "detail_code": "finer",
    }


def test_a_code_outside_the_closed_list_is_internal():
    assert shown(state=State.FAILED, error_code="something_else")["error"]["code"] == "internal"
    assert shown(state=State.FAILED, error_code=None)["error"]["code"] == "internal"


def test_a_setback_that_is_tried_again_is_no_error():
    assert shown(state=State.QUEUED, error_code="extractor_crashed", waiting_code="extractor_crashed")["error"] is None


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_a_previous_version_that_is_still_served_is_a_warning(state):
    with_previous = shown(state=state, active_run=None, published_run=5)["warnings"]
    without = shown(state=state, active_run=None, published_run=None)["warnings"]

    assert [warning["code"] for warning in with_previous] == ["previous_version_served"]
    assert without == []


def test_pages_that_could_not_be_read_are_listed():
    warnings = [
        {"code": "page_unreadable", "detail": "page 9 could not be read", "page": 9},
        {"code": "page_unreadable", "detail": "page 7 could not be read", "page": 7},
        {"code": "page_not_read", "detail": "The page is a picture that was not read.", "page": 4},
        {"code": "encoding_guessed", "detail": "cp949"},
    ]

    body = shown(warnings=warnings)

    assert body["progress"]["pages"]["failed"] == [4, 7, 9]
    assert body["warnings"] == warnings


def test_a_document_that_is_being_deleted_says_so():
    assert shown(lifecycle=Lifecycle.DELETING)["status"] == "deleting"


def test_nothing_is_said_of_a_model_before_there_is_one():
    assert shown(embed_model=None, embed_dimensions=None)["embedding"] is None


def test_every_state_can_be_shown_in_both_languages():
    for state in State:
        for language in ("en", "ko"):
            assert orjson.dumps(document_json(make_view(state=state), language, base_url=""))


def test_times_are_utc_with_a_z_and_as_exact_as_they_are_kept():
    seoul = datetime(2026, 11, 20, 20, 48, 10, 120_000, tzinfo=timezone(timedelta(hours=9)))

    assert moment_json(seoul) == "2026-11-20T11:48:10.120000Z"
    assert moment_json(None) is None


def test_the_entity_tag_is_strong_and_changes_with_the_row():
    assert etag_of(make_view(row_version=12)) == '"12"'
    assert etag_of(make_view(row_version=13)) != etag_of(make_view(row_version=12))


def test_a_chunk_is_shown_with_its_place():
    chunk = ChunkView(3, "text", 1, 2, 100, 104, 1, "Scope", None, 2, None, None, [{"page": 1, "boxes": []}])

    assert chunk_json(chunk) == {
        "object": "chunk",
        "chunk": 3,
        "text": "text",
        "page_start": 1,
        "page_end": 2,
        "char_start": 100,
        "char_end": 104,
        "tokens": 1,
        "section": "Scope",
        "sheet": None,
        "slide": 2,
        "time_start": None,
        "time_end": None,
        "boxes": [{"page": 1, "boxes": []}],
    }
