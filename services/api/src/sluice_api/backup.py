"""Copies the tables and the originals of an installation, while it runs: `python -m sluice_api.backup`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sluice_api.backup_folder import BackupFolder, Note, OriginalDamaged, UnusableBackup, copy_original
from sluice_common import __version__, dumps
from sluice_common.adapters.build import build_object_store
from sluice_common.database import open_database
from sluice_common.errors import ObjectMissing, PipelineError
from sluice_common.keeping import Keeping, KeptOriginal
from sluice_common.migrations import check_schema, newest_revision
from sluice_common.ports import ObjectStore
from sluice_common.service import run_service, say
from sluice_common.settings import DatabaseOnlySettings, ObjectsSettings

SHOWN_EVERY = 1000


class BackupSettings(DatabaseOnlySettings):
    objects: ObjectsSettings


class OriginalsLost(PipelineError):
    """Documents that nobody deleted have no original, or a damaged one; the rest of the backup is finished."""

    code = "originals_lost"


@dataclass(frozen=True)
class Backup:
    """The two halves of a backup; the originals must come second.

    An original is on disk before its row is, and stays until its document is deleted: copied after the dump, the
    originals have the bytes of every row in it, but for documents that were deleted meanwhile.
    """

    database_url: str
    keeping: Keeping
    objects: ObjectStore
    folder: BackupFolder
    say: Callable[[str], None]

    def save_database(self) -> None:
        """Dump all tables as of one moment.

        Raises:
            DumpFailed: there is no dump.
        """
        dumps.dump(self.database_url, self.folder.dump)
        self.say(f"the tables are in {self.folder.dump} ({self.folder.dump.stat().st_size} bytes)")

    def save_originals(self) -> Note:
        """Copy the originals of all documents, and compare each with the digest of its upload; may be repeated.

        Raises:
            OriginalsLost: names the documents; all others were copied.
        """
        began_at, kept, lost = self.keeping.now(), self.folder.originals(), []
        count = size_bytes = 0
        for original in self.keeping.originals():
            if not self._saved(original, kept):
                lost.append(str(original.document_id))
                continue
            count, size_bytes = count + 1, size_bytes + original.size_bytes
            if count % SHOWN_EVERY == 0:
                self.say(f"{count} originals, {size_bytes} bytes")
        note = Note(
            release=__version__,
            schema_revision=newest_revision(),
            began_at=began_at,
            originals=count,
            size_bytes=size_bytes,
            lost=tuple(lost),
        )
        self.folder.finish(note)
        self.say(f"{count} originals are copied and compared, {size_bytes} bytes")
        if lost:
            raise OriginalsLost(f"no good original of the documents {', '.join(lost)}; all others are in the backup")
        return note

    def _saved(self, original: KeptOriginal, kept: ObjectStore) -> bool:
        """Whether nothing is lost: it was copied, or its document has just been deleted."""
        try:
            copy_original(original, self.objects, kept)
        except (ObjectMissing, OriginalDamaged):
            return not self.keeping.is_active(original.document_id)
        return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    options = _parser().parse_args(arguments)
    return run_service(BackupSettings, "backup", lambda settings, stack: _back_up(settings, stack, options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sluice_api.backup", description="Back an installation up.")
    parser.add_argument("what", choices=("all", "database", "originals"), help="the originals come after the database")
    parser.add_argument("folder", type=Path, help="of this one backup; made when it is not there")
    parser.add_argument(
        "--database-elsewhere", action="store_true", help="the tables were saved before, by something else"
    )
    return parser


def _back_up(settings: BackupSettings, stack: ExitStack, options: argparse.Namespace) -> None:
    database = open_database(settings.database, application="sluice-backup", pool_size=1)
    stack.callback(database.close)
    check_schema(database)
    folder = BackupFolder(options.folder)
    folder.prepare()
    objects = build_object_store(settings.objects)
    backup = Backup(settings.database.url, Keeping(database), objects, folder, say)
    if options.what != "originals":
        backup.save_database()
    if options.what != "database":
        _require_dump(folder, options)
        backup.save_originals()


def _require_dump(folder: BackupFolder, options: argparse.Namespace) -> None:
    if not folder.dump.is_file() and not options.database_elsewhere:
        raise UnusableBackup(
            "save the database first: originals that are copied before it lack what is uploaded in between"
        )


if __name__ == "__main__":
    sys.exit(main())
