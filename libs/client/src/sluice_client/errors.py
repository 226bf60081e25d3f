"""Everything the client raises, as one tree.

SluiceError
├── GatewayUnreachable        no answer came; the gateway may be down or the address wrong
├── UnexpectedAnswer          an answer came that is not Sluice's: another server, or a proxy's page
├── WaitTimeout               the document was still unfinished when the time was over
└── RequestRefused            the gateway said no, with a code and a request id
    ├── InvalidRequest        400, 415, 422: correct the request
    ├── Unauthenticated       401: no key, or a wrong one
    ├── Forbidden             403: the key lacks the scope or the collection
    ├── NotFound              404
    ├── Conflict              409, 412: someone or something was there first
    ├── Gone                  410: the document was deleted, or an event is no longer kept
    ├── TooLarge              413
    ├── TooManyRequests       429: a limit, a quota or a full queue; carries the wait
    └── GatewayFailed         5xx: trying again later may help; carries the wait
"""

from collections.abc import Mapping
from typing import Any


class SluiceError(Exception):
    """What every error of this client has in common.

    Attributes:
        code: stable and machine readable; as in the gateway's documentation, or the client's own word.
        status: the HTTP status, where there was an answer.
        request_id: what the operator finds the request by, where there was an answer.
        remedy: what to do next, in a sentence, where one is known.
    """

    code = "client_error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.code
        self.status = status
        self.request_id = request_id
        self.remedy = remedy


class GatewayUnreachable(SluiceError):
    """No answer came, also after the automatic retries."""

    code = "unreachable"


class UnexpectedAnswer(SluiceError):
    """The answer is not one of Sluice's; the address may belong to another server."""

    code = "unexpected_answer"


class WaitTimeout(SluiceError):
    """The document was still unfinished when the time was over; it goes on being processed."""

    code = "wait_timeout"


class RequestRefused(SluiceError):
    """The gateway refused the request; `code` says why.

    Attributes:
        retry_after_s: how long the gateway asked to wait, in seconds.
        pointers: which fields were wrong and why, as the gateway listed them.
    """

    code = "refused"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        remedy: str | None = None,
        retry_after_s: float | None = None,
        pointers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(detail, code=code, status=status, request_id=request_id, remedy=remedy)
        self.retry_after_s = retry_after_s
        self.pointers = pointers


class InvalidRequest(RequestRefused):
    """The request must be corrected before it is sent again."""


class Unauthenticated(RequestRefused):
    """There was no key, or it is wrong, expired or revoked."""


class Forbidden(RequestRefused):
    """The key may not do this."""


class NotFound(RequestRefused):
    """There is nothing of this name, at least not for this key."""


class Conflict(RequestRefused):
    """Someone or something was there first."""


class Gone(RequestRefused):
    """What was asked for has been deleted or is no longer kept."""


class TooLarge(RequestRefused):
    """The document passes the gateway's limit."""


class TooManyRequests(RequestRefused):
    """A rate, a quota or a queue is full; `retry_after_s` says how long to wait."""


class GatewayFailed(RequestRefused):
    """The gateway could not do it now; trying again later may help.

    After 502, 503 and 504 the client has done so already. It has not after 507 `storage_full`: a full disk rarely
    has room a moment later.
    """


ERROR_BY_STATUS: dict[int, type[RequestRefused]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    412: Conflict,
    413: TooLarge,
    415: InvalidRequest,
    422: InvalidRequest,
    429: TooManyRequests,
}

# A problem may carry its own remedy; these stand in where it does not.
REMEDY_BY_CODE: dict[str, str] = {
    "unauthenticated": "Check the API key (SLUICE_API_KEY, or the file api-key in the folder of the local stack).",
    "forbidden": "Use a key with the scope and the collection that this needs.",
    "not_found": "Check the id or the name; another tenant's is not found either.",
    "deleted": "It was deleted; upload it again if it is still needed.",
    "file_too_large": "Split the document, or ask the operator to raise the limit.",
    "unsupported_media_type": "Convert it to PDF, HTML, Markdown or plain text and upload that.",
    "document_exists": "The same bytes are already there; use on_duplicate return, replace or allow.",
    "rate_limited": "Wait a moment and send it again.",
    "quota_exceeded": "Delete documents or ask the operator for more.",
    "queue_full": "Wait until some documents are processed and send it again; the gateway says how long.",
    "storage_full": "A disk is full, so it is not sent again by itself: tell the operator, and send it again later.",
    "unavailable": "Wait a moment and send it again; tell the operator if it stays so.",
    "invalid_cursor": "Start the list from its beginning.",
}


def refusal(status: int, problem: Mapping[str, Any], *, retry_after_s: float | None) -> RequestRefused:
    """The error that stands for an HTTP *status* and its problem+json body (RFC 9457; empty if it had none)."""
    kind = ERROR_BY_STATUS.get(status, GatewayFailed if status >= 500 else InvalidRequest)  # noqa: PLR2004 - HTTP
    code = str(problem.get("code") or f"http_{status}")
    return kind(
        str(problem.get("detail") or problem.get("title") or f"The gateway answered with status {status}."),
        code=code,
        status=status,
        request_id=problem.get("request_id"),
        remedy=problem.get("remedy") or REMEDY_BY_CODE.get(code),
        retry_after_s=retry_after_s,
        pointers=tuple(
            (str(one.get("pointer", "")), str(one.get("detail", ""))) for one in problem.get("errors") or ()
        ),
    )
