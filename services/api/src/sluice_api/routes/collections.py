"""Collections: a tenant's named sets of documents."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from sluice_api.auth import needs
from sluice_api.cursors import Cursors
from sluice_api.deps import ApiDeps
from sluice_api.downloads import matches
from sluice_api.idempotent import answer_once
from sluice_api.presenting import list_answer, moment_json
from sluice_api.problems import Problem, invalid_field, not_found
from sluice_api.schemas import Body, Chunking, Json, JsonResponse, Page, answer, page_of, refusal
from sluice_api.searching import NAME_RULE, collection_named, proper_name
from sluice_common import ids
from sluice_common.collections import Collection
from sluice_common.keys import DEFAULT_COLLECTION, Principal, Scope

LIST = "collections"


class NewCollection(Body):
    """A collection to be made."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "contracts", "chunking": {"max_chars": 800, "overlap_chars": 100}}]}
    )

    name: str = Field(description=f"In NFC: {NAME_RULE}.")
    chunking: Chunking = Chunking()


class CollectionChange(Body):
    """What shall be different from now on; documents that are already there keep the chunks they have."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"chunking": {"max_chars": 500}}]})

    chunking: Chunking | None = Field(default=None, description="`{}` goes back to the service's own way.")


Reader = Annotated[Principal, Depends(needs(Scope.READ))]
Writer = Annotated[Principal, Depends(needs(Scope.WRITE))]

_EXAMPLE = {
    "id": "col_0199a3a0c1d27cc2a6f1f3b4c5d6e7f8",
    "object": "collection",
    "name": "contracts",
    "chunking": {"max_chars": 800, "overlap_chars": 100},
    "documents": 12,
    "created_at": "2026-11-20T11:48:10Z",
    "updated_at": "2026-11-20T11:48:10Z",
}
_SHOWN = answer("The collection.", _EXAMPLE)
_DELETING_EXAMPLE = {"id": _EXAMPLE["id"], "object": "collection", "status": "deleting", "name": "contracts"}
_MISSING = refusal("There is no such collection, or the key may not see it.")
_CHANGED_MEANWHILE = refusal("It is not as `If-Match` says.")


def collection_routes(deps: ApiDeps) -> APIRouter:
    """Making, reading, changing and deleting collections; `default` is there from the start and stays."""
    router = APIRouter(prefix="/v1", tags=["collections"])
    _add_creating(router, deps)
    _add_reading(router, deps)
    _add_changing(router, deps)
    return router


def _add_creating(router: APIRouter, deps: ApiDeps) -> None:
    @router.post(
        "/collections",
        operation_id="create_collection",
        summary="Make a collection",
        status_code=201,
        responses={
            201: _SHOWN,
            403: refusal("The key is limited to some collections and cannot make others."),
            409: refusal("The name is taken."),
            422: refusal("The name or the chunking breaks a rule."),
        },
    )
    def create_collection(body: NewCollection, request: Request, principal: Writer) -> Response:
        name = proper_name(body.name)
        if name is None:
            raise invalid_field("/name", f"A name is {NAME_RULE}.")
        if principal.collection_ids is not None:
            raise Problem(403, "forbidden", "The key is limited to some collections and cannot make others.")
        chunking = _checked_chunking(body.chunking, deps)

        def create() -> Response:
            if not deps.collections.create(principal.tenant_id, name, chunking=chunking):
                raise Problem(409, "collection_exists", "There is a collection of that name.", pointer="/name")
            return _shown(_found(name, principal, deps), deps, 201, is_new=True)

        return answer_once(request, deps, principal, {"name": name, "chunking": chunking}, create)


def _add_reading(router: APIRouter, deps: ApiDeps) -> None:
    cursors = Cursors(deps)

    @router.get(
        "/collections",
        operation_id="list_collections",
        summary="List the collections",
        responses={200: answer("By name.", page_of([_EXAMPLE], None)), 400: refusal("The cursor is not one of ours.")},
    )
    def list_collections(request: Request, principal: Reader, page: Annotated[Page, Query()]) -> Response:
        tenant_id = principal.tenant_id
        after = "" if page.cursor is None else cursors.position_of(tenant_id, LIST, page.cursor)[0]
        found = deps.collections.page(tenant_id, after=after, limit=page.limit + 1, ids=principal.collection_ids)
        shown = found[: page.limit]
        next_cursor = cursors.after(tenant_id, LIST, [shown[-1].name]) if len(found) > page.limit else None
        sizes = deps.collections.sizes_of([one.id for one in shown])
        return list_answer(request, [_collection_json(one, sizes[one.id]) for one in shown], next_cursor)

    @router.get(
        "/collections/{name}",
        operation_id="show_collection",
        summary="Show a collection",
        responses={200: _SHOWN, 304: {"description": "It is as `If-None-Match` says."}, 404: _MISSING},
    )
    def show_collection(name: str, request: Request, principal: Reader) -> Response:
        collection = _found(name, principal, deps)
        shown = _shown(collection, deps)
        if matches(request.headers, "if-none-match", shown.headers["etag"]):
            return Response(status_code=304, headers={"ETag": shown.headers["etag"]})
        return shown


def _add_changing(router: APIRouter, deps: ApiDeps) -> None:
    @router.patch(
        "/collections/{name}",
        operation_id="change_collection",
        summary="Change a collection",
        responses={200: _SHOWN, 404: _MISSING, 412: _CHANGED_MEANWHILE},
    )
    def change_collection(name: str, body: CollectionChange, request: Request, principal: Writer) -> Response:
        collection = _found(name, principal, deps)
        version = _demanded_version(collection, request)
        if body.chunking is not None:
            chunking = _checked_chunking(body.chunking, deps)
            if not deps.collections.change(principal.tenant_id, collection.name, chunking=chunking, version=version):
                _refuse_overtaken(version)
        return _shown(_found(name, principal, deps), deps)

    @router.delete(
        "/collections/{name}",
        operation_id="delete_collection",
        summary="Delete a collection with its documents",
        status_code=202,
        responses={
            202: answer(
                "No search finds its documents any more; their bytes are removed behind it.", _DELETING_EXAMPLE
            ),
            404: _MISSING,
            409: refusal("The collection `default` cannot be deleted."),
            412: _CHANGED_MEANWHILE,
        },
    )
    def delete_collection(name: str, request: Request, principal: Writer) -> Response:
        collection = _found(name, principal, deps)
        version = _demanded_version(collection, request)
        if collection.name == DEFAULT_COLLECTION:
            raise Problem(409, "conflict", "The collection default cannot be deleted; delete its documents instead.")
        if not deps.collections.delete(principal.tenant_id, collection.name, version=version):
            _refuse_overtaken(version)
        body = {"id": ids.shown("col", collection.id), "object": "collection", "status": "deleting"}
        headers = {"Location": f"/v1/collections/{quote(collection.name)}", "Retry-After": "1"}
        return JsonResponse({**body, "name": collection.name}, 202, headers)


def _checked_chunking(chunking: Chunking, deps: ApiDeps) -> dict[str, int]:
    chunking.within(service=deps.settings.chunking)  # refuses what could not be used
    sizes: dict[str, int] = chunking.model_dump(exclude_none=True)
    return sizes


def _found(name: str, principal: Principal, deps: ApiDeps) -> Collection:
    collection = collection_named(name, principal, deps)
    if collection is None:
        raise not_found("collection")
    return collection


def _demanded_version(collection: Collection, request: Request) -> int | None:
    """The version of the row that `If-Match` demands, for the change itself to compare; None when any will do.

    Raises:
        Problem: 412 when the row is past it already.
    """
    wanted = request.headers.get("if-match")
    if wanted is None:
        return None
    # Only the row's version counts: a document that came in meanwhile is no reason to refuse a change.
    versions = {"if-match": ",".join(tag.partition(".")[0] for tag in wanted.split(","))}
    if not matches(versions, "if-match", f'"{collection.row_version}'):
        raise _outdated()
    return None if wanted.strip() == "*" else collection.row_version


def _refuse_overtaken(version: int | None) -> None:
    """Say so when nothing changed because another change came between the look and ours."""
    if version is not None:
        raise _outdated()


def _outdated() -> Problem:
    return Problem(412, "precondition_failed", "The collection has changed since it was read; read it again.")


def _shown(collection: Collection, deps: ApiDeps, status: int = 200, *, is_new: bool = False) -> Response:
    documents = deps.collections.sizes_of([collection.id])[collection.id]
    headers = {"ETag": f'"{collection.row_version}.{documents}"'}
    if is_new:
        headers["Location"] = f"/v1/collections/{quote(collection.name)}"
    return JsonResponse(_collection_json(collection, documents), status, headers)


def _collection_json(collection: Collection, documents: int) -> Json:
    return {
        "id": ids.shown("col", collection.id),
        "object": "collection",
        "name": collection.name,
        "chunking": collection.chunking,
        "documents": documents,
        "created_at": moment_json(collection.created_at),
        "updated_at": moment_json(collection.updated_at),
    }
