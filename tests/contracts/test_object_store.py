"""What every object store promises, on a folder and on a real S3 server."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from sluice_common.adapters.build import build_object_store
from sluice_common.errors import ObjectMissing, ObjectStoreUnavailable
from sluice_common.ports import ObjectStore
from sluice_common.settings import ObjectsSettings

LARGE = 20 * 2**20 + 7
NOBODY_LISTENS = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Stores:
    """One store that works, and one of the same kind that is away."""

    ready: ObjectStore
    away: ObjectStore


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def on_disk(root: Path, _s3_url: Callable[[], str]) -> Stores:
    (root / "store").mkdir()
    return Stores(
        ready=build_object_store(ObjectsSettings(kind="filesystem", root=root / "store")),
        away=build_object_store(ObjectsSettings(kind="filesystem", root=root / "not-mounted")),
    )


def in_s3(_root: Path, s3_url: Callable[[], str]) -> Stores:
    bucket = f"originals-{uuid.uuid4().hex}"
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    boto3.client("s3", region_name="us-east-1", endpoint_url=s3_url(), **keys).create_bucket(Bucket=bucket)
    settings = ObjectsSettings(
        kind="s3",
        bucket=bucket,
        prefix="sluice/originals",
        endpoint_url=s3_url(),
        access_key=SecretStr("testing"),
        secret_key=SecretStr("testing"),
    )
    return Stores(
        ready=build_object_store(settings),
        away=build_object_store(settings.model_copy(update={"endpoint_url": NOBODY_LISTENS})),
    )


MAKERS: dict[str, Callable[[Path, Callable[[], str]], Stores]] = {"filesystem": on_disk, "s3": in_s3}


@pytest.fixture(params=MAKERS)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    return MAKERS[request.param](tmp_path, lambda: request.getfixturevalue("s3_url"))


@pytest.fixture
def store(stores: Stores) -> ObjectStore:
    return stores.ready


def put(store: ObjectStore, key: str, *pieces: bytes) -> None:
    writer = store.create(key)
    for piece in pieces:
        writer.write(piece)
    writer.commit()


def contents(store: ObjectStore, key: str, **span: int) -> bytes:
    return b"".join(store.read(key, **span))


def keys_in(store: ObjectStore, *, older_than: datetime | None = None) -> set[str]:
    return {entry.key for entry in store.entries(older_than=older_than or in_an_hour())}


def in_an_hour() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def an_hour_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


def test_what_was_written_in_pieces_is_read_as_one(store):
    put(store, "ab/one", b"first ", b"", b"second")

    assert contents(store, "ab/one") == b"first second"
    assert store.size_of("ab/one") == 12


def test_an_object_larger_than_a_part_comes_back_bit_by_bit_the_same(store):
    body = hashlib.shake_128(b"large").digest(LARGE)

    put(store, "ab/large", *(body[start : start + 300_000] for start in range(0, LARGE, 300_000)))

    assert store.size_of("ab/large") == LARGE
    assert contents(store, "ab/large") == body


def test_one_write_of_any_size_is_taken_whole(store):
    body = hashlib.shake_128(b"at once").digest(17 * 2**20)

    put(store, "at-once", body)

    assert contents(store, "at-once") == body


def test_an_object_of_exactly_one_part_is_stored(store):
    put(store, "exact", bytes(8 * 2**20))

    assert store.size_of("exact") == 8 * 2**20


def test_an_empty_object_is_an_object(store):
    put(store, "empty")

    assert store.size_of("empty") == 0
    assert contents(store, "empty") == b""
    assert contents(store, "empty", start=0, length=10) == b""


def test_pieces_are_never_larger_than_a_mebibyte(store):
    put(store, "pieces", bytes(3 * 2**20 + 1))

    assert max(len(piece) for piece in store.read("pieces")) <= 2**20


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ({"start": 2}, b"cdef"),
        ({"start": 2, "length": 3}, b"cde"),
        ({"length": 2}, b"ab"),
        ({"start": 4, "length": 100}, b"ef"),
        ({"start": 6}, b""),
        ({"start": 100}, b""),
        ({"start": 1, "length": 0}, b""),
    ],
)
def test_a_part_of_an_object_can_be_read(store, span, expected):
    put(store, "span", b"abcdef")

    assert contents(store, "span", **span) == expected


def test_a_missing_key_is_a_named_error_at_the_call(store):
    for ask in (store.read, store.size_of, lambda key: store.read(key, length=0)):
        with pytest.raises(ObjectMissing, match="nowhere"):
            ask("nowhere")
    with pytest.raises(ObjectMissing, match="nowhere"), store.local_copy("nowhere"):
        pass


def test_nobody_sees_an_object_before_its_commit(store):
    writer = store.create("ab/unfinished")
    writer.write(bytes(9 * 2**20))

    with pytest.raises(ObjectMissing):
        store.read("ab/unfinished")
    assert keys_in(store) == set()

    writer.commit()
    assert keys_in(store) == {"ab/unfinished"}


def test_an_aborted_object_leaves_nothing_behind(store):
    for size in (10, 9 * 2**20):
        writer = store.create("aborted")
        writer.write(bytes(size))
        writer.abort()
        writer.abort()

    with pytest.raises(ObjectMissing):
        store.size_of("aborted")
    assert store.discard_unfinished(older_than=in_an_hour()) == 0


def test_an_abort_after_the_commit_does_nothing(store):
    writer = store.create("kept")
    writer.write(b"kept")
    writer.commit()

    writer.abort()

    assert contents(store, "kept") == b"kept"


def test_nothing_can_be_written_after_the_end(store):
    writer = store.create("ended")
    writer.commit()

    with pytest.raises(ValueError, match="already"):
        writer.write(b"more")
    with pytest.raises(ValueError, match="already"):
        writer.commit()


def test_what_a_crashed_writer_left_is_discarded(store):
    for number in range(2):
        store.create(f"left-{number}").write(bytes(9 * 2**20))
    put(store, "whole", b"whole")

    assert store.discard_unfinished(older_than=in_an_hour()) == 2

    assert store.discard_unfinished(older_than=in_an_hour()) == 0
    assert keys_in(store) == {"whole"}


def test_a_local_copy_has_the_bytes_and_is_valid_inside_the_with(store):
    put(store, "ab/copied", b"bytes " * 400_000)

    with store.local_copy("ab/copied") as path:
        assert path.read_bytes() == b"bytes " * 400_000

    assert contents(store, "ab/copied", length=5) == b"bytes"


def test_a_deleted_object_is_gone_and_deleting_it_again_is_no_error(store):
    put(store, "ab/deleted", b"x")

    store.delete("ab/deleted")
    store.delete("ab/deleted")
    store.delete("never/there")

    with pytest.raises(ObjectMissing):
        store.read("ab/deleted")


def test_entries_tell_key_size_and_time_of_all_objects(store):
    before = datetime.now(UTC) - timedelta(seconds=2)
    sizes = {"a": 1, "ab/b": 2, "ab/cd/e": 3}
    for key, size in sizes.items():
        put(store, key, bytes(size))

    entries = list(store.entries(older_than=in_an_hour()))

    assert {entry.key: entry.size_bytes for entry in entries} == sizes
    assert all(before < entry.modified_at < in_an_hour() for entry in entries)


def test_entries_leave_out_what_is_too_young(store):
    put(store, "young", b"x")

    assert keys_in(store, older_than=an_hour_ago()) == set()


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".tmp/a", "a.b", "A", "a\\b", "a b", "\x00", "/etc/passwd", "a\n"]
)
def test_a_key_that_sluice_would_not_make_is_refused_everywhere(store, key):
    for use in (store.create, store.read, store.size_of, store.delete):
        with pytest.raises(ValueError, match="key"):
            use(key)


def test_a_store_that_is_away_is_a_named_error_and_never_a_missing_object(stores):
    away = stores.away
    with pytest.raises(ObjectStoreUnavailable):
        put(away, "a", b"x")
    for ask in (away.read, away.size_of, away.delete):
        with pytest.raises(ObjectStoreUnavailable):
            ask("a")
    with pytest.raises(ObjectStoreUnavailable):
        list(away.entries(older_than=in_an_hour()))


def test_a_ping_tells_whether_an_object_could_be_stored(stores):
    stores.ready.ping()

    with pytest.raises(ObjectStoreUnavailable):
        stores.away.ping()


def test_a_ping_leaves_nothing_behind(store):
    store.ping()

    assert keys_in(store) == set()
    assert store.discard_unfinished(older_than=in_an_hour()) == 0
