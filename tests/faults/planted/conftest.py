"""Shows at the end which planted bug was found by what."""

from faults.planted.garden import VERDICTS


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "planted: takes a protection away and requires that a test notices")


def pytest_terminal_summary(terminalreporter, config) -> None:
    for verdict in config.stash.get(VERDICTS, []):
        terminalreporter.write_line(str(verdict))
