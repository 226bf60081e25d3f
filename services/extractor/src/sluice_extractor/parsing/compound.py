"""Opens OLE compound files (HWP 5, Outlook messages, old Office), whose streams are read whole."""

import struct
from collections.abc import Iterator
from io import BytesIO

import olefile  # type: ignore[import-untyped]  # the package has no types

from sluice_common.errors import CorruptDocument

_MOST_ENTRIES = 100_000
# What olefile raises on damaged files besides its own error, which is an OSError.
_DAMAGES = (OSError, ValueError, TypeError, IndexError, KeyError, AttributeError, struct.error)

Path = tuple[str, ...]


class CompoundFile:
    """The streams of a compound file by their path."""

    def __init__(self, content: bytes) -> None:
        """Read the directory.

        Raises:
            CorruptDocument: it cannot be read.
        """
        try:
            self._file = olefile.OleFileIO(BytesIO(content))
            entries = self._file.listdir(streams=True, storages=True)
        except _DAMAGES as error:
            raise CorruptDocument("the directory of the OLE container cannot be read") from error
        if len(entries) > _MOST_ENTRIES:
            raise CorruptDocument(f"an OLE container of {len(entries)} entries")
        self._paths = {tuple(entry) for entry in entries}

    def __contains__(self, path: Path) -> bool:
        return path in self._paths

    def names_in(self, *storage: str) -> Iterator[str]:
        """Names of what lies directly in *storage*, sorted; without one, in the root."""
        depth = len(storage)
        yield from sorted(path[-1] for path in self._paths if len(path) == depth + 1 and path[:depth] == storage)

    def stream(self, *path: str) -> bytes:
        """The bytes of a stream; none where there is no such stream.

        Raises:
            CorruptDocument: it cannot be read.
        """
        if path not in self._paths:
            return b""
        try:
            return bytes(self._file.openstream(list(path)).read())
        except _DAMAGES as error:
            raise CorruptDocument("a stream of the OLE container cannot be read") from error
