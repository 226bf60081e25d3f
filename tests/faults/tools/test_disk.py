"""A small disk that is full for a while."""

import errno
import threading
from collections.abc import Iterator

import pytest
from conftest import missing
from faults.tools.disk import SmallDisk, why_not
from oracle import wait_until


@pytest.fixture
def disk(tmp_path) -> Iterator[SmallDisk]:
    if reason := why_not():
        missing(reason)
    with SmallDisk(tmp_path / "small", megabytes=4) as mounted:
        yield mounted


def test_a_full_disk_takes_no_byte_more_and_a_relieved_one_does(disk, tmp_path):
    disk.fill()
    assert disk.free_bytes() == 0
    with pytest.raises(OSError, match="No space") as refused:
        (tmp_path / "small" / "original").write_bytes(b"x" * 10_000)
    assert refused.value.errno == errno.ENOSPC

    disk.relieve()

    (tmp_path / "small" / "original").write_bytes(b"x" * 10_000)


def test_a_nearly_full_disk_takes_what_was_left(disk, tmp_path):
    disk.fill(leave_bytes=50_000)

    assert 0 < disk.free_bytes() <= 50_000
    (tmp_path / "small" / "original").write_bytes(b"x" * 4096)


def test_a_disk_that_is_full_for_a_while_stays_full_when_something_is_removed(disk, tmp_path):
    (tmp_path / "small" / "original").write_bytes(b"x" * 1_000_000)
    being_full = threading.Thread(target=disk.be_full, args=(2,))
    being_full.start()
    wait_until(lambda: disk.free_bytes() == 0, seconds=2, message="it does not fill")
    (tmp_path / "small" / "original").unlink()
    wait_until(lambda: disk.free_bytes() == 0, seconds=2, message="it does not fill again")

    being_full.join()

    assert disk.free_bytes() > 3_900_000


def test_nothing_is_left_mounted(tmp_path):
    if reason := why_not():
        missing(reason)
    with SmallDisk(tmp_path / "small", megabytes=1):
        assert (tmp_path / "small").is_mount()

    assert not (tmp_path / "small").is_mount()
