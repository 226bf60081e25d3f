"""Brings the tables to the state that this release knows: `python -m sluice_common.migrations`."""

from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from sluice_common.database import Database
from sluice_common.errors import PipelineError

_FOLDER = Path(__file__).parent
_LOCK = 7_234_811_530_216_049
"""Of pg_advisory_lock: two migrations at once wait for each other."""


class SchemaMismatch(PipelineError):
    """The tables are not those that this release knows; migrate first, or run the release that made them."""

    code = "schema_mismatch"


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to *revision*; safe to run from several places at once.

    Args:
        url: `postgresql+psycopg://…`, as the settings give it.
        revision: of the migrations in this package.
    """
    _migrate(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Take the database back to *revision*; `base` removes every table."""
    _migrate(url, lambda config: command.downgrade(config, revision))


def newest_revision() -> str:
    """The revision that this release knows."""
    head = ScriptDirectory(str(_FOLDER)).get_current_head()
    assert head is not None, "there is a first migration"
    return head


def knows(revision: str) -> bool:
    """Whether this release has the migrations up to *revision*."""
    return revision in {script.revision for script in ScriptDirectory(str(_FOLDER)).walk_revisions()}


def check_schema(database: Database) -> None:
    """Refuse to start on tables that this release does not know.

    Raises:
        SchemaMismatch: names both revisions.
    """
    with database.transaction() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current != newest_revision():
        raise SchemaMismatch(
            f"the tables are at revision {current}, this release knows {newest_revision()}: "
            "run `python -m sluice_common.migrations`"
        )


def _migrate(url: str, step: Callable[[Config], None]) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            connection.commit()
            config = Config()
            config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
            config.attributes["connection"] = connection

            step(config)
            connection.commit()
    finally:
        engine.dispose()  # closing the connection gives the lock back
