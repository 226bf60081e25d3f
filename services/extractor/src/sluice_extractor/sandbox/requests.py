"""What the sandbox is asked to read, and within which limits."""

import struct
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

LENGTH = struct.Struct("!I")
"""Comes before an order."""
STATUS = struct.Struct("!i")
"""How a child ended, as `os.waitstatus_to_exitcode` says it."""
READY = b"R"
"""The fork server's first byte."""


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


class ChildOrder(BaseModel):
    """What the fork server is told about one child; its file and its pipes travel beside it."""

    model_config = ConfigDict(frozen=True)

    name: str
    declared_type: str | None
    pdf_reader: str
    wants_media: bool
    wants_sound: bool
    max_audio_s: float
    max_pages: int
    max_text_chars: int
    memory_bytes: int
    cpu_s: int
    cpu_max_s: int


def order_for(request: ReadRequest, limits: ReadLimits) -> ChildOrder:
    """The order for a child that reads *request* within *limits*."""
    return ChildOrder(
        name=request.name[-255:].encode("utf-8", "replace").decode(),
        declared_type=request.declared_type[:255] if request.declared_type else None,
        pdf_reader=request.pdf_reader,
        wants_media=request.wants_media,
        wants_sound=request.wants_sound,
        max_audio_s=limits.max_audio_s,
        max_pages=limits.max_pages,
        max_text_chars=limits.max_text_chars,
        memory_bytes=limits.memory_bytes,
        cpu_s=int(limits.wall_clock_max_s) + 1,
        cpu_max_s=int(limits.wall_clock_max_s) + 3,
    )
