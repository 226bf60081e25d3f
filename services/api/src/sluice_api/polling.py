"""Long polls for one document: `Prefer: wait=N`."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from sluice_api.waiting import Watch, prefer_wait
from sluice_common.catalogue import DocumentView
from sluice_common.events import Events


@dataclass(frozen=True)
class Polled:
    """The document after the wait."""

    view: DocumentView
    applied: str
    """For the header `Preference-Applied`."""


async def poll_document(
    request: Request,
    watch: Watch,
    events: Events,
    look: Callable[[], DocumentView],
    *,
    is_enough: Callable[[DocumentView], bool],
) -> Polled | None:
    """Look at a document until *is_enough*, or the wait is over, or the process stops.

    Args:
        request: says how long to wait.
        watch: knows when the document has moved.
        events: where its moves stand.
        look: reads the document; runs in a thread, and what it raises ends the wait.
        is_enough: whether the client need not wait any longer.

    Returns:
        None when the request asks for no wait.
    """
    wait_s = prefer_wait(request)
    if not wait_s:
        return None
    deadline = time.monotonic() + wait_s
    applied = f"wait={wait_s}"

    def look_with_position() -> tuple[DocumentView, int]:
        view = look()
        # The position first would be safer and cost a look at an id that may not be ours; so look once more.
        position = events.latest_ids([view.id]).get(view.id, 0)
        return look(), position

    while True:
        view, position = await run_in_threadpool(look_with_position)
        left_s = deadline - time.monotonic()
        if is_enough(view) or left_s <= 0 or watch.is_closed:
            return Polled(view, applied)
        await watch.changed(view.id, position, left_s)
