"""Keys from the command line of the api image: `python -m sluice_api.admin`."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sluice_common import ids
from sluice_common.database import open_database
from sluice_common.errors import PipelineError
from sluice_common.ids import MalformedId
from sluice_common.keys import DEFAULT_TENANT, Key, Keys, Scope
from sluice_common.migrations import check_schema
from sluice_common.settings import DatabaseOnlySettings, SettingsError, load_settings

WRONG_USE = 2
FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings(DatabaseOnlySettings)
    except SettingsError as error:
        return _refuse(str(error).replace("\n", "; "), WRONG_USE)
    database = open_database(settings.database, application="sluice-admin", pool_size=1)
    try:
        check_schema(database)
        return int(options.run(Keys(database), options))
    except PipelineError as error:
        return _refuse(f"{error.code}: {error.detail}", FAILED)
    finally:
        database.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sluice_api.admin", description="Make, list and revoke API keys.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    create = commands.add_parser("create-key", help="make a key and print it, this once")
    create.add_argument("--scopes", type=_scopes, default=(Scope.READ, Scope.WRITE), help="such as read,write,admin")
    create.add_argument("--name", required=True, help="what the key is for")
    create.add_argument("--expires-days", type=_days, help="refused after so many days")
    create.set_defaults(run=_create)

    shown = commands.add_parser("list-keys", help="list the tenant's keys, without their secrets")
    shown.set_defaults(run=_list)

    revoke = commands.add_parser("revoke-key", help="refuse a key from now on")
    revoke.add_argument("key_id", help="as list-keys shows it")
    revoke.set_defaults(run=_revoke)

    for command in (create, shown, revoke):
        command.add_argument("--tenant", default=DEFAULT_TENANT, help="whose keys (default: %(default)s)")
    return parser


def _create(keys: Keys, options: argparse.Namespace) -> int:
    expires_at = None if options.expires_days is None else datetime.now(UTC) + timedelta(days=options.expires_days)
    tenant_id = keys.ensure_tenant(options.tenant)
    made = keys.create(tenant_id, name=options.name, scopes=options.scopes, expires_at=expires_at)
    sys.stdout.write(f"{made.secret}\n")
    return 0


def _list(keys: Keys, options: argparse.Namespace) -> int:
    for key in keys.keys_of(keys.ensure_tenant(options.tenant)):
        sys.stdout.write(_line_of(key) + "\n")
    return 0


def _revoke(keys: Keys, options: argparse.Namespace) -> int:
    try:
        was_there = keys.revoke(keys.ensure_tenant(options.tenant), ids.parse("key", options.key_id))
    except MalformedId:
        was_there = False
    return 0 if was_there else _refuse(f"{options.tenant} has no key {options.key_id!a}", FAILED)


def _line_of(key: Key) -> str:
    now = datetime.now(UTC)
    is_expired = key.expires_at is not None and key.expires_at <= now
    state = "revoked" if key.revoked_at else "expired" if is_expired else "good"
    scopes = ",".join(scope.value for scope in key.scopes)
    # ascii() keeps the line printable wherever it is read
    return f"{ids.shown('key', key.id)}  {key.prefix}...  {state:8}{scopes:18}{ascii(key.name)[1:-1]}"


def _scopes(text: str) -> tuple[Scope, ...]:
    try:
        return tuple(dict.fromkeys(Scope(part.strip()) for part in text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"scopes are {', '.join(Scope)}") from error


def _days(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 36_500:  # noqa: PLR2004 - a hundred years
        raise argparse.ArgumentTypeError("a number of days, 1 to 36500")
    return int(text)


def _refuse(reason: str, status: int) -> int:
    sys.stderr.write(f"sluice-admin: {reason}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
