"""How events are logged: to standard error, as JSON or for people."""

import logging
import sys
from typing import Any

import structlog
from rich.console import Console

from tts_service.config import ServiceConfig


class _StandardError:
    """Whatever standard error is at the moment: a progress bar stands in for it, to keep lines above itself."""

    def write(self, text: str) -> None:
        sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def configure_logging(config: ServiceConfig) -> None:
    """Send events to standard error, as JSON or for people."""
    renderer: Any = structlog.processors.JSONRenderer()
    if config.log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info
            if config.log_format == "json"
            else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[config.log_level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=_StandardError()),  # type: ignore[arg-type]  # All it uses.
    )


def progress_console(config: ServiceConfig) -> Console | None:
    """Return what progress is drawn on: standard error, where it is a terminal and the log is for people."""
    console = Console(stderr=True)
    return console if console.is_terminal and config.log_format == "console" else None
