"""What is uploaded: its name, its bytes and how far they have been sent."""

import io
import json
import mimetypes
import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

UploadProgress = Callable[[int, int | None], None]
"""Called with the bytes sent so far and all of them (None: unknown), from the uploading thread."""

Source = str | os.PathLike[str] | bytes | BinaryIO


@dataclass(frozen=True)
class Original:
    """The bytes of one document, opened for sending."""

    name: str
    stream: BinaryIO
    size_bytes: int | None
    start: int
    is_repeatable: bool
    """Whether the bytes can be sent a second time."""


class CountedReader:
    """Reads an original from its start and reports how far it is."""

    def __init__(self, original: Original, on_progress: UploadProgress | None) -> None:
        self._original = original
        self._on_progress = on_progress
        self._sent = 0
        if original.is_repeatable:
            original.stream.seek(original.start)

    def read(self, size: int = -1) -> bytes:
        piece = self._original.stream.read(size)
        self._sent += len(piece)
        if self._on_progress and piece:
            self._on_progress(self._sent, self._original.size_bytes)
        return piece


class SeekableReader(CountedReader):
    """With a place to go back to, which is how httpx learns the length and avoids chunked encoding."""

    def tell(self) -> int:
        return self._original.stream.tell() - self._original.start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._sent = 0
        base = self._original.start if whence == io.SEEK_SET else 0
        return self._original.stream.seek(base + offset, whence) - self._original.start


@contextmanager
def opened(source: Source, name: str | None) -> Iterator[Original]:
    """Open what a caller wants to upload; what the caller opened stays open.

    Args:
        source: a path, the bytes themselves, or an open binary file (read from where it stands).
        name: how the document is called; default: the file's name.

    Raises:
        OSError: the path cannot be read.
        ValueError: bytes or a nameless stream without *name*.
    """
    if isinstance(source, bytes):
        yield _of_stream(io.BytesIO(source), name)
    elif isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as stream:
            yield _of_stream(stream, name or Path(source).name)
    else:
        yield _of_stream(source, name or _name_of(source))


def _name_of(stream: BinaryIO) -> str | None:
    named = getattr(stream, "name", None)  # an int for a stream made of a file descriptor
    return Path(named).name if isinstance(named, str) else None


def _of_stream(stream: BinaryIO, name: str | None) -> Original:
    if not name:
        raise ValueError("a document without a path needs a name")
    # macOS stores names decomposed; the same name must look the same from everywhere.
    named = unicodedata.normalize("NFC", name)
    if not stream.seekable():
        return Original(named, stream, None, 0, is_repeatable=False)
    start = stream.tell()
    size_bytes = stream.seek(0, io.SEEK_END) - start
    stream.seek(start)
    return Original(named, stream, size_bytes, start, is_repeatable=True)


def multipart_of(original: Original, on_progress: UploadProgress | None) -> dict[str, Any]:
    """The `file` part as httpx takes it, read from the first byte."""
    media_type = mimetypes.guess_type(original.name)[0] or "application/octet-stream"
    reader = (SeekableReader if original.is_repeatable else CountedReader)(original, on_progress)
    return {"file": (original.name, reader, media_type)}


def form_of(  # keyword-only: each is one field of the form
    *,
    collection: str | None,
    attributes: Mapping[str, Any] | None,
    chunking: Mapping[str, Any] | None,
    external_id: str | None,
    on_duplicate: str | None,
    multimodal: bool | None,
) -> dict[str, str]:
    """The text fields beside the file; what was not given is left to the gateway."""
    fields = {
        "collection": collection,
        "attributes": None if attributes is None else json.dumps(attributes, ensure_ascii=False),
        "chunking": None if chunking is None else json.dumps(chunking),
        "external_id": external_id,
        "on_duplicate": on_duplicate,
        "multimodal": None if multimodal is None else str(multimodal).lower(),
    }
    return {name: value for name, value in fields.items() if value is not None}
