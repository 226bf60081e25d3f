"""Every failure Sluice can name, as one tree, sorted by what to do next.

PipelineError
├── PermanentError                  trying again cannot help; the document fails
│   ├── UnsupportedFormat           no reader for what the bytes are
│   ├── Encrypted                   needs a password that we do not have
│   ├── CorruptDocument             no reader can open it
│   ├── EmptyDocument               no bytes, or nothing but white space
│   ├── NoText                      opened, but there is no text in it
│   ├── OcrRequired                 there are pages, but only pictures of text
│   ├── TooManyPages
│   ├── DocumentTooLarge            a limit on text, chunks or pixels was passed
│   ├── ArchiveBomb                 expands far beyond its size
│   ├── DecodeFailed                text in an encoding that nobody recognises
│   ├── EmbeddingRejected           the provider refuses this very text
│   ├── DimensionMismatch           the provider's vectors do not fit the index
│   ├── ObjectMissing               a row points to an object that is not there
│   └── InvalidTask                 a message does not match its contract
├── CrashError                      the document's own child failed; costs a try
│   ├── ExtractionTimeout
│   ├── ExtractorOutOfMemory
│   └── ExtractorCrashed
├── TransientError                  trying again later may help; costs no try
│   ├── DatabaseUnavailable
│   ├── ObjectStoreUnavailable
│   ├── VectorStoreUnavailable
│   ├── EmbeddingProviderUnavailable
│   ├── TranscriptionUnavailable    the provider of transcripts gives none now
│   ├── VisionUnavailable           the provider that describes figures gives no description now
│   ├── RateLimited                 carries the wait that the provider asked for
│   ├── StorageFull                 the object store has no room
│   └── QueueUnavailable
├── TranscriptionRejected           the provider refuses this very sound; only that stays without text
├── VisionRejected                  the provider refuses this very picture; only that stays undescribed
└── ConflictError                   someone else has already moved the document
    └── LeaseLost
"""

from dataclasses import dataclass
from enum import StrEnum


class FailureCode(StrEnum):
    """Why a document failed: a closed list; the same word stands in the row, the metric, the log and the answer."""

    UNSUPPORTED_FORMAT = "unsupported_format"
    ENCRYPTED = "encrypted"
    CORRUPT = "corrupt"
    EMPTY = "empty"
    NO_TEXT = "no_text"
    OCR_REQUIRED = "ocr_required"
    TOO_MANY_PAGES = "too_many_pages"
    TOO_LARGE = "too_large"
    ARCHIVE_BOMB = "archive_bomb"
    DECODE_FAILED = "decode_failed"
    EXTRACTION_TIMEOUT = "extraction_timeout"
    EXTRACTOR_OUT_OF_MEMORY = "extractor_out_of_memory"
    EXTRACTOR_CRASHED = "extractor_crashed"
    EMBEDDING_REJECTED = "embedding_rejected"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    DIMENSION_MISMATCH = "dimension_mismatch"
    STORE_UNAVAILABLE = "store_unavailable"
    QUOTA_EXCEEDED = "quota_exceeded"
    INTERNAL = "internal"


@dataclass(frozen=True)
class FailureText:
    """What a person is told about a failure code, in one language."""

    sentence: str
    remedy: str


@dataclass(frozen=True)
class FailureInfo:
    """Whether the same document may succeed when tried again unchanged, and what a person is told."""

    retryable: bool
    en: FailureText
    ko: FailureText


def _failure(*, retryable: bool, en: tuple[str, str], ko: tuple[str, str]) -> FailureInfo:
    return FailureInfo(retryable, FailureText(*en), FailureText(*ko))


