"""Puts a backup into an empty installation, whose services do not run: `python -m sluice_api.restore`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sluice_api.backup import BackupSettings
from sluice_api.backup_folder import BackupFolder, Note, OriginalDamaged, UnusableBackup, copy_original
from sluice_common import dumps, migrations
from sluice_common.adapters.build import build_object_store
from sluice_common.database import open_database
from sluice_common.documents import Documents
from sluice_common.errors import ObjectMissing, PipelineError
from sluice_common.keeping import Keeping, KeptOriginal
from sluice_common.ports import ObjectStore
from sluice_common.service import run_service, say
from sluice_common.settings import TimesSettings
from sluice_common.times import times_of


class RestoreSettings(BackupSettings):
    times: TimesSettings = TimesSettings()


class OriginalsMissing(PipelineError):
    """The backup lacks bytes that no deletion explains; nothing was deleted."""

    code = "originals_missing"


@dataclass(frozen=True)
class Restore:
    """The two halves of a restore, in the order of the backup; the second may be repeated."""

    database_url: str
    keeping: Keeping
    documents: Documents
    objects: ObjectStore
    folder: BackupFolder
    say: Callable[[str], None]

    def load_database(self) -> None:
        """Replace the empty tables by those of the backup, and bring them to this release.

        Raises:
            UnusableBackup: the database has documents, or the backup is of a newer release.
            DumpFailed: there are no tables now.
        """
        note = self.folder.note()
        if self.keeping.has_documents():
            raise UnusableBackup("the database has documents; a restore needs an empty one")
        if not migrations.knows(note.schema_revision):
            raise UnusableBackup(f"the backup has tables of revision {note.schema_revision}, which is newer than this")
        migrations.downgrade(self.database_url, "base")
        dumps.load(self.database_url, self.folder.dump)
        migrations.upgrade(self.database_url)
        self.say(f"the tables are restored, at revision {migrations.newest_revision()}")

    def load_originals(self, *, drops_incomplete: bool) -> None:
        """Put the originals back, and delete documents without one: they were deleted while the backup was made.

        Args:
            drops_incomplete: delete also documents whose bytes are missing for a reason that nobody knows.

        Raises:
            OriginalsMissing: names those, when they are not to be deleted.
        """
        note = self.folder.note()
        self.keeping.leave_a_gap()
        missing = self._copy_all()
        unexplained = [original for original in missing if not _was_deleted(original, note)]
        if unexplained and not drops_incomplete:
            named = ", ".join(str(original.document_id) for original in unexplained)
            raise OriginalsMissing(f"no good original of the documents {named}; --drop-incomplete deletes them")
        for original in missing:
            self.documents.delete(original.tenant_id, original.document_id)
        self.say(f"{len(missing)} documents without an original are deleted, {len(unexplained)} of them lost")

    def _copy_all(self) -> list[KeptOriginal]:
        saved, missing, copied = self.folder.originals(), [], 0
        for original in self.keeping.originals():
            try:
                copied += copy_original(original, saved, self.objects)
            except (ObjectMissing, OriginalDamaged):
                missing.append(original)
        self.say(f"{copied} originals are put back and compared")
        return missing


def _was_deleted(original: KeptOriginal, note: Note) -> bool:
    """Whether only a deletion during the backup explains that there are no bytes.

    A row that is newer than the copying is of a dump that was made too late, and its bytes were never looked for.
    """
    return original.created_at < note.began_at and str(original.document_id) not in note.lost


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    options = _parser().parse_args(arguments)
    return run_service(RestoreSettings, "restore", lambda settings, stack: _restore(settings, stack, options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sluice_api.restore", description="Restore a backup.")
    parser.add_argument("what", choices=("all", "database", "originals"), help="the originals come after the database")
    parser.add_argument("folder", type=Path, help="of the backup")
    parser.add_argument("--drop-incomplete", action="store_true", help="delete documents whose original was lost")
    return parser


def _restore(settings: RestoreSettings, stack: ExitStack, options: argparse.Namespace) -> None:
    database = open_database(settings.database, application="sluice-restore", pool_size=1)
    stack.callback(database.close)
    restore = Restore(
        settings.database.url,
        Keeping(database),
        Documents(database, times_of(settings.times)),
        build_object_store(settings.objects),
        BackupFolder(options.folder),
        say,
    )
    if options.what != "originals":
        restore.load_database()
    if options.what != "database":
        migrations.check_schema(database)
        restore.load_originals(drops_incomplete=options.drop_incomplete)
        say("start the services, then rebuild the index")


if __name__ == "__main__":
    sys.exit(main())
