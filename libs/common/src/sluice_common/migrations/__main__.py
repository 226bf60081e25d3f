"""Migrates the database that the settings name."""

import sys
from contextlib import ExitStack

import structlog

from sluice_common import migrations
from sluice_common.service import run_service
from sluice_common.settings import DatabaseOnlySettings

log = structlog.get_logger(__name__)


def main() -> int:
    """Bring the tables to the newest revision; returns the exit status."""
    return run_service(DatabaseOnlySettings, "migrations", _migrate)


def _migrate(settings: DatabaseOnlySettings, _stack: ExitStack) -> None:
    migrations.upgrade(settings.database.url)
    log.info("schema_migrated", revision=migrations.newest_revision())


if __name__ == "__main__":
    sys.exit(main())
