"""Originals as objects in one bucket of S3, or of a store that speaks its protocol."""

import contextlib
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from sluice_common.adapters.object_keys import checked_key, is_key
from sluice_common.errors import ObjectMissing, ObjectStoreUnavailable, StorageFull
from sluice_common.failpoints import marked, reach
from sluice_common.ports import ObjectWriter, StoredObject
from sluice_common.settings import ObjectsSettings, SettingsError

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 * 2**20
"""Size of one part; an object up to this size is stored in a single call. S3 wants parts of 5 MiB or more."""

PIECE_BYTES = 2**20

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 30
_CALLS_AT_MOST = 3
_CONNECTIONS = 32

_MISSING = frozenset({"NoSuchKey", "NotFound", "404"})
_FULL = frozenset({"InsufficientStorage", "507", "QuotaExceeded", "QuotaExceededException", "XMinioStorageFull"})
_BEYOND_THE_END = frozenset({"InvalidRange", "416"})


def open_s3(settings: ObjectsSettings) -> "S3ObjectStore":
    """The store that *settings* name; nothing is sent yet.

    Without keys in the settings, boto3 looks for them where it always does (a role, a profile).

    Raises:
        SettingsError: no bucket is named.
    """
    if not settings.bucket:
        raise SettingsError("SLUICE_OBJECTS__BUCKET: is needed when SLUICE_OBJECTS__KIND is s3")
    client = boto3.client(
        "s3",
        region_name=settings.region,
        endpoint_url=str(settings.endpoint_url) if settings.endpoint_url else None,
        aws_access_key_id=settings.access_key.get_secret_value() if settings.access_key else None,
        aws_secret_access_key=settings.secret_key.get_secret_value() if settings.secret_key else None,
        config=_client_config(path_style=settings.endpoint_url is not None),
    )
    return S3ObjectStore(client, bucket=settings.bucket, prefix=settings.prefix)


def _client_config(*, path_style: bool) -> Config:
    return Config(
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        retries={"total_max_attempts": _CALLS_AT_MOST, "mode": "standard"},
        max_pool_connections=_CONNECTIONS,
        # Stores other than Amazon's answer with errors to the checksums that botocore adds by default.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"} if path_style else {},  # a bucket as a host name needs DNS of its own
    )


