"""Documents over HTTP: sent, listed, read, changed and deleted."""

import hashlib
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Path, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from sluice_api import schemas
from sluice_api.auth import needs
from sluice_api.backpressure import Backpressure
from sluice_api.cursors import Cursors
from sluice_api.deps import ApiDeps
from sluice_api.downloads import content_response, matches
from sluice_api.idempotent import answer_once, begin_when_free, fingerprint_of, finish, key_of
from sluice_api.multipart import FormReader, boundary_of
from sluice_api.page_images import FEWEST_DPI, MOST_DPI, USUAL_DPI, page_image_response
from sluice_api.polling import poll_document
from sluice_api.presenting import (
    accepted_message,
    analysis_json,
    chunk_json,
    document_json,
    etag_of,
    language_of,
    list_answer,
    status_json,
)
from sluice_api.problems import Problem, invalid_field, not_found, request_id_of, traceparent_of
from sluice_api.schemas import DocumentFilters, Json, JsonResponse, Page, Reprocessing, answer, refusal
from sluice_api.submission import (
    IncomingOriginal,
    Upload,
    announced_digest,
    check_digest,
    collection_of,
    missing_file,
    submit_document,
)
from sluice_common import ids
from sluice_common.catalogue import DocumentQuery, DocumentView
from sluice_common.contract import ExtractDocument
from sluice_common.idempotency import Fresh, Resumed
from sluice_common.keys import Principal, Scope
from sluice_common.queueing import Queueing
from sluice_common.status import ENDED, Lifecycle, State, stage_of, status_of

RETRY_AFTER_S = "1"

Reader = Annotated[Principal, Depends(needs(Scope.READ))]
Writer = Annotated[Principal, Depends(needs(Scope.WRITE))]
ChunkNumber = Annotated[int, Path(ge=0, lt=2**31)]
PageNumber = Annotated[int, Path(ge=1, lt=2**31)]
Dpi = Annotated[int, Query(ge=FEWEST_DPI, le=MOST_DPI, description="Pixels per inch.")]

_Responses = dict[int | str, dict[str, Any]]  # FastAPI's type for them

_GONE: _Responses = {404: refusal("There is no such document."), 410: refusal("The document was deleted.")}
_CHANGED: _Responses = {
    200: answer("It is so already.", schemas.DOCUMENT_EXAMPLE),
    202: answer("It will be so.", schemas.DOCUMENT_EXAMPLE),
    412: refusal("The document has changed since it was read."),
    **_GONE,
}
_FULL = refusal("Too much is waiting already, of all tenants or of yours.")

Change = Callable[[DocumentView, int | None], bool]
"""Changes the document if its row is still of that version; False when nothing was changed."""


def document_routes(deps: ApiDeps) -> APIRouter:
    """The paths below `/v1/documents`."""
    router = APIRouter(prefix="/v1/documents", tags=["documents"])
    backpressure = Backpressure(deps.settings, Queueing(deps.database), deps.idempotency, deps.metrics)
    _add_submission(router, deps, backpressure)
    _add_list(router, deps)
    _add_document(router, deps)
    _add_chunks(router, deps)
    _add_analysis(router, deps)
    _add_page_images(router, deps)
    _add_content(router, deps)
    _add_deletion(router, deps)
    _add_moves(router, deps, backpressure)
    return router


