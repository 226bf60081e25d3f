from dataclasses import fields

import pytest
from starlette.requests import Request
from unit.api.views import make_view

from sluice_api.messages import PHRASES, accepted_message, language_of, message_of
from sluice_common.status import Lifecycle, State

MULTIMODAL = {"multimodal": True}


def asking(accept_language: str | None) -> Request:
    headers = [] if accept_language is None else [(b"accept-language", accept_language.encode("latin-1"))]
    return Request({"type": "http", "headers": headers})


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("*", "en"),
        ("ko", "ko"),
        ("KO-kr", "ko"),
        ("en", "en"),
        ("fr, de;q=0.9", "en"),
        ("fr, ko;q=0.1", "ko"),
        ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", "ko"),
        ("en-US,en;q=0.9,ko;q=0.8", "en"),
        ("en;q=0.5, ko;q=0.6", "ko"),
        ("en;q=0, ko;q=0", "en"),
        ("ko;q=nonsense, en", "en"),
        ("ko; q = 1.0", "ko"),
        (";;,,=", "en"),
    ],
)
def test_the_language_is_the_preferred_one_of_the_two(header, language):
    assert language_of(asking(header)) == language


@pytest.mark.parametrize(
    ("changes", "english", "korean"),
    [
        (
            {"state": State.QUEUED},
            "The document is waiting to be processed.",
            "문서가 처리 대기 중입니다.",
        ),
        (
            {"state": State.EXTRACTING, "pages_done": 12},
            "Extracting text (12 of 500 pages).",
            "텍스트를 추출하고 있습니다 (500쪽 중 12쪽).",
        ),
        (
            {"state": State.EXTRACTING, "pages_done": 12, "options": MULTIMODAL},
            "Extracting text and images (12 of 500 pages).",
            "텍스트와 이미지를 추출하고 있습니다 (500쪽 중 12쪽).",
        ),
        (
            {"state": State.EXTRACTING, "pages_total": None},
            "Extracting text.",
            "텍스트를 추출하고 있습니다.",
        ),
        (
            {"state": State.EXTRACTING, "pages_total": None, "options": MULTIMODAL},
            "Extracting text and images.",
            "텍스트와 이미지를 추출하고 있습니다.",
        ),
        (
            {"state": State.EMBEDDING},
            "Embedding 812 of 1320 chunks.",
            "1320개 청크 중 812개를 임베딩하고 있습니다.",
        ),
        (
            {"state": State.VERIFYING},
            "Checking that everything can be found.",
            "검색 가능 여부를 확인하고 있습니다.",
        ),
        ({"state": State.COMPLETED}, "The document is ready.", "문서 처리가 완료되었습니다."),
        (
            {"state": State.FAILED, "error_code": "encrypted"},
            "The document needs a password. Remove the password and upload it again.",
            "암호가 필요한 문서입니다. 암호를 해제한 뒤 다시 올려 주세요.",
        ),
        (
            {"state": State.CANCELLED},
            "The processing of the document was cancelled.",
            "문서 처리가 취소되었습니다.",
        ),
        ({"lifecycle": Lifecycle.DELETING}, "The document is being deleted.", "문서를 삭제하고 있습니다."),
    ],
)
def test_each_state_has_its_sentence_in_both_languages(changes, english, korean):
    view = make_view(**changes)

    assert message_of(view, "en") == english
    assert message_of(view, "ko") == korean


def test_an_upload_is_answered_in_both_languages():
    assert accepted_message("en") == "The document was uploaded and is being processed in the background."
    assert accepted_message("ko") == "문서 업로드가 완료되었습니다. 백그라운드에서 문서를 분석하고 있습니다."


def test_no_phrase_is_missing_or_left_in_the_other_language():
    for field in fields(PHRASES["en"]):
        english, korean = (getattr(PHRASES[language], field.name) for language in ("en", "ko"))
        assert english.isascii()
        assert any("가" <= character <= "힣" for character in korean)
