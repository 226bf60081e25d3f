"""Lets a child that dies in native code say that memory was the reason.

Allocators of native libraries end the process when the system refuses them memory, by the same signals as a crash.
PDFium calls the address 0xbd then; of others the address space near its limit tells. Linux only; elsewhere such a
death counts as a crash.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from sluice_common.errors import FailureCode
from sluice_extractor.sandbox.frames import LENGTH, encoded_error

_OUT_OF_MEMORY_ADDRESSES = frozenset({0xBD})
_NEAR_LIMIT = 0.6
_SA_SIGINFO, _SA_NODEFER, _SA_RESETHAND = 0x4, 0x40000000, 0x80000000
_ADDRESS_AT = 16  # of si_addr in siginfo_t on 64-bit Linux
_FATAL = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP, signal.SIGFPE)

_Handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _Action(ctypes.Structure):
    """`struct sigaction` of glibc and musl on 64-bit Linux."""

    _fields_ = (
        ("handler", _Handler),
        ("mask", ctypes.c_ubyte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def speak_when_dying(result_fd: int) -> Callable[[], object]:
    """Write an error frame to *result_fd* when native code runs out of memory; the signal then kills as usual.

    Call it before the file system is closed. Keep what it returns as long as the process lives: the kernel's pointer
    to the handler does not keep it.
    """
    if sys.platform != "linux":
        return lambda: None
    status_fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    body = encoded_error(FailureCode.EXTRACTOR_OUT_OF_MEMORY, "native code was refused memory")
    words = LENGTH.pack(len(body)) + body

    def speak(number: int, details: int, _context: int) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        address = ctypes.c_uint64.from_address(details + _ADDRESS_AT).value
        mapped = int(os.pread(status_fd, 100, 0).split()[0]) * resource.getpagesize()
        if (number == signal.SIGSEGV and address in _OUT_OF_MEMORY_ADDRESSES) or mapped > _NEAR_LIMIT * soft:
            os.write(result_fd, words)

    action = _Action(handler=_Handler(speak), flags=ctypes.c_int(_SA_SIGINFO | _SA_NODEFER | _SA_RESETHAND).value)
    libc = ctypes.CDLL(None, use_errno=True)
    for number in _FATAL:
        libc.sigaction(int(number), ctypes.byref(action), None)
    return lambda: action
