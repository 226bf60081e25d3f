"""An embedding provider with every fault that one can have, as a process of its own.

    with FaultyProvider() as provider, LocalStack(home, environment=system(**provider.settings())) as stack:
        provider.fail(Mode.NAN, probability=0.2)
        ...
        provider.behave()
        assert provider.counts().answers["nan"] > 0

It speaks OpenAI's protocol under `base_url`; faults and counters have a port of their own, so that they can be
reached while the provider refuses connections.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np

from sluice_local.embedding_server import DIMENSIONS, MODEL, load_model

HOST = "127.0.0.1"
HUGE_BYTES = 200 * 2**20
DRIP_S = 0.5


class Mode(StrEnum):
    """What an answer can be; all but `OK` and `SHUFFLED` are faults."""

    OK = "ok"
    TOO_MANY = "429 seconds"
    TOO_MANY_DATE = "429 date"
    TOO_MANY_SILENT = "429 silent"
    FAILED = "500"
    UNAVAILABLE = "503"
    UNAUTHORISED = "401"
    FORBIDDEN = "403"
    TOO_LONG = "400 too long"
    """Only a request with the text `Faults.too_long_text` in it; all others are answered."""
    HANG = "hang"
    RESET = "reset"
    REFUSE = "refuse"
    """Connections are refused; for all requests or none."""
    HTML = "html"
    TRUNCATED = "truncated"
    WRONG_LENGTH = "wrong length"
    ONE_SHORT = "one short"
    ONE_MORE = "one more"
    SHUFFLED = "shuffled"
    """In another order, as each `index` says: nothing is wrong with it."""
    REPEATED = "repeated"
    NAN = "nan"
    INFINITE = "infinite"
    ZERO = "zero"
    WRONG_DIMENSIONS = "wrong dimensions"
    EMPTY = "empty"
    DRIP = "drip"
    HUGE = "huge"


WRONG_ANSWERS = (
    Mode.HTML, Mode.TRUNCATED, Mode.WRONG_LENGTH, Mode.ONE_SHORT, Mode.ONE_MORE, Mode.REPEATED, Mode.NAN,
    Mode.INFINITE, Mode.ZERO, Mode.WRONG_DIMENSIONS, Mode.EMPTY, Mode.HUGE,
)  # fmt: skip
"""Those that say 200 and are not right."""


@dataclass(frozen=True)
class Limit:
    """So much per second, of which an unused part is kept for *burst_s*; None: without a limit."""

    requests_per_s: float | None = None
    tokens_per_s: float | None = None
    burst_s: float = 1.0
    shows_headers: bool = False
    """Whether the answers have `x-ratelimit-*`."""


@dataclass(frozen=True)
class Faults:
    """What goes wrong: each mode with its probability, where several stand side by side."""

    modes: Mapping[str, float] = field(default_factory=dict)
    limit: Limit = Limit()
    latency_s: float = 0.0
    retry_after_s: int = 1
    too_long_text: str = ""


@dataclass(frozen=True)
class Counts:
    """What came and what was sold since the start or the last `forget`; a sold text was answered, well or badly."""

    calls: int
    texts: int
    sold_texts: int
    sold_tokens: int
    unique_texts: int
    unique_tokens: int
    answers: Mapping[str, int]
    """By mode."""
    most_in_flight: int
    sold_for_s: float
    """Between the first and the last text that was sold."""

    @property
    def refused_for_pace(self) -> int:
        return sum(count for mode, count in self.answers.items() if mode.startswith("429"))


class FaultyProvider:
    """Starts and stops the process, switches its faults, and reads its counters."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._faults = Faults()
        self._control = httpx.Client(trust_env=False, timeout=10)
        self.base_url = ""
        """For `SLUICE_EMBEDDINGS__BASE_URL`."""

    def settings(self) -> dict[str, str]:
        """The settings with which a local stack uses this provider instead of its own."""
        return {
            "SLUICE_EMBEDDINGS__BASE_URL": self.base_url,
            "SLUICE_EMBEDDINGS__MODEL": MODEL,
            "SLUICE_EMBEDDINGS__DIMENSIONS": str(DIMENSIONS),
        }

    def start(self) -> None:
        """Start the process; returns when it answers."""
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        ports = json.loads(self._process.stdout.readline())
        self.base_url = f"http://{HOST}:{ports['provider']}/v1"
        self._control.base_url = httpx.URL(f"http://{HOST}:{ports['control']}")

    def stop(self) -> None:
        """Stop the process."""
        self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def fail(self, mode: Mode, *, probability: float = 1.0, **details: Any) -> None:
        """From now on answers are of *mode*; details are fields of `Faults`."""
        self._set(replace(self._faults, modes={mode.value: probability}, **details))

    def fail_in_many_ways(self, modes: Mapping[Mode, float]) -> None:
        """From now on each mode comes with its probability; the rest is answered well."""
        self._set(replace(self._faults, modes={mode.value: share for mode, share in modes.items()}))

    def limit(self, limit: Limit) -> None:
        """From now on no more than this is answered, and the rest is told to wait."""
        self._set(replace(self._faults, limit=limit))

    def slow_down(self, latency_s: float) -> None:
        """From now on each answer takes so long."""
        self._set(replace(self._faults, latency_s=latency_s))

    def behave(self) -> None:
        """Nothing goes wrong any more, and nothing is limited; requests that hang are let go without an answer."""
        self._set(Faults())

    def counts(self) -> Counts:
        return Counts(**self._control.get("/counts").json())

    def sold(self) -> dict[str, int]:
        """How often each text was sold, by its `fingerprint`."""
        sold: dict[str, int] = self._control.get("/sold").json()
        return sold

    def forget(self) -> None:
        """Count from zero again."""
        self._control.post("/forget", json={}).raise_for_status()

    def _set(self, faults: Faults) -> None:
        self._control.post("/faults", json=asdict(faults)).raise_for_status()
        self._faults = faults

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def fingerprint(text: str) -> str:
    """By which `sold` knows a text."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class _Bucket:
    """Lets so much through per second; full at the start."""

    def __init__(self, per_s: float | None, burst_s: float) -> None:
        self._per_s = per_s
        self.most = (per_s or 0.0) * burst_s
        self.left = self.most
        self._at_s = time.monotonic()

    def missing_s(self, amount: float) -> float:
        """How long until *amount* is there; nothing is taken."""
        if self._per_s is None:
            return 0.0
        now_s = time.monotonic()
        self.left = min(self.most, self.left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        # What is larger than the bucket passes when it is full, as with OpenAI, and is paid off afterwards.
        return max(0.0, (min(amount, self.most) - self.left) / self._per_s)

    def take(self, amount: float) -> None:
        self.left -= amount

    def headers(self, unit: str) -> dict[str, str]:
        if self._per_s is None:
            return {}
        return {
            f"x-ratelimit-limit-{unit}": f"{self.most:.0f}",
            f"x-ratelimit-remaining-{unit}": f"{max(self.left, 0):.0f}",
            f"x-ratelimit-reset-{unit}": f"{(self.most - self.left) / self._per_s * 1000:.0f}ms",
        }


class _Ledger:
    """What came and what was sold."""

    def __init__(self) -> None:
        self.calls = 0
        self.texts = 0
        self.answers: Counter[str] = Counter()
        self.sold: Counter[str] = Counter()
        self.tokens: dict[str, int] = {}
        self.in_flight = 0
        self.most_in_flight = 0
        self._first_s = self._last_s = 0.0

    def sell(self, texts: list[str], tokens: list[int]) -> None:
        self._last_s = time.monotonic()
        self._first_s = self._first_s or self._last_s
        for text, n_tokens in zip(texts, tokens, strict=True):
            self.sold[fingerprint(text)] += 1
            self.tokens[fingerprint(text)] = n_tokens

    def counts(self) -> Counts:
        return Counts(
            calls=self.calls,
            texts=self.texts,
            sold_texts=self.sold.total(),
            sold_tokens=sum(self.tokens[text] * times for text, times in self.sold.items()),
            unique_texts=len(self.sold),
            unique_tokens=sum(self.tokens.values()),
            answers=dict(self.answers),
            most_in_flight=self.most_in_flight,
            sold_for_s=self._last_s - self._first_s,
        )


class _Server:
    """The process: the provider's port, and the one for faults and counters."""

    def __init__(self) -> None:
        self._model = load_model()
        self._faults = Faults()
        self._requests, self._tokens = _Bucket(None, 1), _Bucket(None, 1)
        self._ledger = _Ledger()
        self._changed = asyncio.Event()
        self._provider: asyncio.Server | None = None
        self._port = 0

    async def run(self) -> None:
        control = await asyncio.start_server(self._serve_control, HOST, 0)
        await self._open()
        ports = {"provider": self._port, "control": control.sockets[0].getsockname()[1]}
        sys.stdout.write(json.dumps(ports) + "\n")
        sys.stdout.flush()
        # The end of the standard input is the end of whoever started us.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)

    async def _open(self) -> None:
        if self._provider is None:
            self._provider = await asyncio.start_server(self._serve, HOST, self._port, backlog=1024)
            self._port = self._provider.sockets[0].getsockname()[1]

    async def _serve_control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await _read(reader)) is not None:
            if request.path == "/faults":
                await self._set(request.json)
            if request.path == "/forget":
                self._ledger = _Ledger()
            bodies: dict[str, Callable[[], Any]] = {
                "/counts": lambda: asdict(self._ledger.counts()),
                "/sold": lambda: dict(self._ledger.sold),
            }
            body = bodies.get(request.path, lambda: asdict(self._faults))()
            await _write(writer, 200, json.dumps(body).encode())
        writer.close()

    async def _set(self, given: dict[str, Any]) -> None:
        limit = Limit(**given.pop("limit"))
        if limit != self._faults.limit:
            self._requests = _Bucket(limit.requests_per_s, limit.burst_s)
            self._tokens = _Bucket(limit.tokens_per_s, limit.burst_s)
        self._faults = Faults(limit=limit, **given)
        self._changed.set()  # lets go what hangs
        self._changed = asyncio.Event()
        if Mode.REFUSE in self._faults.modes:
            await self._refuse()
        else:
            await self._open()

    async def _refuse(self) -> None:
        if self._provider is not None:
            self._provider.close()
            self._provider = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):  # the other side may be gone at any time
            while (request := await _read(reader)) is not None:
                if Mode.REFUSE in self._faults.modes or not await self._answer(request, writer):
                    break

    async def _answer(self, request: _Request, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False: the connection ends."""
        if request.path != "/v1/embeddings":
            models = {"object": "list", "data": [{"id": MODEL, "object": "model"}]}
            await _write(writer, 200, json.dumps(models).encode())
            return True
        asked = request.json
        texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
        ledger = self._ledger
        ledger.calls += 1
        ledger.texts += len(texts)
        ledger.in_flight += 1
        ledger.most_in_flight = max(ledger.most_in_flight, ledger.in_flight)
        try:
            mode, wait_s, headers = self._mode_of(texts)
            ledger.answers[mode.value] += 1
            if self._faults.latency_s:
                await asyncio.sleep(self._faults.latency_s)
            return await self._play(mode, texts, _Wire(writer, headers), wait_s, asked)
        finally:
            ledger.in_flight -= 1

    def _mode_of(self, texts: list[str]) -> tuple[Mode, float, dict[str, str]]:
        tokens = float(sum(self._count(texts)))
        missing_s = max(self._requests.missing_s(1), self._tokens.missing_s(tokens))
        limit = self._faults.limit
        if missing_s > 0:
            return Mode.TOO_MANY, -(-missing_s // 1), {}
        self._requests.take(1)
        self._tokens.take(tokens)
        headers = (
            {**self._requests.headers("requests"), **self._tokens.headers("tokens")} if limit.shows_headers else {}
        )
        return self._drawn(texts), self._faults.retry_after_s, headers

    def _drawn(self, texts: list[str]) -> Mode:
        drawn = random.random()
        for name, share in self._faults.modes.items():
            drawn -= share
            if drawn < 0:
                mode = Mode(name)
                is_meant = mode is not Mode.TOO_LONG or any(self._faults.too_long_text in text for text in texts)
                return mode if is_meant else Mode.OK
        return Mode.OK

    def _count(self, texts: list[str]) -> list[int]:
        return [max(1, len(text) // 4) for text in texts]

    async def _play(self, mode: Mode, texts: list[str], wire: "_Wire", wait_s: float, asked: dict[str, Any]) -> bool:
        if mode in _REFUSALS:
            return await wire.refuse(_REFUSALS[mode], mode, wait_s)
        if mode is Mode.HANG:
            await self._changed.wait()
            return False
        if mode is Mode.RESET:
            return wire.reset()
        tokens = self._count(texts)
        self._ledger.sell(texts, tokens)
        vectors = self._model.embed(texts, dimensions=DIMENSIONS).vectors
        body = _answer_json(
            _spoilt(mode, vectors), mode, sum(tokens), is_base64=asked.get("encoding_format") == "base64"
        )
        return await wire.send(mode, body)


_REFUSALS = {
    Mode.TOO_MANY: 429, Mode.TOO_MANY_DATE: 429, Mode.TOO_MANY_SILENT: 429, Mode.FAILED: 500, Mode.UNAVAILABLE: 503,
    Mode.UNAUTHORISED: 401, Mode.FORBIDDEN: 403, Mode.TOO_LONG: 400,
}  # fmt: skip


@dataclass(frozen=True)
class _Wire:
    """One connection, and the headers of the answer that goes over it."""

    writer: asyncio.StreamWriter
    headers: Mapping[str, str]

    async def refuse(self, status: int, mode: Mode, wait_s: float) -> bool:
        headers = {}
        if mode is Mode.TOO_MANY:
            headers["Retry-After"] = f"{wait_s:.0f}"
        if mode is Mode.TOO_MANY_DATE:
            now = datetime.now(UTC)
            headers["Date"] = format_datetime(now, usegmt=True)
            headers["Retry-After"] = format_datetime(now + timedelta(seconds=wait_s), usegmt=True)
        body = {"error": {"message": mode.value, "type": "refused", "param": None, "code": None}}
        await _write(self.writer, status, json.dumps(body).encode(), headers)
        return True

    def reset(self) -> bool:
        self.writer.transport.abort()
        return False

    async def send(self, mode: Mode, body: bytes) -> bool:
        if mode is Mode.HTML:
            body = b"<!doctype html><title>Welcome</title><p>Please sign in to the network."
        if mode is Mode.DRIP:
            return await self._drip(body)
        if mode is Mode.HUGE:
            return await self._send_huge()
        if mode is Mode.TRUNCATED:
            await _write(self.writer, 200, body[: len(body) // 2], self.headers, length=len(body))
            return False
        if mode is Mode.WRONG_LENGTH:
            await _write(self.writer, 200, body, self.headers, length=len(body) // 2)
            return False
        await _write(self.writer, 200, body, self.headers)
        return True

    async def _drip(self, body: bytes) -> bool:
        await _write(self.writer, 200, b"", self.headers, length=len(body))
        for byte in body:
            await asyncio.sleep(DRIP_S)
            self.writer.write(bytes([byte]))
            await self.writer.drain()
        return True

    async def _send_huge(self) -> bool:
        await _write(self.writer, 200, b"", self.headers, length=HUGE_BYTES)
        for _ in range(HUGE_BYTES // 2**20):
            self.writer.write(b" " * 2**20)
            await self.writer.drain()
        return True


def _spoilt(mode: Mode, vectors: np.ndarray) -> np.ndarray:
    """The vectors as *mode* has them."""
    spoilt = vectors.copy()
    if mode is Mode.ONE_SHORT:
        return spoilt[:-1]
    if mode is Mode.ONE_MORE:
        return np.concatenate([spoilt, spoilt[:1]])
    if mode is Mode.EMPTY:
        return spoilt[:0]
    if mode is Mode.WRONG_DIMENSIONS:
        return spoilt[:, : DIMENSIONS // 2]
    numbers = {Mode.NAN: np.nan, Mode.INFINITE: np.inf}
    if mode in numbers:
        spoilt[-1, 3] = numbers[mode]
    if mode is Mode.ZERO:
        spoilt[-1] = 0
    return spoilt


def _answer_json(vectors: np.ndarray, mode: Mode, tokens: int, *, is_base64: bool) -> bytes:
    order = list(range(len(vectors)))
    entries = [
        {
            "object": "embedding",
            "index": 0 if mode is Mode.REPEATED else index,
            "embedding": base64.b64encode(vectors[index].astype("<f4").tobytes()).decode()
            if is_base64
            else [float(number) for number in vectors[index]],
        }
        for index in order
    ]
    if mode is Mode.REPEATED and len(entries) == 1:
        entries *= 2
    if mode is Mode.SHUFFLED:
        random.shuffle(entries)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps({"object": "list", "data": entries, "model": MODEL, "usage": usage}).encode()


async def _read(reader: asyncio.StreamReader) -> _Request | None:
    """The next request of a connection; None at its end."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    method, path, _ = head[0].split(" ", 2)
    return _Request(method, path, body)


async def _write(
    writer: asyncio.StreamWriter,
    status: int,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    length: int | None = None,
) -> None:
    """Write an answer; *length* is what it says of its body, where that is not the truth."""
    said = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body) if length is None else length),
        **(headers or {}),
    }
    lines = [f"HTTP/1.1 {status} {status}", *(f"{name}: {value}" for name, value in said.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    await writer.drain()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    asyncio.run(_Server().run())
