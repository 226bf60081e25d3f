"""A Docker engine of this run's own, with stand-ins under the names of images that cannot be pulled here."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conftest import missing
from oracle import wait_until

ROOT = Path(__file__).parents[3]
STANDINS = Path(__file__).parent / "standins"
BASE = "python:3.11-slim"
SUITE = "bookworm"
DEBIAN_SERVICES = "sluice-test/debian-services"
PROGRAMS = ("dockerd", "docker-compose", "debootstrap")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_CONF = Path("/etc/pip.conf")

_START_S = 60
_BUILD_S = 900
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

    def answers(self) -> bool:
        return "Server Version" in self.docker("info", check=False, timeout_s=10)

    def has(self, image: str) -> bool:
        return self.docker("image", "ls", "--quiet", image).strip() != ""


@contextlib.contextmanager
def open_engine(folder: Path) -> Iterator[Engine]:
    """Start an engine with its data below *folder*, and leave nothing of it but what was asked to be kept.

    One that DOCKER_HOST names is used instead, and left running.
    """
    given = os.environ.get("DOCKER_HOST", "")
    if given.startswith("unix://"):
        yield Engine(Path(given.removeprefix("unix://")))
        return
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent or os.geteuid() != 0:
        missing(
            f"needs root and {', '.join(absent) or PROGRAMS} (apt-get install docker.io docker-compose debootstrap)"
        )
    kept = os.environ.get(_KEPT)
    data = Path(kept) if kept else folder / "data"
    engine = Engine(folder / "docker.sock")
    with (folder / "dockerd.log").open("wb") as log:
        daemon = subprocess.Popen(_daemon(folder, data), stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_until(
            lambda: daemon.poll() is not None or engine.answers(),
            seconds=_START_S,
            message=(folder / "dockerd.log").read_text,
        )
        assert daemon.poll() is None, (folder / "dockerd.log").read_text()
        yield engine
    finally:
        _stop(engine, daemon)
        if not kept:
            shutil.rmtree(data, ignore_errors=True)


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
    return flags


def have_base(engine: Engine, folder: Path) -> None:
    """Make the base of all images from Debian's packages, where it cannot be pulled."""
    if engine.has(BASE):
        return
    root = folder / "base"
    packages = "--include=python3,python3-venv,python3-pip,ca-certificates"
    engine.run("debootstrap", "--variant=minbase", packages, SUITE, str(root), mirror())
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    (root / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink(missing_ok=True)
    (root / "etc/apt/sources.list").write_text("")  # the mirror is this machine's business
    for weight in ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/lib/apt/lists", "var/cache/apt"):
        shutil.rmtree(root / weight, ignore_errors=True)
    for log in ("debootstrap.log", "dpkg.log", "apt/history.log", "apt/term.log", "bootstrap.log"):
        (root / "var/log" / log).unlink(missing_ok=True)
    archive = folder / "base.tar"
    engine.run("tar", "--create", "--file", str(archive), "--directory", str(root), ".")
    engine.docker("import", str(archive), BASE)
    shutil.rmtree(root)
    archive.unlink()


def have_standins(engine: Engine, names: Mapping[str, str]) -> None:
    """Build a stand-in for each image of *names* (image to kind) that the engine does not have."""
    absent = {image: kind for image, kind in names.items() if not engine.has(image)}
    if not absent:
        return
    if not engine.has(DEBIAN_SERVICES):
        sources = ("--secret", f"id=sources,src={_sources_file()}")
        _build(engine, DEBIAN_SERVICES, STANDINS / "debian.Dockerfile", *sources)
    for image, kind in absent.items():
        _build(engine, image, STANDINS / f"{kind}.Dockerfile")


def _build(engine: Engine, image: str, dockerfile: Path, *flags: str) -> None:
    where = ("--tag", image, "--file", str(dockerfile), str(ROOT if dockerfile.stem == "qdrant" else STANDINS))
    engine.docker("build", "--quiet", *build_flags(), *flags, *where)


def _sources_file() -> Path:
    return Path("/etc/apt/sources.list.d/debian.sources")


def mirror() -> str:
    """Where this machine has its Debian packages from."""
    for line in _sources_file().read_text(encoding="utf-8").splitlines():
        if line.startswith("URIs:"):
            return line.split()[1]
    raise AssertionError("no Debian mirror in apt's sources")
