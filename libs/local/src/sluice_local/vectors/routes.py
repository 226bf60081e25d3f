"""The paths of Qdrant's REST interface that this server answers."""

import asyncio
import hmac
import time
from collections.abc import Callable
from typing import Any  # JSON has no narrower type

import orjson
from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from sluice_local.vectors.catalog import Catalog
from sluice_local.vectors.collection import Collection
from sluice_local.vectors.refusals import BadRequest, BodyTooLarge, Refusal

API_VERSION = "1.20.0"
"""The version of Qdrant whose interface this is; the client compares it with its own."""

MAX_BODY_BYTES = 64 * 2**20
MAX_UPSERTS_AT_ONCE = 4
"""Their bodies are in memory, parsed, at some six times their size; the others wait unread."""

OPEN_PATHS = frozenset({"/", "/healthz", "/livez", "/readyz"})


def status_routes() -> APIRouter:
    """Who this is, and that it runs: it listens only once every collection is open."""
    router = APIRouter()

    @router.get("/")
    async def version() -> Response:
        return _json({"title": "qdrant - vector search engine", "version": API_VERSION})

    @router.get("/healthz")
    @router.get("/livez")
    @router.get("/readyz")
    async def health() -> Response:
        return Response("healthz check passed", media_type="text/plain")

    return router


def collection_routes(catalog: Catalog) -> APIRouter:
    """Collections, and what is told of them."""
    router = APIRouter()

    @router.get("/collections")
    async def names() -> Response:
        return await _answer(lambda: {"collections": [{"name": name} for name in catalog.names()]})

    @router.get("/collections/{name}/exists")
    async def exists(name: str) -> Response:
        return await _answer(lambda: {"exists": catalog.has(name)})

    @router.get("/collections/{name}")
    async def describe(name: str) -> Response:
        return await _answer(lambda: catalog.find(name).description())

    @router.put("/collections/{name}")
    async def create(name: str, request: Request) -> Response:
        body = _parsed(await _body(request))
        return await _answer(lambda: catalog.create(name, body))

    @router.delete("/collections/{name}")
    async def delete(name: str) -> Response:
        return await _answer(lambda: catalog.delete(name))

    return router


def alias_routes(catalog: Catalog) -> APIRouter:
    """Other names of collections; to be added before the collections, whose paths would take these."""
    router = APIRouter()

    @router.post("/collections/aliases")
    async def change(request: Request) -> Response:
        body = _parsed(await _body(request))
        return await _answer(lambda: catalog.change_aliases(body.get("actions") or []))

    @router.get("/aliases")
    async def every() -> Response:
        return await _answer(lambda: {"aliases": catalog.aliases()})

    @router.get("/collections/{name}/aliases")
    async def of_collection(name: str) -> Response:
        return await _answer(lambda: {"aliases": catalog.aliases(name)})

    return router


def point_routes(catalog: Catalog) -> APIRouter:
    """Points and payload indexes."""
    router = APIRouter()
    upserts = asyncio.Semaphore(MAX_UPSERTS_AT_ONCE)

    @router.put("/collections/{name}/points")
    async def upsert(name: str, request: Request) -> Response:
        async with upserts:
            body = await _body(request)
            return await _answer(lambda: catalog.find(name).upsert(body))

    @router.delete("/collections/{name}/index/{field:path}")
    async def delete_index(name: str, field: str) -> Response:
        return await _answer(lambda: catalog.find(name).delete_index(field))

    _add(router, catalog, "PUT", "/index", Collection.create_index)
    _add(router, catalog, "POST", "/points", Collection.retrieve)
    _add(router, catalog, "POST", "/points/payload", Collection.set_payload)
    _add(router, catalog, "POST", "/points/delete", Collection.delete)
    _add(router, catalog, "POST", "/points/query", Collection.query)
    _add(router, catalog, "POST", "/points/query/batch", Collection.query_batch)
    _add(router, catalog, "POST", "/points/scroll", Collection.scroll)
    _add(router, catalog, "POST", "/points/count", Collection.count)
    return router


class KeyCheck:
    """Refuses requests without the key, but for who this is and that it runs, as Qdrant does."""

    def __init__(self, app: ASGIApp, key: bytes) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or let the application answer."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS and not self._has_key(dict(scope["headers"])):
            await _error(401, "Must provide an API key or an Authorization bearer token")(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _has_key(self, headers: dict[bytes, bytes]) -> bool:
        bearer = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        return hmac.compare_digest(headers.get(b"api-key", bearer), self._key)


async def answer_refusal(_: Request, refusal: Exception) -> Response:
    """The answer for a Refusal, wherever it was raised."""
    assert isinstance(refusal, Refusal)
    return _error(refusal.status, str(refusal))


def _add(
    router: APIRouter, catalog: Catalog, method: str, path: str, operation: Callable[[Collection, Any], Any]
) -> None:
    async def endpoint(name: str, request: Request) -> Response:
        body = _parsed(await _body(request))
        return await _answer(lambda: operation(catalog.find(name), body))

    router.add_api_route(f"/collections/{{name}}{path}", endpoint, methods=[method])


async def _body(request: Request) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise BodyTooLarge(f"Payload error: a body has at most {MAX_BODY_BYTES} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"Format error in JSON body: {error}") from error
    if not isinstance(parsed, dict):
        raise BadRequest("Format error in JSON body: expected an object")
    return parsed


async def _answer(work: Callable[[], Any]) -> Response:
    started = time.perf_counter()
    # In a thread, so that another request can run between the engine's calls; within one it cannot.
    result = await run_in_threadpool(work)
    return _json({"result": result, "status": "ok", "time": time.perf_counter() - started})


def _error(status: int, message: str) -> Response:
    return _json({"status": {"error": message}, "time": 0.0}, status=status)


def _json(body: dict[str, Any], *, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")
