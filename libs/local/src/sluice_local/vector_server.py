"""Serves the part of Qdrant's REST interface that Sluice uses, for machines without a Qdrant.

python -m sluice_local.vector_server --host 127.0.0.1 --port 6333 --root FOLDER [--api-key-file FILE]
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from sluice_local.vectors.catalog import Catalog, FolderInUse
from sluice_local.vectors.collection import Unreadable
from sluice_local.vectors.refusals import Refusal
from sluice_local.vectors.routes import (
    KeyCheck,
    alias_routes,
    answer_refusal,
    collection_routes,
    point_routes,
    status_routes,
)

FLUSH_INTERVAL_S = 5.0
SHUTDOWN_S = 1
MAX_CONNECTIONS = 512


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    options = _parse(arguments)
    api_key = options.api_key_file.read_text(encoding="utf-8").strip().encode() if options.api_key_file else None
    try:
        catalog = Catalog(options.root)
    except (FolderInUse, Unreadable) as error:
        print(f"vector server: {error}", file=sys.stderr)
        return 1
    uvicorn.run(
        build_app(catalog, api_key),
        host=options.host,
        port=options.port,
        log_level="warning",
        access_log=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    return 0


def build_app(catalog: Catalog, api_key: bytes | None) -> FastAPI:
    """The application over an open catalog, which it closes when it ends."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        flushing = asyncio.create_task(_flush_regularly(catalog))
        yield
        flushing.cancel()
        catalog.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.add_exception_handler(Refusal, answer_refusal)
    for router in (status_routes(), alias_routes(catalog), collection_routes(catalog), point_routes(catalog)):
        app.include_router(router)
    if api_key is not None:
        app.add_middleware(KeyCheck, key=api_key)
    return app


async def _flush_regularly(catalog: Catalog) -> None:
    while True:
        await asyncio.sleep(FLUSH_INTERVAL_S)
        for collection in catalog.all():
            with contextlib.suppress(Refusal):  # deleted meanwhile, or the disk is full, which the next write tells
                await run_in_threadpool(collection.flush)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sluice_local.vector_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=6333, help="port to listen on")
    parser.add_argument("--root", type=Path, required=True, help="folder that keeps the collections")
    parser.add_argument("--api-key-file", type=Path, help="file with the key that requests must carry")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
