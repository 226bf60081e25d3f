"""What the sandbox is asked to read or to run, and within which limits."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from sluice_extractor.parsing.original import PageRange
from sluice_extractor.parsing.page import OutlineEntry

BEGINS, GOES_ON, WAITS, RUNS, DRAWS = b"B", b"G", b"W", b"R", b"D"
"""The kinds of orders: for a child that begins a document, one that goes on with what another has begun, one that
waits most of the time for what is made of its pictures, one that becomes a program, and one that draws a page."""
DESCRIPTORS_PER_ORDER = 4
STATUS = struct.Struct("!i")
"""How a child ended, as `os.waitstatus_to_exitcode` says it."""
READY = b"R"
"""The fork server's first byte."""
FEWEST_CHILDREN = 2
"""At once: one that begins a document, and one that goes on with one."""


@dataclass(frozen=True)
class ReadLimits:
    """What one document may cost.

    `memory_bytes` is address space beyond what the fork server itself has mapped. The wall clock counts only while
    somebody waits for the next page, so a slow reader of pages costs the document nothing.
    """

    memory_bytes: int
    wall_clock_s: float
    wall_clock_per_page_s: float
    wall_clock_max_s: float
    max_pages: int
    max_text_chars: int
    first_range_pages: int = 64
    """Of a long document, the first child reads so many, so that others follow soon ..."""
    range_pages: int = 128
    """... and each further one so many; opening a file costs as much as six of its pages."""
    max_audio_s: float = 14_400

    def allowed_s(self, pages: int) -> float:
        """Seconds that a document with that many pages may take."""
        return min(self.wall_clock_s + self.wall_clock_per_page_s * pages, self.wall_clock_max_s)


@dataclass(frozen=True)
class ReadRequest:
    """A document to read; name and declared type are hints of whoever sent it."""

    path: Path
    name: str
    declared_type: str | None = None
    pdf_reader: str = "pdfium"
    wants_media: bool = False
    """Whether pages shall come with what they hold besides text."""
    wants_sound: bool = False
    """Whether somebody hears the sound of recordings."""
    wants_colour: bool = False
    """Whether somebody looks at pictures who sees colours."""


@dataclass(frozen=True)
class Part:
    """What one child reads of a document."""

    page_range: PageRange | None = None
    """None is all of it."""
    outline: list[OutlineEntry] | None = None
    """What is known of its outline."""


WHOLE = Part()


@dataclass(frozen=True)
class Program:
    """A program that reads its standard input, writes its standard output, and needs nothing else of the system."""

    path: str
    """Absolute, and the file itself: neither a link nor a script."""
    arguments: tuple[str, ...]
    memory_bytes: int
    wall_clock_s: float
    environment: Mapping[str, str] = field(default_factory=dict)
    readable: tuple[str, ...] = ()
    """Folders that it reads besides its shared libraries."""
    most_answer_bytes: int = 16 << 20


@dataclass(frozen=True)
class DrawRequest:
    """A page of a PDF to draw; its number begins with 1."""

    path: Path
    page: int
    dpi: float


DRAWING_S = 10.0
"""From the moment that its child exists."""
DRAWING_BYTES = 512 << 20
"""Of memory at most: the child that draws lives beside those that read."""


class ChildOrder(BaseModel):
    """What the fork server is told about one child; its file and its pipes travel beside it."""

    model_config = ConfigDict(frozen=True)

    name: str
    declared_type: str | None
    pdf_reader: str
    wants_media: bool
    page_range: PageRange | None
    outline: list[OutlineEntry] | None
    wants_sound: bool
    wants_colour: bool
    max_audio_s: float
    max_pages: int
    max_text_chars: int
    memory_bytes: int
    cpu_s: int
    cpu_max_s: int
    drawn_dpi: float | None = None
    """Where the first page of the range is to be drawn, and not read: so many pixels per inch."""

    @property
    def kind(self) -> bytes:
        if self.drawn_dpi is not None:
            return DRAWS
        if self.wants_media:
            return WAITS
        return BEGINS if self.page_range is None or self.page_range.first == 1 else GOES_ON


class ProgramOrder(BaseModel):
    """What a child is told that becomes a program."""

    model_config = ConfigDict(frozen=True)

    path: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    readable: tuple[str, ...]
    memory_bytes: int
    cpu_s: int


def order_to_run(program: Program) -> ProgramOrder:
    """The order for a child that becomes *program*."""
    return ProgramOrder(
        path=program.path,
        arguments=program.arguments,
        environment=dict(program.environment),
        readable=program.readable,
        memory_bytes=program.memory_bytes,
        cpu_s=int(program.wall_clock_s) + 1,
    )


def order_for(request: ReadRequest, limits: ReadLimits, part: Part) -> ChildOrder:
    """The order for a child that reads *part* of *request* within *limits*."""
    return ChildOrder(
        name=request.name[-255:].encode("utf-8", "replace").decode(),
        declared_type=request.declared_type[:255] if request.declared_type else None,
        pdf_reader=request.pdf_reader,
        wants_media=request.wants_media,
        page_range=part.page_range,
        outline=part.outline,
        wants_sound=request.wants_sound,
        wants_colour=request.wants_colour,
        max_audio_s=limits.max_audio_s,
        max_pages=limits.max_pages,
        max_text_chars=limits.max_text_chars,
        memory_bytes=limits.memory_bytes,
        cpu_s=int(limits.wall_clock_max_s) + 1,
        cpu_max_s=int(limits.wall_clock_max_s) + 3,
    )


def order_for_drawing(request: DrawRequest, limits: ReadLimits) -> ChildOrder:
    """The order for a child that draws a page."""
    part = Part(PageRange(request.page, request.page))
    order = order_for(ReadRequest(request.path, ""), limits, part)
    limited = {
        "memory_bytes": min(limits.memory_bytes, DRAWING_BYTES),
        "cpu_s": int(DRAWING_S) + 1,
        "cpu_max_s": int(DRAWING_S) + 3,
    }
    return order.model_copy(update={**limited, "drawn_dpi": request.dpi})
