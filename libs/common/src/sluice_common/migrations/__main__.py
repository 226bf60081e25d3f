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
    log.info("schema_migrated", revision=migrations.upgrade(settings.database.url))


if __name__ == "__main__":
    sys.exit(main())
