"""Migrates the database that the settings name."""

import sys

import structlog

from sluice_common import migrations
from sluice_common.logging import configure_logging
from sluice_common.settings import DatabaseSettings, LogSettings, ServiceSettings, SettingsError, load_settings

log = structlog.get_logger(__name__)


class MigrationSettings(ServiceSettings):
    """Only the database is needed; a broker need not be there yet."""

    broker: None = None  # type: ignore[assignment]  # not used here
    database: DatabaseSettings
    log: LogSettings = LogSettings()


def main() -> int:
    """Bring the tables to the newest revision; 2 means a wrong setting."""
    try:
        settings = load_settings(MigrationSettings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings.log, service="migrations")
    migrations.upgrade(settings.database.url)
    log.info("schema_migrated", revision=migrations.newest_revision())
    return 0


if __name__ == "__main__":
    sys.exit(main())