class S3ObjectStore:
    """An `ObjectStore` in *bucket*, every key below *prefix*; the bucket must be there."""

    def __init__(self, client: "S3Client", *, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    @marked("objects.create")
    def create(self, key: str) -> ObjectWriter:
        return PartWriter(self._client, self._bucket, self._name(key))

    @marked("objects.read")
    def read(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        if length == 0:
            self.size_of(key)
            return iter(())
        try:
            body = self._body(key, start, length)
        except ClientError as error:
            if _code_of(error) in _BEYOND_THE_END:
                return iter(())
            _raise_named(error, key)
        except BotoCoreError as error:
            _raise_named(error, key)
        return _pieces(body, key)

    @contextlib.contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        reach("objects.local_copy.before")
        pieces = self.read(key)
        with contextlib.ExitStack() as cleaned_up:
            copy = _private_copy(pieces, cleaned_up)
            reach("objects.local_copy.after")
            yield copy

    def size_of(self, key: str) -> int:
        name = self._name(key)
        try:
            return self._client.head_object(Bucket=self._bucket, Key=name)["ContentLength"]
        except (BotoCoreError, ClientError) as error:
            if _code_of(error) in _MISSING:
                self.ping()  # an answer to HEAD does not say whether the object or the whole bucket is missing
            _raise_named(error, key)

    @marked("objects.delete")
    def delete(self, key: str) -> None:
        name = self._name(key)
        with _failures_named(key):
            self._client.delete_object(Bucket=self._bucket, Key=name)

    @marked("objects.entries")
    def entries(self, *, older_than: datetime) -> Iterator[StoredObject]:
        pages = self._client.get_paginator("list_objects_v2")
        with _failures_named("the store"):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for entry in page.get("Contents", []):
                    key = entry["Key"].removeprefix(self._prefix)
                    if entry["LastModified"] < older_than and is_key(key):
                        yield StoredObject(key, entry["Size"], entry["LastModified"])

    @marked("objects.discard_unfinished")
    def discard_unfinished(self, *, older_than: datetime) -> int:
        pages = self._client.get_paginator("list_multipart_uploads")
        discarded = 0
        with _failures_named("unfinished uploads"):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for upload in page.get("Uploads", []):
                    if upload["Initiated"] < older_than:
                        self._abort(upload["Key"], upload["UploadId"])
                        discarded += 1
        return discarded

    def ping(self) -> None:
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except (BotoCoreError, ClientError) as error:
            raise ObjectStoreUnavailable(f"the bucket does not answer: {_code_of(error)}") from error

    def _name(self, key: str) -> str:
        return self._prefix + checked_key(key)

    def _body(self, key: str, start: int, length: int | None) -> "StreamingBody":
        name = self._name(key)
        if start == 0 and length is None:  # any range of an empty object is an error in S3
            return self._client.get_object(Bucket=self._bucket, Key=name)["Body"]
        end = "" if length is None else start + length - 1
        return self._client.get_object(Bucket=self._bucket, Key=name, Range=f"bytes={start}-{end}")["Body"]

    def _abort(self, name: str, upload_id: str) -> None:
        try:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload_id)
        except ClientError as error:
            if _code_of(error) != "NoSuchUpload":  # its writer ended it a moment ago
                raise


class PartWriter:
    """One object that is being written: up to one part is kept in memory, the rest is on its way already."""

    def __init__(self, client: "S3Client", bucket: str, name: str) -> None:
        self._client = client
        self._bucket = bucket
        self._name = name
        self._pending = bytearray()
        self._upload_id: str | None = None
        self._parts: list[CompletedPartTypeDef] = []
        self._is_ended = False

    def write(self, data: bytes) -> None:
        self._refuse_when_ended()
        rest = memoryview(data)
        with _failures_named(self._name):
            while rest:
                taken = rest[: PART_BYTES - len(self._pending)]
                rest = rest[len(taken) :]
                self._pending += taken
                # The part that fills up last waits for more, so that no object ends in an empty part.
                if rest and len(self._pending) == PART_BYTES:
                    self._send_part()

    @marked("objects.commit")
    def commit(self) -> None:
        self._refuse_when_ended()
        with _failures_named(self._name):
            if self._upload_id is None:
                self._client.put_object(Bucket=self._bucket, Key=self._name, Body=bytes(self._pending))
            else:
                self._send_part()
                self._complete(self._upload_id)
        self._is_ended = True
        self._pending.clear()

    def abort(self) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._pending.clear()
        if self._upload_id is not None:
            with contextlib.suppress(BotoCoreError, ClientError):  # `discard_unfinished` finds what is left
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._name, UploadId=self._upload_id)

    def _send_part(self) -> None:
        number = len(self._parts) + 1
        sent = self._client.upload_part(
            Bucket=self._bucket,
            Key=self._name,
            UploadId=self._begun_upload(),
            PartNumber=number,
            Body=bytes(self._pending),
        )
        self._parts.append({"ETag": sent["ETag"], "PartNumber": number})
        self._pending.clear()

    def _begun_upload(self) -> str:
        if self._upload_id is None:
            self._upload_id = self._client.create_multipart_upload(Bucket=self._bucket, Key=self._name)["UploadId"]
        return self._upload_id

    def _complete(self, upload_id: str) -> None:
        self._client.complete_multipart_upload(
            Bucket=self._bucket, Key=self._name, UploadId=upload_id, MultipartUpload={"Parts": self._parts}
        )

    def _refuse_when_ended(self) -> None:
        if self._is_ended:
            raise ValueError("the object was committed or aborted already")


def _pieces(body: "StreamingBody", key: str) -> Iterator[bytes]:
    with contextlib.closing(body), _failures_named(key):
        yield from body.iter_chunks(PIECE_BYTES)


def _private_copy(pieces: Iterator[bytes], cleaned_up: contextlib.ExitStack) -> Path:
    try:
        copy = cleaned_up.enter_context(tempfile.NamedTemporaryFile(prefix="sluice-original-"))  # noqa: SIM115 - the stack closes it; made with 0600
        for piece in pieces:
            copy.write(piece)
        copy.flush()
    except OSError as error:
        raise ObjectStoreUnavailable(f"no room for a copy on this machine: {error.strerror}") from error
    return Path(copy.name)


@contextlib.contextmanager
def _failures_named(key: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        _raise_named(error, key)


def _raise_named(error: BotoCoreError | ClientError, key: str) -> NoReturn:
    code = _code_of(error)
    if code in _MISSING:
        raise ObjectMissing(f"{key} is not in the store") from error
    if code in _FULL:
        raise StorageFull(f"{key}: {code}") from error
    raise ObjectStoreUnavailable(f"{key}: {code}") from error


def _code_of(error: BotoCoreError | ClientError) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "unknown"))
    return type(error).__name__
