"""Reads a multipart form while it arrives: the file goes on at once, the other fields are kept."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from sluice_api.names import file_name_of, parameters_of
from sluice_api.problems import Problem, invalid_field

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS = 10
MAX_PART_HEADERS_BYTES = 8 * 2**10
MAX_FIELD_BYTES = 64 * 2**10
MAX_BOUNDARY_BYTES = 70
MAX_PADDING_BYTES = 2**10
"""Most bytes before the first part and behind the last one."""

FILE_FIELD = "file"
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,63}/[a-z0-9!#$&^_.+-]{1,63}")


@dataclass(frozen=True)
class FileHead:
    """What the headers of the file's part say."""

    name: str
    declared_type: str | None
    content_digest: str | None


@dataclass
class _Part:
    """The part that is being read."""

    headers: dict[str, bytes] = field(default_factory=dict)
    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    header_bytes: int = 0
    name: str = ""
    value: bytearray = field(default_factory=bytearray)
    is_file: bool = False


def boundary_of(content_type: str | None) -> bytes:
    """The boundary of a multipart form.

    Raises:
        Problem: 415 for another type of body, 400 without a usable boundary.
    """
    media_type, options = parse_options_header(content_type)
    if media_type != b"multipart/form-data":
        raise Problem(415, "unsupported_media_type", "Send the document as multipart/form-data, in the field 'file'.")
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
        raise _unreadable("the boundary has 1 to 70 characters")
    return boundary


class FormReader:
    """A parser that is fed the body piece by piece.

    Attributes:
        fields: the text fields, complete when `finish` has returned.
        file: the head of the file's part, once it was read.
    """

    def __init__(self, boundary: bytes, *, known_fields: frozenset[str], take: Callable[[bytes], None]) -> None:
        """Args: *known_fields* beside the file, all others are refused; *take* gets the file's bytes in order."""
        self.fields: dict[str, str] = {}
        self.file: FileHead | None = None
        self._known_fields = known_fields
        self._take = take
        self._delimiter = b"--" + boundary
        self._head: bytearray | None = bytearray()
        self._part = _Part()
        self._n_parts = 0
        self._is_ended = False
        self._epilogue_bytes = 0
        self._parser = MultipartParser(boundary, self._callbacks(), max_header_size=MAX_PART_HEADERS_BYTES)

    def feed(self, piece: bytes) -> None:
        """Read on.

        Raises:
            Problem: 400 for what is no form, 422 for a field that may not be there, or what *take* raises.
        """
        if self._is_ended:
            self._epilogue_bytes += len(piece)
            if self._epilogue_bytes > MAX_PADDING_BYTES:
                raise _unreadable("there is too much behind the last part")
            return
        readable = self._behind_preamble(piece)
        try:
            self._parser.write(readable)
        except FormParserError as error:
            raise _unreadable("a part begins or ends in the wrong way") from error

    def finish(self) -> None:
        """Say that the body is complete.

        Raises:
            Problem: 400, the form is not.
        """
        if not self._is_ended:
            raise _unreadable("it ends in the middle of a part")

    def _behind_preamble(self, piece: bytes) -> bytes:
        if self._head is None:
            return piece
        self._head += piece
        begin = self._head.find(self._delimiter)
        if begin > MAX_PADDING_BYTES or (begin < 0 and len(self._head) > MAX_PADDING_BYTES + len(self._delimiter)):
            raise _unreadable("there is too much before the first part")
        if begin < 0:
            return b""
        readable, self._head = bytes(self._head[begin:]), None
        return readable

    def _callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_header_name,
            "on_header_value": self._add_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_content,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._n_parts += 1
        if self._n_parts > MAX_PARTS:
            raise _unreadable(f"it has more than {MAX_PARTS} parts")
        self._part = _Part()

    def _add_header_name(self, piece: bytes, start: int, end: int) -> None:
        self._count_header_bytes(end - start)
        self._part.header_name += piece[start:end]

    def _add_header_value(self, piece: bytes, start: int, end: int) -> None:
        self._count_header_bytes(end - start)
        self._part.header_value += piece[start:end]

    def _count_header_bytes(self, count: int) -> None:
        self._part.header_bytes += count
        if self._part.header_bytes > MAX_PART_HEADERS_BYTES:
            raise _unreadable(f"the headers of a part are longer than {MAX_PART_HEADERS_BYTES} bytes")

    def _end_header(self) -> None:
        part = self._part
        part.headers[part.header_name.decode("latin-1").lower()] = bytes(part.header_value)
        part.header_name.clear()
        part.header_value.clear()

    def _end_headers(self) -> None:
        parameters = parameters_of(self._part.headers.get("content-disposition", b""))
        self._part.name = parameters.get("name", b"").decode("utf-8", "replace")
        self._part.is_file = self._part.name == FILE_FIELD
        if self._part.is_file:
            self._begin_file(file_name_of(parameters))
        else:
            self._refuse_field(self._part.name)

    def _begin_file(self, name: str | None) -> None:
        if self.file is not None:
            raise invalid_field(f"/{FILE_FIELD}", "Send one file in one request.")
        if not name:
            raise Problem(400, "filename_missing", "The part 'file' needs a file name.", pointer=f"/{FILE_FIELD}")
        digest = self._part.headers.get("content-digest")
        self.file = FileHead(name, self._declared_type(), None if digest is None else digest.decode("latin-1"))

    def _declared_type(self) -> str | None:
        sent = self._part.headers.get("content-type", b"").decode("latin-1")
        media_type = sent.partition(";")[0].strip().lower()
        return media_type if _MEDIA_TYPE.fullmatch(media_type) else None

    def _refuse_field(self, name: str) -> None:
        if not name.isidentifier() or name not in self._known_fields:
            shown = name if name.isidentifier() and name.isascii() else "?"
            raise invalid_field(f"/{shown}", "There is no such field.")
        if name in self.fields:
            raise invalid_field(f"/{name}", "The field is there twice.")

    def _add_content(self, piece: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self._take(piece[start:end])
            return
        self._part.value += piece[start:end]
        if len(self._part.value) > MAX_FIELD_BYTES:
            raise invalid_field(f"/{self._part.name}", f"The limit is {MAX_FIELD_BYTES} bytes.")

    def _end_part(self) -> None:
        if not self._part.is_file:
            self.fields[self._part.name] = _text_of(self._part)

    def _end(self) -> None:
        self._is_ended = True


def _text_of(part: _Part) -> str:
    try:
        return part.value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid_field(f"/{part.name}", "The text is not UTF-8.") from error


def _unreadable(why: str) -> Problem:
    return Problem(400, "invalid_request", f"The form cannot be read: {why}.")
