"""Draws one page for somebody who waits for its image."""

from sluice_common.contract import RenderPage
from sluice_common.errors import CrashError, PermanentError
from sluice_common.page_images import PageImage
from sluice_extractor.deps import ExtractorDeps
from sluice_extractor.png import png_of
from sluice_extractor.sandbox import DrawRequest

NO_SUCH_PAGE = "no_such_page"


def render_page(task: RenderPage, deps: ExtractorDeps) -> str:
    """Draw the page and keep its image, or why there is none; returns the outcome.

    What may go better later, such as an object store that is away, leaves the row as it is: whoever still wants to see
    the page asks again.
    """
    storage_key = deps.page_images.original_of(task)
    if storage_key is None:
        return "skipped"
    image = _drawn(task, storage_key, deps)
    deps.page_images.answer(task, image)
    return image.error_code or "ok"


def _drawn(task: RenderPage, storage_key: str, deps: ExtractorDeps) -> PageImage:
    try:
        with deps.objects.local_copy(storage_key) as path:
            picture = deps.sandbox.draw(DrawRequest(path, task.page, task.dpi))
    except (PermanentError, CrashError) as error:
        return PageImage(error_code=str(error.code))
    if picture is None:
        return PageImage(error_code=NO_SUCH_PAGE)
    return PageImage(png_of(picture), picture.dpi)
