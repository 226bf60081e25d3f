"""A Docker engine of this run's own, with stand-ins under the names of images that cannot be pulled here."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import missing
from debian import require_programs
from oracle import wait_until

ROOT = Path(__file__).parents[3]
STANDINS = Path(__file__).parent / "standins"
BASE = "python:3.11-slim"
SUITE = "bookworm"
PREFIX = "sluice-test/"
"""Of the images from which stand-ins are made."""
PROGRAMS = {"dockerd": "docker.io", "docker-compose": "docker-compose", "mmdebstrap": "mmdebstrap"}
"""The package of each program, where no engine is given."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_CONF = Path("/etc/pip.conf")
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")

_START_S = 60
_BUILD_S = 3_600
_PULL_S = 120
_KEPT = "SLUICE_TEST_DOCKER_ROOT"
"""A folder for the engine's data that is kept between runs, which makes the second one quick."""


@dataclass(frozen=True)
class Engine:
    """A running engine, reached by its socket alone."""

    socket: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def system(self) -> dict[str, str]:
        """The environment in which Debian's clients find this engine and nothing else of the person's."""
        needed = {"PATH": f"/usr/bin:{os.environ['PATH']}", "HOME": os.environ["HOME"], "LANG": "C.UTF-8"}
        return {**needed, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "1", **self.environment}

    def docker(self, *arguments: str, check: bool = True, timeout_s: float = _BUILD_S) -> str:
        """What the command printed.

        Raises:
            AssertionError: it failed and *check* was set; with what it said.
        """
        return self.run("docker", *arguments, check=check, timeout_s=timeout_s)

    def run(self, *command: str, check: bool = True, timeout_s: float = _BUILD_S) -> str:
        done = subprocess.run(
            command, env=self.system(), cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout + ("" if check else done.stderr)

    def compose(self, *arguments: str, check: bool = True) -> str:
        """What a command of compose printed, in the profile of the small local model."""
        program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
        return self.run(*program, "--profile", "local-embeddings", *arguments, check=check)

    def answers(self) -> bool:
        return "Server Version" in self.docker("info", check=False, timeout_s=10)

    def has(self, image: str) -> bool:
        return self.docker("image", "ls", "--quiet", image).strip() != ""

    def pulls(self, image: str) -> bool:
        """Whether the real image is there, after asking for it."""
        try:
            self.docker("pull", "--quiet", image, check=False, timeout_s=_PULL_S)
        except subprocess.TimeoutExpired:
            return False
        return self.has(image)


@contextlib.contextmanager
def kept_data(folder: Path) -> Iterator[Path]:
    """Where the engines of a run keep images; removed at its end unless somebody named the folder."""
    kept = os.environ.get(_KEPT)
    try:
        yield Path(kept) if kept else folder
    finally:
        if not kept:
            subprocess.run(["rm", "-rf", str(folder)], check=True)  # so many files that Python takes minutes


@contextlib.contextmanager
def open_engine(folder: Path, data: Path) -> Iterator[Engine]:
    """Start an engine that keeps its images in *data*, and leave nothing else of it.

    One that DOCKER_HOST names is used instead, and left running.
    """
    given = os.environ.get("DOCKER_HOST", "")
    if given.startswith("unix://"):
        yield Engine(Path(given.removeprefix("unix://")))
        return
    if os.geteuid() != 0:
        missing("needs root, or an engine that DOCKER_HOST names")
    require_programs(PROGRAMS)
    engine = Engine(folder / "docker.sock")
    with (folder / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(_daemon(folder, data), stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_until(
            lambda: daemon.poll() is not None or engine.answers(),
            seconds=_START_S,
            message=(folder / "dockerd.log").read_text,
        )
        if daemon.poll() is not None:
            _say_that_there_is_none((folder / "dockerd.log").read_text())
        yield engine
    finally:
        _stop(engine, daemon)


def _say_that_there_is_none(log: str) -> None:
    """A machine whose kernel has no room for containers is no reason to fail, and must not go unnoticed."""
    reason = (log.strip().splitlines() or ["it said nothing"])[-1]
    pytest.skip(f"NO DOCKER ENGINE CAN BE STARTED HERE, so that nothing was tried in containers: {reason}")


def _daemon(folder: Path, data: Path) -> Sequence[str]:
    places = ("--data-root", str(data), "--exec-root", str(folder / "exec"), "--pidfile", str(folder / "dockerd.pid"))
    network = ("--bip", "10.251.0.1/24", "--default-address-pool", "base=10.252.0.0/16,size=24")
    return ("dockerd", *places, "--host", f"unix://{folder / 'docker.sock'}", *network)


def _stop(engine: Engine, daemon: subprocess.Popen[bytes]) -> None:
    if daemon.poll() is None:
        running = engine.docker("ps", "--all", "--quiet", check=False).split()
        if running:
            engine.docker("rm", "--force", "--volumes", *running, check=False)
        engine.docker("volume", "prune", "--force", check=False)
        engine.docker("network", "prune", "--force", check=False)
        daemon.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(timeout=30)
    if daemon.poll() is None:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()


def build_flags() -> list[str]:
    """What a build needs to reach this machine's packages; secrets of the build, which no image keeps."""
    flags = ["--network=host"]
    if PIP_CONF.exists():
        flags += ["--secret", f"id=pip.conf,src={PIP_CONF}"]
    if CERTIFICATES.exists():
        flags += ["--secret", f"id=ca.crt,src={CERTIFICATES}"]
    if SOURCES.exists():
        flags += ["--secret", f"id=sources,src={SOURCES}"]
    return flags


def have_base(engine: Engine, folder: Path) -> None:
    """Make the base of all images from Debian's packages, where it cannot be pulled."""
    if engine.has(BASE) or engine.pulls(BASE):
        return
    archive = folder / "base.tar"
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{weight}/*" for weight in ("doc", "man", "locale")]
    quick = ["--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Retries "3"']
    packages = "--include=python3,python3-venv,python3-pip,ca-certificates,passwd"
    sources = "rm -rf $1/etc/apt/sources.list $1/etc/apt/sources.list.d/*"  # the mirror is this machine's business
    hooks = [f"--customize-hook={hook}" for hook in ("ln -s /usr/bin/python3 $1/usr/local/bin/python", sources)]
    options = ["--quiet", "--variant=apt", packages, *excluded, *quick, *hooks]
    engine.run("mmdebstrap", *options, SUITE, str(archive), str(SOURCES))
    engine.docker("import", str(archive), BASE)
    archive.unlink()


def have_images(engine: Engine, *names: str) -> None:
    """Build the images of these names, or of all services."""
    engine.run("env", f"DOCKER_BUILD_FLAGS={' '.join(build_flags())}", "sh", "scripts/build_images.sh", *names)


def have_standins(engine: Engine, names: Mapping[str, str]) -> None:
    """Build a stand-in for each image of *names* (image to kind) that can be had neither here nor elsewhere."""
    absent = {image: kind for image, kind in names.items() if not engine.has(image) and not engine.pulls(image)}
    if not absent:
        return
    for image, kind in absent.items():
        dockerfile = STANDINS / f"{kind}.Dockerfile"
        base = dockerfile.read_text(encoding="utf-8").split("FROM ")[1].split()[0]
        if base.startswith(PREFIX) and not engine.has(base):
            _build(engine, base, STANDINS / f"{base.removeprefix(PREFIX)}.Dockerfile")
        _build(engine, image, dockerfile)


def _build(engine: Engine, image: str, dockerfile: Path) -> None:
    where = ("--tag", image, "--file", str(dockerfile), str(ROOT if dockerfile.stem == "qdrant" else STANDINS))
    engine.docker("build", "--quiet", *build_flags(), *where)
