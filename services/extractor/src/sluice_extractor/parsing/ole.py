"""Looks into OLE containers, the envelope of the old binary formats and of encrypted Office files."""

from io import BytesIO

import olefile  # type: ignore[import-untyped]  # the package has no types

from sluice_common.errors import Encrypted
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


def is_broken_ole(original: Original, mark: str) -> bool:
    """Whether it is an OLE container whose directory cannot be read, with *mark* as a name somewhere in it."""
    is_ole = original.content.startswith(_MAGIC)
    return is_ole and not streams_of(original) and mark.encode("utf-16-le") in original.content


def fits_encrypted_office(original: Original) -> bool:
    return bool(streams_of(original) & _ENCRYPTED)


def refuse_encrypted_office(_original: Original) -> OpenDocument:
    """Refuse an Office document with a password.

    Raises:
        Encrypted: always.
    """
    raise Encrypted("the Office document needs a password")
