"""Structured logs: events with fields, coloured on a terminal, JSON elsewhere, and kept for the run's log.jsonl."""

from __future__ import annotations

import json
import logging
import sys

from typing import Any

import structlog


class RecordedLog:
    """A structlog processor that keeps every event as a JSON line, for the run's log.jsonl."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def __call__(self, _logger: object, _method: str, event: Any) -> Any:
        self._lines.append(json.dumps(dict(event), default=str))
        return event

    def content(self) -> bytes:
        return "".join(f"{line}\n" for line in self._lines).encode(errors="replace")


def configure_logs(*, verbose: bool = False) -> RecordedLog:
    """Send events to standard error and into the returned log."""
    recorded = RecordedLog()
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            recorded,
            structlog.dev.ConsoleRenderer(pad_event_to=28) if terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    return recorded


def get_logger() -> Any:
    """The logger; bind run and attempt once with `structlog.contextvars.bind_contextvars`."""
    return structlog.get_logger()
