"""What is particular to originals in a folder: durability, links, permissions, a full disk."""

import errno
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sluice_common.adapters.build import build_object_store
from sluice_common.adapters.filesystem import FilesystemObjectStore
from sluice_common.errors import ObjectMissing, ObjectStoreUnavailable, StorageFull
from sluice_common.settings import ObjectsSettings, SettingsError


@pytest.fixture
def store(tmp_path: Path) -> FilesystemObjectStore:
    return FilesystemObjectStore(tmp_path)


def put(store: FilesystemObjectStore, key: str, body: bytes) -> None:
    writer = store.create(key)
    writer.write(body)
    writer.commit()


def fail(code: int) -> Callable[..., int]:
    def failing(*_args: object, **_kwargs: object) -> int:
        raise OSError(code, os.strerror(code))

    return failing


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def unfinished_in(root: Path) -> list[Path]:
    return list((root / ".tmp").iterdir())


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_the_bytes_are_on_disk_before_the_name_and_the_name_before_the_commit_returns(store, tmp_path, monkeypatch):
    steps: list[str] = []
    real_fsync, real_rename, real_mkdir = os.fsync, os.rename, os.mkdir

    def fsync(file: int) -> None:
        steps.append("fsync folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "fsync file")
        real_fsync(file)

    def rename(*args: object, **kwargs: object) -> None:
        steps.append("rename")
        real_rename(*args, **kwargs)

    def mkdir(name: str, *args: object, **kwargs: object) -> None:
        steps.append(f"mkdir {name}")
        real_mkdir(name, *args, **kwargs)

    writer = store.create("ab/cd/key")
    writer.write(b"x")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "mkdir", mkdir)
    writer.commit()

    assert steps == ["fsync file", "mkdir ab", "fsync folder", "mkdir cd", "fsync folder", "rename", "fsync folder"]


def test_a_short_write_is_continued(store, monkeypatch):
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real_write(file, bytes(data[:7])))

    put(store, "short", b"0123456789" * 100)

    assert b"".join(store.read("short")) == b"0123456789" * 100


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_apart_from_a_broken_one_when_writing(store, monkeypatch, code):
    writer = store.create("full")
    monkeypatch.setattr(os, "write", fail(code))

    with pytest.raises(StorageFull):
        writer.write(b"x")


def test_a_disk_that_fills_up_at_the_fsync_stores_nothing(store, tmp_path, monkeypatch):
    writer = store.create("late")
    writer.write(b"x")
    monkeypatch.setattr(os, "fsync", fail(errno.ENOSPC))

    with pytest.raises(StorageFull):
        writer.commit()
    writer.abort()

    monkeypatch.undo()
    assert unfinished_in(tmp_path) == []
    with pytest.raises(ObjectMissing):
        store.read("late")


def test_another_failure_of_the_disk_is_unavailable(store, monkeypatch):
    writer = store.create("broken")
    monkeypatch.setattr(os, "write", fail(errno.EIO))

    with pytest.raises(ObjectStoreUnavailable, match="broken"):
        writer.write(b"x")


def test_a_really_full_disk_takes_nothing_and_goes_on_after_the_abort(tmp_path):
    with small_disk(tmp_path / "disk", "2m") as root:
        store = FilesystemObjectStore(root)
        writer = store.create("large")
        with pytest.raises(StorageFull):
            writer.write(bytes(4 * 2**20))
        writer.abort()

        put(store, "small", b"fits")

        assert b"".join(store.read("small")) == b"fits"


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    path.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path]
        mounted = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here, so no small disk can be made")
    if mounted.returncode != 0:
        pytest.skip("no small disk can be mounted here (that takes root)")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def test_only_the_owner_can_read_what_is_stored(store, tmp_path):
    put(store, "ab/secret", b"x")

    assert mode_of(tmp_path / "ab" / "secret") == 0o600
    assert mode_of(tmp_path / "ab") == 0o700
    assert mode_of(tmp_path / ".tmp") == 0o700


