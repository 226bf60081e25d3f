"""The life of a child that becomes a program: walls first, then the program with its input and output only."""

import ctypes
import os
from typing import NoReturn

from sluice_extractor.sandbox.child import ChildEnds, leave_the_server
from sluice_extractor.sandbox.requests import ProgramOrder
from sluice_extractor.sandbox.walls import Walls, around_program, build_walls

NOT_STARTED = 127
_GRACE_S = 2


def become_program(ends: ChildEnds, walls: Walls, server_pid: int) -> NoReturn:
    """Put the walls around this process and replace it by the program; ends with `NOT_STARTED` where that fails."""
    try:
        with os.fdopen(ends.order_fd, "rb", closefd=False) as order_file:
            order = ProgramOrder.model_validate_json(order_file.read())
        leave_the_server(ends, kept_fd=None)
        path = ctypes.create_string_buffer(os.fsencode(order.path))
        arguments = _strings([order.path, *order.arguments])
        environment = _strings([f"{name}={value}" for name, value in order.environment.items()])
        execve = ctypes.CDLL(None, use_errno=True).execve
        build_walls(
            around_program(walls, order.path, order.readable, path_address=ctypes.addressof(path)),
            memory_bytes=order.memory_bytes,
            cpu_s=order.cpu_s,
            cpu_max_s=order.cpu_s + _GRACE_S,
            server_pid=server_pid,
        )
        execve(path, arguments, environment)  # by the address that the system call filter lets through
    finally:
        os._exit(NOT_STARTED)


def _strings(texts: list[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(texts) + 1))(*map(os.fsencode, texts), None)
