"""Forwards TCP between the parts of a stack and breaks it when told to; a program that needs nothing but Python.

It is a process of its own, so that the traffic of a whole stack never waits for the tests' interpreter. The first line
of its input is `{"routes": {NAME: [PORT, UPSTREAM_PORT]}}`; each later one is an order for some routes, and each
is answered by one line. It ends with its input.
"""

import asyncio
import json
import socket
import struct
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

LOOPBACK = "127.0.0.1"
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\nConnection: close\r\n\r\n{}"
)
DRAIN_S = 0.3
"""How long a refused request may still arrive: a connection closed before that would look like a reset."""
RESET = struct.pack("ii", 1, 0)
"""The linger option by which a close becomes a reset."""


@dataclass(frozen=True)
class Weather:
    """What happens on a route; the default is nothing."""

    refuse: bool = False
    """Nobody listens; connections that are open stay."""
    hold_requests: bool = False
    hold_replies: bool = False
    """Bytes stay where they are until this is over, as in a network that lost its packets."""
    delay_s: float = 0.0
    """For every piece, in each direction."""
    unavailable: bool = False
    """Answer every HTTP request by 503, and never ask the part."""
    lose_replies_to: str | None = None
    """Forward requests, and cut the connection at the first reply to one that contains this text."""


@dataclass
class Route:
    """One listening port, the port behind it, and the connections between."""

    port: int
    upstream: int
    weather: Weather = Weather()
    links: set["Link"] = field(default_factory=set)
    server: asyncio.Server | None = None
    reserved: socket.socket | None = None
    """Keeps the port while nobody listens on it."""
    opened: int = 0
    pieces: int = 0
    lost_replies: int = 0
    touched: int = 0
    """Pieces that the weather held, delayed or lost, and requests that it answered itself."""

    async def apply(self, weather: Weather) -> None:
        self.weather = weather
        if weather.refuse:
            await self._close()
        else:
            await self.listen()
        for link in list(self.links):
            link.to_server.pump()
            link.to_client.pump()

    async def listen(self) -> None:
        if self.server is None:
            free = self.reserved or self._bound()
            self.reserved = None
            self.server = await asyncio.get_running_loop().create_server(lambda: Link(self).client, sock=free)

    def cut(self) -> int:
        links = list(self.links)
        for link in links:
            link.cut()
        return len(links)

    async def _close(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None
            self.reserved = self._bound()

    def _bound(self) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((LOOPBACK, self.port))
        return bound


class Lane:
    """One direction of a link: what waits, and when it may go on."""

    def __init__(self, route: Route, *, is_reply: bool) -> None:
        self._route = route
        self._is_reply = is_reply
        self._waiting: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None
        self.is_target_full = False

    def take(self, piece: bytes | None) -> None:
        """Send a piece, or the end (None), now or when the weather allows."""
        if not self._waiting and self.target is not None and not self._is_held and not self._route.weather.delay_s:
            self._send(piece)
            return
        if self._is_held or self._route.weather.delay_s:
            self._route.touched += 1
        due = asyncio.get_running_loop().time() + self._route.weather.delay_s
        self._waiting.append((max(due, self._waiting[-1][0] if self._waiting else 0), piece))
        self.pump()

    def pump(self) -> None:
        """Send what may go, plan the rest, and read on only while there is room for it."""
        loop = asyncio.get_running_loop()
        while self._waiting and self.target is not None and not self._is_held and self._waiting[0][0] <= loop.time():
            self._send(self._waiting.popleft()[1])
        if self._waiting and not self._is_held and self.target is not None and self._timer is None:
            self._timer = loop.call_at(self._waiting[0][0], self._ring)
        self.throttle()

    def throttle(self) -> None:
        if self.source is None or self.source.is_closing():
            return
        if self.is_target_full or self.target is None or (self._is_held and self._waiting):
            self.source.pause_reading()
        else:
            self.source.resume_reading()

    @property
    def _is_held(self) -> bool:
        weather = self._route.weather
        return weather.hold_replies if self._is_reply else weather.hold_requests

    def _ring(self) -> None:
        self._timer = None
        self.pump()

    def _send(self, piece: bytes | None) -> None:
        assert self.target is not None
        if piece is None:
            self.target.close()
        elif not self.target.is_closing():
            self.target.write(piece)


class Link:
    """One client's connection and ours to the part behind it."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.to_server = Lane(route, is_reply=False)
        self.to_client = Lane(route, is_reply=True)
        self.client = End(self, self.to_server, self.to_client)
        self.server = End(self, self.to_client, self.to_server)
        self._is_marked = False
        self._is_refused = False

    async def open(self) -> None:
        self.route.opened += 1
        self.route.links.add(self)
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, LOOPBACK, self.route.upstream)
        except OSError:
            self.cut()

    def pass_on(self, lane: Lane, piece: bytes) -> None:
        self.route.pieces += 1
        weather = self.route.weather
        if self._is_refused or (weather.unavailable and lane is self.to_server):
            self._refuse()
        elif lane is self.to_client and self._is_marked and weather.lose_replies_to is not None:
            self.route.lost_replies += 1
            self.route.touched += 1
            self.cut()
        else:
            self._mark(lane, piece)
            lane.take(piece)

    def cut(self) -> None:
        """Reset both sides."""
        self.route.links.discard(self)
        for transport in (self.to_client.target, self.to_server.target):
            if transport is not None:
                _reset(transport)

    def _mark(self, lane: Lane, piece: bytes) -> None:
        text = self.route.weather.lose_replies_to
        if lane is self.to_client or text is None:
            self._is_marked = False
        elif text.encode() in piece:
            self._is_marked = True

    def _refuse(self) -> None:
        if not self._is_refused:
            self._is_refused = True
            self.route.touched += 1
            self.to_client.take(UNAVAILABLE)
            asyncio.get_running_loop().call_later(DRAIN_S, self.to_client.take, None)


class End(asyncio.Protocol):
    """One socket of a link: reads into one lane, and is the target of the other."""

    def __init__(self, link: Link, reads: Lane, writes: Lane) -> None:
        self._link = link
        self._reads = reads
        self._writes = writes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reads.source = self._writes.target = transport
        self._reads.throttle()
        self._writes.pump()
        if self is self._link.client:
            opening = asyncio.ensure_future(self._link.open())
            opening.add_done_callback(lambda done: done.exception())

    def data_received(self, data: bytes) -> None:
        self._link.pass_on(self._reads, data)

    def eof_received(self) -> bool:
        self._reads.take(None)
        return True

    def pause_writing(self) -> None:
        self._writes.is_target_full = True
        self._writes.throttle()

    def resume_writing(self) -> None:
        self._writes.is_target_full = False
        self._writes.throttle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.route.links.discard(self._link)
        if exc is not None:
            self._link.cut()
        elif self._reads.target is not None:
            self._reads.take(None)


def _reset(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        with suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()


class Orders:
    """Reads orders and does them one by one."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}

    async def serve(self) -> None:
        lines = asyncio.StreamReader(limit=2**20)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            sys.stdout.write(json.dumps(await self._answer(json.loads(line))) + "\n")
            sys.stdout.flush()

    async def _answer(self, order: dict) -> object:
        if "routes" in order:
            self._routes = {name: Route(*ports) for name, ports in order["routes"].items()}
            for route in self._routes.values():
                await route.listen()
            return len(self._routes)
        chosen = [self._routes[name] for name in order["of"]]
        if "weather" in order:
            for route in chosen:
                await route.apply(Weather(**order["weather"]))
            return len(chosen)
        if "cut" in order:
            return sum(route.cut() for route in chosen)
        return {name: _count(self._routes[name]) for name in order["of"]}


def _count(route: Route) -> dict[str, int]:
    return {
        "open": len(route.links),
        "opened": route.opened,
        "pieces": route.pieces,
        "lost_replies": route.lost_replies,
        "touched": route.touched,
    }


if __name__ == "__main__":
    asyncio.run(Orders().serve())
