"""Logs show what happened, and never what was in a document."""

import logging

import pytest
import structlog

from sluice_common.logging import configure_logging
from sluice_common.settings import LogSettings

SECRET = "the salary of everybody"


@pytest.fixture
def restored():
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_where_it_was_and_no_local_variable(restored, capsys, form):
    configure_logging(LogSettings(format=form), service="test")

    try:
        _fail(SECRET)
    except ZeroDivisionError:
        structlog.get_logger("test").exception("reading_crashed")

    written = capsys.readouterr().err
    assert "reading_crashed" in written
    assert "ZeroDivisionError" in written
    assert SECRET not in written


def _fail(text: str) -> float:
    return len(text) / 0
