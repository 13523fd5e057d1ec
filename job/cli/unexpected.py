"""Shows what nobody expected on standard error, without secrets: a bug's traceback, and the warnings of libraries."""

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
    """Shows the message alone, because the traceback that a library adds to it helps nobody who runs a command."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(f"{record.name}: {record.getMessage()}")


def guard_terminal() -> None:
    """Pass what Python prints on its own through `redact`: warnings of libraries, and tracebacks of threads."""
    if logging.lastResort is not None:  # it prints the warnings of loggers that nobody has configured
        logging.lastResort.setFormatter(_WithoutSecrets())
    warnings.formatwarning = _format_warning
    threading.excepthook = lambda failed: show_traceback(failed.exc_value)


def _format_warning(*warning: Any, **named: Any) -> str:
    return redact(_AS_PYTHON_DOES(*warning, **named))


def show_traceback(error: BaseException | None) -> None:
    """Print the traceback of `error` as Python does, but without secrets."""
    sys.stderr.write(redact("".join(traceback.format_exception(error))))
