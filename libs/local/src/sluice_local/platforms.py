"""Which machines the local stack runs on."""

import platform
import sys
from dataclasses import dataclass

PYTHONS = ((3, 11), (3, 12))
MACHINES = ("x86_64", "amd64", "arm64", "aarch64")


class UnsupportedPlatform(Exception):
    """The local stack cannot run here; the message is one sentence that says what to do instead."""


@dataclass(frozen=True)
class Machine:
    """What decides whether the parts can run here."""

    system: str
    architecture: str
    python: tuple[int, int]
    libc: str


def this_machine() -> Machine:
    """The machine this interpreter runs on."""
    return Machine(
        system=sys.platform,
        architecture=platform.machine().lower(),
        python=(sys.version_info.major, sys.version_info.minor),
        libc=platform.libc_ver()[0],
    )


def require_supported(machine: Machine) -> None:
    """Refuse a machine for which the parts have no wheels.

    Raises:
        UnsupportedPlatform: with the one sentence to print.
    """
    if machine.system == "win32":
        raise UnsupportedPlatform("The local stack needs Linux or macOS: on Windows, use scripts\\start.bat with WSL2.")
    if machine.system not in {"linux", "darwin"}:
        raise UnsupportedPlatform(f"The local stack needs Linux or macOS, and this is {machine.system}.")
    if machine.architecture not in MACHINES:
        raise UnsupportedPlatform(f"There are no parts for {machine.architecture}, only for x86-64 and arm64.")
    if machine.python not in PYTHONS:
        version = ".".join(str(number) for number in machine.python)
        raise UnsupportedPlatform(f"The local stack needs Python 3.11 or 3.12, and this is {version}.")
    if machine.system == "linux" and machine.libc != "glibc":
        raise UnsupportedPlatform("The local stack needs a Linux with glibc; Alpine and others like it have none.")
