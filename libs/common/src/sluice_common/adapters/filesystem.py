"""Originals as files in one folder, durable when `commit` returns."""

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import NoReturn

from sluice_common.adapters.object_keys import checked_key, is_key
from sluice_common.errors import ObjectMissing, ObjectStoreUnavailable, StorageFull
from sluice_common.failpoints import marked, reach
from sluice_common.ports import ObjectWriter, StoredObject

if sys.platform == "darwin":
    import fcntl

UNFINISHED = ".tmp"
"""The folder of what is being written; a key cannot begin with a dot, so nothing in it can be read."""

PIECE_BYTES = 2**20

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_INNER_FOLDER = _FOLDER | os.O_NOFOLLOW
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A planted FIFO would keep a blocking open waiting for ever; a regular file does not know the difference.
_READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FilesystemObjectStore:
    """An `ObjectStore` in the folder *root*, which must be on one file system and is never made here.

    A missing root is an error and not an invitation: where a volume was not mounted, originals would land
    in a container's own layer and vanish with it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @marked("objects.create")
    def create(self, key: str) -> ObjectWriter:
        checked_key(key)
        with _failures_named(key):
            return FileWriter(self._root, key)

    @marked("objects.read")
    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        checked_key(key)
        source = self._open(key)
        with _failures_named(key):
            source.seek(start)
        return _pieces(source, key, length)

    @contextlib.contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        checked_key(key)
        reach("objects.local_copy.before")
        self._open(key).close()  # says that it is there, and that no symlink is on the way
        reach("objects.local_copy.after")
        yield self._root / key

    def size_of(self, key: str) -> int:
        checked_key(key)
        with self._open(key) as source:
            return os.fstat(source.fileno()).st_size

    @marked("objects.delete")
    def delete(self, key: str) -> None:
        checked_key(key)
        # The root is opened outside the suppression: while a volume is away, nothing counts as deleted.
        with _failures_named(key), _opened(self._root, _FOLDER) as root, contextlib.suppress(FileNotFoundError):
            _unlink(root, key)

    @marked("objects.entries")
    def entries(self, *, older_than: datetime) -> Iterator[StoredObject]:
        with _failures_named("the store"):
            self._root.stat()
            yield from _entries_below(self._root, "", older_than)

    @marked("objects.discard_unfinished")
    def discard_unfinished(self, *, older_than: datetime) -> int:
        with _failures_named(UNFINISHED):
            left = [entry for entry in _entries_of(self._root / UNFINISHED) if _modified_at(entry) < older_than]
            for entry in left:
                Path(entry.path).unlink(missing_ok=True)
        return len(left)

    def ping(self) -> None:
        try:
            writer = FileWriter(self._root, "ping")
            try:
                writer.write(b"ping")
            finally:
                writer.abort()
        except StorageFull as error:
            raise ObjectStoreUnavailable("the object store has no room", detail_code="storage_full") from error
        except OSError as error:
            raise ObjectStoreUnavailable(f"no file can be made in the store: {_reason(error)}") from error

    def _open(self, key: str) -> FileIO:
        with _failures_named(key), _opened(self._root, _FOLDER) as root:
            source = _open_object(root, key)
        if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            source.close()
            raise ObjectMissing(f"{key} is not a file")
        return source


class FileWriter:
    """One file that is being written in `.tmp`, with a name of its own until `commit`."""

    def __init__(self, root: Path, key: str) -> None:
        self._root = root
        self._key = key
        self._part = root / UNFINISHED / f"{secrets.token_hex(16)}.part"
        with contextlib.suppress(FileExistsError):
            self._part.parent.mkdir(mode=0o700)
        with _opened(self._part.parent, _INNER_FOLDER) as folder:
            self._file: int | None = os.open(self._part.name, _NEW_FILE, 0o600, dir_fd=folder)

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        with _failures_named(self._key):
            while rest:
                # A nearly full disk takes a part of the bytes and reports no error; only the next write does.
                rest = rest[os.write(self._open_file(), rest) :]

    @marked("objects.commit")
    def commit(self) -> None:
        file = self._open_file()
        with _failures_named(self._key):
            _flush_to_disk(file)
            self._close()
            reach("objects.synced")
            with _opened(self._root, _FOLDER) as root, _parent_of(root, self._key, make=True) as folder:
                # A reader sees the whole object or none, also after a crash: the bytes are on disk before the name is.
                os.rename(self._part, _name_of(self._key), dst_dir_fd=folder)
                reach("objects.renamed")
                os.fsync(folder)

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(OSError):
            self._part.unlink()  # after a commit there is no such name any more

    def _open_file(self) -> int:
        if self._file is None:
            raise ValueError("the object was committed or aborted already")
        return self._file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _name_of(key: str) -> str:
    return key.rpartition("/")[2]


@contextlib.contextmanager
def _opened(path: Path | str, flags: int, *, within: int | None = None) -> Iterator[int]:
    folder = os.open(path, flags, dir_fd=within)
    try:
        yield folder
    finally:
        os.close(folder)


@contextlib.contextmanager
def _parent_of(root: int, key: str, *, make: bool = False) -> Iterator[int]:
    """The open folder that holds the object, reached one part at a time, so that no symlink is ever followed."""
    with contextlib.ExitStack() as opened:
        folder = root
        for part in key.split("/")[:-1]:
            if make:
                _make_folder(part, within=folder)
            folder = opened.enter_context(_opened(part, _INNER_FOLDER, within=folder))
        yield folder


def _open_object(root: int, key: str) -> FileIO:
    try:
        with _parent_of(root, key) as folder:
            return FileIO(_name_of(key), opener=lambda name, _flags: os.open(name, _READ_FILE, dir_fd=folder))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ObjectMissing(f"{key} is not in the store") from error


def _unlink(root: int, key: str) -> None:
    with _parent_of(root, key) as folder:
        os.unlink(_name_of(key), dir_fd=folder)
        os.fsync(folder)  # a deleted original must not come back after a crash


def _make_folder(name: str, *, within: int) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=within)
    # Also when another writer made it a moment ago: that writer may not have come to its own fsync yet.
    os.fsync(within)


def _flush_to_disk(file: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(file, fcntl.F_FULLFSYNC)  # there, fsync stops at the drive's cache
    else:
        os.fsync(file)


def _pieces(source: FileIO, key: str, length: int | None) -> Iterator[bytes]:
    rest = sys.maxsize if length is None else length
    with source, _failures_named(key):
        while rest > 0 and (piece := source.read(min(rest, PIECE_BYTES))):
            rest -= len(piece)
            yield piece


def _entries_below(folder: Path, prefix: str, older_than: datetime) -> Iterator[StoredObject]:
    for entry in _entries_of(folder):
        key = prefix + entry.name
        if not is_key(key):  # what is unfinished, and what others left there, as `lost+found`
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _entries_below(folder / entry.name, f"{key}/", older_than)
        elif entry.is_file(follow_symlinks=False):
            yield from _stored(entry, key, older_than)


def _stored(entry: os.DirEntry[str], key: str, older_than: datetime) -> Iterator[StoredObject]:
    with contextlib.suppress(FileNotFoundError):  # deleted since the folder was read
        modified_at = _modified_at(entry)
        if modified_at < older_than:
            yield StoredObject(key, entry.stat(follow_symlinks=False).st_size, modified_at)


def _entries_of(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _modified_at(entry: os.DirEntry[str]) -> datetime:
    return datetime.fromtimestamp(entry.stat(follow_symlinks=False).st_mtime, UTC)


@contextlib.contextmanager
def _failures_named(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _raise_named(error, key)


def _raise_named(error: OSError, key: str) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise StorageFull(f"{key}: {_reason(error)}") from error
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        raise ObjectStoreUnavailable(f"{key}: a symlink or a file stands where a folder should") from error
    raise ObjectStoreUnavailable(f"{key}: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
