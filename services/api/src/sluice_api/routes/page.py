"""The web page and its parts, each served as it lies in the package."""

import hashlib
from dataclasses import dataclass
from importlib import resources

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from sluice_api.downloads import matches
from sluice_api.problems import not_found

INDEX = "index.html"

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


@dataclass(frozen=True)
class PageFile:
    """One file of the page, in memory."""

    content: bytes
    media_type: str
    etag: str


def page_routes() -> APIRouter:
    """`/` and `/assets/…`; the files are read now, so that no request can reach for another."""
    files = _read_files()
    router = APIRouter(include_in_schema=False)

    def show(request: Request, name: str) -> Response:
        if name not in files:
            raise not_found("page")
        file = files[name]
        headers = {**_HEADERS, "etag": file.etag}
        if matches(request.headers, "if-none-match", file.etag):
            return Response(None, 304, headers)
        return Response(file.content, 200, headers, media_type=file.media_type)

    @router.get("/")
    async def read_page(request: Request) -> Response:
        return show(request, INDEX)

    @router.get("/assets/{name}")
    async def read_asset(request: Request, name: str) -> Response:
        return show(request, name)

    return router


def _read_files() -> dict[str, PageFile]:
    folder = resources.files("sluice_api") / "web"
    if not folder.is_dir():
        return {}
    return {
        entry.name: _page_file(entry.read_bytes(), _MEDIA_TYPES[suffix])
        for entry in folder.iterdir()
        if (suffix := "." + entry.name.rpartition(".")[2]) in _MEDIA_TYPES
    }


def _page_file(content: bytes, media_type: str) -> PageFile:
    return PageFile(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
