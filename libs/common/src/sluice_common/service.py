"""How every service starts and ends: settings, logs, the work, and everything closed in reverse order."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from sluice_common.errors import PipelineError
from sluice_common.failpoints import FolderTrap, set_trap
from sluice_common.logging import configure_logging
from sluice_common.memory import keep_little_memory
from sluice_common.settings import DatabaseOnlySettings, SettingsError, load_settings

WRONG_SETTINGS = 2
NOT_STARTED = 1

S = TypeVar("S", bound=DatabaseOnlySettings)


def run_service(settings_type: type[S], name: str, serve: Callable[[S, ExitStack], None]) -> int:
    """Run *serve* until it returns.

    Args:
        settings_type: what the service reads from its environment.
        name: stands on every line of its log.
        serve: opens the parts on the stack, which closes them in reverse order, and works until told to stop.

    Returns:
        The exit status: 0, 2 for a wrong setting, 1 when a part is not as it must be; each with one line that
        says which.
    """
    keep_little_memory()
    try:
        settings = load_settings(settings_type)
        configure_logging(settings.log, service=name)
        if settings.failpoints is not None:
            set_trap(FolderTrap(settings.failpoints))
        with ExitStack() as stack:
            serve(settings, stack)
    except SettingsError as error:
        return _give_up(name, str(error).replace("\n", "; "), WRONG_SETTINGS)
    except PipelineError as error:
        return _give_up(name, f"{error.code}: {error.detail}", NOT_STARTED)
    return 0


def say(text: str) -> None:
    """Write a line for the person who runs a command; a service writes events."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _give_up(name: str, reason: str, status: int) -> int:
    sys.stderr.write(f"sluice-{name}: {reason}\n")
    return status
