"""The folder of one backup: the dump, the originals, and the note that is written last."""

import hashlib
import os
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from sluice_common.adapters.filesystem import FilesystemObjectStore
from sluice_common.errors import ObjectMissing, PipelineError
from sluice_common.keeping import KeptOriginal
from sluice_common.ports import ObjectStore


class UnusableBackup(PipelineError):
    """The folder is not what was asked for; the message says what it is."""

    code = "unusable_backup"


class OriginalDamaged(PipelineError):
    """The bytes are not those that were uploaded."""

    code = "original_damaged"


class Note(BaseModel):
    """Says that a backup is finished, and what is in it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    release: str
    schema_revision: str
    began_at: datetime
    """When the copying of the originals began, by the database's clock; the dump is older."""
    originals: int
    size_bytes: int
    lost: tuple[str, ...] = ()
    """Documents whose original was missing or damaged although they were not deleted."""


class BackupFolder:
    """Where the pieces of a backup are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.dump = folder / "database.dump"
        self._originals = folder / "originals"
        self._note = folder / "backup.json"

    def prepare(self) -> None:
        """Make the folder, which nobody else may read.

        Raises:
            UnusableBackup: it holds a finished backup.
        """
        if self._note.exists():
            raise UnusableBackup(f"{self._folder} holds a finished backup; name another folder")
        self._originals.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)

    def originals(self) -> ObjectStore:
        """The originals in it, as an object store of their own."""
        return FilesystemObjectStore(self._originals)

    def finish(self, note: Note) -> None:
        """Declare the backup finished: what the note says is on the disk by now."""
        part = self._note.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            file.write(note.model_dump_json(indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._note)

    def note(self) -> Note:
        """What a finished backup says about itself.

        Raises:
            UnusableBackup: there is none, or it was never finished.
        """
        try:
            return Note.model_validate_json(self._note.read_bytes())
        except (OSError, ValidationError) as error:
            raise UnusableBackup(f"{self._folder} holds no finished backup") from error


def copy_original(original: KeptOriginal, source: ObjectStore, target: ObjectStore) -> bool:
    """Copy the bytes of *original* unless *target* has them, and compare them with what was uploaded.

    Returns:
        Whether anything was copied.

    Raises:
        ObjectMissing: the source does not have it.
        OriginalDamaged: nothing was kept.
    """
    if _has(target, original):
        return False
    digest, writer = hashlib.sha256(), target.create(original.storage_key)
    try:
        for piece in source.read(original.storage_key):
            digest.update(piece)
            writer.write(piece)
        if digest.hexdigest() != original.sha256:
            raise OriginalDamaged(f"the original of document {original.document_id} has another digest")
        writer.commit()
    finally:
        writer.abort()
    return True


def _has(store: ObjectStore, original: KeptOriginal) -> bool:
    """Objects are immutable and appear whole, so that one of the right size is the right one."""
    try:
        return store.size_of(original.storage_key) == original.size_bytes
    except ObjectMissing:
        return False
