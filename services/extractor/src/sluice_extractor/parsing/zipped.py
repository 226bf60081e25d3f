"""Opens ZIP containers that nobody trusts: counted while inflating, and no name in them is ever a path."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from sluice_common.errors import ArchiveBomb, CorruptDocument, Encrypted
from sluice_extractor.parsing.media import FigureSource

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
PIECE_BYTES = 1 << 16
_MOST_MEMBERS = 10_000
_MOST_DIRECTORY_BYTES = _MOST_MEMBERS * 512
_MOST_BYTES = 1 << 30
_FREE_BYTES = 1 << 20  # a member up to this size may be of any ratio
_MOST_RATIO = 200
_MOST_FIGURE_BYTES = 64 << 20
_END = struct.Struct("<4s4H2LH")
_END_MAGIC = b"PK\x05\x06"
_LONGEST_COMMENT = 1 << 16
_LOCAL_HEADER_BYTES = 30
_IS_ENCRYPTED = 1


@dataclass
class _Budget:
    """How many bytes all members together may still inflate to."""

    left_bytes: int = _MOST_BYTES

    def spend(self, size: int) -> None:
        self.left_bytes -= size
        if self.left_bytes < 0:
            raise ArchiveBomb(f"its members inflate to more than {_MOST_BYTES} bytes", detail_code="inflated_size")


class Archive:
    """A ZIP container; its members are found by name, in the case in which they are asked for or any other.

    Whatever is read is counted together, so that no order of reading passes the bound.
    """

    def __init__(self, content: bytes) -> None:
        """Open *content* and look at its directory; nothing is inflated yet.

        Raises:
            CorruptDocument: it is no ZIP container, or a damaged one.
            ArchiveBomb: too many members, or members that share their bytes.
        """
        _check_directory(content)
        try:
            self._zip = ZipFile(BytesIO(content))
        except (BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
            raise CorruptDocument("its ZIP directory cannot be read") from error
        members = self._zip.infolist()
        _check_members(members)
        self._member_by_name = {member.filename.lstrip("/"): member for member in members}
        self._name_by_lower = {name.lower(): name for name in self._member_by_name}
        self._budget = _Budget()

    @property
    def names(self) -> list[str]:
        return list(self._member_by_name)

    def has(self, name: str) -> bool:
        return self._found(name) is not None

    def pieces(self, name: str) -> Iterator[bytes]:
        """The content of a member, inflated piece by piece; none when there is no such member.

        Raises:
            Encrypted: the member needs a password.
            ArchiveBomb: it inflates too far, whatever its header says.
            CorruptDocument: it cannot be inflated.
        """
        member = self._found(name)
        if member is None:
            return
        if member.flag_bits & _IS_ENCRYPTED:
            raise Encrypted("a member of the container needs a password")
        if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise CorruptDocument("a member is compressed in a way that the format does not have")
        _check_ratio(member.file_size, member.compress_size)  # a header may lie, but not to its own harm
        yield from self._inflated(member)

    def read(self, name: str, most_bytes: int) -> bytes:
        """A whole small member; empty when there is none.

        Raises:
            ArchiveBomb: it is larger than *most_bytes*; and whatever `pieces` raises.
        """
        content = bytearray()
        for piece in self.pieces(name):
            content += piece
            if len(content) > most_bytes:
                raise ArchiveBomb(f"a member has more than {most_bytes} bytes", detail_code="member_size")
        return bytes(content)

    def figure(self, name: str) -> FigureSource:
        """The member as a picture of the document."""
        return FigureSource(name, partial(self.read, name, _MOST_FIGURE_BYTES))

    def _found(self, name: str) -> ZipInfo | None:
        exact = self._member_by_name.get(name)
        return exact or self._member_by_name.get(self._name_by_lower.get(name.lower(), ""))

    def _inflated(self, member: ZipInfo) -> Iterator[bytes]:
        taken = 0
        try:
            with self._zip.open(member) as stream:
                while piece := stream.read(PIECE_BYTES):
                    taken += len(piece)
                    _check_ratio(taken, member.compress_size)
                    self._budget.spend(len(piece))
                    yield piece
        except (BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError) as error:
            raise CorruptDocument("a member of the container is damaged") from error


def _check_directory(content: bytes) -> None:
    """Refuse an endless directory before a list is made of it."""
    at = content.rfind(_END_MAGIC, max(0, len(content) - _LONGEST_COMMENT - _END.size))
    if at < 0 or len(content) - at < _END.size:
        raise CorruptDocument("its ZIP directory is missing")
    _, _, _, _, members, size_bytes, _, _ = _END.unpack_from(content, at)
    if members > _MOST_MEMBERS or size_bytes > _MOST_DIRECTORY_BYTES:
        raise ArchiveBomb(f"it has more than {_MOST_MEMBERS} members", detail_code="members")


def _check_members(members: list[ZipInfo]) -> None:
    if len(members) > _MOST_MEMBERS:
        raise ArchiveBomb(f"it has more than {_MOST_MEMBERS} members", detail_code="members")
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise ArchiveBomb("its members share their bytes", detail_code="overlapping_members")
        end = member.header_offset + _LOCAL_HEADER_BYTES + member.compress_size


def _check_ratio(size_bytes: int, compressed_bytes: int) -> None:
    if size_bytes > _FREE_BYTES and size_bytes > _MOST_RATIO * max(compressed_bytes, 1):
        raise ArchiveBomb(f"a member inflates to more than {_MOST_RATIO} times its size", detail_code="ratio")
