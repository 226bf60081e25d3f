"""A whole database to a file and back, by PostgreSQL's own programs."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sluice_common.errors import PipelineError


class DumpFailed(PipelineError):
    """PostgreSQL's program is not there, or it refused; the message says which and why."""

    code = "dump_failed"


def dump(url: str, file: Path) -> None:
    """Write everything in the database, as of one moment, to *file*; nobody is held up meanwhile.

    Args:
        url: of the database, as the settings give it.
        file: appears whole or not at all.

    Raises:
        DumpFailed: there is no such file then.
    """
    part = file.with_name(f"{file.name}.part")
    without = "--exclude-table-data=page_images"  # drawn again when somebody looks
    _run(url, "pg_dump", "--format=custom", "--no-owner", "--no-privileges", without, f"--file={part}")
    with part.open("rb") as written:
        os.fsync(written.fileno())
    part.replace(file)


def load(url: str, file: Path) -> None:
    """Make the tables of a dump in the database, in one transaction; those of the same names are replaced.

    Raises:
        DumpFailed: the database is as it was.
    """
    replacing = ("--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error")
    _run(url, "pg_restore", *replacing, str(file))


def _run(url: str, program: str, *options: str) -> None:
    with _address_without_password(url) as address:
        command = [program, f"--dbname={address}", *options]
        try:
            done = subprocess.run(  # noqa: S603 - PostgreSQL's own programs, with options of ours
                command, capture_output=True, text=True, errors="replace", check=False
            )
        except OSError as error:
            raise DumpFailed(f"{program} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        raise DumpFailed(_first_line(done.stderr) or f"{program} ended with {done.returncode}")


@contextmanager
def _address_without_password(url: str) -> Iterator[str]:
    """Everyone on the machine can read a command line: the password goes into a private file."""
    address = conninfo_to_dict(url.replace("postgresql+psycopg://", "postgresql://", 1))
    password = str(address.pop("password", "")).replace("\\", r"\\").replace(":", r"\:")
    with tempfile.NamedTemporaryFile("w", prefix="sluice-password-", encoding="utf-8") as file:
        file.write(f"*:*:*:*:{password}\n")
        file.flush()
        yield make_conninfo("", **address, passfile=file.name)


def _first_line(text: str) -> str:
    """What went wrong; the lines below it may quote rows."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
