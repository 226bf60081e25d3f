"""Says what is missing before anything is built or started in containers: `check_engine.py [build|start]`."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECRETS = ROOT / "deploy" / "compose" / "secrets"
PORT = "8443"
PROVIDERS_OF_THE_EXTRACTOR = ("SLUICE_TRANSCRIPTION__BASE_URL", "SLUICE_VISION__BASE_URL", "SLUICE_AUDIO__ENDPOINTS")
_ANSWER_S = 30
_FIRST_WITHOUT_BUILDKIT = 23
"""Version of docker's client from which on BuildKit is a plugin."""


def main(arguments: Sequence[str]) -> int:
    """Print what is missing; returns the exit status."""
    is_to_start = "start" in arguments
    found = list(what_is_missing(env_file(ROOT / ".env") | dict(os.environ), is_to_start=is_to_start))
    for lack in found:
        print(f"missing: {lack}", file=sys.stderr)
    return 1 if found else 0


def what_is_missing(settings: dict[str, str], *, is_to_start: bool) -> Iterator[str]:
    """Each thing with what to do about it; what comes later needs what comes before."""
    engine = list(_lacks_of_the_engine())
    yield from engine
    if is_to_start and not engine:
        yield from _lacks_of_the_start(settings)


def compose_command() -> list[str] | None:
    """Docker's own compose, or the older program."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and _run([*command, "version"]).returncode == 0:
            return command
    return None


def env_file(path: Path) -> dict[str, str]:
    """What compose reads of `.env` too."""
    if not path.is_file():
        return {}
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = (line.partition("=") for line in lines if line[:1] != "#")
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _lacks_of_the_engine() -> Iterator[str]:
    if shutil.which("docker") is None:
        yield "docker: install a Docker engine (Debian, Ubuntu: apt-get install docker.io docker-compose)"
        return
    engine = _run(["docker", "version"])
    if engine.returncode != 0:
        said = (engine.stderr.strip() or "no answer").splitlines()[-1]
        yield f"an engine that answers: start it, or ask for the right to use it ({said})"
    elif not _can_build():
        yield "BuildKit: install docker's plugin buildx (docker-buildx-plugin; Debian 13: docker-buildx)"


def _can_build() -> bool:
    version = re.search(r"\d+", _run(["docker", "version", "--format", "{{.Client.Version}}"]).stdout)
    if version is not None and int(version[0]) < _FIRST_WITHOUT_BUILDKIT:
        return True
    return _run(["docker", "buildx", "version"]).returncode == 0


def _lacks_of_the_start(settings: dict[str, str]) -> Iterator[str]:
    compose = compose_command()
    if compose is None:
        yield "compose: install docker's plugin compose (docker-compose-plugin), or docker-compose 1.29"
    elif not _is_free(settings) and not _run([*compose, "ps", "--quiet", "nginx"]).stdout.strip():
        port = settings.get("HTTPS_PORT", PORT)
        yield f"port {port}, which something else has: choose another one, HTTPS_PORT=9443 make up"
    abroad = [name for name in PROVIDERS_OF_THE_EXTRACTOR if settings.get(name)]
    if abroad and not settings.get("EXTRACTOR_NETWORK"):
        yield f"a way out for the extractor to {abroad[0]}: write EXTRACTOR_NETWORK=provider into .env"
    if not (SECRETS / "tls.crt").exists() and shutil.which("openssl") is None:
        yield "openssl, for a first certificate: install it, or put tls.crt and tls.key into deploy/compose/secrets"


def _is_free(settings: dict[str, str]) -> bool:
    if not os.environ.get("DOCKER_HOST", "unix://").startswith("unix://"):
        return True  # the port is another machine's
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.get("HTTPS_ADDRESS", "127.0.0.1"), int(settings.get("HTTPS_PORT", PORT))))
        except OSError:
            return False
    return True


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=_ANSWER_S)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer in {_ANSWER_S} s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
