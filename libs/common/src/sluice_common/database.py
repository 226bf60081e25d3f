"""The connection to PostgreSQL: one transaction at a time, and its failures by our names."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

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


class Database:
    """Hands out transactions."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction, committed at the end of the `with` and rolled back when it raises.

        Raises:
            DatabaseUnavailable: no connection, or one that broke; whether a commit happened is then unknown,
                and the next conditional statement will tell.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            if _is_outage(error):
                raise DatabaseUnavailable(type(error.orig).__name__) from error
            raise
        except sa.exc.TimeoutError as error:
            raise DatabaseUnavailable("no connection came free") from error

    def ping(self) -> None:
        """Raise DatabaseUnavailable unless PostgreSQL answers."""
        with self.transaction() as connection:
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
        pool_pre_ping=True,
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
    return Database(engine)


def one(connection: sa.Connection, statement: sa.TextClause, **values: Any) -> sa.Row[Any] | None:  # any column type
    """The first row, or None when the statement found nothing to do."""
    return connection.execute(statement, values).first()


def rows(connection: sa.Connection, statement: sa.TextClause, **values: Any) -> list[sa.Row[Any]]:  # any column type
    """All rows."""
    return list(connection.execute(statement, values))


def _is_outage(error: SQLAlchemyError) -> bool:
    return isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError)) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )
