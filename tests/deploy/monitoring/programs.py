"""Prometheus, Alertmanager and the exporters as Debian packages them, as processes on ports of their own."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from deploy.packages import require_packages

from sluice_local.ports import LOOPBACK, free_port

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "prometheus-redis-exporter": "prometheus-redis-exporter",
    "prometheus-node-exporter": "prometheus-node-exporter",
}
"""The package of each program."""
START_S = 30.0


def require_programs() -> None:
    """Install what is missing where that is allowed; skip on a laptop and fail in CI where it is not."""
    require_packages(PACKAGES)


class Program:
    """One server as a process; a context manager."""

    def __init__(
        self, command: Sequence[str], *, folder: Path, ready: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.port = free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        self.url = f"http://{self.address}"
        self._command = [part.replace("ADDRESS", self.address) for part in command]
        self._ready = self.url + ready
        self._folder = folder
        self._log = folder / f"{command[0]}.log"
        self._environment = {"PATH": os.environ["PATH"], **(environment or {})}

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while not self._is_ready():
            is_late = self._process.poll() is not None or time.monotonic() > deadline
            assert not is_late, self._log.read_text(errors="replace")[-2000:]
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=START_S)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(self._ready, timeout=2, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


def prometheus(folder: Path, configuration: Path) -> Program:
    return Program(
        [
            "prometheus",
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'series'}",
            "--web.listen-address=ADDRESS",
        ],
        folder=folder,
        ready="/-/ready",
    )


def alertmanager(folder: Path, configuration: Path) -> Program:
    return Program(
        [
            "prometheus-alertmanager",
            f"--config.file={configuration}",
            f"--storage.path={folder / 'notifications'}",
            "--web.listen-address=ADDRESS",
            "--cluster.listen-address=",
        ],
        folder=folder,
        ready="/-/ready",
    )


def redis_exporter(folder: Path, redis_url: str) -> Program:
    return Program(
        ["prometheus-redis-exporter", "-web.listen-address=ADDRESS"],
        folder=folder,
        ready="/metrics",
        environment={"REDIS_ADDR": redis_url},
    )


def node_exporter(folder: Path) -> Program:
    return Program(
        [
            "prometheus-node-exporter",
            "--collector.disable-defaults",
            "--collector.filesystem",
            "--web.listen-address=ADDRESS",
        ],
        folder=folder,
        ready="/metrics",
    )
