"""What a reader is given, and what it gives back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from sluice_extractor.parsing.page import OutlineEntry, Page, Remark


@dataclass
class FigureAllowance:
    """What all figures of one document together may still cost."""

    looks: int = 5_000
    pictures: int = 1_000
    pixels: int = 2_000_000_000
    size_bytes: int = 256 << 20
    digests: set[bytes] = field(default_factory=set)

    def has_room(self) -> bool:
        """Whether one more may be looked at."""
        self.looks -= 1
        return min(self.looks, self.pictures, self.pixels, self.size_bytes) > 0

    def is_new(self, digest: bytes, size_bytes: int) -> bool:
        """Whether bytes with that digest were not seen before."""
        self.size_bytes -= size_bytes
        known = len(self.digests)
        self.digests.add(digest)
        return len(self.digests) > known

    def take(self, pixels: int) -> None:
        """Count one that is decoded."""
        self.pictures -= 1
        self.pixels -= pixels


@dataclass
class Allowance:
    """What all attachments of one document together may still cost, and the remarks on them."""

    chars: int
    attachments: int = 200
    bytes: int = 256 << 20
    remarks: list[Remark] = field(default_factory=list)
    figures: FigureAllowance = field(default_factory=FigureAllowance)


@dataclass(frozen=True)
class PageRange:
    """Pages that follow one another; both ends belong to it, and the first page of a document is 1."""

    first: int
    last: int


@dataclass(frozen=True)
class Original:
    """The bytes of a document and what others say about them, which is only a hint."""

    content: bytes
    name: str = ""
    declared_type: str | None = None
    pdf_reader: str = "pdfium"
    wants_media: bool = False
    """Whether pages shall come with their pictures and sounds, for others to turn into text."""
    page_range: PageRange | None = None
    """The pages that are wanted; a reader that cannot begin anywhere gives all of them, and says so."""
    outline: Sequence[OutlineEntry] | None = None
    """The part of the outline that is about these pages, where whoever read the first pages has told it."""
    wants_sound: bool = False
    """Whether the pages of a recording shall come with its sound, which is of use to those that hear it only."""
    wants_colour: bool = False
    """Whether pictures within a document shall keep their colours, which recognising text does not need."""
    max_audio_s: float = 14_400
    max_pages: int = 5_000
    max_text_chars: int = 50_000_000
    depth: int = 0
    """How many mails it is attached in."""
    allowance: Allowance | None = None
    """What it may still cost, when it is attached to another document."""

    @property
    def suffix(self) -> str:
        """The end of the name, in lower case, with its dot."""
        return PurePath(self.name).suffix.lower()

    @property
    def hinted_type(self) -> str:
        """The declared media type without parameters, in lower case."""
        return (self.declared_type or "").partition(";")[0].strip().lower()


@dataclass
class OpenDocument:
    """A document whose reader has opened it; its pages come once, one by one."""

    media_type: str
    reader: str
    pages_total: int | None
    pages: Iterator[Page]
    remarks: list[Remark] = field(default_factory=list)
    """Complete only when `pages` is exhausted."""
    page_range: PageRange | None = None
    """The pages that come, where they are not all; whoever puts the ranges together sees to what needs all pages."""
    outline: Sequence[OutlineEntry] = ()
    """Of all pages, for those who read the others; empty where these are not the first."""


Reader = Callable[[Original], OpenDocument]
