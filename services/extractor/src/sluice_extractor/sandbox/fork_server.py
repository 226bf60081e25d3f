"""Forks the children: `python -I -m sluice_extractor.sandbox.fork_server SOCKET_FD MOST_CHILDREN`.

It has imported the readers once, has one thread, one socket, no environment but what forbids libraries to start
threads, and never sees a document.
An order is one byte, its kind, and four descriptors: a pipe with what the child shall do, which only the child reads,
so that no child finds another document's name in its memory; the document; the pipe for frames; and a socket by which
the child's owner asks for its death (one byte, or closing it) and learns how it ended (the status of `wait`, four
bytes). A child that is to become a program gets its standard input in place of the document, and its standard output
in place of the pipe for frames.

Orders wait until there is a place, in their order, but for this: those that begin a document and those that go on with
one leave the last place to each other. So a short document never waits for the end of a long one, and a flood of
short ones does not stop a long one. Children that wait for what is made of their pictures have places of their own, one
less, so that scans never hold up text; programs need no place, because a child keeps its own until they have ended. A
child that draws a page has a place of its own, so that somebody who looks at a page waits for others who look, and for
no document.
"""

import codecs
import gc
import os
import selectors
import signal
import socket
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from sluice_extractor.parsing.encodings import USED_CODECS, decode
from sluice_extractor.sandbox.child import ChildEnds, live
from sluice_extractor.sandbox.program_child import become_program
from sluice_extractor.sandbox.requests import BEGINS, DESCRIPTORS_PER_ORDER, DRAWS, GOES_ON, READY, RUNS, STATUS, WAITS
from sluice_extractor.sandbox.walls import Walls, prepare_walls, readable_trees


@dataclass(frozen=True, eq=False)
class _Waiting:
    kind: bytes
    ends: ChildEnds
    owner: socket.socket


@dataclass(frozen=True)
class _Child:
    pid: int
    owner: socket.socket
    kind: bytes


class ForkServer:
    """The loop: orders, deaths asked for, deaths that happened."""

    def __init__(self, orders: socket.socket, walls: Walls, most_children: int) -> None:
        self._orders = orders
        self._walls = walls
        self._most_children = most_children
        self._waiting: list[_Waiting] = []
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
            elif key.data in self._waiting:
                self._drop(key.data)
            elif isinstance(key.data, _Child) and key.data.pid in self._children:
                self._selector.unregister(key.data.owner)  # asked or left alone: either way it must die
                _kill(key.data.pid)
        self._bury()
        while waiting := self._next_in_turn():
            self._fork(waiting)
        return True

    def _take_order(self) -> bool:
        kind, descriptors, _, _ = socket.recv_fds(self._orders, 1, DESCRIPTORS_PER_ORDER)
        if len(descriptors) != DESCRIPTORS_PER_ORDER:
            return False
        order_fd, file_fd, result_fd, owner_fd = descriptors
        waiting = _Waiting(kind, ChildEnds(order_fd, file_fd, result_fd), socket.socket(fileno=owner_fd))
        self._waiting.append(waiting)
        self._selector.register(waiting.owner, selectors.EVENT_READ, waiting)
        return True

    def _next_in_turn(self) -> _Waiting | None:
        living = Counter(child.kind for child in self._children.values())
        return next((waiting for waiting in self._waiting if self._has_place(waiting.kind, living)), None)

    def _has_place(self, kind: bytes, living: Counter[bytes]) -> bool:
        if kind == RUNS:
            return True
        if kind == DRAWS:
            return not living[DRAWS]
        places = self._most_children - living[BEGINS] - living[GOES_ON]
        if kind != WAITS and places != 1:
            return places > 1
        return living[kind] < self._most_children - 1

    def _fork(self, waiting: _Waiting) -> None:
        pid = os.fork()
        if pid == 0:
            live_so = become_program if waiting.kind == RUNS else live
            live_so(waiting.ends, self._walls, self._pid)
        child = _Child(pid, waiting.owner, waiting.kind)
        self._children[pid] = child
        self._waiting.remove(waiting)
        self._selector.modify(child.owner, selectors.EVENT_READ, child)
        waiting.ends.close()

    def _drop(self, waiting: _Waiting) -> None:
        """Its owner does not want it any more."""
        self._waiting.remove(waiting)
        self._selector.unregister(waiting.owner)
        waiting.owner.close()
        waiting.ends.close()

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
    ForkServer(orders, walls, int(sys.argv[2])).serve()


if __name__ == "__main__":
    main()
