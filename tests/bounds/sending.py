"""Uploads and downloads that never have a document whole in memory, over a plain HTTP client."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from sluice_local.stack import LocalStack

_PATIENCE = httpx.Timeout(120, read=600)


@dataclass(frozen=True)
class Answer:
    """What came of one upload; status 0 when the connection broke before an answer."""

    status: int
    body: dict[str, Any]

    @property
    def document_id(self) -> str:
        return str(self.body["id"])

    @property
    def code(self) -> str:
        return str(self.body.get("code", ""))


def open_client(stack: LocalStack) -> httpx.Client:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    return httpx.Client(base_url=stack.url, headers=headers, timeout=_PATIENCE, trust_env=False)


def upload(
    client: httpx.Client, name: str, pieces: Iterable[bytes], *, size_bytes: int | None = None, **fields: str
) -> Answer:
    """Send one document while its pieces are made; chunked unless its size is said."""
    boundary = uuid.uuid4().hex
    head, tail = _form_around(name, boundary, fields)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    if size_bytes is not None:
        headers["Content-Length"] = str(len(head) + size_bytes + len(tail))
    try:
        answer = client.post("/v1/documents", content=_joined(head, pieces, tail), headers=headers)
    except httpx.TransportError:
        return Answer(0, {})
    return Answer(answer.status_code, answer.json())


def _form_around(name: str, boundary: str, fields: dict[str, str]) -> tuple[bytes, bytes]:
    begin = f"--{boundary}\r\nContent-Disposition: form-data; name="
    parts = [f'{begin}"{field}"\r\n\r\n{value}\r\n' for field, value in fields.items()]
    file = f'{begin}"file"; filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
    return "".join([*parts, file]).encode(), f"\r\n--{boundary}--\r\n".encode()


def _joined(head: bytes, pieces: Iterable[bytes], tail: bytes) -> Iterator[bytes]:
    yield head
    yield from pieces
    yield tail


def download(client: httpx.Client, document_id: str, *, span: str | None = None) -> tuple[int, int]:
    """Read an original and throw it away; returns the status and how many bytes came."""
    headers = {} if span is None else {"Range": f"bytes={span}"}
    with client.stream("GET", f"/v1/documents/{document_id}/content", headers=headers) as answer:
        return answer.status_code, sum(len(piece) for piece in answer.iter_bytes(2**20))
