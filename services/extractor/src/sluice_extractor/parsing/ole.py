"""Looks into OLE containers, the envelope of the old binary formats and of encrypted Office files."""

from io import BytesIO

import olefile  # type: ignore[import-untyped]  # the package has no types

from sluice_common.errors import CorruptDocument, Encrypted
from sluice_extractor.parsing.original import OpenDocument, Original

_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = frozenset({"encryptedpackage", "encryptioninfo"})


def streams_of(original: Original) -> frozenset[str]:
    """The names of the streams and storages at the top of an OLE container, in lower case; none in anything else."""
    if not original.content.startswith(_MAGIC) or len(original.content) < olefile.MINIMAL_OLEFILE_SIZE:
        return frozenset()
    try:
        with olefile.OleFileIO(BytesIO(original.content)) as container:
            return frozenset(entry.name.lower() for entry in container.root.kids)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - olefile raises whatever a damaged container provokes; it is judged by the reader
        return frozenset()


def fits_encrypted_office(original: Original) -> bool:
    return bool(streams_of(original) & _ENCRYPTED)


def fits_damaged_ole(original: Original) -> bool:
    """Whether it begins like an OLE container and has no directory that could be read."""
    is_long_enough = len(original.content) >= olefile.MINIMAL_OLEFILE_SIZE
    return original.content.startswith(_MAGIC) and is_long_enough and not streams_of(original)


def refuse_damaged_ole(_original: Original) -> OpenDocument:
    """Refuse a document of an old binary format of which nobody can tell what it was.

    Raises:
        CorruptDocument: always.
    """
    raise CorruptDocument("the directory of its OLE container cannot be read")


def refuse_encrypted_office(_original: Original) -> OpenDocument:
    """Refuse an Office document with a password.

    Raises:
        Encrypted: always.
    """
    raise Encrypted("the Office document needs a password")
