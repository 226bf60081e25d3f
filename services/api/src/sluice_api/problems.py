"""Every refusal as one JSON body: RFC 9457, with the member that OpenAI's client reads."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sluice_common.database import DISK_FULL
from sluice_common.errors import (
    FAILURES,
    ConflictError,
    DatabaseUnavailable,
    FailureCode,
    PermanentError,
    PipelineError,
    RateLimited,
    StorageFull,
    TransientError,
)

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "https://sluice.example/problems/"

TITLES: dict[str, str] = {
    "invalid_request": "The request cannot be read",
    "filename_missing": "The file has no name",
    "digest_mismatch": "The bytes are not those that were announced",
    "invalid_cursor": "The cursor is not one of ours",
    "unauthenticated": "A valid API key is needed",
    "forbidden": "The API key may not do this",
    "not_found": "There is no such thing",
    "no_analysis": "The document has no analysis",
    "no_page_image": "The page cannot be drawn",
    "method_not_allowed": "The path does not know this method",
    "request_timeout": "The request came too slowly",
    "document_exists": "The document is already there",
    "collection_exists": "The collection is already there",
    "idempotency_in_flight": "The same request is being answered just now",
    "conflict": "Somebody else was quicker",
    "deleted": "The document was deleted",
    "event_gap": "The event is older than what is kept",
    "precondition_failed": "It has changed since it was read",
    "file_too_large": "The file is too large",
    "unsupported_media_type": "The type of the body is not supported",
    "range_not_satisfiable": "The range lies outside the original",
    "validation_failed": "A field is wrong",
    "idempotency_key_reuse": "The idempotency key was used for another request",
    "rate_limited": "Too many requests",
    "quota_exceeded": "The quota is used up",
    "queue_full": "Too much is waiting already",
    "unavailable": "A part of the service does not answer",
    "storage_full": "There is no room for more",
    "internal": "Something went wrong in Sluice itself",
}
"""The title of each code; the closed list of what a request can be answered with."""

_CODE_BY_STATUS = {
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "file_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    422: "validation_failed",
    429: "rate_limited",
    503: "unavailable",
}
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_RETRY_AFTER_S = 2
STORAGE_RETRY_S = 60
"""Nobody knows when a disk has room again; rarely within a minute."""

_DISCONNECTED = 400
_SERVER_ERROR = 500


@dataclass(frozen=True)
class FieldFault:
    """What is wrong with one field."""

    pointer: str
    """JSON pointer into the body, or `/name` of a form field or query parameter."""
    detail: str


class Problem(HTTPException):
    """A refusal that is meant for the client; the only way in which our code answers 4xx and 5xx.

    A kind of HTTPException, because FastAPI turns everything else that is raised while it reads a body into 400.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        pointer: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldFault] = (),
        facts: Mapping[str, str | int] | None = None,
    ) -> None:
        """Say what is wrong in words that may be shown: no text of the document, no exception's text.

        Args:
            status: the HTTP status.
            code: a key of `TITLES`, or a document failure code.
            detail: one or two sentences, with the numbers in them.
            pointer: the field that is wrong, where it is one.
            param: its name as OpenAI's client shows it; made of *pointer* when None.
            headers: to be added to the answer.
            errors: the fields that are wrong, where they are several.
            facts: members of the body beside those that every problem has: the numbers in *detail*, for programs.
        """
        super().__init__(status, detail, dict(headers or {}))
        self.status = status
        self.code = code
        self.param = param or (pointer.strip("/").replace("/", ".") if pointer else None)
        self.errors = tuple(errors) or ((FieldFault(pointer, detail),) if pointer else ())
        self.facts = dict(facts or {})


def not_found(what: str = "document") -> Problem:
    """The answer to an id that does not exist, is malformed or belongs to somebody else: all alike."""
    return Problem(404, "not_found", f"There is no such {what}.")


def invalid_field(pointer: str, detail: str) -> Problem:
    """The answer to a field that can be read and is wrong."""
    return Problem(422, "validation_failed", detail, pointer=pointer)


def install(app: FastAPI) -> None:
    """Let every failure of *app* be answered by a problem body; call it before outer middleware is added."""
    for kind in (HTTPException, PipelineError, RequestValidationError):
        app.add_exception_handler(kind, _answer)
    app.add_middleware(LastResort)


async def _answer(request: Request, error: Exception) -> Response:
    return response_of(problem_of(error), request.scope)


class LastResort:
    """Answers what nobody inside answered; an unexpected error is logged here and never shown."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_started = False

        async def send_noticed(message: Message) -> None:
            nonlocal has_started
            has_started = has_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_noticed)
        except asyncio.CancelledError:  # by the server, which stops and has waited long enough
            if has_started:
                raise
            await response_of(_leaving(), scope)(scope, receive, send)
        except Exception as error:  # the api's last handler (style, 3.6)
            problem = problem_of(error)
            if has_started:
                raise  # the server closes the connection: half an answer must not look whole
            await response_of(problem, scope)(scope, receive, send)


def problem_of(error: Exception) -> Problem:
    """The answer to *error*; what we did not raise on purpose is logged and becomes `internal`."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        return _of_framework(error)
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, ClientDisconnect):
        return Problem(_DISCONNECTED, "invalid_request", "The connection ended before the request did.")
    if isinstance(error, PipelineError) and (problem := _of_pipeline(error)):
        return problem
    log.error("request_failed", exc_info=error)
    return Problem(_SERVER_ERROR, "internal", "The request failed; its id names it in our logs.")


