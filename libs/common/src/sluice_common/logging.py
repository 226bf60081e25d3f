"""Logs: events with facts, one JSON object a line, or a readable line for a person."""

import logging
import sys
from typing import Any

import structlog

from sluice_common.settings import LogSettings

_QUIET = ("dramatiq", "httpx", "httpx2", "httpcore", "openai", "botocore", "boto3", "urllib3", "pypdf", "alembic")


def configure_logging(settings: LogSettings, *, service: str) -> None:
    """Send structlog's and the libraries' logs to standard error, in one form.

    Args:
        settings: form and least level.
        service: stands on every line.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name_service(service),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _renderers(settings: LogSettings) -> list[structlog.typing.Processor]:
    if settings.format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=True)]
    # plain: a traceback that shows local variables would show a document's text, and take seconds
    return [
        structlog.dev.ConsoleRenderer(colors=False, pad_event_to=24, exception_formatter=structlog.dev.plain_traceback)
    ]


def _name_service(service: str) -> structlog.typing.Processor:
    def add(
        _logger: Any, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:  # structlog's signature
        event["service"] = service
        return event

    return add
