"""Debian's packages that a test needs: installed where that is allowed, a reason to skip elsewhere."""

import os
import shutil
import subprocess
from collections.abc import Mapping

from conftest import missing


def require_packages(package_of: Mapping[str, str]) -> None:
    """Install the packages of programs that are not there; skip on a laptop and fail in CI where that is impossible.

    Args:
        package_of: the package that brings each program.
    """
    absent = sorted({package for program, package in package_of.items() if shutil.which(program) is None})
    if not absent:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        missing(f"needs {' '.join(absent)}: apt-get install {' '.join(absent)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", *absent]
    for command in (["apt-get", "update"], install):
        if subprocess.run(command, env=environment, capture_output=True, check=False).returncode:
            missing(f"{' '.join(absent)} cannot be installed: {' '.join(command)} failed")
