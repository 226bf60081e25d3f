"""One request to a provider: bounded in time and size, given up when nobody waits for it, and no redirect."""

import asyncio
import ipaddress
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

import httpx2

_LOOK_S = 0.2
_PIECE_BYTES = 1 << 18

Trouble = Literal["timeout", "unreachable", "cut_off", "too_large", "stopped"]


class NoAnswer(Exception):
    """No whole answer came; `trouble` says why: `stopped` that nobody waits for it any more."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble)
        self.trouble: Trouble = trouble


@dataclass(frozen=True)
class Answer:
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Form:
    """A `multipart/form-data` body with one file in memory."""

    fields: Mapping[str, str]
    name: str
    content: bytes
    media_type: str


@dataclass(frozen=True)
class FileBody:
    """A body that is the bytes of a file, read piece by piece."""

    path: Path
    media_type: str


@dataclass(frozen=True)
class JsonBody:
    """A body in JSON, already written."""

    content: bytes


Body = Form | FileBody | JsonBody


@dataclass(frozen=True)
class Bounds:
    """How long the answer may take altogether, however slowly it drips, and how large it may be."""

    timeout_s: float
    max_bytes: int
    is_stopped: Callable[[], bool]
    """Asked several times a second, from one thread."""


def post(url: str, body: Body, *, bearer: str | None, bounds: Bounds) -> Answer:
    """Send *body* to *url* and wait for the answer.

    Raises:
        NoAnswer: none came, or none that may be read to its end.
    """
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it writes a line for each request
    return asyncio.run(_until_stopped(url, body, bearer, bounds))


async def _until_stopped(url: str, body: Body, bearer: str | None, bounds: Bounds) -> Answer:
    answering = asyncio.create_task(_answer(url, body, bearer, bounds))
    until = time.monotonic() + bounds.timeout_s
    while not answering.done():
        await asyncio.wait([answering], timeout=_LOOK_S)
        trouble = _why_not_longer(until, bounds)
        if trouble is not None and not answering.done():
            answering.cancel()
            await asyncio.wait([answering])
            raise NoAnswer(trouble)
    return await answering


def _why_not_longer(until: float, bounds: Bounds) -> Trouble | None:
    if bounds.is_stopped():
        return "stopped"
    return "timeout" if time.monotonic() > until else None


async def _answer(url: str, body: Body, bearer: str | None, bounds: Bounds) -> Answer:
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    try:
        async with (
            httpx2.AsyncClient(
                timeout=bounds.timeout_s,
                follow_redirects=False,  # the key and the sound go to the configured host only
                trust_env=not is_this_machine(httpx2.URL(url).host),
            ) as client,
            _stream(client, url, body, headers) as response,
        ):
            return Answer(response.status_code, dict(response.headers), await _read(response, bounds.max_bytes))
    except httpx2.TimeoutException as error:
        raise NoAnswer("timeout") from error
    except (httpx2.RemoteProtocolError, httpx2.DecodingError) as error:
        raise NoAnswer("cut_off") from error
    except httpx2.RequestError as error:
        raise NoAnswer("unreachable") from error


def _stream(
    client: httpx2.AsyncClient, url: str, body: Body, headers: Mapping[str, str]
) -> AbstractAsyncContextManager[httpx2.Response]:
    if isinstance(body, Form):
        file = (body.name, body.content, body.media_type)
        return client.stream("POST", url, headers=headers, data=dict(body.fields), files={"file": file})
    if isinstance(body, JsonBody):
        json_headers = {**headers, "Content-Type": "application/json"}
        return client.stream("POST", url, headers=json_headers, content=body.content)
    length = {"Content-Type": body.media_type, "Content-Length": str(body.path.stat().st_size)}
    return client.stream("POST", url, headers={**headers, **length}, content=_pieces_of(body.path))


async def _read(response: httpx2.Response, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in response.aiter_bytes():
        pieces.append(piece)
        size += len(piece)
        if size > max_bytes:
            raise NoAnswer("too_large")
    return b"".join(pieces)


async def _pieces_of(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def is_this_machine(host: str | None) -> bool:
    """Whether *host* is reached without a proxy, whatever the environment says."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address((host or "").strip("[]")).is_loopback
    except ValueError:
        return False


def wait_asked_for(headers: Mapping[str, str]) -> float | None:
    """Seconds, from `retry-after-ms`, or from `Retry-After` as a number or as a date; None when it says neither."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        number = number_in(headers.get(name))
        if number is not None:
            return number * unit_s
    return _seconds_until(headers.get("retry-after"), headers.get("date"))


def number_in(value: str | None) -> float | None:
    """A finite number that is not negative; None where the text is none."""
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(number, 0.0) if math.isfinite(number) else None


def _seconds_until(when: str | None, now: str | None) -> float | None:
    until = _moment_in(when)
    if until is None:
        return None
    # By the provider's own clock, where it tells the time: ours may be wrong.
    since = _moment_in(now) or datetime.now(UTC)
    return max((until - since).total_seconds(), 0.0)


def _moment_in(value: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
