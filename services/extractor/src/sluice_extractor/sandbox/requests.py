"""What the sandbox is asked to read, and within which limits."""

import struct
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from sluice_extractor.parsing.original import PageRange
from sluice_extractor.parsing.page import OutlineEntry

BEGINS, GOES_ON = b"B", b"G"
"""The kinds of orders: for a child that begins a document, and for one that goes on with what another has begun."""
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

    @property
    def kind(self) -> bytes:
        return BEGINS if self.page_range is None or self.page_range.first == 1 else GOES_ON


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