FAILURES: dict[FailureCode, FailureInfo] = {
    FailureCode.UNSUPPORTED_FORMAT: _failure(
        retryable=False,
        en=("There is no reader for this format.", "Convert it to PDF, DOCX, HTML or plain text and upload that."),
        ko=("지원하지 않는 형식입니다.", "PDF, DOCX, HTML 또는 텍스트로 변환해 다시 올려 주세요."),
    ),
    FailureCode.ENCRYPTED: _failure(
        retryable=False,
        en=("The document needs a password.", "Remove the password and upload it again."),
        ko=("암호가 필요한 문서입니다.", "암호를 해제한 뒤 다시 올려 주세요."),
    ),
    FailureCode.CORRUPT: _failure(
        retryable=False,
        en=(
            "The document is damaged and no reader can open it.",
            "Open it in its own program, save it anew and upload that.",
        ),
        ko=("문서가 손상되어 열 수 없습니다.", "원래 프로그램에서 열어 새로 저장한 뒤 다시 올려 주세요."),
    ),
    FailureCode.EMPTY: _failure(
        retryable=False,
        en=("The document is empty.", "Check that the right file was uploaded."),
        ko=("빈 문서입니다.", "올바른 파일인지 확인해 주세요."),
    ),
    FailureCode.NO_TEXT: _failure(
        retryable=False,
        en=("The document has no text.", "Nothing can be searched in it; upload a version with text."),
        ko=("문서에 텍스트가 없습니다.", "텍스트가 있는 문서를 올려 주세요."),
    ),
    FailureCode.OCR_REQUIRED: _failure(
        retryable=False,
        en=(
            "The pages are pictures; reading them needs text recognition (OCR).",
            "Upload it again with multimodal=true, and their text is recognised.",
        ),
        ko=(
            "페이지가 이미지여서 문자 인식(OCR)이 필요합니다.",
            "multimodal=true로 다시 올리면 이미지의 문자를 인식합니다.",
        ),
    ),
    FailureCode.TOO_MANY_PAGES: _failure(
        retryable=False,
        en=("The document has more pages than the limit.", "Split it, or ask the operator to raise the limit."),
        ko=("페이지 수가 한도를 넘었습니다.", "문서를 나누거나 운영자에게 한도 조정을 요청해 주세요."),
    ),
    FailureCode.TOO_LARGE: _failure(
        retryable=False,
        en=("The content of the document passes a size limit.", "Split it, or ask the operator to raise the limit."),
        ko=("문서 내용이 크기 한도를 넘었습니다.", "문서를 나누거나 운영자에게 한도 조정을 요청해 주세요."),
    ),
    FailureCode.ARCHIVE_BOMB: _failure(
        retryable=False,
        en=("The file expands far beyond its size.", "If it is meant so, upload its content uncompressed."),
        ko=("압축을 풀면 지나치게 커지는 파일입니다.", "의도한 파일이라면 압축을 풀어 올려 주세요."),
    ),
    FailureCode.DECODE_FAILED: _failure(
        retryable=False,
        en=("The text is in an encoding that was not recognised.", "Save it as UTF-8 and upload it again."),
        ko=("문자 인코딩을 알 수 없습니다.", "UTF-8로 저장해 다시 올려 주세요."),
    ),
    FailureCode.EXTRACTION_TIMEOUT: _failure(
        retryable=True,
        en=("Reading the document took longer than the limit.", "Split it, or ask the operator to raise the limit."),
        ko=("문서를 읽는 시간이 한도를 넘었습니다.", "문서를 나누거나 운영자에게 한도 조정을 요청해 주세요."),
    ),
    FailureCode.EXTRACTOR_OUT_OF_MEMORY: _failure(
        retryable=True,
        en=(
            "Reading the document needed more memory than the limit.",
            "Split it, or ask the operator to raise the limit.",
        ),
        ko=(
            "문서를 읽는 데 필요한 메모리가 한도를 넘었습니다.",
            "문서를 나누거나 운영자에게 한도 조정을 요청해 주세요.",
        ),
    ),
    FailureCode.EXTRACTOR_CRASHED: _failure(
        retryable=True,
        en=("The reader crashed on this document.", "Save the document anew and try again; report it if it stays so."),
        ko=("문서를 읽는 프로그램이 비정상 종료되었습니다.", "문서를 새로 저장해 다시 시도해 주세요."),
    ),
    FailureCode.EMBEDDING_REJECTED: _failure(
        retryable=False,
        en=(
            "The embedding provider refused the text.",
            "Use smaller chunks or another model; the detail says what it refused.",
        ),
        ko=("임베딩 제공자가 텍스트를 거부했습니다.", "청크 크기를 줄이거나 다른 모델을 사용해 주세요."),
    ),
    FailureCode.PROVIDER_UNAVAILABLE: _failure(
        retryable=True,
        en=(
            "A provider did not answer until the deadline.",
            "Retry the document when the provider is back.",
        ),
        ko=("기한 안에 제공자가 응답하지 않았습니다.", "제공자가 복구된 뒤 다시 시도해 주세요."),
    ),
    FailureCode.DIMENSION_MISMATCH: _failure(
        retryable=False,
        en=(
            "The provider's vectors do not have the configured size.",
            "The operator must correct SLUICE_EMBEDDINGS__DIMENSIONS or the model, then retry.",
        ),
        ko=("임베딩 벡터의 차원이 설정과 다릅니다.", "운영자가 모델 또는 차원 설정을 고친 뒤 다시 시도해 주세요."),
    ),
    FailureCode.STORE_UNAVAILABLE: _failure(
        retryable=True,
        en=("A store did not answer until the deadline.", "Retry the document when the store is back."),
        ko=("기한 안에 저장소가 응답하지 않았습니다.", "저장소가 복구된 뒤 다시 시도해 주세요."),
    ),
    FailureCode.QUOTA_EXCEEDED: _failure(
        retryable=True,
        en=("The quota is used up.", "Delete documents or ask the operator for more, then retry."),
        ko=("할당량을 모두 사용했습니다.", "문서를 삭제하거나 운영자에게 증량을 요청한 뒤 다시 시도해 주세요."),
    ),
    FailureCode.INTERNAL: _failure(
        retryable=True,
        en=("Something went wrong in Sluice itself.", "Retry the document; report it with its id if it stays so."),
        ko=("Sluice 내부 오류가 발생했습니다.", "다시 시도하고, 계속되면 문서 id와 함께 알려 주세요."),
    ),
}


