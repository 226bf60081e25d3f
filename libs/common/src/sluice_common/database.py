"""The connection to PostgreSQL: one transaction at a time, and its failures by our names."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from sluice_common.errors import DatabaseUnavailable
from sluice_common.settings import DatabaseSettings

_SESSION = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "statement_timeout": "8s",
        "lock_timeout": "6s",
        # a frozen worker must not hold a row lock: SKIP LOCKED would skip the row for ever
        "idle_in_transaction_session_timeout": "15s",
        "timezone": "UTC",
        "jit": "off",
    }.items()
)


_TRUSTED_IDLE_S = 1.0
"""A connection that lay unused for longer is asked whether it still works; in a busy pool nobody pays for that."""


DISK_FULL = "storage_full"
"""The detail code of a DatabaseUnavailable when PostgreSQL's disk is full: the transaction has written nothing."""

_SQLSTATE_DISK_FULL = "53100"


class CopyRefused(Exception):
    """PostgreSQL refuses rows that were copied in: a mistake of ours; says which kind, and never the rows."""


class Database:
    """Hands out transactions."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._single = engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction, committed at the end of the `with` and rolled back when it raises.

        Raises:
            DatabaseUnavailable: no connection, or one that broke; whether a commit happened is then unknown,
                and the next conditional statement will tell.
        """
        with _named_outages(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def single(self) -> Iterator[sa.Connection]:
        """Statements that each are a transaction of their own: a question, or a move in one statement.

        One round trip instead of three.

        Raises:
            DatabaseUnavailable: as in `transaction`.
        """
        with _named_outages(), self._single.connect() as connection:
            yield connection

    def ping(self) -> None:
        """Raise DatabaseUnavailable unless PostgreSQL answers."""
        with self.single() as connection:
            connection.execute(sa.text("SELECT 1"))

    def close(self) -> None:
        self._engine.dispose()


def open_database(settings: DatabaseSettings, *, application: str, pool_size: int | None = None) -> Database:
    """Make the pool; connects at first use.

    Args:
        settings: where PostgreSQL is.
        application: shown in pg_stat_activity.
        pool_size: connections at most; the setting when None. A heartbeat has a small pool of its own, so that
            it never waits behind the work it keeps alive.
    """
    size = pool_size or settings.pool_size
    engine = sa.create_engine(
        settings.url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=10,
        hide_parameters=True,  # document text must not reach a log through an error message
        connect_args={
            "options": _SESSION,
            "application_name": application,
            "connect_timeout": 5,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    )
    event.listen(engine, "checkout", _ask_when_idle)
    event.listen(engine, "checkin", _remember_use)
    return Database(engine)


def one(connection: sa.Connection, statement: sa.TextClause, **values: Any) -> sa.Row[Any] | None:  # any column type
    """The first row, or None when the statement found nothing to do."""
    return connection.execute(statement, values).first()


def rows(connection: sa.Connection, statement: sa.TextClause, **values: Any) -> list[sa.Row[Any]]:  # any column type
    """All rows."""
    return list(connection.execute(statement, values))


@contextmanager
def _named_outages() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if isinstance(error, (OperationalError, InterfaceError)) or error.connection_invalidated:
            raise DatabaseUnavailable(type(error.orig).__name__, detail_code=_detail_code_of(error.orig)) from error
        raise
    except PoolTimeout as error:
        raise DatabaseUnavailable("no connection came free") from error
    except psycopg.Error as error:
        # of a COPY, which the driver does itself; without its cause, whose text quotes the line that was being copied
        if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            raise DatabaseUnavailable(type(error).__name__, detail_code=_detail_code_of(error)) from None
        raise CopyRefused(f"{type(error).__name__} ({error.sqlstate})") from None


def _detail_code_of(error: BaseException | None) -> str | None:
    return DISK_FULL if getattr(error, "sqlstate", None) == _SQLSTATE_DISK_FULL else None


def _ask_when_idle(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
    if time.monotonic() - record.info.get("used_at", 0.0) < _TRUSTED_IDLE_S:
        return
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT 1")
        connection.rollback()
    except Exception as error:  # whatever it is: the pool then opens a new connection
        raise DisconnectionError from error
    finally:
        cursor.close()


def _remember_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()
