"""The walls around a child: limits, lowest privileges, and what the kernel can be told to refuse.

| Wall | Where it holds |
|---|---|
| own session, closed descriptors, no cores, no file growth | Linux and macOS |
| address space | Linux; macOS ignores it |
| dies with the fork server, no new privileges | Linux |
| unprivileged user | where the extractor runs as root and the other user can read the interpreter |
| no capabilities | Linux as root, where the user stays root |
| file system closed but for reading the interpreter (Landlock) | Linux 5.13 and later, where the runtime allows it |
| no sockets, programs, processes, signals, mounts, writing (seccomp) | Linux on x86-64 and AArch64 |

A child that becomes a program has the same walls with one door: it may execute that one file. Landlock lets nothing
else be executed than the file and its loader; the system call filter lets one path be executed only, by its address in
the memory of the child, which is gone when the program runs.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

NOBODY = 65534
_IS_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_MAX_DESCRIPTORS = 64
_CRASH_ROOM_BYTES = 64 << 20  # so that a child that ran out of memory can still say so


_NICE = 5
"""A long document must not slow down the answers of a gateway, or the embedding of small ones, on the same machine."""


class BrokenWall(Exception):
    """A wall that every platform has could not be built; the child must not read."""


@dataclass(frozen=True)
class Walls:
    """What the fork server prepares once, and each child then puts around itself."""

    syscall_filter: bytes | None
    landlock_fd: int | None
    drops_user: bool
    mapped_bytes: int


def prepare_walls(readable: Iterable[str]) -> Walls:
    """Find out which walls this machine has; *readable* are the trees that modules are imported from."""
    trees = list(readable)
    return Walls(
        syscall_filter=_syscall_filter(),
        landlock_fd=_landlock_ruleset(trees),
        drops_user=os.geteuid() == 0 and _can_read_as_nobody(),
        mapped_bytes=_mapped_bytes(),
    )


def around_program(walls: Walls, path: str, readable: Iterable[str], *, path_address: int) -> Walls:
    """The walls for a child that becomes the program at *path*, which it names by *path_address* when it executes it.

    The program maps its own memory, reads its shared libraries and what lies in *readable*.
    """
    loader = _loader_of(path)
    return replace(
        walls,
        syscall_filter=_syscall_filter(may_execute=path_address),
        landlock_fd=_landlock_ruleset(
            [*_LIBRARIES, *readable], executable=[path, loader] if loader else [path], files=[_LIBRARY_CACHE]
        ),
        mapped_bytes=0,
    )


def build_walls(walls: Walls, *, memory_bytes: int, cpu_s: int, cpu_max_s: int, server_pid: int) -> list[str]:
    """Put the walls around this process, before it sees a byte of the document.

    Returns:
        The names of the walls that hold.
    """
    os.nice(_NICE)
    held = _limit(walls, memory_bytes, cpu_s, cpu_max_s)
    if walls.drops_user:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        held.append("user")
    if _IS_LINUX:
        held += _build_linux_walls(walls, server_pid)
    return held


def _limit(walls: Walls, memory_bytes: int, cpu_s: int, cpu_max_s: int) -> list[str]:
    limits = {
        "cores": (resource.RLIMIT_CORE, 0, 0),
        "file_size": (resource.RLIMIT_FSIZE, 0, 0),
        "descriptors": (resource.RLIMIT_NOFILE, _MAX_DESCRIPTORS, _MAX_DESCRIPTORS),
        "cpu": (resource.RLIMIT_CPU, cpu_s, cpu_max_s),
    }
    memory = walls.mapped_bytes + memory_bytes
    held = []
    for name, (kind, soft, hard) in limits.items():
        resource.setrlimit(kind, (soft, hard))
        held.append(name)
    with suppress(ValueError, OSError):  # macOS refuses it
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory + _CRASH_ROOM_BYTES))
        held.append("memory")
    return held


def _build_linux_walls(walls: Walls, server_pid: int) -> list[str]:
    libc = ctypes.CDLL(None, use_errno=True)
    held = []
    if os.geteuid() == 0 and _drop_capabilities(libc):
        held.append("capabilities")
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # after the change of user, which clears it
    if os.getppid() != server_pid:
        os._exit(1)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise BrokenWall("no new privileges")
    held += ["parent_death", "no_new_privileges"]
    if walls.landlock_fd is not None:
        if libc.syscall(_LANDLOCK_RESTRICT_SELF, walls.landlock_fd, 0) == 0:
            held.append("landlock")
        os.close(walls.landlock_fd)
    if walls.syscall_filter and _install(libc, walls.syscall_filter):
        held.append("seccomp")
    return held


def _mapped_bytes() -> int:
    """What the fork server has mapped, which RLIMIT_AS counts as the child's own."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - no path is built
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _can_read_as_nobody() -> bool:
    """Whether late imports will still work as the unprivileged user; tried by a process that becomes it."""
    pid = os.fork()
    if pid == 0:
        with suppress(OSError):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            readable = all(os.access(path, os.R_OK) for path in (os.__file__, __file__, ctypes.__file__))
            os._exit(0 if readable else 1)
        os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


