"""A synchronous client of Sluice's HTTP API."""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self
from urllib.parse import quote

import httpx

from sluice_client import results
from sluice_client.errors import GatewayUnreachable, RequestRefused, UnexpectedAnswer
from sluice_client.results import Chunk, Collection, Document, Event, Hit, Job, Key, StagePing, Status
from sluice_client.transport import Request, Transport, decoded, unreachable
from sluice_client.uploading import Source, UploadProgress, form_of, multipart_of, opened
from sluice_client.watching import EventStream, Progressed, StreamUnavailable, Watch

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_S = 60.0
PAGE_SIZE = 100

OnDuplicate = Literal["return", "replace", "allow", "reject"]
SearchMode = Literal["hybrid", "dense", "lexical"]


class SluiceClient:
    """Uploads documents, follows them and searches in them.

    Requests that fail on the way, or that the gateway asks to repeat (429 and 503), are repeated
    automatically; every upload carries an idempotency key, so that a repeated one makes one document.
    One client may be used from several threads. Every method raises `RequestRefused` (with `code`,
    `status`, `request_id` and `remedy`) when the gateway says no and `GatewayUnreachable` when it
    does not answer.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retries: int = 5,
        language: str | None = None,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            url: the gateway's address, without a path.
            api_key: the key; the tenant comes from it.
            timeout_s: how long one read or write may take, not a whole upload.
            retries: how often a request is sent again.
            language: `ko` or `en` for the sentences meant for people; codes never change.
        """
        self._transport = Transport(url, api_key, timeout_s=timeout_s, retries=retries, language=language)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the client cannot be used any more."""
        self._transport.close()

    # Documents

    def upload(
        self,
        source: Source,
        *,
        name: str | None = None,
        collection: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        chunking: Mapping[str, Any] | None = None,
        external_id: str | None = None,
        on_duplicate: OnDuplicate | None = None,
        multimodal: bool | None = None,
        on_progress: UploadProgress | None = None,
        idempotency_key: str | None = None,
    ) -> Document:
        """Upload one document; it is streamed, never held in memory whole.

        Args:
            source: a path, bytes, or an open binary file.
            name: how the document is called; needed for bytes.
            collection: the collection's name; default: `default`.
            attributes: what searches can filter by; at most 16 keys.
            chunking: `max_chars` and `overlap_chars`.
            external_id: your own id of the document, unique in the collection.
            on_duplicate: what to do when the same bytes are already there; default: give that document back.
            multimodal: whether pictures count too.
            on_progress: called with the bytes sent and all of them; starts anew when the upload is repeated.
            idempotency_key: default: a new one. Give one of your own to make uploads safe across restarts.

        Returns:
            The accepted document; `already_there` tells that nothing new was made. Use `wait` to follow it.

        Raises:
            OSError: the file cannot be read.
            Conflict: `on_duplicate="reject"` and the bytes are already there.
            TooLarge: the file passes the gateway's limit.
        """
        form = form_of(
            collection=collection,
            attributes=attributes,
            chunking=chunking,
            external_id=external_id,
            on_duplicate=on_duplicate,
            multimodal=multimodal,
        )
        with opened(source, name) as original:
            request = Request(
                "POST",
                "/v1/documents",
                headers={"Idempotency-Key": idempotency_key or str(uuid.uuid4())},
                files=lambda: multipart_of(original, on_progress),
                form=form,
                repeatable=original.is_repeatable,
            )
            answer = self._transport.answer_to(request)
        already_there = answer.status_code == httpx.codes.OK and "Idempotent-Replayed" not in answer.headers
        return results.document_from(decoded(answer), already_there=already_there)

    def get(self, document_id: str) -> Document:
        """The document as it is now."""
        return results.document_from(self._transport.json_of(Request("GET", _document(document_id))))

    def status(self, document_id: str) -> Status:
        """The short form of the document as it is now."""
        return results.status_from(self._transport.json_of(Request("GET", _document(document_id, "status"))))

    def list(
        self,
        *,
        collection: str | None = None,
        status: str | None = None,
        limit: int | None = None,
        **filters: str,
    ) -> Iterator[Document]:
        """Every document, newest first, asked for page by page while you iterate.

        Args:
            collection: only of this collection.
            status: only with this status.
            limit: stop after so many.
            filters: the others that the gateway knows: stage, error_code, name, external_id, sha256,
                created_after, updated_after.
        """
        query = {"collection": collection, "status": status, **filters}
        return map(results.document_from, self._items("/v1/documents", query, limit=limit))

    def chunks(self, document_id: str, *, limit: int | None = None) -> Iterator[Chunk]:
        """The document's chunks in the order of its text."""
        return map(results.chunk_from, self._items(_document(document_id, "chunks"), {}, limit=limit))

    def analysis(self, document_id: str) -> Mapping[str, Any]:  # JSON, whose fields grow with the members
        """What was found out about a recording: measures, labels with their votes, the members that were asked.

        Raises:
            NotFound: `no_analysis`: the document is no recording, or it is not ready yet.
        """
        found: Mapping[str, Any] = self._transport.json_of(Request("GET", _document(document_id, "analysis")))  # JSON
        return found

    def job(self, job_id: str) -> Job:
        """What became of one request for a document."""
        return results.job_from(self._transport.json_of(Request("GET", f"/v1/jobs/{quote(job_id, safe='')}")))

    def download(
        self, document_id: str, target: str | Path | BinaryIO, *, on_progress: UploadProgress | None = None
    ) -> int:
        """Write the original to *target* (a path or an open binary file), piece by piece.

        Returns:
            How many bytes were written.

        Raises:
            GatewayUnreachable: the connection broke off; what was written so far is not whole.
        """
        if isinstance(target, str | Path):
            with Path(target).open("wb") as stream:
                return self._download_to(document_id, stream, on_progress)
        return self._download_to(document_id, target, on_progress)

    def content(self, document_id: str) -> bytes:
        """The original's bytes, in memory; `download` streams."""
        return self._transport.answer_to(_content_request(document_id)).content

    def page_image(self, document_id: str, page: int, *, dpi: int | None = None) -> bytes:
        """How a page of a PDF looks, as a PNG; *page* begins with 1.

        Raises:
            NotFound: the document has no such page, or it cannot be drawn (`no_page_image`).
            GatewayFailed: nobody has drawn it yet; ask again later.
        """
        query = {} if dpi is None else {"dpi": dpi}
        path = f"{_document(document_id, 'pages')}/{page}.png"
        return self._transport.answer_to(Request("GET", path, query, headers={"Accept": "*/*"})).content

    def delete(self, document_id: str) -> None:
        """Delete the document: from the answer on, no search, list or download returns it."""
        self._transport.json_of(Request("DELETE", _document(document_id)))

    def cancel(self, document_id: str) -> Document:
        """Stop processing; a document that has already ended stays as it is."""
        return self._act(document_id, "cancel")

    def retry(self, document_id: str) -> Document:
        """Process a failed or cancelled document again."""
        return self._act(document_id, "retry")

    def reprocess(self, document_id: str, *, start: Literal["extract", "embed"] = "extract") -> Document:
        """Process an ended document again, from its bytes or only from its chunks; what was found stays found."""
        return self._act(document_id, "reprocess", {"from": start})

    # Following

    def wait(
        self,
        document_id: str,
        *,
        on_progress: Progressed | None = None,
        timeout_s: float | None = None,
    ) -> Document:
        """Wait until the document has ended.

        Uses the event stream, else long polling, else polling, whatever gets through.

        Args:
            document_id: which one.
            on_progress: called with the document whenever something has changed.
            timeout_s: give up after so long, or a few seconds later on a silent stream; default: never.

        Returns:
            The ended document: ready, failed or cancelled. A failed one is not an exception; look at `status`.

        Raises:
            WaitTimeout: it was still unfinished; it goes on being processed.
            Gone: it was deleted meanwhile.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        watch = Watch(self._transport, _document(document_id), on_progress, deadline)
        return watch.until_ended()

    def events(self, document_id: str, *, after: str | None = None, follow: bool = False) -> Iterator[Event]:
        """What happened to the document, oldest first.

        Args:
            document_id: which one.
            after: only what came behind the event of this id.
            follow: also what is still to come, as it comes, until the document has ended; connects again
                by itself and goes on behind the last event.

        Raises:
            Gone: `event_gap`: *after* is older than what is kept, or the document was deleted.
        """
        if follow:
            return self._followed(document_id, after)
        headers = {"Last-Event-ID": after} if after else {}
        return map(results.event_from, self._items(_document(document_id, "events"), {}, limit=None, headers=headers))

    # Searching

    def search(
        self,
        query: str,
        *,
        collection: str | None = None,
        top_k: int | None = None,
        mode: SearchMode | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the word of the HTTP interface
        score_threshold: float | None = None,
        group_by_document: bool | None = None,
    ) -> Sequence[Hit]:
        """The chunks that fit *query* best, best first.

        Args:
            query: words or a question.
            collection: only in this one; default: all that the key may read.
            top_k: how many at most; default 10.
            mode: `hybrid` (default), `dense` or `lexical`.
            filter: by attributes: `{"type": "eq", "key": ..., "value": ...}`, joined by `and` and `or`.
            score_threshold: leave out what is below; in mode `dense` only.
            group_by_document: at most one hit for each document.
        """
        asked = {
            "query": query,
            "collection": collection,
            "top_k": top_k,
            "mode": mode,
            "filter": filter,
            "score_threshold": score_threshold,
            "group_by_document": group_by_document,
        }
        body = {name: value for name, value in asked.items() if value is not None}
        answer = self._transport.json_of(Request("POST", "/v1/search", body=body))
        return [results.hit_from(one) for one in answer.get("results") or ()]

    # Collections

    def collections(self) -> Iterator[Collection]:
        """Every collection that the key may read."""
        return map(results.collection_from, self._items("/v1/collections", {}, limit=None))

    def collection(self, name: str) -> Collection:
        """One collection by its name."""
        return results.collection_from(self._transport.json_of(Request("GET", _collection(name))))

    def create_collection(self, name: str, *, chunking: Mapping[str, Any] | None = None) -> Collection:
        """Make a collection; `chunking` is the default for its documents."""
        body = {"name": name} | ({"chunking": dict(chunking)} if chunking else {})
        return results.collection_from(self._post("/v1/collections", body))

    def update_collection(self, name: str, **changes: Any) -> Collection:  # whatever JSON the field takes
        """Change fields of a collection, such as `chunking`."""
        return results.collection_from(
            self._transport.json_of(Request("PATCH", _collection(name), body=changes, repeatable=False))
        )

    def delete_collection(self, name: str) -> None:
        """Delete a collection with its documents."""
        self._transport.json_of(Request("DELETE", _collection(name)))

    # Administration; needs a key with the scope `admin`

    def keys(self) -> Iterator[Key]:
        """Every key of the tenant, without the secrets."""
        return map(results.key_from, self._items("/v1/admin/keys", {}, limit=None))

    def create_key(self, name: str, *, scopes: Sequence[str] = ("read", "write"), **fields: Any) -> Key:  # JSON
        """Make a key; its `secret` is shown this once.

        Args:
            name: what it is for.
            scopes: of `read`, `write` and `admin`.
            fields: the others that the gateway knows: `collections`, `expires_at`.
        """
        return results.key_from(self._post("/v1/admin/keys", {"name": name, "scopes": [*scopes], **fields}))

    def delete_key(self, key_id: str) -> None:
        """Revoke a key at once."""
        self._transport.json_of(Request("DELETE", f"/v1/admin/keys/{quote(key_id, safe='')}"))

    def ping(self) -> Sequence[StagePing]:
        """Send a task through each stage's queue and say who answered; up to 5 s if somebody does not."""
        silent = frozenset({httpx.codes.SERVICE_UNAVAILABLE.value})
        request = Request("POST", "/v1/admin/workers/ping", repeatable=False, also_good=silent)
        answer = self._transport.json_of(request)
        return [results.stage_ping_from(one) for one in answer.get("stages") or ()]

    def is_alive(self) -> bool:
        """Whether a gateway answers at the address at all."""
        try:
            self._transport.answer_to(Request("GET", "/livez", repeatable=False, timeout_s=5))
        except (GatewayUnreachable, RequestRefused, UnexpectedAnswer):
            return False
        return True

    # The steps of the above

    def _items(
        self,
        path: str,
        query: Mapping[str, Any],
        *,
        limit: int | None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Mapping[str, Any]]:
        given, cursor = 0, None
        while limit is None or given < limit:
            size = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - given)
            asked = Request("GET", path, query={**query, "limit": size, "cursor": cursor}, headers=headers or {})
            page = self._transport.json_of(asked)
            for item in results.items_of(page):
                given += 1
                yield item
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def _act(self, document_id: str, action: str, body: Mapping[str, Any] | None = None) -> Document:
        return results.document_from(self._post(_document(document_id, action), body))

    def _post(self, path: str, body: Mapping[str, Any] | None) -> Any:  # a decoded JSON body
        # The key makes a repeated request count once.
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        return self._transport.json_of(Request("POST", path, headers=headers, body=body))

    def _download_to(self, document_id: str, stream: BinaryIO, on_progress: UploadProgress | None) -> int:
        written = 0
        with self._transport.streamed(_content_request(document_id)) as answer:
            total = int(answer.headers.get("Content-Length") or 0) or None
            try:
                for piece in answer.iter_bytes():
                    written += stream.write(piece)
                    if on_progress:
                        on_progress(written, total)
            except httpx.TransportError as error:
                raise unreachable(self._transport.url, error) from error
        return written

    def _followed(self, document_id: str, after: str | None) -> Iterator[Event]:
        stream = EventStream(self._transport, _document(document_id, "events"), last_event_id=after)
        while True:
            try:
                with stream.connected() as events:
                    # A document that ended before the stream was open sends nothing more.
                    if self.status(document_id).ended:
                        yield from self.events(document_id, after=stream.last_event_id)
                        return
                    for event in events:
                        yield event
                        if event.ended:
                            return
            except StreamUnavailable as error:
                raise GatewayUnreachable(str(error)) from error


def _document(document_id: str, part: str | None = None) -> str:
    path = f"/v1/documents/{quote(document_id, safe='')}"
    return f"{path}/{part}" if part else path


def _collection(name: str) -> str:
    return f"/v1/collections/{quote(name, safe='')}"


def _content_request(document_id: str) -> Request:
    return Request("GET", _document(document_id, "content"), headers={"Accept": "*/*"})
