"""The frames that a child sends: a length of four bytes, then JSON or media; the parent believes none of it."""

import os
import struct
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sluice_extractor.parsing.media import Media
from sluice_extractor.parsing.original import OpenDocument
from sluice_extractor.parsing.page import (
    FARTHEST_TENTHS,
    NOWHERE,
    NUMBERS_PER_SPAN,
    SHEET_CHARS,
    Heading,
    Page,
    Place,
    Remark,
    TextSpan,
    TextSpans,
    numbers_of,
)
from sluice_extractor.sandbox.media_frames import MARK, encoded_media, parse_media

LENGTH = struct.Struct("!I")
MOST_REMARKS = 1000
_MAX_HEADINGS = 100_000
_DETAIL_CHARS = 300
_LAST_SLIDE = 10**9
_LONGEST_S = 10**9


class MalformedFrame(Exception):
    """What a child sent is no frame; the child is not to be trusted further."""


class _Frame(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class BegunFrame(_Frame):
    """The child exists; what it takes from here on is its document's time."""

    kind: Literal["begun"] = "begun"


class OutlineField(_Frame):
    """An entry of the outline on the wire."""

    page: int = Field(ge=1, le=10**9)
    level: int = Field(ge=1, le=99)
    title: str = Field(max_length=_DETAIL_CHARS, pattern=r"^[^\x00]*$")
    top: float | None = Field(allow_inf_nan=False)


class HelloFrame(_Frame):
    """The document is open. `walls` are those that hold around the child.

    `page_range` are the first and the last page that this child sends, where they are not all; `outline` is that of
    the whole document then, in the frame of the first child.
    """

    kind: Literal["hello"] = "hello"
    media_type: str = Field(max_length=100, pattern=r"^[a-z]+/[a-z0-9.+-]+$")
    reader: str = Field(max_length=50)
    pages_total: int | None = Field(ge=0, le=10**9)
    walls: list[Annotated[str, Field(max_length=50)]] = Field(max_length=50)
    page_range: list[int] | None = Field(default=None, min_length=2, max_length=2)
    outline: list[OutlineField] = Field(default=[], max_length=_MAX_HEADINGS)


class RemarkField(_Frame):
    """A remark on the wire."""

    code: str = Field(max_length=50, pattern=r"^[a-z_]+$")
    detail: str = Field(max_length=_DETAIL_CHARS)
    page: int | None = Field(ge=1, le=10**9)


class DoneFrame(_Frame):
    """All pages were sent."""

    kind: Literal["done"] = "done"
    remarks: list[RemarkField] = Field(max_length=MOST_REMARKS)


class ErrorFrame(_Frame):
    """The document cannot be read; `code` is a failure code."""

    kind: Literal["error"] = "error"
    code: str = Field(max_length=50)
    detail: str = Field(max_length=_DETAIL_CHARS)
    detail_code: str | None = Field(max_length=50, pattern=r"^[a-z_]+$")


OtherFrame = BegunFrame | HelloFrame | DoneFrame | ErrorFrame
_OTHER_FRAMES: TypeAdapter[OtherFrame] = TypeAdapter(Annotated[OtherFrame, Field(discriminator="kind")])


class FrameWriter:
    """The child's end of the pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def begun(self) -> None:
        self._write(orjson.dumps(BegunFrame().model_dump()))

    def hello(self, document: OpenDocument, walls: Sequence[str]) -> None:
        part = document.page_range
        frame = HelloFrame(
            media_type=document.media_type,
            reader=document.reader,
            pages_total=document.pages_total,
            walls=list(walls),
            page_range=[part.first, part.last] if part else None,
            outline=[OutlineField(**asdict(entry)) for entry in document.outline],
        )
        self._write(orjson.dumps(frame.model_dump()))

    def page(self, page: Page) -> None:
        """Send a page, after the media on it."""
        for media in page.media:
            self.media(media)
        self._write(encoded_page(page))

    def media(self, media: Media) -> None:
        self._write(encoded_media(media))

    def done(self, remarks: Sequence[Remark]) -> None:
        fields = [RemarkField(**asdict(remark)) for remark in remarks[:MOST_REMARKS]]
        self._write(orjson.dumps(DoneFrame(remarks=fields).model_dump()))

    def error(self, code: str, detail: str, detail_code: str | None = None) -> None:
        self._write(encoded_error(code, detail, detail_code))

    def _write(self, body: bytes) -> None:
        left = memoryview(LENGTH.pack(len(body)) + body)
        while left:
            left = left[os.write(self._fd, left) :]


def encoded_error(code: str, detail: str, detail_code: str | None = None) -> bytes:
    """The body of an error frame."""
    frame = ErrorFrame(code=code, detail=detail[:_DETAIL_CHARS], detail_code=detail_code)
    return orjson.dumps(frame.model_dump())


def encoded_page(page: Page) -> bytes:
    """The body of a page's frame, without its media: spans as one list of numbers, rectangles in tenths of points."""
    headings = [(heading.start, heading.level, heading.title) for heading in page.headings]
    at = page.place
    place = None if at == NOWHERE else (at.sheet, at.slide, at.time_start, at.time_end)
    fields = [page.number, page.text, page.failed, numbers_of(page.spans), headings, place]
    return orjson.dumps({"kind": "page", "page": fields})


def parse_frame(body: bytes) -> Page | Media | OtherFrame:
    """The frame that *body* is; a page comes without its media, which came before it.

    Raises:
        MalformedFrame: it is none.
    """
    try:
        if body.startswith(MARK):
            return parse_media(body)
        fields = orjson.loads(body)
        if isinstance(fields, dict) and fields.get("kind") == "page":
            return _page_of(fields["page"])
        return _OTHER_FRAMES.validate_python(fields)
    except (
        orjson.JSONDecodeError,
        ValidationError,
        struct.error,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
    ) as error:
        raise MalformedFrame(type(error).__name__) from error


def _page_of(fields: list[object]) -> Page:
    """Checked by hand: a schema library would cost more than reading the page."""
    number, text, failed, numbers, headings, place = fields
    if not (number is None or type(number) is int) or type(text) is not str or type(failed) is not bool:
        raise ValueError("no page")
    if type(numbers) is not list or type(headings) is not list:
        raise ValueError("no page")
    if "\0" in text or len(headings) > _MAX_HEADINGS:
        raise ValueError("no clean page")
    spans, checked_headings = _spans_of(numbers, len(text)), _headings_of(headings, len(text))
    return Page(number, text, spans, checked_headings, failed, _place_of(place))


def _spans_of(numbers: list[int], length: int) -> Sequence[TextSpan]:
    if not numbers:
        return ()
    if set(map(type, numbers)) != {int} or len(numbers) % NUMBERS_PER_SPAN:
        raise ValueError("no spans")
    starts, ends = numbers[0::NUMBERS_PER_SPAN], numbers[1::NUMBERS_PER_SPAN]
    if starts != sorted(starts) or min(starts) < 0 or max(ends) > length or any(map(int.__gt__, starts, ends)):
        raise ValueError("spans outside of the text")
    if max(numbers) > FARTHEST_TENTHS or min(numbers) < -FARTHEST_TENTHS:
        raise ValueError("spans far off any page")
    return TextSpans(numbers)


def _headings_of(triples: list[Any], length: int) -> tuple[Heading, ...]:  # Any: checked here
    headings = []
    last = 0
    for triple in triples:
        start, level, title = triple  # what is no triple raises TypeError or ValueError
        if type(start) is not int or type(level) is not int or type(title) is not str:
            raise ValueError("no heading")
        if not last <= start <= length or not 1 <= level <= 99 or len(title) > _DETAIL_CHARS or "\0" in title:  # noqa: PLR2004 - far beyond any outline
            raise ValueError("no heading of this page")
        headings.append(Heading(start, level, title))
        last = start
    return tuple(headings)


def _place_of(fields: Any) -> Place:  # Any: checked here
    if fields is None:
        return NOWHERE
    sheet, slide, start, end = fields  # what is no list of four raises TypeError or ValueError
    if sheet is not None and (type(sheet) is not str or len(sheet) > SHEET_CHARS or "\0" in sheet):
        raise ValueError("no sheet")
    if slide is not None and (type(slide) is not int or not 1 <= slide <= _LAST_SLIDE):
        raise ValueError("no slide")
    return Place(sheet, slide, *_times_of(start, end))


def _times_of(start: Any, end: Any) -> tuple[float, float] | tuple[None, None]:  # Any: checked here
    if start is None and end is None:
        return None, None
    if type(start) not in (int, float) or type(end) not in (int, float) or not 0 <= start <= end <= _LONGEST_S:
        raise ValueError("no times")
    return float(start), float(end)
