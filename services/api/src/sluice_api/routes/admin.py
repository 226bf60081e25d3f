"""Administration: keys, and whether the stages work."""

import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field
from starlette.responses import Response

from sluice_api.auth import needs
from sluice_api.cursors import Cursors
from sluice_api.deps import ApiDeps
from sluice_api.idempotent import answer_once
from sluice_api.presenting import list_answer, moment_json
from sluice_api.problems import Problem, invalid_field, not_found
from sluice_api.schemas import Body, Json, JsonResponse, Page, answer, page_of, refusal
from sluice_api.searching import collection_named
from sluice_common import ids
from sluice_common.contract import PingEmbedder, PingExtractor
from sluice_common.errors import QueueUnavailable
from sluice_common.jobs import Answer
from sluice_common.keys import Key, NewKey, Principal, Scope
from sluice_common.reconciling import Backlog, Reconciling
from sluice_common.status import State
from sluice_common.times import times_of

LIST = "keys"
PING_TIMEOUT_S = 5.0
PING_POLL_S = 0.02
STAGES: Mapping[str, type[PingExtractor] | type[PingEmbedder]] = {"extract": PingExtractor, "embed": PingEmbedder}


async def _administrator(principal: Annotated[Principal, Depends(needs(Scope.ADMIN))]) -> Principal:
    # A key that sees some collections must not make itself one that sees them all.
    if principal.collection_ids is not None:
        raise Problem(403, "forbidden", "A key that is limited to some collections cannot administer.")
    return principal


Administrator = Annotated[Principal, Depends(_administrator)]