_LIBRARIES = ("/usr/lib", "/lib", "/lib64", "/usr/local/lib")
_LIBRARY_CACHE = "/etc/ld.so.cache"


def readable_trees() -> list[str]:
    """The trees that Python and its shared libraries may be loaded from."""
    roots = {sys.prefix, sys.base_prefix, sysconfig.get_paths()["stdlib"], *_LIBRARIES}
    return sorted(os.path.realpath(path) for path in roots | set(sys.path) if path and os.path.isdir(path))  # noqa: PTH112 - sys.path holds strings


_CAPABILITY_VERSION = 0x20080522


def _drop_capabilities(libc: ctypes.CDLL) -> bool:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    return bool(libc.capset(header, nothing) == 0)


_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_ALL_OF_ABI_1 = (1 << 13) - 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_PATH_BENEATH = 1


def _landlock_ruleset(readable: Sequence[str], executable: Sequence[str] = (), files: Sequence[str] = ()) -> int | None:
    """A ruleset that lets nothing be touched; None where the kernel has no Landlock.

    But for what the folders *readable* hold and for single *files*, which may be read, and for the files *executable*.
    """
    if not _IS_LINUX:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    handled = ctypes.c_uint64(_ALL_OF_ABI_1)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(handled), ctypes.sizeof(handled), 0)
    if ruleset < 0:
        return None
    rights = [(_READ_FILE | _READ_DIR, readable), (_EXECUTE | _READ_FILE, executable), (_READ_FILE, files)]
    for right, paths in rights:
        for path in paths:
            _allow(libc, ruleset, right, path)
    return int(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, right: int, path: str) -> None:
    with suppress(FileNotFoundError):  # what is not there need not be allowed
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", right, fd)
        libc.syscall(_LANDLOCK_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
        os.close(fd)


_ELF, _PROGRAM_HEADERS_AT, _HEADER_SIZES_AT = b"\x7fELF\x02\x01", 32, 54
_INTERPRETER, _SEGMENT = 3, struct.Struct("<IIQQQQQQ")


def _loader_of(program: str) -> str | None:
    """The file that the kernel loads to load *program*; None where there is none, or the program is no ELF file."""
    with open(program, "rb") as file:  # noqa: PTH123 - no path is built
        head = file.read(64)
        if not head.startswith(_ELF):
            return None
        (at,) = struct.unpack_from("<Q", head, _PROGRAM_HEADERS_AT)
        size, count = struct.unpack_from("<HH", head, _HEADER_SIZES_AT)
        file.seek(at)
        table = file.read(size * count)
        segments = [_SEGMENT.unpack_from(table, size * number) for number in range(count)]
        for kind, _, offset, _, _, length, _, _ in segments:
            if kind == _INTERPRETER:
                file.seek(offset)
                return os.path.realpath(file.read(length).rstrip(b"\0").decode())
    return None


_X86_64, _AARCH64 = 0xC000003E, 0xC00000B7
_REFUSED = {
    "x86_64": (
        _X86_64,
        {
            "sockets": "41 42 43 44 46 49 50 53 288 307",
            "programs and processes": "56 57 58 59 322 435",
            "signals and other processes": "62 129 200 234 297 424 434 438",
            "tracing": "101 310 311",
            "mounts and namespaces": "155 161 165 166 272 308 428 429 430 431 432 433 442",
            "the kernel's attack surface": "248 249 250 298 319 321 323 425 426 427",
            "modules and boot": "169 175 176 246 313 320",
            "changing files": "76 82 83 84 85 86 87 88 90 91 92 93 94 133 258 259 260 263 264 265 266 268 316",
        },
        ((2, 1), (257, 2)),
    ),
    "aarch64": (
        _AARCH64,
        {
            "sockets": "198 199 200 201 202 203 206 211 242 269",
            "programs and processes": "220 221 281 435",
            "signals and other processes": "129 130 131 138 240 424 434 438",
            "tracing": "117 270 271",
            "mounts and namespaces": "39 40 41 51 97 268 428 429 430 431 432 433 442",
            "the kernel's attack surface": "217 218 219 241 279 280 282 425 426 427",
            "modules and boot": "104 105 106 142 273 294",
            "changing files": "33 34 35 36 37 38 45 52 53 54 55 276",
        },
        ((56, 2),),
    ),
}
"""By machine: its audit number, the system calls refused, and those that open files with the argument of flags."""
_EXECVE = {"x86_64": 59, "aarch64": 221}
_OPENAT2 = 437
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ALLOW, _REFUSE = 0x80000000, 0x7FFF0000, 0x00050001
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32_CALLS = 0x40000000


def _syscall_filter(may_execute: int | None = None) -> bytes | None:
    """A BPF program: refuse (EPERM) what is listed and any opening for writing, kill what comes by a foreign ABI.

    Args:
        may_execute: the address of the one path that may be executed.
    """
    if not _IS_LINUX or platform.machine() not in _REFUSED:
        return None
    machine, numbers, openers = _REFUSED[platform.machine()]
    program = [
        _step(_LOAD, _MACHINE_AT),
        _step(_JUMP_EQUAL, machine, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER_AT),
        _step(_JUMP_AT_LEAST, _X32_CALLS, 0, 1),
        _step(_RETURN, _KILL),
    ]
    if may_execute is not None:
        program += _one_path_only(_EXECVE[platform.machine()], may_execute)
    refused = [int(number) for kind in numbers.values() for number in kind.split()]
    for number in (*refused, _OPENAT2):
        program += [_step(_JUMP_EQUAL, number, 0, 1), _step(_RETURN, _REFUSE)]
    for number, flags_at in openers:
        program += [
            _step(_JUMP_EQUAL, number, 0, 4),
            _step(_LOAD, _ARGUMENTS_AT + 8 * flags_at),
            _step(_JUMP_ANY_BIT, _WRITING, 0, 1),
            _step(_RETURN, _REFUSE),
            _step(_RETURN, _ALLOW),
        ]
    return b"".join([*program, _step(_RETURN, _ALLOW)])


def _one_path_only(execve: int, address: int) -> list[bytes]:
    return [
        _step(_JUMP_EQUAL, execve, 0, 6),
        _step(_LOAD, _ARGUMENTS_AT),
        _step(_JUMP_EQUAL, address & 0xFFFFFFFF, 0, 3),
        _step(_LOAD, _ARGUMENTS_AT + 4),
        _step(_JUMP_EQUAL, address >> 32, 0, 1),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _REFUSE),
    ]


def _step(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, operand)


def _install(libc: ctypes.CDLL, program: bytes) -> bool:
    steps = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(steps)))
    return bool(libc.prctl(_PR_SET_SECCOMP, 2, header, 0, 0) == 0)
