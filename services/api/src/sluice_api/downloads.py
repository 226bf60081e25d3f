"""Answers with an original's bytes, so that no browser ever runs them as a page of ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sluice_api.metrics import known_type
from sluice_api.problems import Problem
from sluice_common.catalogue import DocumentView
from sluice_common.ports import ObjectStore

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_NOT_IN_FALLBACK = re.compile(r'[^ -~]|["\\%]')
_ATTR_CHARS = "!#$&+-.^_`|~"  # RFC 8187, beside letters and digits


@dataclass(frozen=True)
class Span:
    """The bytes that are sent: from *start*, *length* of them."""

    start: int
    length: int


def content_response(request: Request, view: DocumentView, objects: ObjectStore) -> Response:
    """The original of *view*, whole or the range that was asked for; only the headers for HEAD.

    Raises:
        Problem: 416, the range lies outside.
        ObjectMissing: the original is gone.
        ObjectStoreUnavailable: trying again may help.
    """
    headers = _headers_of(view)
    if _is_known(request, headers["etag"]):
        return Response(None, 304, headers)
    span = _span_of(request, view)
    whole = Span(0, view.size_bytes)
    headers["content-length"] = str((span or whole).length)
    if span is not None:
        headers["content-range"] = f"bytes {span.start}-{span.start + span.length - 1}/{view.size_bytes}"
    status = 200 if span is None else 206
    media_type = known_type(view.media_type)
    if request.method == "HEAD":
        return Response(None, status, headers, media_type=media_type)
    sent = span or whole
    pieces = objects.read(view.storage_key, start=sent.start, length=sent.length)
    return StreamingResponse(pieces, status, headers, media_type=media_type)


def disposition_of(name: str) -> str:
    """`Content-Disposition` for a download under *name*: ASCII for the old, RFC 8187 for the others."""
    fallback = _NOT_IN_FALLBACK.sub("_", name)
    return f"attachment; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def _headers_of(view: DocumentView) -> dict[str, str]:
    return {
        "etag": f'"{view.sha256}"',
        "accept-ranges": "bytes",
        "content-disposition": disposition_of(view.name),
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cache-control": "private, no-store",
    }


def _is_known(request: Request, etag: str) -> bool:
    return matches(request.headers, "if-none-match", etag)


def matches(headers: Mapping[str, str], name: str, etag: str) -> bool:
    """Whether the list of entity tags in the header *name* has *etag*, or is `*`; weakly compared (RFC 9110)."""
    tags = {tag.strip().removeprefix("W/") for tag in headers.get(name, "").split(",")}
    return "*" in tags or etag in tags


def _span_of(request: Request, view: DocumentView) -> Span | None:
    """The one range that was asked for; None for the whole, also when several are asked for or none can be read."""
    asked = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if asked is None or asked[0] == "bytes=-" or not _is_still_wanted(request, view):
        return None
    first, last = asked.groups()
    size = view.size_bytes
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if first and last and int(last) < int(first):
        return None
    if start >= end:
        raise Problem(
            416,
            "range_not_satisfiable",
            f"The original has {size} bytes.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return Span(start, end - start)


def _is_still_wanted(request: Request, view: DocumentView) -> bool:
    return request.headers.get("if-range", f'"{view.sha256}"') == f'"{view.sha256}"'