AUDIO_NOT_INSTALLED = "audio_not_installed"
OCR_NOT_INSTALLED = "ocr_not_installed"
PICTURES_NOT_READ = "pictures_not_read"


@dataclass(frozen=True)
class Remedy:
    """What helps, in both languages."""

    en: str
    ko: str


REMEDY_BY_DETAIL_CODE: dict[str, Remedy] = {
    OCR_NOT_INSTALLED: Remedy(
        en="The operator must install Tesseract (Debian: apt-get install tesseract-ocr tesseract-ocr-kor; "
        "macOS: brew install tesseract tesseract-lang) or run the image extractor-full, and restart the extractor; "
        "then retry it.",
        ko="운영자가 Tesseract를 설치하거나(Debian: apt-get install tesseract-ocr tesseract-ocr-kor, "
        "macOS: brew install tesseract tesseract-lang) extractor-full 이미지를 쓰고 extractor를 다시 시작한 뒤 "
        "다시 시도해 주세요.",
    ),
    PICTURES_NOT_READ: Remedy(
        en="Retry it when the machine is less busy, or upload a version with smaller or clearer pictures.",
        ko="서버가 한가할 때 다시 시도하거나, 더 작고 선명한 이미지로 된 문서를 올려 주세요.",
    ),
    AUDIO_NOT_INSTALLED: Remedy(
        en="The operator must run the image extractor-full, or install sluice-extractor[audio]; then retry it.",
        ko="운영자가 extractor-full 이미지를 쓰거나 sluice-extractor[audio]를 설치한 뒤 다시 시도해 주세요.",
    ),
}
"""What helps where the detail code says more than the code."""


