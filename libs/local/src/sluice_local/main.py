"""The command line of the local stack."""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import psutil

from sluice_common.settings import SettingsError
from sluice_local import demo, doctor
from sluice_local.activity import describe, documents_by_status
from sluice_local.children import AlreadyRunning, end_leftovers, owner_of
from sluice_local.console import LogFollower, complain, say
from sluice_local.platforms import UnsupportedPlatform, require_supported, this_machine
from sluice_local.ports import NoFreePort
from sluice_local.postgres import PostgresMissing, find_installation
from sluice_local.redis import RedisMissing
from sluice_local.services import PARTS, SERVICES, create_key_command
from sluice_local.settings import Given, default_home, read_given
from sluice_local.stack import Home, LocalStack, run_to_end, running_settings
from sluice_local.supervisor import ProcessRecord, StartFailed, stack_of

ACTIVITY_INTERVAL_S = 2.0
STOP_TIMEOUT_S = 60.0
NOT_RUNNING = 3
"""The exit status that `status` commands of services have for "not running"."""
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODEL = "text-embedding-3-small"
EXPECTED = (
    AlreadyRunning,
    NoFreePort,
    PostgresMissing,
    RedisMissing,
    SettingsError,
    StartFailed,
    UnsupportedPlatform,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        require_supported(this_machine())
        outcome: int = options.run(options)
    except EXPECTED as error:
        complain(f"sluice-local: {error}")
        return 1
    return outcome


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sluice-local", description="The whole of Sluice on this machine.")
    parser.add_argument("--home", type=Path, help="folder with all data; else SLUICE_HOME, else .sluice")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--home", type=Path, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_up(commands.add_parser("up", parents=[common], help="start everything, until Ctrl-C"))
    status = commands.add_parser("status", parents=[common], help="what runs, and where")
    status.add_argument("--json", action="store_true", help="print stack.json, passwords included")
    status.set_defaults(run=_status)
    commands.add_parser("stop", parents=[common], help="stop what runs").set_defaults(run=_stop)
    _add_keys(commands.add_parser("keys", help="make keys"), common)
    check = commands.add_parser("doctor", parents=[common], help="check this machine and the stores")
    check.add_argument("--deploy", action="store_true", help="also what must be right before going live")
    check.set_defaults(run=_doctor)
    show = commands.add_parser("demo", parents=[common], help="upload a few documents and search them")
    show.set_defaults(run=_demo)
    _add_exec(commands.add_parser("exec", parents=[common], help="run a program with the services' settings"))
    return parser


def _add_exec(execute: argparse.ArgumentParser) -> None:
    execute.add_argument("--parts", action="store_true", help="start the parts for it; no service may run")
    execute.add_argument("program", nargs=argparse.REMAINDER, metavar="PROGRAM ...", help="and its arguments")
    execute.set_defaults(run=_exec)


def _add_up(up: argparse.ArgumentParser) -> None:
    up.add_argument("--port", type=int, help="port of the gateway; else SLUICE_PORT, else 8000")
    up.add_argument("--scale", action="append", default=[], metavar="SERVICE=N", type=_scale, help="how many of it")
    for part in PARTS:
        up.add_argument(
            f"--no-{part}", dest="without", action="append_const", const=part, help="its address is in the settings"
        )
    up.add_argument("--openai", action="store_true", help="embed with OpenAI; needs OPENAI_API_KEY")
    up.add_argument("--quiet", action="store_true", help="do not print the logs")
    up.set_defaults(run=_up)


def _add_keys(keys: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    create = keys.add_subparsers(required=True, metavar="ACTION").add_parser(
        "create", parents=[common], help="make a key and print it"
    )
    create.add_argument("--tenant", required=True, help="made when it is new")
    create.add_argument("--scopes", default="read,write,admin", help="some of read,write,admin")
    create.add_argument("--name", default="local", help="to tell it from others")
    create.set_defaults(run=_create_key)


def _scale(text: str) -> tuple[str, int]:
    name, sign, count = text.partition("=")
    if not sign or not count.isdecimal() or int(count) == 0:
        raise argparse.ArgumentTypeError("is written like extractor=2")
    return name, int(count)


def _up(options: argparse.Namespace) -> int:
    given = read_given()
    environment = {**given.system, **given.services}
    if options.openai:
        environment |= openai_settings(given)
    stack = LocalStack(
        _home_of(options, given).folder,
        port=options.port or given.local.port,
        environment=environment,
        scale=dict(options.scale),
        without=options.without or (),
        quiet=False,
    )
    with _stop_signals_as(_interrupt):
        try:
            stack.start()
            _announce(stack)
            _follow(stack, with_logs=not options.quiet)
        except KeyboardInterrupt:
            say("stopping; this takes some seconds")
        finally:
            with _stop_signals_as(signal.SIG_IGN):  # a second Ctrl-C must not leave half of it running
                stack.stop()
    say("everything has stopped")
    return 0


def openai_settings(given: Given) -> dict[str, str]:
    """The settings that `--openai` stands for; what was set by name wins.

    Raises:
        SettingsError: there is no key.
    """
    if not given.local.openai_api_key:
        raise SettingsError("--openai needs OPENAI_API_KEY in the environment or in .env")
    chosen = {
        "SLUICE_EMBEDDINGS__BASE_URL": OPENAI_URL,
        "SLUICE_EMBEDDINGS__MODEL": OPENAI_MODEL,
        "SLUICE_EMBEDDINGS__API_KEY": given.local.openai_api_key,
    }
    return {name: given.services.get(name, value) for name, value in chosen.items()}


@contextmanager
def _stop_signals_as(handler: signal.Handlers | Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Answer Ctrl-C, a `kill` and a closed terminal by *handler* within the `with`."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _announce(stack: LocalStack) -> None:
    key = stack.api_key
    say(
        f"\nSluice is ready.\n\n"
        f"  Open     {stack.url}/#key={key}\n"
        f"  Key      {key}   (kept in {stack.home / 'api-key'})\n"
        f'  Upload   curl -H "Authorization: Bearer {key}" -F file=@report.pdf {stack.url}/v1/documents\n'
        f"  Logs     {stack.home / 'logs'}\n"
    )
    if stack.has("embeddings"):
        say("The small local embedding model is for trying: do not judge the search by it (--openai uses OpenAI's).")
    say("Ctrl-C stops everything.\n")


def _follow(stack: LocalStack, *, with_logs: bool) -> None:
    """Print logs and activity until interrupted; nothing when nothing changes."""
    follower = LogFollower(stack.processes() if with_logs else [])
    follower.start()
    pause, last = threading.Event(), ""
    try:
        while not pause.wait(ACTIVITY_INTERVAL_S):
            counts = documents_by_status(stack.metrics_url)
            if counts is not None and describe(counts) != last:
                last = describe(counts)
                say(last)
    finally:
        follower.stop()


def _status(options: argparse.Namespace) -> int:
    home = _home_of(options, read_given())
    records = stack_of(home.folder) if owner_of(home.folder) is not None else []
    if options.json:
        say(json.dumps([asdict(record) for record in records], indent=1))
    elif not records:
        say(f"nothing runs in {home.folder}; start it by 'sluice-local up'")
    else:
        _print_table(records)
    return 0 if records and all(psutil.pid_exists(record.pid) for record in records) else NOT_RUNNING


def _print_table(records: Sequence[ProcessRecord]) -> None:
    say(f"{'NAME':<14}{'PID':<10}{'STATE':<10}ADDRESS")
    for record in records:
        state = "running" if psutil.pid_exists(record.pid) else "gone"
        say(f"{record.name:<14}{record.pid:<10}{state:<10}{doctor.without_password(record.url)}")


def _stop(options: argparse.Namespace) -> int:
    home = _home_of(options, read_given())
    owner = owner_of(home.folder)
    if owner is None:
        ended = end_leftovers(home.folder, grace_s=5)
        say(f"nothing runs in {home.folder}" if not ended else f"ended {ended} left over from a dead supervisor")
        return 0
    supervisor = psutil.Process(owner)
    supervisor.terminate()
    try:
        supervisor.wait(timeout=STOP_TIMEOUT_S)
    except psutil.TimeoutExpired:
        complain(f"process {owner} has not stopped within {STOP_TIMEOUT_S:.0f} s; see {home.folder / 'logs'}")
        return 1
    say("everything has stopped")
    return 0


def _create_key(options: argparse.Namespace) -> int:
    given = read_given()
    home = _home_of(options, given)
    if owner_of(home.folder) is None and "SLUICE_DATABASE__URL" not in given.services:
        complain(f"nothing runs in {home.folder}; start it by 'sluice-local up'")
        return 1
    environment = running_settings(home, given)
    say(run_to_end(create_key_command(options.tenant, options.scopes, options.name), environment).strip())
    return 0


def _exec(options: argparse.Namespace) -> int:
    given = read_given()
    home = _home_of(options, given)
    if options.parts:
        environment = {**given.system, **given.services}
        with LocalStack(home.folder, environment=environment, without=SERVICES):
            return _run_program(options.program, running_settings(home, given))
    if owner_of(home.folder) is None and "SLUICE_DATABASE__URL" not in given.services:
        complain(f"nothing runs in {home.folder}; start it by 'sluice-local up'")
        return 1
    return _run_program(options.program, running_settings(home, given))


def _run_program(program: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run it to its end, with PostgreSQL's own programs of the right version first on its PATH."""
    path = os.pathsep.join([*_postgres_programs(), environment.get("PATH", os.defpath)])
    with subprocess.Popen(program, env={**environment, "PATH": path}) as running:

        def pass_on(number: int, _frame: FrameType | None) -> None:
            if number != signal.SIGINT:  # which a terminal has sent to both
                running.send_signal(number)

        with _stop_signals_as(pass_on):
            return running.wait()


def _postgres_programs() -> list[str]:
    try:
        return [str(find_installation().bin)]
    except PostgresMissing:
        return []


def _doctor(options: argparse.Namespace) -> int:
    arguments = ["--deploy"] if options.deploy else []
    return doctor.main([*arguments, *_home_argument(options)])


def _demo(options: argparse.Namespace) -> int:
    return demo.main(_home_argument(options))


def _home_argument(options: argparse.Namespace) -> list[str]:
    return [] if options.home is None else ["--home", str(options.home)]


def _home_of(options: argparse.Namespace, given: Given) -> Home:
    return Home((options.home or given.local.home or default_home()).absolute())


if __name__ == "__main__":
    sys.exit(main())
