"""Answers with the image of a page, which an extractor draws; the gateway itself opens no document."""

import time
from hashlib import sha256

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from sluice_api.deps import ApiDeps
from sluice_api.downloads import matches
from sluice_api.problems import Problem, not_found
from sluice_common import __version__
from sluice_common.catalogue import DocumentView
from sluice_common.contract import RenderPage
from sluice_common.page_images import PageImage

FEWEST_DPI, USUAL_DPI, MOST_DPI = 30, 110, 200
NO_SUCH_PAGE = "no_such_page"

_WITH_PAGES = "application/pdf"
_LONGEST_WAIT_S = 5.0
_PAUSE_S = 0.05
_RETRY_AFTER_S = 2


async def page_image_response(request: Request, view: DocumentView, deps: ApiDeps, page: int, dpi: int) -> Response:
    """The image of a page of what the document shows now; draws it if nobody did so lately.

    Raises:
        Problem: 404, there is no such page, or it cannot be drawn; 503, it is not drawn yet.
    """
    if view.published_run is None or view.media_type != _WITH_PAGES:
        raise not_found("page")
    wanted = RenderPage(document_id=view.id, original_no=view.original_no, page=page, dpi=dpi)
    headers = _headers_of(view, wanted)
    if matches(request.headers, "if-none-match", headers["etag"]):
        return Response(None, 304, headers)
    image = await _drawn(wanted, deps)
    if image.error_code == NO_SUCH_PAGE:
        raise not_found("page")
    if image.png is None:
        raise Problem(404, "no_page_image", "The page cannot be drawn; the original can be downloaded.")
    return Response(image.png, 200, headers | {"sluice-dpi": f"{image.drawn_dpi:g}"}, media_type="image/png")


async def _drawn(wanted: RenderPage, deps: ApiDeps) -> PageImage:
    """The image once an extractor has answered."""
    deadline_s = time.monotonic() + _LONGEST_WAIT_S
    image = await run_in_threadpool(_find, wanted, deps)
    if image is not None:
        return image
    await run_in_threadpool(deps.page_images.ask, wanted)
    await run_in_threadpool(deps.hints.send, [wanted])
    while True:
        is_over = time.monotonic() > deadline_s or deps.watch.is_closed
        image = await run_in_threadpool(_find, wanted, deps)
        if image is not None:
            return image
        if is_over:
            headers = {"Retry-After": str(_RETRY_AFTER_S)}
            raise Problem(503, "unavailable", "The page is not drawn yet; ask again.", headers=headers)
        await anyio.sleep(_PAUSE_S)


def _find(wanted: RenderPage, deps: ApiDeps) -> PageImage | None:
    image = deps.page_images.find(wanted)
    return image if image and image.is_answered else None


def _headers_of(view: DocumentView, wanted: RenderPage) -> dict[str, str]:
    """What a release draws of an original, it always draws alike."""
    drawn = f"{__version__} {view.sha256} {wanted.page} {wanted.dpi}"
    return {
        "etag": f'"{sha256(drawn.encode()).hexdigest()[:32]}"',
        "cache-control": "private, no-cache",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
    }
