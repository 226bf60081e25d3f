"""Puts the gateway together out of its routes and what stands around them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi.routing import APIRoute

from sluice_api import openapi, problems
from sluice_api.auth import Guard
from sluice_api.bodies import BodyGate
from sluice_api.deps import ApiDeps
from sluice_api.routes.admin import admin_routes
from sluice_api.routes.collections import collection_routes
from sluice_api.routes.documents import document_routes
from sluice_api.routes.events import event_routes
from sluice_api.routes.health import health_routes
from sluice_api.routes.jobs import job_routes
from sluice_api.routes.page import page_routes
from sluice_api.routes.search import search_routes
from sluice_api.tracing import Tracing
from sluice_common import __version__

THREADS = 64
"""Threads for everything that blocks; more than the database's connections, because some wait for disks and stores."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def nothing_to_open(_app: FastAPI) -> AsyncIterator[None]:
    """The lifespan of an application whose parts are opened and closed by the caller."""
    yield


def create_app(deps: ApiDeps, lifespan: Lifespan = nothing_to_open) -> FastAPI:
    """The whole gateway over open parts.

    Args:
        deps: what the routes use.
        lifespan: opens and closes what must live in the server's event loop.
    """

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens = THREADS
        async with lifespan(app):
            yield
        deps.watch.close()

    app = FastAPI(
        title=openapi.TITLE,
        version=__version__,
        lifespan=living,
        docs_url=None,  # FastAPI's own pages load their scripts from another host
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
    )
    _add_routes(app, deps)
    openapi.install(app)
    _surround(app, deps)
    return app


def _add_routes(app: FastAPI, deps: ApiDeps) -> None:
    app.include_router(page_routes())
    app.include_router(document_routes(deps))
    app.include_router(event_routes(deps))
    app.include_router(job_routes(deps))
    app.include_router(search_routes(deps))
    app.include_router(collection_routes(deps))
    app.include_router(admin_routes(deps))
    app.include_router(health_routes(deps))


def _surround(app: FastAPI, deps: ApiDeps) -> None:
    """From the inside out: each sees what the ones before it raise."""
    limit = deps.settings.limits.max_document_bytes
    app.add_middleware(Guard, keys=deps.keys, max_document_bytes=limit)
    problems.install(app)
    app.add_middleware(Tracing, metrics=deps.metrics, spans=deps.spans)
    app.add_middleware(BodyGate, max_document_bytes=limit, gap_s=deps.settings.http.upload_gap_s)


def _operation_id(route: APIRoute) -> str:
    return route.name