def _add_submission(router: APIRouter, deps: ApiDeps, backpressure: Backpressure) -> None:
    @router.post(
        "",
        name="submit_document",
        status_code=202,
        summary="Send a document",
        description=(
            "The body is streamed to the store and hashed on the way. `Content-Digest` is compared with the body's "
            "digest, or with the file's."
        ),
        responses={
            200: answer("The collection has these bytes already; nothing was stored.", schemas.DOCUMENT_EXAMPLE),
            202: answer("The document was taken in.", schemas.ACCEPTED_EXAMPLE),
            400: refusal("The form cannot be read, the file has no name, or the digest differs."),
            404: refusal("There is no such collection."),
            409: refusal("The document is there already, or the same request is being answered."),
            413: refusal("The file is too large."),
            415: refusal("The body is not multipart/form-data, or it is compressed."),
            422: refusal("A field is wrong."),
            429: _FULL,
            507: refusal("There is no room for more originals."),
        },
        openapi_extra={"requestBody": schemas.UPLOAD_BODY},
    )
    async def submit(request: Request, principal: Writer) -> Response:
        with backpressure.refusals_counted():
            boundary, digest = _refuse_by_headers(request)
            await backpressure.check_upload(principal.tenant_id, key_of(request))
            incoming = IncomingOriginal(deps.objects, max_bytes=deps.settings.limits.max_document_bytes)
            try:
                upload = await _receive(request, boundary, digest, incoming)
                return await _answer_upload(request, principal, deps, upload)
            finally:
                deps.metrics.bytes_received(incoming.size_bytes)
                await incoming.abandon()


