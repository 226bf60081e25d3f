"""Forks a child for each document: `python -I -m sluice_extractor.sandbox.fork_server SOCKET_FD`.

It has imported the readers once, has one thread, one socket, no environment but what forbids libraries to start
threads, and never sees a document.
An order comes with three descriptors: the document, the pipe for frames, and a socket by which the child's owner asks
for its death (one byte, or closing it) and learns how it ended (the status of `wait`, four bytes).
"""

import codecs
import gc
import os
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass

from sluice_extractor.parsing.encodings import USED_CODECS, decode
from sluice_extractor.sandbox.child import live
from sluice_extractor.sandbox.requests import LENGTH, READY, STATUS, ChildOrder
from sluice_extractor.sandbox.walls import Walls, prepare_walls, readable_trees

DESCRIPTORS_PER_ORDER = 3


@dataclass(frozen=True)
class _Child:
    pid: int
    owner: socket.socket


class ForkServer:
    """The loop: orders, deaths asked for, deaths that happened."""

    def __init__(self, orders: socket.socket, walls: Walls) -> None:
        self._orders = orders
        self._walls = walls
        self._pid = os.getpid()
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._deaths, self._bell = socket.socketpair()

    def serve(self) -> None:
        """Work until the other side closes the socket; then no child is left."""
        self._bell.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._deaths.setblocking(False)  # noqa: FBT003 - the socket's own signature
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._orders, selectors.EVENT_READ)
        self._selector.register(self._deaths, selectors.EVENT_READ)
        self._orders.sendall(READY)
        while self._serve_once():
            pass
        for child in self._children.values():
            _kill(child.pid)

    def _serve_once(self) -> bool:
        for key, _ in self._selector.select():
            if key.fileobj is self._orders:
                if not self._take_order():
                    return False
            elif key.fileobj is self._deaths:
                with suppress(BlockingIOError):
                    self._deaths.recv(4096)
            elif isinstance(key.data, _Child) and key.data.pid in self._children:
                self._selector.unregister(key.data.owner)  # asked or left alone: either way it must die
                _kill(key.data.pid)
        self._bury()
        return True

    def _take_order(self) -> bool:
        header, descriptors, _, _ = socket.recv_fds(self._orders, LENGTH.size, DESCRIPTORS_PER_ORDER)
        if len(header) < LENGTH.size or len(descriptors) != DESCRIPTORS_PER_ORDER:
            return False
        body = _receive(self._orders, LENGTH.unpack(header)[0])
        order = ChildOrder.model_validate_json(body)
        file_fd, result_fd, owner_fd = descriptors
        pid = os.fork()
        if pid == 0:
            live(order, self._walls, file_fd, result_fd, self._pid)
        os.close(file_fd)
        os.close(result_fd)
        child = _Child(pid, socket.socket(fileno=owner_fd))
        self._children[pid] = child
        self._selector.register(child.owner, selectors.EVENT_READ, child)
        return True

    def _bury(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            child = self._children.pop(pid)
            with suppress(KeyError):
                self._selector.unregister(child.owner)
            with suppress(OSError):
                child.owner.sendall(STATUS.pack(status))
            child.owner.close()


def _kill(pid: int) -> None:
    """Kill a child that was not waited for yet, so its number cannot belong to another process."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # missing when the child has not made its session yet
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _receive(source: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = source.recv(min(size, 1 << 16))
        if not part:
            raise SystemExit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _warm_up() -> None:
    """Load what Python and the readers would load late, because a child may find the file system closed."""
    for name in USED_CODECS:
        with suppress(LookupError):
            codecs.lookup(name)
    decode("\ud55c\uad6d\uc5b4".encode("cp949"))
    with suppress(Exception):
        decode(bytes(range(128, 256)) * 2)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = socket.socket(fileno=int(sys.argv[1]))
    _warm_up()
    walls = prepare_walls(readable_trees())
    gc.collect()
    gc.freeze()  # children share these objects' pages instead of copying them
    ForkServer(orders, walls).serve()


if __name__ == "__main__":
    main()