def response_of(problem: Problem, scope: Scope) -> Response:
    """The problem as an answer to the request in *scope*."""
    headers = {**(problem.headers or {}), "cache-control": "no-store"}
    if problem.status == 401:  # noqa: PLR2004 - the one status that must name its scheme
        headers["www-authenticate"] = "Bearer"
    if problem.status == 409 and "Retry-After" not in headers:  # noqa: PLR2004 - clients that retry every conflict
        headers["x-should-retry"] = "false"
    body = orjson.dumps(body_of(problem, request_id_of(scope)))
    return Response(body, problem.status, headers, media_type=MEDIA_TYPE)


def body_of(problem: Problem, request_id: str) -> dict[str, Any]:
    """The JSON of a problem; also for the parts of an answer that reports several."""
    return {
        **problem.facts,
        "type": TYPE_PREFIX + problem.code,
        "title": TITLES.get(problem.code, problem.code),
        "status": problem.status,
        "detail": problem.detail,
        "instance": f"/v1/requests/{request_id}",
        "code": problem.code,
        "request_id": request_id,
        "errors": [{"pointer": fault.pointer, "detail": fault.detail} for fault in problem.errors],
        "error": {
            "message": problem.detail,
            "type": _openai_type(problem.status),
            "param": problem.param,
            "code": problem.code,
        },
    }


def request_id_of(scope: Scope) -> str:
    """The id of the request, made now if nobody did before."""
    state = scope.setdefault("state", {})
    return str(state.setdefault("request_id", f"req_{uuid4().hex}"))


def traceparent_of(scope: Scope) -> str | None:
    """What continues the trace of the request; None when nothing is traced."""
    found: str | None = scope.get("state", {}).get("traceparent")
    return found


def _openai_type(status: int) -> str:
    if status >= _SERVER_ERROR:
        return "server_error"
    return _OPENAI_TYPES.get(status, "invalid_request_error")


def _of_framework(error: HTTPException) -> Problem:
    code = _CODE_BY_STATUS.get(error.status_code, "internal" if error.status_code >= _SERVER_ERROR else "")
    code = code or "invalid_request"
    return Problem(error.status_code, code, f"{TITLES[code]}.", headers=error.headers)


def _of_validation(error: RequestValidationError) -> Problem:
    faults = [FieldFault(_pointer_of(item["loc"]), str(item["msg"])) for item in error.errors()]
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return Problem(400, "invalid_request", "The body is not JSON.")
    detail = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults[:5])
    param = faults[0].pointer.strip("/").replace("/", ".") if faults else None
    return Problem(422, "validation_failed", detail, param=param, errors=faults)


def _pointer_of(location: Sequence[Any]) -> str:  # pydantic's path: names and numbers, the first says body or query
    return "/" + "/".join(str(part) for part in location[1:])


def _of_pipeline(error: PipelineError) -> Problem | None:
    if isinstance(error, StorageFull):
        return _storage_full(error, "The object store has no room for more originals.")
    if isinstance(error, DatabaseUnavailable) and error.detail_code == DISK_FULL:
        return _storage_full(error, "The disk of the database is full.")
    if isinstance(error, TransientError):
        return _unavailable(error)
    if isinstance(error, ConflictError):
        return Problem(409, "conflict", "Somebody else has moved the document; read it again.")
    if isinstance(error, PermanentError) and error.code in _CLIENTS_FAULT:
        return Problem(422, str(error.code), FAILURES[FailureCode(error.code)].en.sentence)
    return None


_CLIENTS_FAULT = frozenset(FailureCode) - {FailureCode.INTERNAL, FailureCode.DIMENSION_MISMATCH}


def _storage_full(error: TransientError, detail: str) -> Problem:
    log.warning("part_unavailable", error_code=str(error.code), kind=type(error).__name__)
    return Problem(507, "storage_full", detail, headers={"Retry-After": str(STORAGE_RETRY_S)})


def _leaving() -> Problem:
    log.warning("request_cut_off")
    headers = {"Retry-After": str(_RETRY_AFTER_S)}
    return Problem(503, "unavailable", "The gateway was stopped before it was done; try again.", headers=headers)


def _unavailable(error: TransientError) -> Problem:
    log.warning("part_unavailable", error_code=str(error.code), kind=type(error).__name__)
    wait_s = error.retry_after_s if isinstance(error, RateLimited) and error.retry_after_s else _RETRY_AFTER_S
    headers = {"Retry-After": str(max(1, round(wait_s)))}
    return Problem(503, "unavailable", "A part of the service does not answer; try again.", headers=headers)
