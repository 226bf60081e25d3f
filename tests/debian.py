"""Programs of Debian that some tests need: installed where that is allowed."""

import os
import shutil
import subprocess
from collections.abc import Mapping

from conftest import missing

LOCK_S = 300
"""Another installation may be under way on this machine."""


def require_programs(packages: Mapping[str, str]) -> None:
    """Install the package of each program that is absent; skip on a laptop, and fail in CI, where that cannot be.

    Args:
        packages: the package of each program.
    """
    absent = sorted({package for program, package in packages.items() if shutil.which(program) is None})
    if not absent:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        missing(f"install {' '.join(absent)} to run this test")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-o", f"DPkg::Lock::Timeout={LOCK_S}"]
    for command in ([*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", *absent]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            missing(f"{' '.join(absent)} cannot be installed: {done.stderr.strip()[-300:]}")