def _proper_label(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be printable and not blank")
    return unicodedata.normalize("NFC", text)


class KeyBody(Body):
    """A key to be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "nightly import", "scopes": ["read", "write"], "collections": ["contracts"]}]
        },
    )

    name: Annotated[str, AfterValidator(_proper_label)] = Field(min_length=1, max_length=200, description="Its use.")
    scopes: list[Scope] = Field(default=[Scope.READ, Scope.WRITE], min_length=1, description="What it may do.")
    collections: list[str] | None = Field(
        default=None, min_length=1, max_length=100, description="Names of all it may see; every one if unset."
    )
    expires_at: AwareDatetime | None = Field(default=None, description="When it stops working.")


_KEY_EXAMPLE = {
    "id": "key_0199a3a0c1d27cc2a6f1f3b4c5d6e7f8",
    "object": "key",
    "name": "nightly import",
    "prefix": "sk_Jx2hQ81ab",
    "scopes": ["read", "write"],
    "created_at": "2026-11-20T11:48:10Z",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": None,
}
_MADE_EXAMPLE = {**_KEY_EXAMPLE, "secret": "sk_ and 43 more characters, shown this once"}
_REVOKED_EXAMPLE = {"id": _KEY_EXAMPLE["id"], "object": "key", "deleted": True}
_FORBIDDEN = refusal("The key lacks the scope `admin`, or is limited to some collections.")
_PING_EXAMPLE = {
    "status": "ok",
    "stages": [
        {"stage": "extract", "worker": "extractor-1", "message": "worker is running", "seconds": 0.03},
        {"stage": "embed", "worker": "embedder-1", "message": "worker is running", "seconds": 0.02},
    ],
}
_SILENT_EXAMPLE = {
    "status": "unavailable",
    "stages": [
        {"stage": "extract", "worker": "extractor-1", "message": "worker is running", "seconds": 0.03},
        {"stage": "embed", "worker": None, "message": "no worker answered within 5 s", "seconds": None},
    ],
}
_QUEUES_EXAMPLE = {
    "object": "list",
    "data": [
        {"stage": "extract", "waiting": 12, "working": 2, "oldest_age_seconds": 3.2},
        {"stage": "embed", "waiting": 40, "working": 1, "oldest_age_seconds": 0.8},
    ],
}
_QUEUES = answer(
    "Of all tenants, as the table has it now. `waiting` counts documents before the stage extract and batches of "
    "chunks before the stage embed; `working` counts documents. `oldest_age_seconds` is how long ago the document "
    "of the stage that has not moved for longest did.",
    _QUEUES_EXAMPLE,
)


def admin_routes(deps: ApiDeps) -> APIRouter:
    """What only keys with the scope `admin` may do."""
    router = APIRouter(prefix="/v1/admin", tags=["admin"])
    _add_keys(router, deps)
    _add_ping(router, deps)
    _add_queues(router, deps)
    return router


def _add_keys(router: APIRouter, deps: ApiDeps) -> None:
    cursors = Cursors(deps)

    @router.post(
        "/keys",
        operation_id="create_key",
        summary="Make an API key",
        status_code=201,
        responses={
            201: answer("The key; `secret` is shown this once, also when the request is repeated.", _MADE_EXAMPLE),
            403: _FORBIDDEN,
            422: refusal("A field is wrong."),
        },
    )
    def create_key(body: KeyBody, request: Request, principal: Administrator) -> Response:
        if body.expires_at is not None and body.expires_at <= datetime.now(UTC):
            raise invalid_field("/expires_at", "This moment has passed.")
        collection_ids = _collection_ids(body.collections, principal, deps)
        made: list[NewKey] = []

        def create() -> Response:
            made.append(_make_key(body, collection_ids, principal, deps))
            location = f"/v1/admin/keys/{ids.shown('key', made[0].key.id)}"
            return JsonResponse(_key_json(made[0].key), 201, {"Location": location})

        fields = body.model_dump(mode="json", exclude={"collections"}) | {"collections": collection_ids}
        response = answer_once(request, deps, principal, fields, create)
        # The secret is added behind what is kept for repeats: it may not stand anywhere.
        return _with_secret(response, made[0]) if made else response

    @router.get(
        "/keys",
        operation_id="list_keys",
        summary="List the API keys",
        responses={200: answer("Revoked ones too, oldest first.", page_of([_KEY_EXAMPLE], None)), 403: _FORBIDDEN},
    )
    def list_keys(request: Request, principal: Administrator, page: Annotated[Page, Query()]) -> Response:
        tenant_id = principal.tenant_id
        keys = deps.keys.keys_of(tenant_id)
        # Keys are never removed and come oldest first, so that a number is a place.
        start = 0 if page.cursor is None else int(cursors.position_of(tenant_id, LIST, page.cursor)[0])
        end = start + page.limit
        shown = keys[start:end]
        next_cursor = cursors.after(tenant_id, LIST, [end]) if len(keys) > end else None
        return list_answer(request, [_key_json(key) for key in shown], next_cursor)

    @router.delete(
        "/keys/{key_id}",
        operation_id="revoke_key",
        summary="Revoke an API key",
        responses={
            200: answer("It is refused everywhere within 5 s; saying so again changes nothing.", _REVOKED_EXAMPLE),
            403: _FORBIDDEN,
            404: refusal("There is no such key."),
        },
    )
    def revoke_key(key_id: str, principal: Administrator) -> Response:
        wanted = _key_id_in(key_id)
        if not deps.keys.revoke(principal.tenant_id, wanted):
            raise not_found("key")
        return JsonResponse({"id": ids.shown("key", wanted), "object": "key", "deleted": True})


def _make_key(body: KeyBody, collection_ids: list[UUID] | None, principal: Principal, deps: ApiDeps) -> NewKey:
    return deps.keys.create(
        principal.tenant_id,
        name=body.name,
        scopes=sorted(set(body.scopes)),
        collection_ids=collection_ids,
        expires_at=body.expires_at,
    )


def _with_secret(response: Response, made: NewKey) -> Response:
    headers = {"Location": response.headers["Location"], "Cache-Control": "no-store"}
    return JsonResponse({**_key_json(made.key), "secret": made.secret}, response.status_code, headers)


def _collection_ids(names: Sequence[str] | None, principal: Principal, deps: ApiDeps) -> list[UUID] | None:
    if names is None:
        return None
    found = [collection_named(name, principal, deps) for name in names]
    for number, collection in enumerate(found):
        if collection is None:
            raise invalid_field(f"/collections/{number}", "There is no such collection.")
    return [collection.id for collection in found if collection is not None]


def _key_id_in(text: str) -> UUID:
    try:
        return ids.parse("key", text)
    except ids.MalformedId as error:
        raise not_found("key") from error


def _key_json(key: Key) -> Json:
    return {
        "id": ids.shown("key", key.id),
        "object": "key",
        "name": key.name,
        "prefix": key.prefix,
        "scopes": [scope.value for scope in key.scopes],
        "created_at": moment_json(key.created_at),
        "expires_at": moment_json(key.expires_at),
        "revoked_at": moment_json(key.revoked_at),
        "last_used_at": moment_json(key.last_used_at),
    }


def _add_ping(router: APIRouter, deps: ApiDeps) -> None:
    @router.post(
        "/workers/ping",
        operation_id="ping_workers",
        summary="Send a task through every stage's queue",
        responses={
            200: answer("Every stage answered.", _PING_EXAMPLE),
            403: _FORBIDDEN,
            503: answer("A stage did not answer within 5 s; the body names it.", _SILENT_EXAMPLE),
        },
    )
    def ping_workers(request: Request, principal: Administrator) -> Response:
        def ping() -> Response:
            stages = _ping_stages(principal.tenant_id, deps)
            if all(stage.answer for stage in stages):
                return JsonResponse({"status": "ok", "stages": [_stage_json(stage) for stage in stages]})
            body = {"status": "unavailable", "stages": [_stage_json(stage) for stage in stages]}
            return JsonResponse(body, 503, {"Retry-After": "1"})

        return answer_once(request, deps, principal, {}, ping)


@dataclass(frozen=True)
class _Ping:
    stage: str
    job_id: UUID
    is_sent: bool


@dataclass(frozen=True)
class _StageAnswer:
    stage: str
    message: str
    answer: Answer | None


def _ping_stages(tenant_id: UUID, deps: ApiDeps) -> list[_StageAnswer]:
    pings = [_send_ping(stage, tenant_id, deps) for stage in STAGES]
    sent = [ping.job_id for ping in pings if ping.is_sent]
    deadline = time.monotonic() + PING_TIMEOUT_S
    answers = deps.pings.answers(sent)
    while len(answers) < len(sent) and time.monotonic() < deadline:
        time.sleep(PING_POLL_S)
        answers = deps.pings.answers(sent)
    answer_by_job = {answer.job_id: answer for answer in answers}
    return [_stage_answer(ping, answer_by_job.get(ping.job_id)) for ping in pings]


def _send_ping(stage: str, tenant_id: UUID, deps: ApiDeps) -> _Ping:
    job_id = deps.pings.create(tenant_id)
    try:
        deps.queue.send(STAGES[stage](job_id=job_id))
    except QueueUnavailable:
        return _Ping(stage, job_id, is_sent=False)
    return _Ping(stage, job_id, is_sent=True)


def _stage_answer(ping: _Ping, answer: Answer | None) -> _StageAnswer:
    if answer is not None:
        return _StageAnswer(ping.stage, "worker is running", answer)
    if not ping.is_sent:
        return _StageAnswer(ping.stage, "the queue does not answer", None)
    return _StageAnswer(ping.stage, f"no worker answered within {PING_TIMEOUT_S:.0f} s", None)


def _stage_json(stage: _StageAnswer) -> Json:
    return {
        "stage": stage.stage,
        "worker": stage.answer and stage.answer.worker,
        "message": stage.message,
        "seconds": stage.answer and round(stage.answer.seconds, 4),
    }


def _add_queues(router: APIRouter, deps: ApiDeps) -> None:
    reconciling = Reconciling(deps.database, times_of(deps.settings.times))

    @router.get(
        "/queues",
        operation_id="show_queues",
        summary="What waits before each stage",
        responses={200: _QUEUES, 403: _FORBIDDEN},
    )
    def show_queues(_principal: Administrator) -> Response:
        backlog = reconciling.backlog()
        return JsonResponse({"object": "list", "data": [_extract_json(backlog), _embed_json(backlog)]})


def _extract_json(backlog: Backlog) -> Json:
    return {
        "stage": "extract",
        "waiting": backlog.documents.get(State.QUEUED, 0),
        "working": backlog.documents.get(State.EXTRACTING, 0),
        "oldest_age_seconds": _oldest(backlog, State.QUEUED, State.EXTRACTING),
    }


def _embed_json(backlog: Backlog) -> Json:
    return {
        "stage": "embed",
        "waiting": backlog.batches_waiting,
        "working": backlog.documents.get(State.EMBEDDING, 0) + backlog.documents.get(State.VERIFYING, 0),
        "oldest_age_seconds": _oldest(backlog, State.EMBEDDING, State.VERIFYING),
    }


def _oldest(backlog: Backlog, *states: State) -> float | None:
    return max((backlog.oldest_s[state] for state in states if state in backlog.oldest_s), default=None)
