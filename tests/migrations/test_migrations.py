"""The migrations make exactly the tables that the code knows, and can be taken back."""

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from sluice_common import migrations
from sluice_common.database import open_database
from sluice_common.schema import metadata
from sluice_common.settings import DatabaseSettings


@pytest.fixture
def empty_url(postgres, request) -> str:
    name = f"empty_{abs(hash(request.node.name))}"
    return DatabaseSettings(url=postgres.create_database(name)).url


def tables_of(url: str) -> set[str]:
    engine = sa.create_engine(url)
    names = set(sa.inspect(engine).get_table_names()) - {"alembic_version"}
    engine.dispose()
    return names


def test_the_migrations_make_the_tables_that_the_code_knows(database_url):
    engine = sa.create_engine(DatabaseSettings(url=database_url).url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()

    assert differences == []


def test_migrating_twice_changes_nothing(empty_url):
    migrations.upgrade(empty_url)
    migrations.upgrade(empty_url)

    assert tables_of(empty_url) == set(metadata.tables)


def test_a_migration_can_be_taken_back(empty_url):
    migrations.upgrade(empty_url)
    migrations.downgrade(empty_url, "base")
    assert tables_of(empty_url) == set()

    migrations.upgrade(empty_url)
    assert tables_of(empty_url) == set(metadata.tables)


def test_every_migration_says_whether_it_runs_before_or_after_the_new_code():
    for revision in ScriptDirectory(str(migrations._FOLDER)).walk_revisions():
        assert revision.module.PHASE in ("pre", "post")


def test_a_service_refuses_to_start_on_tables_it_does_not_know(empty_url):
    database = open_database(DatabaseSettings(url=empty_url), application="tests")

    with pytest.raises(migrations.SchemaMismatch, match=r"sluice_common\.migrations"):
        migrations.check_schema(database)

    migrations.upgrade(empty_url)
    migrations.check_schema(database)
    database.close()
