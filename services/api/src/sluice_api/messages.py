"""What a person is told about a document, in English or Korean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from starlette.requests import Request

from sluice_common.catalogue import DocumentView
from sluice_common.errors import FAILURES, REMEDY_BY_DETAIL_CODE, FailureCode, FailureText
from sluice_common.status import Lifecycle, State

Language = Literal["en", "ko"]


@dataclass(frozen=True)
class Phrases:
    """Every sentence in one language; `{done}` and `{total}` count pages or chunks."""

    accepted: str
    queued: str
    extracting: str
    extracting_pages: str
    extracting_multimodal: str
    extracting_multimodal_pages: str
    embedding: str
    verifying: str
    ready: str
    cancelled: str
    deleting: str
    previous_version: str


PHRASES: Mapping[Language, Phrases] = {
    "en": Phrases(
        accepted="The document was uploaded and is being processed in the background.",
        queued="The document is waiting to be processed.",
        extracting="Extracting text.",
        extracting_pages="Extracting text ({done} of {total} pages).",
        extracting_multimodal="Extracting text and images.",
        extracting_multimodal_pages="Extracting text and images ({done} of {total} pages).",
        embedding="Embedding {done} of {total} chunks.",
        verifying="Checking that everything can be found.",
        ready="The document is ready.",
        cancelled="The processing of the document was cancelled.",
        deleting="The document is being deleted.",
        previous_version="The previous version of the document is still found by searches.",
    ),
    "ko": Phrases(
        accepted="문서 업로드가 완료되었습니다. 백그라운드에서 문서를 분석하고 있습니다.",
        queued="문서가 처리 대기 중입니다.",
        extracting="텍스트를 추출하고 있습니다.",
        extracting_pages="텍스트를 추출하고 있습니다 ({total}쪽 중 {done}쪽).",
        extracting_multimodal="텍스트와 이미지를 추출하고 있습니다.",
        extracting_multimodal_pages="텍스트와 이미지를 추출하고 있습니다 ({total}쪽 중 {done}쪽).",
        embedding="{total}개 청크 중 {done}개를 임베딩하고 있습니다.",
        verifying="검색 가능 여부를 확인하고 있습니다.",
        ready="문서 처리가 완료되었습니다.",
        cancelled="문서 처리가 취소되었습니다.",
        deleting="문서를 삭제하고 있습니다.",
        previous_version="이전 버전은 계속 검색됩니다.",
    ),
}


def language_of(request: Request) -> Language:
    """The language that `Accept-Language` prefers of the two; English when neither fits."""
    best: Language = "en"
    best_weight = 0.0
    for part in request.headers.get("accept-language", "").split(","):
        name, _, weight_text = part.partition(";")
        weight = _weight_in(weight_text)
        primary = name.strip().lower().partition("-")[0]
        for language in PHRASES:
            if primary == language and weight > best_weight:
                best, best_weight = language, weight
    return best


def accepted_message(language: Language) -> str:
    """What the answer to an upload says."""
    return PHRASES[language].accepted


def message_of(view: DocumentView, language: Language) -> str:
    """One sentence on where the document is, or why it failed and what to do."""
    if view.lifecycle is not Lifecycle.ACTIVE:
        return PHRASES[language].deleting
    return _MESSAGES[view.state](view, language)


def failure_text(code: FailureCode, language: Language, detail_code: str | None = None) -> FailureText:
    """The code's sentence and its remedy; that of the detail code, where it has one of its own."""
    failure = FAILURES[code]
    text = failure.ko if language == "ko" else failure.en
    remedy = REMEDY_BY_DETAIL_CODE.get(detail_code or "")
    return text if remedy is None else replace(text, remedy=remedy.ko if language == "ko" else remedy.en)


def failure_code_of(view: DocumentView) -> FailureCode:
    """Why the document failed; a word outside the closed list counts as `internal`."""
    try:
        return FailureCode(view.error_code or FailureCode.INTERNAL)
    except ValueError:
        return FailureCode.INTERNAL


def _weight_in(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _extracting(view: DocumentView, language: Language) -> str:
    phrases = PHRASES[language]
    is_multimodal = bool(view.options.get("multimodal"))
    if not view.pages_total:
        return phrases.extracting_multimodal if is_multimodal else phrases.extracting
    template = phrases.extracting_multimodal_pages if is_multimodal else phrases.extracting_pages
    return template.format(done=view.pages_done, total=view.pages_total)


def _embedding(view: DocumentView, language: Language) -> str:
    return PHRASES[language].embedding.format(done=view.chunks_done, total=view.chunks_total or 0)


def _failed(view: DocumentView, language: Language) -> str:
    text = failure_text(failure_code_of(view), language, view.error_detail_code)
    return f"{text.sentence} {text.remedy}"


_MESSAGES: Mapping[State, Callable[[DocumentView, Language], str]] = {
    State.QUEUED: lambda _, language: PHRASES[language].queued,
    State.EXTRACTING: _extracting,
    State.EMBEDDING: _embedding,
    State.VERIFYING: lambda _, language: PHRASES[language].verifying,
    State.COMPLETED: lambda _, language: PHRASES[language].ready,
    State.FAILED: _failed,
    State.CANCELLED: lambda _, language: PHRASES[language].cancelled,
}
