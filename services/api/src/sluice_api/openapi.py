"""The OpenAPI document, and a page that lists its operations without asking any other host."""

import html
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse, Response

from sluice_api.auth import is_open
from sluice_api.idempotent import HEADER, MAX_KEY_LENGTH
from sluice_api.schemas import Json, refusal
from sluice_common import __version__

TITLE = "Sluice"
SUMMARY = "Documents in, extracted, chunked, embedded, and found again."
TAGS = [
    {"name": "documents", "description": "Sent, followed, read, changed and deleted."},
    {"name": "search", "description": "Dense, lexical and hybrid search over what is ready."},
    {"name": "collections", "description": "A tenant's named sets of documents."},
    {"name": "admin", "description": "Keys, queues and workers."},
    {"name": "health", "description": "Whether the gateway runs, and whether it can answer."},
]
_SECURITY_SCHEME = {"type": "http", "scheme": "bearer", "description": "An API key, as `Authorization: Bearer sk_…`."}
_IDEMPOTENCY_KEY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH},
    "description": "The same key with the same request is answered the same for a day, and done once.",
    "example": "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d",
}
_METHODS = ("get", "head", "post", "put", "patch", "delete")
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def install(app: FastAPI) -> None:
    """Let *app* describe itself at `/openapi.json` and `/docs`."""

    def described() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way

    @app.get("/docs", include_in_schema=False)
    def list_operations() -> Response:
        return HTMLResponse(_page_of(app.openapi()), headers=_PAGE_HEADERS)


def _describe(app: FastAPI) -> Json:
    document = get_openapi(title=TITLE, version=__version__, summary=SUMMARY, routes=app.routes, tags=TAGS)
    document.setdefault("components", {})["securitySchemes"] = {"key": _SECURITY_SCHEME}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                _complete(operations[method], is_open_path=is_open(path))
        if "post" in operations:
            operations["post"].setdefault("parameters", []).append(_IDEMPOTENCY_KEY)
    schemas = document["components"].get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own 422, which we never send
        schemas.pop(name, None)
    return document


def _complete(operation: Json, *, is_open_path: bool) -> None:
    """Say what holds for every operation: who may call it, and how it refuses."""
    operation["security"] = [] if is_open_path else [{"key": []}]
    responses = operation.setdefault("responses", {})
    if "HTTPValidationError" in str(responses.get("422", "")):
        responses["422"] = refusal("A field is wrong.")
    if not is_open_path:
        responses.setdefault("401", refusal("A valid API key is needed."))
        responses.setdefault("403", refusal("The key lacks the scope."))
        responses.setdefault("503", refusal("A part of the service does not answer; `Retry-After` says when to ask."))
    responses.setdefault("default", refusal("Every other refusal has this form too."))


def _page_of(document: Json) -> str:
    rows = "".join(
        _row_of(path, method, operations[method])
        for path, operations in sorted(document["paths"].items())
        for method in _METHODS
        if method in operations
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE} API</title></head><body><h1>{TITLE} API {html.escape(__version__)}</h1>"
        f'<p>{html.escape(SUMMARY)} The whole description: <a href="/openapi.json">openapi.json</a>.</p>'
        "<p>Send <code>Authorization: Bearer &lt;key&gt;</code> with every request.</p>"
        '<table border="1" cellpadding="6"><thead><tr><th scope="col">Method</th><th scope="col">Path</th>'
        f'<th scope="col">What it does</th><th scope="col">Answers</th></tr></thead><tbody>{rows}</tbody></table>'
        "</body></html>"
    )


def _row_of(path: str, method: str, operation: dict[str, Any]) -> str:  # OpenAPI's JSON
    what = html.escape(" ".join(filter(None, (operation.get("summary"), operation.get("description")))))
    answers = html.escape(", ".join(sorted(status for status in operation["responses"] if status.isdigit())))
    return (
        f"<tr><td>{method.upper()}</td><td><code>{html.escape(path)}</code></td><td>{what}</td><td>{answers}</td></tr>"
    )
