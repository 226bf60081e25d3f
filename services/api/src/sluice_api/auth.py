"""Who is asking: decided on the headers alone, before a byte of the body is read."""

import hashlib
import re
import time
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as RequestScope

from sluice_api.problems import Problem
from sluice_common.keys import Keys, Principal, Scope

OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/openapi.json", "/docs", "/favicon.ico"})
OPEN_FOLDER = "/assets/"
UPLOAD_PATHS = frozenset({"/v1/documents"})

MAX_JSON_BYTES = 2**20
FORM_OVERHEAD_BYTES = 2**20
"""Room for the other fields and the part headers beside the file; the file itself is counted while it streams."""

REMEMBERED_S = 2.0
"""How long a good key is believed without asking: a revoked one is refused within five seconds everywhere."""

_MOST_REMEMBERED = 10_000
_KEY = re.compile(r"[A-Za-z0-9_-]{16,200}")


def is_open(path: str) -> bool:
    """Whether anybody may read *path* without a key."""
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDER)


def body_limit_of(path: str, max_document_bytes: int) -> int:
    """Largest body that *path* takes, in bytes."""
    return max_document_bytes + FORM_OVERHEAD_BYTES if path in UPLOAD_PATHS else MAX_JSON_BYTES


class Guard:
    """Lets a request in when its key is good and its announced length is within the limit."""

    def __init__(self, app: ASGIApp, *, keys: Keys, max_document_bytes: int) -> None:
        self._app = app
        self._credentials = Credentials(keys)
        self._max_document_bytes = max_document_bytes

    async def __call__(self, scope: RequestScope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its `Principal` in `request.state.principal`.

        Raises:
            Problem: 401, or 413 by the announced length; nothing of the body has been read.
        """
        if scope["type"] == "http" and not is_open(scope["path"]):
            headers = Headers(scope=scope)
            principal = await self._credentials.principal_of(headers.get("authorization"))
            scope.setdefault("state", {})["principal"] = principal
            self._refuse_too_long(scope["path"], headers.get("content-length"))
        await self._app(scope, receive, send)

    def _refuse_too_long(self, path: str, announced: str | None) -> None:
        limit = body_limit_of(path, self._max_document_bytes)
        if announced and announced.isdecimal() and int(announced) > limit:
            raise too_large(self._max_document_bytes if path in UPLOAD_PATHS else limit)


def too_large(limit: int) -> Problem:
    """The answer to a body that passes *limit* bytes."""
    return Problem(413, "file_too_large", f"The limit is {limit} bytes.", param="file")


class Credentials:
    """Keys as they come in the header; good ones are remembered for a moment."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._remembered: dict[bytes, tuple[float, Principal]] = {}

    async def principal_of(self, authorization: str | None) -> Principal:
        """Whose key the header carries.

        Raises:
            Problem: 401, for every reason alike.
        """
        secret = _secret_in(authorization)
        digest = hashlib.sha256(secret.encode()).digest()  # the secret itself is kept nowhere
        until, known = self._remembered.get(digest, (0.0, None))
        if known is not None and until > time.monotonic():
            return known
        principal = await run_in_threadpool(self._keys.principal_of, secret)
        if principal is None:
            raise _unauthenticated()
        self._remember(digest, principal)
        return principal

    def _remember(self, digest: bytes, principal: Principal) -> None:
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[digest] = (time.monotonic() + REMEMBERED_S, principal)


def needs(scope: Scope) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency that gives the route its Principal, and refuses keys without *scope*."""

    async def principal_with_scope(request: Request) -> Principal:
        principal: Principal = request.state.principal
        if scope not in principal.scopes:
            raise Problem(403, "forbidden", f"The key lacks the scope {scope.value}.")
        return principal

    return principal_with_scope


def _secret_in(authorization: str | None) -> str:
    scheme, _, secret = (authorization or "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not _KEY.fullmatch(secret):
        raise _unauthenticated()
    return secret


def _unauthenticated() -> Problem:
    return Problem(401, "unauthenticated", "Send a valid API key as 'Authorization: Bearer <key>'.")
