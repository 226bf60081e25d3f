"""How a POST honours `Idempotency-Key`: done once, answered the same each time."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from sluice_api.deps import ApiDeps
from sluice_api.problems import Problem
from sluice_common.idempotency import Beginning, Fresh, InFlight, Mismatch, Replay, Resumed
from sluice_common.keys import Principal

HEADER = "Idempotency-Key"
WAIT_S = 10.0
MAX_KEY_LENGTH = 255
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.25
_KEPT_HEADERS = ("location", "retry-after", "etag", "content-language", "preference-applied")

Claim = Fresh | Resumed
"""The right to do the request; its token goes to what writes the row."""


def key_of(request: Request) -> str | None:
    """The key that the client sent, if any.

    Raises:
        Problem: 400, it is empty, too long or not printable.
    """
    key = request.headers.get(HEADER)
    if key is not None and not (0 < len(key) <= MAX_KEY_LENGTH and key.isprintable()):
        raise Problem(400, "invalid_request", f"{HEADER} has 1 to {MAX_KEY_LENGTH} printable characters.")
    return key


def fingerprint_of(request: Request, principal: Principal, fields: Mapping[str, Any]) -> bytes:  # JSON fields
    """What makes two requests the same: method, path and fields, and what the key may see of the tenant."""
    sees = None if principal.collection_ids is None else sorted(one.hex for one in principal.collection_ids)
    same = [request.method, request.url.path, fields, sees]
    return hashlib.sha256(orjson.dumps(same, option=orjson.OPT_SORT_KEYS)).digest()


def answer_once(
    request: Request,
    deps: ApiDeps,
    principal: Principal,
    fingerprint_fields: Mapping[str, Any],  # JSON
    do: Callable[[], Response],
) -> Response:
    """Answer a POST, at most once for its idempotency key; waits in this thread for one that is under way.

    Args:
        request: for the key, the method and the path.
        deps: the open parts.
        principal: whose key space it is.
        fingerprint_fields: the parsed fields of the request; another content under the same key is refused.
        do: does the work; its JSON answer is kept for a day, a Problem is not.

    Raises:
        Problem: 422 `idempotency_key_reuse`, 409 `idempotency_in_flight`, or what *do* raises.
    """
    key = key_of(request)
    if key is None:
        return do()
    fingerprint = fingerprint_of(request, principal, fingerprint_fields)
    for pause_s in _pauses():
        begun = deps.idempotency.begin(principal.tenant_id, key, fingerprint)
        if not isinstance(begun, InFlight):
            return finish(deps, begun, lambda _claim: do())
        time.sleep(pause_s)
    raise in_flight()


async def begin_when_free(deps: ApiDeps, principal: Principal, key: str, fingerprint: bytes) -> Beginning:
    """As `answer_once` begins, but without keeping a thread while it waits.

    Raises:
        Problem: 409 `idempotency_in_flight`.
    """
    for pause_s in _pauses():
        begun = await run_in_threadpool(deps.idempotency.begin, principal.tenant_id, key, fingerprint)
        if not isinstance(begun, InFlight):
            return begun
        await asyncio.sleep(pause_s)
    raise in_flight()


def finish(deps: ApiDeps, begun: Beginning, do: Callable[[Claim], Response]) -> Response:
    """Replay what was answered before, or do it now and keep the answer."""
    if isinstance(begun, Replay):
        return _replayed(begun)
    if isinstance(begun, Mismatch):
        raise Problem(422, "idempotency_key_reuse", f"This {HEADER} was used for another request.")
    assert isinstance(begun, Fresh | Resumed), "whoever waits gives up before this"
    try:
        response = do(begun)
    except Exception:
        deps.idempotency.release(begun.token)
        raise
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    # As one string, so that a repeat gets the same bytes: jsonb would sort the members.
    body = bytes(response.body).decode()
    deps.idempotency.complete(begun.token, status=response.status_code, body=body, headers=headers)
    return response


def in_flight() -> Problem:
    """The answer to a request while another one of the same key is being answered."""
    detail = "The same request is being answered; ask again in a second."
    return Problem(409, "idempotency_in_flight", detail, headers={"Retry-After": "1"})


def _replayed(replay: Replay) -> Response:
    headers = {**replay.headers, "idempotent-replayed": "true"}
    return Response(replay.body, replay.status, headers, media_type="application/json")


def _pauses() -> Iterator[float]:
    deadline = time.monotonic() + WAIT_S
    pause_s = _FIRST_PAUSE_S
    while time.monotonic() < deadline:
        yield pause_s
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
