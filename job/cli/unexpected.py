"""What nobody expected, on standard error: a bug's traceback and the warnings of libraries, both without secrets."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from typing import Any

from job.secrets import redact

_AS_PYTHON_DOES = warnings.formatwarning


class _WithoutSecrets(logging.Formatter):
    """The message alone: the traceback that a library adds to a warning helps nobody who runs a command."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(f"{record.name}: {record.getMessage()}")


def guard_terminal() -> None:
    """Let nothing past `redact` that Python would print on its own: warnings of libraries, tracebacks of threads."""
    if logging.lastResort is not None:  # what Python shows of loggers that nobody has configured
        logging.lastResort.setFormatter(_WithoutSecrets())
    warnings.formatwarning = _format_warning
    threading.excepthook = lambda failed: show_traceback(failed.exc_value)


def _format_warning(*warning: Any, **named: Any) -> str:
    return redact(_AS_PYTHON_DOES(*warning, **named))


def show_traceback(error: BaseException | None) -> None:
    """Print it as Python does."""
    sys.stderr.write(redact("".join(traceback.format_exception(error))))