def test_a_planted_link_to_a_file_is_never_followed(store, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.write_text("not ours")
    put(store, "ab/mine", b"x")
    (tmp_path / "ab" / "link").symlink_to(outside)

    for ask in (store.read, store.size_of):
        with pytest.raises(ObjectStoreUnavailable):
            ask("ab/link")
    with pytest.raises(ObjectStoreUnavailable), store.local_copy("ab/link"):
        pass
    assert {entry.key for entry in store.entries(older_than=datetime.now(UTC) + timedelta(hours=1))} == {"ab/mine"}
    store.delete("ab/link")
    assert outside.read_text() == "not ours"


def test_a_planted_link_to_a_folder_is_never_followed(store, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-folder"
    outside.mkdir()
    (outside / "key").write_text("not ours")
    (tmp_path / "ab").symlink_to(outside)

    for use in (store.read, store.size_of, store.delete, lambda key: put(store, key, b"x")):
        with pytest.raises(ObjectStoreUnavailable):
            use("ab/key")

    assert (outside / "key").read_text() == "not ours"


def test_a_link_in_place_of_the_folder_of_unfinished_objects_is_refused(store, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-parts"
    outside.mkdir()
    (tmp_path / ".tmp").symlink_to(outside)

    with pytest.raises(ObjectStoreUnavailable):
        store.create("key")

    assert list(outside.iterdir()) == []


def test_a_folder_or_a_pipe_is_no_object(store, tmp_path):
    put(store, "ab/cd/key", b"x")
    os.mkfifo(tmp_path / "ab" / "pipe")

    for key in ("ab", "ab/cd", "ab/pipe"):
        with pytest.raises(ObjectMissing):
            store.read(key)


def test_a_local_copy_is_the_file_itself(store, tmp_path):
    put(store, "ab/key", b"x")

    with store.local_copy("ab/key") as path:
        assert path == tmp_path / "ab" / "key"


def test_a_missing_root_is_never_made(tmp_path):
    store = FilesystemObjectStore(tmp_path / "not-mounted")

    with pytest.raises(ObjectStoreUnavailable):
        store.create("key")
    with pytest.raises(ObjectStoreUnavailable):
        store.ping()

    assert not (tmp_path / "not-mounted").exists()


def test_what_others_put_into_the_folder_is_left_alone(store, tmp_path):
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "README.md").write_text("about this folder")
    put(store, "key", b"x")

    assert [entry.key for entry in store.entries(older_than=datetime.now(UTC) + timedelta(hours=1))] == ["key"]


def test_an_unfinished_object_that_is_still_young_is_left_alone(store, tmp_path):
    old, young = store.create("old"), store.create("young")
    yesterday = (datetime.now(UTC) - timedelta(days=1)).timestamp()
    os.utime(unfinished_in(tmp_path)[0], (yesterday, yesterday))

    assert store.discard_unfinished(older_than=datetime.now(UTC) - timedelta(hours=1)) == 1

    assert len(unfinished_in(tmp_path)) == 1
    old.abort()
    young.abort()


def test_no_file_stays_open(store):
    put(store, "ab/key", bytes(3 * 2**20))
    before = open_files()

    put(store, "ab/other", b"x")
    store.create("ab/aborted").abort()
    store.size_of("ab/key")
    store.delete("ab/other")
    b"".join(store.read("ab/key"))
    store.read("ab/key")  # never asked for a piece
    next(store.read("ab/key"))  # and never for the rest
    with store.local_copy("ab/key"):
        pass
    for nothing in ("ab", "ab/missing"):
        with pytest.raises(ObjectMissing):
            store.read(nothing)

    assert open_files() == before


def test_a_store_without_its_folder_or_bucket_in_the_settings_is_refused():
    with pytest.raises(SettingsError, match="SLUICE_OBJECTS__ROOT"):
        build_object_store(ObjectsSettings(kind="filesystem"))
    with pytest.raises(SettingsError, match="SLUICE_OBJECTS__BUCKET"):
        build_object_store(ObjectsSettings(kind="s3"))
