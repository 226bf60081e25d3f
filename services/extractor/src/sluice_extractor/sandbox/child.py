"""The life of one child: walls first, then the document, page by page, into the pipe."""

import os
import signal
import sys
from dataclasses import dataclass

from sluice_common.errors import DocumentTooLarge, FailureCode, PipelineError
from sluice_extractor.parsing.by_type import open_document
from sluice_extractor.parsing.original import Original
from sluice_extractor.parsing.pdf import draw_page
from sluice_extractor.sandbox.frames import FrameWriter
from sluice_extractor.sandbox.last_words import speak_when_dying
from sluice_extractor.sandbox.requests import ChildOrder
from sluice_extractor.sandbox.walls import Walls, build_walls

FILE_FD, RESULT_FD = 0, 1
_FIRST_OTHER_FD = 3
_RECURSION_LIMIT = 1_000


@dataclass(frozen=True)
class ChildEnds:
    """What a child gets: the pipe with its order, the document, and the pipe for its frames."""

    order_fd: int
    file_fd: int
    result_fd: int

    def close(self) -> None:
        for fd in (self.order_fd, self.file_fd, self.result_fd):
            os.close(fd)


def live(ends: ChildEnds, walls: Walls, server_pid: int) -> None:
    """Read the document and end the process; what happened stands in the last frame."""
    status = 1
    try:
        with os.fdopen(ends.order_fd, "rb", closefd=False) as order_file:
            order = ChildOrder.model_validate_json(order_file.read())
        held = _settle(order, walls, ends, server_pid)
        frames = FrameWriter(RESULT_FD)
        frames.begun()
        _report(order, frames, held)
        status = 0
    finally:
        os._exit(status)


def _settle(order: ChildOrder, walls: Walls, ends: ChildEnds, server_pid: int) -> list[str]:
    leave_the_server(ends, kept_fd=walls.landlock_fd)
    sys.setrecursionlimit(_RECURSION_LIMIT)
    last_words = speak_when_dying(RESULT_FD)
    sys.modules[__name__].__dict__["_last_words"] = last_words  # the kernel's pointer does not keep it
    return [
        "session",
        *build_walls(
            walls,
            memory_bytes=order.memory_bytes,
            cpu_s=order.cpu_s,
            cpu_max_s=order.cpu_max_s,
            server_pid=server_pid,
        ),
    ]


def leave_the_server(ends: ChildEnds, *, kept_fd: int | None) -> None:
    """Be a session of its own, with the file, the pipe, the null device as standard error and *kept_fd* open alone."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    os.dup2(ends.file_fd, FILE_FD)
    os.dup2(ends.result_fd, RESULT_FD)
    highest = os.sysconf("SC_OPEN_MAX")
    if kept_fd is None:
        os.closerange(_FIRST_OTHER_FD, highest)
        return
    os.closerange(_FIRST_OTHER_FD, kept_fd)
    os.closerange(kept_fd + 1, highest)


def _report(order: ChildOrder, frames: FrameWriter, held: list[str]) -> None:
    try:
        if order.drawn_dpi is None:
            _read(order, frames, held)
        else:
            _draw(order, order.drawn_dpi, frames)
    except PipelineError as error:
        frames.error(error.code, error.detail, error.detail_code)
    except MemoryError:
        frames.error(FailureCode.EXTRACTOR_OUT_OF_MEMORY, "Python was refused memory")
    except RecursionError:
        frames.error(FailureCode.CORRUPT, "it is nested too deeply", "too_deep")
    except BrokenPipeError:
        return
    except Exception as error:  # noqa: BLE001 - the child's last line: whatever a parser raised must have a code
        frames.error(FailureCode.EXTRACTOR_CRASHED, f"the reader raised {type(error).__name__}")


def _read(order: ChildOrder, frames: FrameWriter, held: list[str]) -> None:
    original = Original(
        content=_content(order.memory_bytes),
        name=order.name,
        declared_type=order.declared_type,
        pdf_reader=order.pdf_reader,
        wants_media=order.wants_media,
        page_range=order.page_range,
        outline=order.outline,
        wants_sound=order.wants_sound,
        wants_colour=order.wants_colour,
        max_audio_s=order.max_audio_s,
        max_pages=order.max_pages,
        max_text_chars=order.max_text_chars,
    )
    document = open_document(original)
    frames.hello(document, held)
    for page in document.pages:
        frames.page(page)
    frames.done(document.remarks)


def _draw(order: ChildOrder, dpi: float, frames: FrameWriter) -> None:
    assert order.page_range is not None, "a page is drawn, and no document"
    picture = draw_page(_content(order.memory_bytes), order.page_range.first, dpi)
    if picture is not None:
        frames.media(picture)
    frames.done(())


def _content(memory_bytes: int) -> bytes:
    size_bytes = os.fstat(FILE_FD).st_size
    if size_bytes > memory_bytes:  # trying it would end in no memory, three times
        raise DocumentTooLarge(f"{size_bytes} bytes, a reader has {memory_bytes} bytes of memory")
    parts = []
    at = 0
    # By position: the other children of this document share the descriptor's own.
    while part := os.pread(FILE_FD, size_bytes - at, at):
        parts.append(part)
        at += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
