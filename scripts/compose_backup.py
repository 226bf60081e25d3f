"""Backs up what `make up` runs, or puts a backup in its place: `compose_backup.py backup|restore FOLDER`."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import compose_up
from check_engine import ROOT, compose_command
from compose_up import NotUp, run, wait_until

IN_CONTAINER = "/backup"
SERVICE_USER = "10001:10001"
DATABASE = ("--username=sluice", "--dbname=sluice")
PSQL = ["psql", *DATABASE, "--tuples-only", "--no-align", "--command"]
DUMP = ["pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--exclude-table-data=page_images", *DATABASE]
LOAD = ["pg_restore", "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", *DATABASE]
HAS_TABLES = "SELECT to_regclass('documents') IS NOT NULL"
HAS_DOCUMENTS = "SELECT EXISTS (SELECT FROM documents WHERE lifecycle = 'active')"
ANSWERS_S = 60


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; returns the exit status."""
    what, folder, *rest = arguments
    compose = Compose(compose_command() or ["docker", "compose"], Path(folder).absolute())
    try:
        if what == "backup":
            back_up(compose)
        else:
            restore(compose, rest)
    except (NotUp, OSError) as error:
        print(f"{what} stopped: {error}", file=sys.stderr)
        return 1
    return 0


class Compose:
    """The containers of docker-compose.yml, and the folder of one backup on this machine."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.folder = folder
        self.dump = folder / "database.dump"
        self._command = command
        self._mounted = ["--volume", f"{folder}:{IN_CONTAINER}"]

    def do(self, *arguments: str, given: IO[bytes] | None = None, kept: IO[bytes] | None = None) -> None:
        """Run a command of compose, which reads *given* and writes to *kept* or to the terminal.

        Raises:
            NotUp: it failed; what it said stands above.
        """
        done = subprocess.run([*self._command, *arguments], check=False, cwd=ROOT, stdin=given, stdout=kept)
        if done.returncode != 0:
            raise NotUp(f"{' '.join(arguments)} ended with {done.returncode}")

    def in_postgres(self, *command: str, given: IO[bytes] | None = None, kept: IO[bytes] | None = None) -> None:
        """Run a program in PostgreSQL's container."""
        self.do("exec", "-T", "postgres", *command, given=given, kept=kept)

    def says_yes(self, question: str) -> bool:
        """What PostgreSQL answers to a question."""
        return run([*self._command, "exec", "-T", "postgres", *PSQL, question]).strip() == "t"

    def has_postgres(self) -> bool:
        """Whether PostgreSQL answers; over TCP, because a first start lets nobody in there before it is done."""
        command = ["exec", "-T", "postgres", "pg_isready", *DATABASE, "--host=127.0.0.1"]
        return subprocess.run([*self._command, *command], check=False, cwd=ROOT, capture_output=True).returncode == 0

    def module(self, *words: str) -> None:
        """Run a module in the gateway's image, whose user owns the folder meanwhile."""
        self._give_folder_to(SERVICE_USER)
        try:
            self.do("run", "--rm", "-T", "--no-deps", *self._mounted, "api", "python", "-P", "-m", *words)
        finally:
            self._give_folder_to(f"{os.getuid()}:{os.getgid()}")

    def _give_folder_to(self, owner: str) -> None:
        container = ["docker", "run", "--rm", "--user=0", "--network=none", *self._mounted]
        run([*container, api_image(self._command), "chown", "-R", owner, IN_CONTAINER])


def api_image(compose: list[str]) -> str:
    """The gateway's image, as compose names it."""
    configured = run([*compose, "config"])
    return next(line.split()[1] for line in configured.splitlines() if line.strip().startswith("image: sluice/api"))


def back_up(compose: Compose) -> None:
    """Save the tables, then the originals, while the services run; repeated, it goes on where it was cut off.

    Raises:
        NotUp: one of them was not saved.
    """
    compose.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not compose.dump.exists():
        part = compose.folder / "database.dump.part"
        with part.open("wb") as written:
            compose.in_postgres(*DUMP, kept=written)
            os.fsync(written.fileno())
        part.replace(compose.dump)
    compose.module("sluice_api.backup", "originals", IN_CONTAINER)
    print(f"the backup is in {compose.folder}")


def restore(compose: Compose, options: Sequence[str]) -> None:
    """Put a backup into an installation without documents, start it, and fill its index.

    Args:
        compose: of the installation.
        options: of `python -m sluice_api.restore`.

    Raises:
        NotUp: there are documents, or a step failed.
    """
    if not (compose.folder / "backup.json").exists():
        raise NotUp(f"{compose.folder} holds no finished backup")
    run(["sh", str(ROOT / "deploy/compose/make_secrets.sh")])
    compose.do("stop")
    compose.do("up", "--detach", "--no-deps", "postgres")
    wait_until(compose.has_postgres, ANSWERS_S, "PostgreSQL does not answer")
    if compose.says_yes(HAS_TABLES) and compose.says_yes(HAS_DOCUMENTS):
        raise NotUp("the installation has documents; a restore needs an empty one")
    compose.in_postgres("dropdb", "--username=sluice", "--if-exists", "--force", "sluice")
    compose.in_postgres("createdb", "--username=sluice", "sluice")
    with compose.dump.open("rb") as given:
        compose.in_postgres(*LOAD, given=given)
    compose.do("run", "--rm", "-T", "migrate")
    compose.module("sluice_api.restore", "originals", IN_CONTAINER, *options)
    if compose_up.main([]) != 0:
        raise NotUp("the backup is in place, and the services do not start")
    compose.do("exec", "-T", "api", "python", "-P", "-m", "sluice_api.rebuild_index")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
