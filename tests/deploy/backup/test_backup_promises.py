"""What a backup promises, on real PostgreSQL, on a folder and on a real S3 server, whatever happens beside it."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest
from builders import Protocol
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from sluice_api.backup import Backup, OriginalsLost
from sluice_api.backup_folder import BackupFolder, UnusableBackup
from sluice_api.restore import OriginalsMissing, Restore
from sluice_common.adapters.build import build_object_store
from sluice_common.database import open_database
from sluice_common.documents import NewDocument, Original
from sluice_common.keeping import Keeping
from sluice_common.ports import ObjectStore
from sluice_common.settings import DatabaseSettings, ObjectsSettings
from sluice_local.postgres import find_installation


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def programs(monkeypatch) -> None:
    """PostgreSQL's programs of the server's version come first, as `sluice-local exec` has them."""
    monkeypatch.setenv("PATH", f"{find_installation().bin}{os.pathsep}{os.environ['PATH']}")


def settings_of(kind: str, folder: Path, s3_url) -> ObjectsSettings:
    if kind == "filesystem":
        folder.mkdir()
        return ObjectsSettings(root=folder)
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    url = s3_url()
    boto3.client("s3", region_name="us-east-1", endpoint_url=url, **keys).create_bucket(Bucket=folder.name)
    secret = SecretStr("testing")
    return ObjectsSettings(kind="s3", bucket=folder.name, endpoint_url=url, access_key=secret, secret_key=secret)


@dataclass
class Installation:
    """Tables and originals, with the steps that tests take."""

    url: str
    objects: ObjectStore
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        settings = DatabaseSettings(url=self.url)
        self.database = open_database(settings, application="tests")
        self.protocol = Protocol(self.database)
        self.full_url = settings.url

    def upload(self, content: bytes) -> str:
        """As the gateway does: the original first, then its row; returns the key of the original."""
        key = f"aa/{hashlib.sha256(content).hexdigest()[:32]}"
        writer = self.objects.create(key)
        writer.write(content)
        writer.commit()
        original = Original(key, hashlib.sha256(content).hexdigest(), len(content), "a.txt", "text/plain")
        tenant, collection = self.protocol.tenant_id, self.protocol.collection_id
        self.protocol.documents.accept(NewDocument(tenant, collection, original))
        return key

    def delete(self, key: str) -> None:
        """As a user and then the purge do."""
        found = self.protocol.query("SELECT document_id FROM originals WHERE storage_key = :key", key=key)
        self.protocol.documents.delete(self.protocol.tenant_id, found[0][0])
        self.objects.delete(key)

    def backup(self, folder: Path) -> Backup:
        where = BackupFolder(folder)
        where.prepare()
        return Backup(self.full_url, Keeping(self.database), self.objects, where, self.said.append)

    def restore(self, folder: Path) -> Restore:
        where, documents = BackupFolder(folder), self.protocol.documents
        return Restore(self.full_url, Keeping(self.database), documents, self.objects, where, self.said.append)

    def contents(self) -> set[bytes]:
        """What every document that exists for its users has as its original; a missing one is an error."""
        return {b"".join(self.objects.read(row.storage_key)) for row in Keeping(self.database).originals()}


@pytest.fixture
def pair(request, new_database_url, tmp_path) -> Iterator[tuple[Installation, Installation]]:
    """The installation that is lost, and an empty one of the same kind."""
    kind = getattr(request, "param", "filesystem")
    both = [
        Installation(
            new_database_url(),
            build_object_store(settings_of(kind, tmp_path / name, lambda: request.getfixturevalue("s3_url"))),
        )
        for name in (f"first-{tmp_path.name}", f"second-{tmp_path.name}")
    ]
    yield both[0], both[1]
    for installation in both:
        installation.database.close()


@pytest.mark.parametrize("pair", ["filesystem", "s3"], indirect=True)
def test_everything_comes_back_byte_for_byte(pair, tmp_path):
    first, second = pair
    contents = {b"one", b"two", bytes(3 * 2**20)}
    for content in contents:
        first.upload(content)
    backup = first.backup(tmp_path / "backup")
    backup.save_database()
    backup.save_originals()

    restore = second.restore(tmp_path / "backup")
    restore.load_database()
    restore.load_originals(drops_incomplete=False)

    assert second.contents() == contents


@pytest.mark.parametrize("pair", ["filesystem", "s3"], indirect=True)
def test_a_document_that_is_deleted_during_the_backup_is_gone_after_the_restore(pair, tmp_path):
    first, second = pair
    first.upload(b"stays")
    deleted = first.upload(b"is deleted")
    backup = first.backup(tmp_path / "backup")
    backup.save_database()
    first.delete(deleted)
    backup.save_originals()

    restore = second.restore(tmp_path / "backup")
    restore.load_database()
    restore.load_originals(drops_incomplete=False)

    assert second.contents() == {b"stays"}


def test_an_original_that_is_lost_is_named_and_the_rest_is_saved(pair, tmp_path):
    first, second = pair
    first.upload(b"stays")
    first.objects.delete(first.upload(b"is lost by a disk"))
    backup = first.backup(tmp_path / "backup")
    backup.save_database()

    with pytest.raises(OriginalsLost):
        backup.save_originals()

    restore = second.restore(tmp_path / "backup")
    restore.load_database()
    with pytest.raises(OriginalsMissing):
        restore.load_originals(drops_incomplete=False)
    restore.load_originals(drops_incomplete=True)
    assert second.contents() == {b"stays"}


def test_an_original_whose_bytes_have_changed_is_named(pair, tmp_path):
    first, _ = pair
    key = first.upload(b"as uploaded")
    first.objects.delete(key)
    writer = first.objects.create(key)
    writer.write(b"as changed!")
    writer.commit()

    with pytest.raises(OriginalsLost):
        first.backup(tmp_path / "backup").save_originals()


def test_a_dump_that_is_newer_than_the_originals_is_noticed(pair, tmp_path):
    first, second = pair
    first.upload(b"early")
    backup = first.backup(tmp_path / "backup")
    backup.save_originals()
    first.upload(b"late")
    backup.save_database()

    restore = second.restore(tmp_path / "backup")
    restore.load_database()

    with pytest.raises(OriginalsMissing):
        restore.load_originals(drops_incomplete=False)


def test_a_restore_can_be_repeated_after_it_was_cut_off(pair, tmp_path):
    first, second = pair
    first.upload(b"one")
    kept = first.upload(b"two")
    backup = first.backup(tmp_path / "backup")
    backup.save_database()
    backup.save_originals()
    restore = second.restore(tmp_path / "backup")
    restore.load_database()
    restore.load_originals(drops_incomplete=False)
    second.objects.delete(kept)

    restore.load_originals(drops_incomplete=False)

    assert second.contents() == {b"one", b"two"}


def test_a_restored_installation_never_gives_out_the_number_of_a_run_that_came_after_the_backup(pair, tmp_path):
    first, second = pair
    first.upload(b"one")
    backup = first.backup(tmp_path / "backup")
    backup.save_database()
    backup.save_originals()
    lost_run = first.protocol.claimed().run_id

    restore = second.restore(tmp_path / "backup")
    restore.load_database()
    restore.load_originals(drops_incomplete=False)

    assert Protocol(second.database).claimed().run_id > lost_run


def test_an_installation_with_documents_is_never_overwritten(pair, tmp_path):
    first, second = pair
    backup = first.backup(tmp_path / "backup")
    backup.save_database()
    backup.save_originals()
    second.upload(b"somebody's work")

    with pytest.raises(UnusableBackup, match="has documents"):
        second.restore(tmp_path / "backup").load_database()

    assert second.contents() == {b"somebody's work"}


def test_a_folder_without_a_finished_backup_is_refused_and_a_finished_one_is_not_overwritten(pair, tmp_path):
    first, second = pair
    backup = first.backup(tmp_path / "backup")
    backup.save_database()

    with pytest.raises(UnusableBackup, match="no finished backup"):
        second.restore(tmp_path / "backup").load_database()
    backup.save_originals()
    with pytest.raises(UnusableBackup, match="name another"):
        first.backup(tmp_path / "backup")
