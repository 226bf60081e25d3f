"""Two releases on one database: what a newer one did to the tables, and what an older one makes of it."""

from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from builders import Protocol

from sluice_common import migrations
from sluice_common.database import Database, open_database
from sluice_common.schema import metadata
from sluice_common.settings import DatabaseSettings

NEWER = "9999"


def revisions() -> list[str]:
    """All revisions, the newest first."""
    return [script.revision for script in ScriptDirectory(str(migrations._FOLDER)).walk_revisions()]


@pytest.fixture
def migrated(database_url) -> Iterator[Database]:
    """A database that this release has migrated itself."""
    migrations.upgrade(DatabaseSettings(url=database_url).url)
    database = open_database(DatabaseSettings(url=database_url), application="tests")
    yield database
    database.close()


def pretend_newer(url: str, oldest_code: str) -> None:
    """As a release would leave the tables whose migrations this one does not have."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", [NEWER])
        connection.execute(f"COMMENT ON TABLE alembic_version IS '{migrations._NOTE}{oldest_code}'")


def test_a_release_goes_on_with_tables_of_a_newer_one_until_it_is_left_behind(migrated, database_url):
    pretend_newer(database_url, revisions()[0])
    migrations.check_schema(migrated)

    pretend_newer(database_url, NEWER)
    with pytest.raises(migrations.SchemaMismatch, match="run the release that made them"):
        migrations.check_schema(migrated)


def test_the_migration_of_an_older_release_leaves_the_tables_of_a_newer_one_alone(migrated, database_url):
    url = DatabaseSettings(url=database_url).url
    pretend_newer(database_url, revisions()[0])
    assert migrations.upgrade(url) == NEWER

    pretend_newer(database_url, NEWER)
    with pytest.raises(migrations.SchemaMismatch):
        migrations.upgrade(url)
    with pytest.raises(migrations.SchemaMismatch):
        migrations.downgrade(url, "base")


def test_a_newer_release_refuses_to_start_until_its_migration_has_run(migrated, database_url):
    migrations.downgrade(DatabaseSettings(url=database_url).url, revisions()[1])

    with pytest.raises(migrations.SchemaMismatch, match=r"python -m sluice_common\.migrations"):
        migrations.check_schema(migrated)


def test_a_post_migration_leaves_all_older_releases_behind(monkeypatch):
    newest, before = revisions()[:2]
    scripts = ScriptDirectory(str(migrations._FOLDER))
    monkeypatch.setattr(scripts.get_revision(before).module, "PHASE", "post")
    monkeypatch.setattr(migrations, "ScriptDirectory", lambda _folder: scripts)

    assert migrations.oldest_code_for(newest) == before
    assert migrations.oldest_code_for(None) is None


@pytest.mark.parametrize("revision", revisions()[1:])
def test_every_migration_can_be_taken_back_and_made_again_with_documents_in_the_tables(database_url, revision):
    url = DatabaseSettings(url=database_url).url
    database = open_database(DatabaseSettings(url=database_url), application="tests")
    published = Protocol(database).published([2, 1])
    database.close()

    migrations.downgrade(url, revision)
    migrations.upgrade(url)

    assert differences(url) == []
    with psycopg.connect(database_url) as connection:
        kept = connection.execute("SELECT published_run FROM documents WHERE id = %s", [published.document_id])
        assert kept.fetchone() == (published.run_id,)


def differences(url: str) -> list[object]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    return found
