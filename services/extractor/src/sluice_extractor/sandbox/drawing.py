"""One page being drawn, as the extractor sees it: nothing but pixels comes out of the child."""

import select
import time

from sluice_common.errors import ExtractionTimeout, ExtractorCrashed
from sluice_extractor.parsing.media import Picture
from sluice_extractor.sandbox.frames import BegunFrame, DoneFrame, ErrorFrame
from sluice_extractor.sandbox.handle import ChildHandle
from sluice_extractor.sandbox.media_frames import MOST_MEDIA_BYTES
from sluice_extractor.sandbox.reading import error_of
from sluice_extractor.sandbox.requests import DRAWING_S

_CHANNELS = 3
_BEGINNING_S = 20.0
"""How long others may be drawn before it."""


def picture_of(child: ChildHandle) -> Picture | None:
    """What the child draws; None where the document has no such page.

    Raises:
        PermanentError: it cannot be drawn.
        CrashError: the child died, took too long, or sent what is no drawing.
    """
    if not isinstance(_next_frame(child, _BEGINNING_S), BegunFrame):
        raise _malformed()
    frame = _next_frame(child, DRAWING_S)
    if isinstance(frame, Picture) and frame.channels == _CHANNELS and frame.dpi is not None:
        return frame
    if isinstance(frame, DoneFrame):
        return None
    raise error_of(frame) if isinstance(frame, ErrorFrame) else _malformed()


def _next_frame(child: ChildHandle, within_s: float) -> object:
    until = time.monotonic() + within_s

    def wait(results: int) -> None:
        poll = select.poll()
        poll.register(results, select.POLLIN)
        if not poll.poll(1000 * max(until - time.monotonic(), 0)):
            raise ExtractionTimeout(f"{within_s:g} s were not enough")

    return child.next_frame(wait, most_bytes=MOST_MEDIA_BYTES)


def _malformed() -> ExtractorCrashed:
    return ExtractorCrashed("the reader sent no drawing", detail_code="malformed_frame")