def _refuse_by_headers(request: Request) -> tuple[bytes, bytes | None]:
    """The boundary and the announced digest, when the headers allow the body to be read."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "unsupported_media_type", "Send the body uncompressed.")
    boundary = boundary_of(request.headers.get("content-type"))
    return boundary, announced_digest(request.headers.get("content-digest"))


async def _receive(request: Request, boundary: bytes, digest: bytes | None, incoming: IncomingOriginal) -> Upload:
    reader = FormReader(boundary, known_fields=schemas.UPLOAD_FIELDS, take=incoming.take)
    body_hash = hashlib.sha256()
    async for piece in request.stream():
        if digest is not None:
            body_hash.update(piece)
        reader.feed(piece)
        await incoming.relieve()
    reader.finish()
    if reader.file is None:
        raise missing_file()
    fields = schemas.upload_fields_of(reader.fields)
    await incoming.settle()
    sha256 = await run_in_threadpool(incoming.write_rest)
    # The header names the digest of the whole body (RFC 9530); many clients know only the file's.
    check_digest(digest, body_hash.digest(), bytes.fromhex(sha256))
    check_digest(announced_digest(reader.file.content_digest), bytes.fromhex(sha256))
    return Upload(incoming, reader.file, fields, sha256, request_id_of(request.scope), traceparent_of(request.scope))


async def _answer_upload(request: Request, principal: Principal, deps: ApiDeps, upload: Upload) -> Response:
    def submit_and_show(claim: Fresh | Resumed | None) -> Response:
        accepted = submit_document(upload, principal, deps, claim)
        request.state.document_id = accepted.document_id
        return _show_accepted(request, principal, deps, accepted.document_id, is_new=accepted.how != "existing")

    key = key_of(request)
    if key is not None:
        fields = upload.fields.model_dump(mode="json") | {"file": upload.sha256}
        begun = await begin_when_free(deps, principal, key, fingerprint_of(request, principal, fields))
        return await run_in_threadpool(finish, deps, begun, submit_and_show)
    response = await run_in_threadpool(submit_and_show, None)
    return await _prolonged(request, principal, deps, response)


def _show_accepted(
    request: Request, principal: Principal, deps: ApiDeps, document_id: UUID, *, is_new: bool
) -> Response:
    view = find_document(deps, principal, ids.shown("doc", document_id))
    body = shown_document(request, deps, view)
    headers = _change_headers(view) if is_new else {"location": _path_of(view), "etag": etag_of(view)}
    if is_new:
        body["message"] = accepted_message(language_of(request))
    return JsonResponse(body, 202 if is_new else 200, headers)


async def _prolonged(request: Request, principal: Principal, deps: ApiDeps, response: Response) -> Response:
    """The same answer later, with the document as it is then, when `Prefer: wait` asks for it."""
    shown = ids.shown("doc", request.state.document_id)
    polled = await poll_document(
        request, deps.watch, deps.events, lambda: find_document(deps, principal, shown), is_enough=_is_ended
    )
    if polled is None or response.status_code != 202:  # noqa: PLR2004 - what is there already needs no waiting
        return response
    headers = _change_headers(polled.view) | {"preference-applied": polled.applied}
    return JsonResponse(shown_document(request, deps, polled.view), response.status_code, headers)


def _add_list(router: APIRouter, deps: ApiDeps) -> None:
    cursors = Cursors(deps)

    @router.get(
        "",
        summary="List documents, newest first",
        responses={
            200: answer("One page.", schemas.page_of([schemas.DOCUMENT_EXAMPLE], None)),
            400: refusal("The cursor is not of this list."),
            404: refusal("There is no such collection."),
            422: refusal("A filter is wrong."),
        },
    )
    def list_documents(request: Request, principal: Reader, query: Annotated[DocumentFilters, Query()]) -> Response:
        filters = query.filters()
        what = ["documents", filters]
        before = None
        if query.cursor:
            moment, number = cursors.position_of(principal.tenant_id, what, query.cursor)
            before = (datetime.fromisoformat(moment), UUID(hex=number))
        wanted = _query_of(deps, principal, query)
        found = deps.catalogue.page(principal.tenant_id, wanted, before=before, limit=query.limit + 1)
        views = found[: query.limit]
        following = None
        if len(found) > query.limit:
            position = [views[-1].created_at.isoformat(), views[-1].id.hex]
            following = cursors.after(principal.tenant_id, what, position)
        return list_answer(request, [shown_document(request, deps, view) for view in views], following)


def _query_of(deps: ApiDeps, principal: Principal, query: DocumentFilters) -> DocumentQuery:
    allowed = None if principal.collection_ids is None else list(principal.collection_ids)
    chosen = [collection_of(deps, principal, query.collection).id] if query.collection else allowed
    return DocumentQuery(
        collection_ids=chosen,
        states=_states_of(query),
        error_code=query.error_code,
        name=query.name and unicodedata.normalize("NFC", query.name),  # as names are stored
        external_id=query.external_id,
        sha256=query.sha256,
        created_after=query.created_after,
        updated_after=query.updated_after,
    )


def _states_of(query: DocumentFilters) -> list[State] | None:
    if query.status is None and query.stage is None:
        return None
    return [
        state
        for state in State
        if query.status in {None, status_of(state, Lifecycle.ACTIVE)} and query.stage in {None, stage_of(state)}
    ]


def _add_document(router: APIRouter, deps: ApiDeps) -> None:
    @router.get(
        "/{document_id}",
        summary="Read a document",
        description=(
            "With `Prefer: wait=N` the answer waits until the document has ended, or, with `If-None-Match`, until it "
            "has changed, for at most N seconds (30)."
        ),
        responses={200: answer("The document.", schemas.DOCUMENT_EXAMPLE), 304: {"description": "Unchanged."}, **_GONE},
    )
    async def read_document(request: Request, principal: Reader, document_id: str) -> Response:
        def look() -> DocumentView:
            return find_document(deps, principal, document_id)

        has_tag = "if-none-match" in request.headers

        def is_news(view: DocumentView) -> bool:
            return not matches(request.headers, "if-none-match", etag_of(view)) if has_tag else _is_ended(view)

        polled = await poll_document(request, deps.watch, deps.events, look, is_enough=is_news)
        view = polled.view if polled else await run_in_threadpool(look)
        headers = {"etag": etag_of(view), "cache-control": "private, no-cache", "vary": "Accept-Language"}
        if polled:
            headers["preference-applied"] = polled.applied
        if matches(request.headers, "if-none-match", etag_of(view)):
            return Response(None, 304, headers)
        return JsonResponse(shown_document(request, deps, view), headers=headers)

    @router.get(
        "/{document_id}/status",
        summary="Read a document's short form",
        responses={200: answer("The short form.", schemas.STATUS_EXAMPLE), **_GONE},
    )
    def read_status(request: Request, principal: Reader, document_id: str) -> Response:
        view = find_document(deps, principal, document_id)
        return JsonResponse(status_json(view, language_of(request)), headers={"etag": etag_of(view)})


def _add_chunks(router: APIRouter, deps: ApiDeps) -> None:
    cursors = Cursors(deps)

    @router.get(
        "/{document_id}/chunks",
        summary="List the chunks of the published run",
        responses={200: answer("One page.", schemas.page_of([schemas.CHUNK_EXAMPLE], None)), **_GONE},
    )
    def list_chunks(request: Request, principal: Reader, document_id: str, query: Annotated[Page, Query()]) -> Response:
        view = find_document(deps, principal, document_id)
        what = ["chunks", view.id.hex]
        start = cursors.position_of(principal.tenant_id, what, query.cursor)[0] if query.cursor else 0
        found = deps.catalogue.chunks_of(principal.tenant_id, view.id, start=start, limit=query.limit + 1)
        following = None
        if len(found) > query.limit:
            following = cursors.after(principal.tenant_id, what, [found[-1].chunk_no])
        return list_answer(request, [chunk_json(chunk) for chunk in found[: query.limit]], following)

    @router.get(
        "/{document_id}/chunks/{number}",
        summary="Read one chunk",
        responses={200: answer("The chunk.", schemas.CHUNK_EXAMPLE), **_GONE},
    )
    def read_chunk(principal: Reader, document_id: str, number: ChunkNumber) -> Response:
        view = find_document(deps, principal, document_id)
        found = deps.catalogue.chunks_of(principal.tenant_id, view.id, start=number, limit=1)
        if not found or found[0].chunk_no != number:
            raise not_found("chunk")
        return JsonResponse(chunk_json(found[0]))


def _add_analysis(router: APIRouter, deps: ApiDeps) -> None:
    @router.get(
        "/{document_id}/analysis",
        summary="Read what was found out about a recording",
        responses={
            200: answer("The analysis of the published run.", schemas.ANALYSIS_EXAMPLE),
            404: refusal("There is no such document, or it has no analysis (`no_analysis`)."),
            410: _GONE[410],
        },
    )
    def read_analysis(principal: Reader, document_id: str) -> Response:
        view = find_document(deps, principal, document_id)
        found = deps.catalogue.analysis_of(principal.tenant_id, view.id)
        if found is None:
            raise Problem(404, "no_analysis", "It is no recording, or it is not ready yet.")
        return JsonResponse(analysis_json(view.id, found))


def _add_page_images(router: APIRouter, deps: ApiDeps) -> None:
    @router.get(
        "/{document_id}/pages/{number}.png",
        summary="Show a page of a PDF as an image",
        description=(
            "`sluice-dpi` says how many pixels of the image are an inch: a very large page is drawn with fewer than "
            "`dpi`. A box of a chunk stands `x0 * sluice-dpi / 72` pixels from the left."
        ),
        responses={
            200: {"description": "The page.", "content": {"image/png": {"example": "(bytes)"}}},
            304: {"description": "Unchanged."},
            404: refusal("There is no such page, or it cannot be drawn (`no_page_image`)."),
            410: _GONE[410],
            503: refusal("It is not drawn yet; ask again after `Retry-After`."),
        },
        response_class=Response,
    )
    async def read_page_image(
        request: Request, principal: Reader, document_id: str, number: PageNumber, dpi: Dpi = USUAL_DPI
    ) -> Response:
        view = await run_in_threadpool(find_document, deps, principal, document_id)
        return await page_image_response(request, view, deps, number, dpi)


def _add_content(router: APIRouter, deps: ApiDeps) -> None:
    def read_content(request: Request, principal: Reader, document_id: str) -> Response:
        return content_response(request, find_document(deps, principal, document_id), deps.objects)

    responses: _Responses = {
        200: {"description": "The original.", "content": {"application/octet-stream": {"example": "(bytes)"}}},
        206: {"description": "The range that was asked for."},
        304: {"description": "Unchanged."},
        416: refusal("The range lies outside the original."),
        **_GONE,
    }
    path = "/{document_id}/content"
    router.get(path, summary="Download the original", responses=responses, response_class=Response)(read_content)
    router.head(path, include_in_schema=False)(read_content)


def _add_deletion(router: APIRouter, deps: ApiDeps) -> None:
    @router.delete(
        "/{document_id}",
        status_code=202,
        summary="Delete a document",
        description="From this answer on no search finds it. Deleting it again is no error.",
        responses={
            202: answer("It is being deleted.", schemas.DELETED_EXAMPLE),
            404: _GONE[404],
            412: _CHANGED[412],
        },
    )
    def delete_document(request: Request, principal: Writer, document_id: str) -> Response:
        view = find_document(deps, principal, document_id, also_deleted=True)
        if view.lifecycle is Lifecycle.ACTIVE:
            version = _demanded_version(request, view)
            if not deps.documents.delete(principal.tenant_id, view.id, version=version):
                after = find_document(deps, principal, document_id, also_deleted=True)
                _refuse_overtaken(after, version)
        body = {"id": ids.shown("doc", view.id), "status": "deleting"}
        return JsonResponse(body, 202, {"location": _path_of(view), "retry-after": RETRY_AFTER_S})


def _add_moves(router: APIRouter, deps: ApiDeps, backpressure: Backpressure) -> None:
    def changed(request: Request, principal: Principal, document_id: str, change: Change, **fields: str) -> Response:
        def change_and_show() -> Response:
            return _change_and_show(request, deps, principal, document_id, change)

        return answer_once(request, deps, principal, fields, change_and_show)

    @router.post("/{document_id}/cancel", status_code=202, summary="Cancel an unfinished document", responses=_CHANGED)
    def cancel_document(request: Request, principal: Writer, document_id: str) -> Response:
        def cancel(view: DocumentView, version: int | None) -> bool:
            return deps.documents.cancel(view.tenant_id, view.id, version=version)

        return changed(request, principal, document_id, cancel)

    @router.post(
        "/{document_id}/retry",
        status_code=202,
        summary="Try a failed or cancelled document again",
        responses={**_CHANGED, 429: _FULL},
    )
    def retry_document(request: Request, principal: Writer, document_id: str) -> Response:
        def retry(view: DocumentView, version: int | None) -> bool:
            return view.state is not State.COMPLETED and _extract_again(request, deps, backpressure, view, version)

        return changed(request, principal, document_id, retry)

    @router.post(
        "/{document_id}/reprocess",
        status_code=202,
        summary="Extract or embed an ended document again; its published run serves until then",
        responses={**_CHANGED, 422: refusal("There is no published run to embed again."), 429: _FULL},
    )
    def reprocess_document(
        request: Request, principal: Writer, document_id: str, body: Reprocessing | None = None
    ) -> Response:
        again = {"extract": _extract_again, "embed": _embed_again}
        wanted = (body or Reprocessing()).from_
        return changed(
            request,
            principal,
            document_id,
            lambda view, version: again[wanted](request, deps, backpressure, view, version),
            **{"from": wanted},
        )


def _change_and_show(
    request: Request, deps: ApiDeps, principal: Principal, document_id: str, change: Change
) -> Response:
    view = find_document(deps, principal, document_id)
    version = _demanded_version(request, view)
    has_changed = change(view, version)
    after = find_document(deps, principal, document_id)
    if not has_changed:
        _refuse_overtaken(after, version)
    headers = _change_headers(after) if has_changed else {"etag": etag_of(after)}
    return JsonResponse(shown_document(request, deps, after), 202 if has_changed else 200, headers)


def _extract_again(
    request: Request, deps: ApiDeps, backpressure: Backpressure, view: DocumentView, version: int | None
) -> bool:
    _refuse_when_full(backpressure, view)
    asked_by = {"request_id": request_id_of(request.scope), "traceparent": traceparent_of(request.scope)}
    if not deps.documents.reprocess(view.tenant_id, view.id, version=version, **asked_by):
        return False
    deps.hints.send([ExtractDocument(document_id=view.id)])
    return True


def _embed_again(
    request: Request, deps: ApiDeps, backpressure: Backpressure, view: DocumentView, version: int | None
) -> bool:
    if _is_ended(view) and view.published_run is None:
        raise invalid_field("/from", "No run of the document was ever published; process it from 'extract'.")
    _refuse_when_full(backpressure, view)
    # Its batches have their dispatch time; the dispatch loop sends their hints.
    asked_by = {"request_id": request_id_of(request.scope), "traceparent": traceparent_of(request.scope)}
    run_id = deps.batches.embed_again(view.tenant_id, view.id, version=version, **asked_by)
    if run_id is None and _is_ended(view):
        _refuse_overtaken(deps.catalogue.find(view.tenant_id, view.id) or view, version)
        raise invalid_field("/from", "The published run is of earlier content; process the newest from 'extract'.")
    return run_id is not None


def _refuse_when_full(backpressure: Backpressure, view: DocumentView) -> None:
    if _is_ended(view):  # else nothing is added to what waits
        backpressure.check_work_in_thread(view.tenant_id)


def find_document(deps: ApiDeps, principal: Principal, document_id: str, *, also_deleted: bool = False) -> DocumentView:
    """The document that the client names, when its key may see it.

    Raises:
        Problem: 404 for whatever is not the client's, all alike; 410 once it is being deleted.
    """
    view = None
    with suppress(ids.MalformedId):
        view = deps.catalogue.find(principal.tenant_id, ids.parse("doc", document_id))
    allowed = principal.collection_ids
    if view is None or (allowed is not None and view.collection_id not in allowed):
        raise not_found()
    structlog.contextvars.bind_contextvars(document_id=str(view.id))
    if view.lifecycle is not Lifecycle.ACTIVE and not also_deleted:
        raise Problem(410, "deleted", "The document was deleted.")
    return view


def base_url_of(request: Request, deps: ApiDeps) -> str:
    """How the client reaches the gateway, without a slash at the end."""
    return str(deps.settings.http.public_url or request.base_url).rstrip("/")


def shown_document(request: Request, deps: ApiDeps, view: DocumentView) -> Json:
    """The document's JSON in the client's language."""
    return document_json(view, language_of(request), base_url=base_url_of(request, deps))


def _path_of(view: DocumentView) -> str:
    return f"/v1/documents/{ids.shown('doc', view.id)}"


def _change_headers(view: DocumentView) -> dict[str, str]:
    return {"location": _path_of(view), "retry-after": RETRY_AFTER_S, "etag": etag_of(view)}


def _is_ended(view: DocumentView) -> bool:
    return view.state in ENDED


def _demanded_version(request: Request, view: DocumentView) -> int | None:
    """The version of the row that `If-Match` demands, for the change itself to compare; None when any will do.

    Raises:
        Problem: 412 when the row is past it already.
    """
    wanted = request.headers.get("if-match")
    if wanted is None:
        return None
    if not matches(request.headers, "if-match", etag_of(view)):
        raise _outdated()
    return None if wanted.strip() == "*" else view.row_version


def _refuse_overtaken(after: DocumentView, version: int | None) -> None:
    """Say so when nothing changed because another change came between the look and ours."""
    if version is not None and after.row_version != version:
        raise _outdated()


def _outdated() -> Problem:
    return Problem(412, "precondition_failed", "The document has changed since it was read; read it again.")
