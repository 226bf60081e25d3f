"""Brings the tables to the state that this release knows: `python -m sluice_common.migrations`."""

from collections.abc import Iterator
from contextlib import contextmanager
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


_NOTE = "the oldest code for these tables is of revision "
"""A comment on Alembic's own table: what a release must read that knows nothing of later ones."""

_READ_NOTE = sa.text("SELECT obj_description(to_regclass('alembic_version'), 'pg_class')")


class SchemaMismatch(PipelineError):
    """The tables are not those that this release knows; migrate first, or run the release that made them."""

    code = "schema_mismatch"


def upgrade(url: str, revision: str = "head") -> str:
    """Bring the database to *revision*; safe to run from several places at once.

    Tables of a newer release stay as they are when this one can work on them: it may be on its way out.

    Args:
        url: `postgresql+psycopg://…`, as the settings give it.
        revision: of the migrations in this package.

    Returns:
        The revision that the tables have now.

    Raises:
        SchemaMismatch: the tables are of a newer release that has left this one behind.
    """
    with _alone(url) as (connection, config):
        current = _revision_of(connection)
        if not _is_newer(current):
            command.upgrade(config, revision)
            connection.commit()
            _note_oldest_code(connection)
        elif not _may_work_on(connection):
            raise _mismatch(current)
        return str(_revision_of(connection))


def downgrade(url: str, revision: str) -> None:
    """Take the database back to *revision*; `base` removes every table.

    Raises:
        SchemaMismatch: only the release that made the tables knows the way back.
    """
    with _alone(url) as (connection, config):
        current = _revision_of(connection)
        if _is_newer(current):
            raise _mismatch(current)
        command.downgrade(config, revision)
        connection.commit()
        _note_oldest_code(connection)


def newest_revision() -> str:
    """The revision that this release knows."""
    head = ScriptDirectory(str(_FOLDER)).get_current_head()
    assert head is not None, "there is a first migration"
    return head


def knows(revision: str) -> bool:
    """Whether this release has the migrations up to *revision*."""
    return revision in {script.revision for script in ScriptDirectory(str(_FOLDER)).walk_revisions()}


def check_schema(database: Database) -> None:
    """Refuse to start on tables that this release cannot work on.

    It can on its own, and on those of a newer release until a *post* migration has left this one behind: while a
    rolling update goes on, a worker of the old release may be started again.

    Raises:
        SchemaMismatch: names both revisions.
    """
    with database.transaction() as connection:
        current = _revision_of(connection)
        if current == newest_revision() or (_is_newer(current) and _may_work_on(connection)):
            return
    raise _mismatch(current)


def oldest_code_for(revision: str | None) -> str | None:
    """The revision of the oldest release that can work on tables at *revision*; None when there are none.

    It is the last post migration, which left all releases before it behind, or the first migration.
    """
    if revision is None:
        return None
    past = list(ScriptDirectory(str(_FOLDER)).iterate_revisions(revision, "base"))
    posts = (script.revision for script in past if script.module.PHASE == "post")
    return next(posts, past[-1].revision)


def _mismatch(current: str | None) -> SchemaMismatch:
    remedy = "run the release that made them" if _is_newer(current) else "run `python -m sluice_common.migrations`"
    return SchemaMismatch(f"the tables are at revision {current}, this release knows {newest_revision()}: {remedy}")


def _is_newer(current: str | None) -> bool:
    return current is not None and not knows(current)


def _revision_of(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _may_work_on(connection: sa.Connection) -> bool:
    """Whether the newer release that made the tables has noted a revision that this one knows."""
    noted = connection.execute(_READ_NOTE).scalar() or ""
    return knows(str(noted).removeprefix(_NOTE))


def _note_oldest_code(connection: sa.Connection) -> None:
    """Tell older releases, which do not have these migrations, whether they can go on."""
    oldest = oldest_code_for(_revision_of(connection))
    text = "NULL" if oldest is None else f"'{_NOTE}{oldest}'"
    connection.execute(sa.text(f"COMMENT ON TABLE alembic_version IS {text}"))
    connection.commit()


@contextmanager
def _alone(url: str) -> Iterator[tuple[sa.Connection, Config]]:
    """A connection on which nobody else migrates meanwhile, and Alembic's settings for it."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            connection.commit()
            config = Config()
            config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
            config.attributes["connection"] = connection
            yield connection, config
    finally:
        engine.dispose()  # closing the connection gives the lock back