class PipelineError(Exception):
    """The root of everything Sluice raises on purpose; `code` is stable and documented."""

    code: str = "internal"

    def __init__(self, detail: str = "", *, detail_code: str | None = None) -> None:
        """Say which thing and why.

        Args:
            detail: our own words, for the person who reads it at night; never text of the document.
            detail_code: a finer stable word than `code`, where there is one.
        """
        super().__init__(detail or self.code)
        self.detail = detail
        self.detail_code = detail_code


class PermanentError(PipelineError):
    """Trying again cannot help; the document fails at once."""


class UnsupportedFormat(PermanentError):
    code = FailureCode.UNSUPPORTED_FORMAT


class Encrypted(PermanentError):
    code = FailureCode.ENCRYPTED


class CorruptDocument(PermanentError):
    code = FailureCode.CORRUPT


class EmptyDocument(PermanentError):
    code = FailureCode.EMPTY


class NoText(PermanentError):
    code = FailureCode.NO_TEXT


class OcrRequired(PermanentError):
    code = FailureCode.OCR_REQUIRED


class TooManyPages(PermanentError):
    code = FailureCode.TOO_MANY_PAGES


class DocumentTooLarge(PermanentError):
    code = FailureCode.TOO_LARGE


class ArchiveBomb(PermanentError):
    code = FailureCode.ARCHIVE_BOMB


class DecodeFailed(PermanentError):
    code = FailureCode.DECODE_FAILED


class EmbeddingRejected(PermanentError):
    code = FailureCode.EMBEDDING_REJECTED


class DimensionMismatch(PermanentError):
    code = FailureCode.DIMENSION_MISMATCH


class ObjectMissing(PermanentError):
    code = FailureCode.INTERNAL


class InvalidTask(PermanentError):
    code = "invalid_task"


class CrashError(PipelineError):
    """The document's own child failed; it costs the document a try and nobody else anything."""


class ExtractionTimeout(CrashError):
    code = FailureCode.EXTRACTION_TIMEOUT


class ExtractorOutOfMemory(CrashError):
    code = FailureCode.EXTRACTOR_OUT_OF_MEMORY


class ExtractorCrashed(CrashError):
    code = FailureCode.EXTRACTOR_CRASHED


class TransientError(PipelineError):
    """Trying again later may help; the wait costs no try."""


class DatabaseUnavailable(TransientError):
    code = FailureCode.STORE_UNAVAILABLE


class ObjectStoreUnavailable(TransientError):
    code = FailureCode.STORE_UNAVAILABLE


class VectorStoreUnavailable(TransientError):
    code = FailureCode.STORE_UNAVAILABLE


class EmbeddingProviderUnavailable(TransientError):
    code = FailureCode.PROVIDER_UNAVAILABLE


class TranscriptionUnavailable(TransientError):
    code = FailureCode.PROVIDER_UNAVAILABLE


class VisionUnavailable(TransientError):
    code = FailureCode.PROVIDER_UNAVAILABLE


class RateLimited(TransientError):
    """The provider asks to wait `retry_after_s` seconds (None: it did not say how long)."""

    code = FailureCode.PROVIDER_UNAVAILABLE

    def __init__(self, detail: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(detail, detail_code="rate_limited")
        self.retry_after_s = retry_after_s


class StorageFull(TransientError):
    """The object store has no room for this object."""

    code = "storage_full"


class QueueUnavailable(TransientError):
    code = "unavailable"


class TranscriptionRejected(PipelineError):
    """The provider refuses this very sound; `is_too_large` says that a shorter one may pass."""

    code = "transcription_rejected"

    def __init__(self, detail: str = "", *, is_too_large: bool = False) -> None:
        super().__init__(detail)
        self.is_too_large = is_too_large


class VisionRejected(PipelineError):
    """The provider refuses this very picture."""

    code = "vision_rejected"


class ConflictError(PipelineError):
    """Someone else has already moved the document; drop the work silently."""

    code = "conflict"


class LeaseLost(ConflictError):
    code = "lease_lost"
