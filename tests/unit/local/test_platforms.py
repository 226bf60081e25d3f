from dataclasses import replace

import pytest

from sluice_local.platforms import Machine, UnsupportedPlatform, require_supported, this_machine

LINUX = Machine(system="linux", architecture="x86_64", python=(3, 11), libc="glibc")


@pytest.mark.parametrize(
    "machine",
    [LINUX, replace(LINUX, python=(3, 12)), Machine("darwin", "arm64", (3, 12), ""), this_machine()],
)
def test_linux_and_macos_with_a_known_python_are_supported(machine):
    require_supported(machine)


@pytest.mark.parametrize(
    ("machine", "sentence"),
    [
        (replace(LINUX, system="win32"), r"on Windows, use scripts.start\.bat with WSL2"),
        (replace(LINUX, system="freebsd14"), "this is freebsd14"),
        (replace(LINUX, architecture="riscv64"), "no parts for riscv64"),
        (replace(LINUX, python=(3, 13)), "needs Python 3.11 or 3.12, and this is 3.13"),
        (replace(LINUX, libc=""), "a Linux with glibc"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(machine, sentence):
    with pytest.raises(UnsupportedPlatform, match=sentence) as refusal:
        require_supported(machine)

    assert "\n" not in str(refusal.value)
