"""What nobody expected, on standard error: a bug's traceback and the warnings of libraries, both without secrets."""

from __future__ import annotations

import logging
import sys
import threading
import traceback

from job.secrets import redact


class _WithoutSecrets(logging.Formatter):
    """The message alone: the traceback that a library adds to a warning helps nobody who runs a command."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(f"{record.name}: {record.getMessage()}")


def guard_terminal() -> None:
    """Let nothing past `redact` that Python would print on its own: warnings of libraries, tracebacks of threads."""
    if logging.lastResort is not None:  # what Python shows of loggers that nobody has configured
        logging.lastResort.setFormatter(_WithoutSecrets())
    logging.captureWarnings(capture=True)
    threading.excepthook = lambda failed: show_traceback(failed.exc_value)


def show_traceback(error: BaseException | None) -> None:
    """Print it as Python does."""
    sys.stderr.write(redact("".join(traceback.format_exception(error))))
