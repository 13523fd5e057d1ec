"""Structured logs: events with fields, coloured on a terminal, JSON elsewhere, and kept for the run's log.jsonl.

structlog takes a tenth of a second to import, so it is imported where something is logged or shown.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from contextvars import ContextVar
from typing import Any

from job.secrets import redact_event


class RecordedLog:
    """A structlog processor that keeps every event as a JSON line, for the log.jsonl of the run that it belongs to."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def __call__(self, _logger: object, _method: str, event: Any) -> Any:
        log = _LOG_OF_CONTEXT.get(self)  # of the run before, where that is being completed behind this one
        log._lines.append(json.dumps(dict(event), default=str))
        return event

    def content(self) -> bytes:
        return "".join(f"{line}\n" for line in self._lines).encode(errors="replace")


_LOG_OF_CONTEXT: ContextVar[RecordedLog] = ContextVar("log")


def configure_logs() -> RecordedLog:
    """Send events to standard error and into the returned log. A terminal is shown warnings only: it has the bar."""
    import structlog

    recorded = RecordedLog()
    _LOG_OF_CONTEXT.set(recorded)
    structlog.contextvars.clear_contextvars()  # of the run before
    rendered = (
        [_warnings_only, structlog.dev.ConsoleRenderer()]
        if sys.stderr.isatty()
        else [structlog.processors.JSONRenderer(default=str)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _without_secrets,
            recorded,
            *rendered,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # looked up at every use: a progress bar puts its own stream there while it is shown
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    warnings.showwarning = _log_warning
    return recorded


def recorded_log() -> RecordedLog:
    """The log that `configure_logs` returned last in this context."""
    return _LOG_OF_CONTEXT.get()


def get_logger() -> Any:
    """The logger; bind run and attempt once with `structlog.contextvars.bind_contextvars`."""
    import structlog

    return structlog.get_logger()


def show_line(line: str) -> str:
    """A line of log.jsonl as a person reads it: time, level, event, fields. What is no event stays as it is."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return line
    import structlog

    event.pop("run", None)  # who asks for the lines has named it
    return str(structlog.dev.ConsoleRenderer(colors=False, sort_keys=False)(None, "", event))


def _log_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Make an event of what a library, or our own engine, warns of: standard error stays one JSON object a line."""
    get_logger().warning("warning", category=category.__name__, reason=str(message))


def _without_secrets(_logger: object, _method: str, event: Any) -> Any:
    return redact_event(event)


def _warnings_only(_logger: object, method: str, event: Any) -> Any:
    import structlog

    if method in ("debug", "info"):
        raise structlog.DropEvent
    return event
