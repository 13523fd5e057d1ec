"""What a check of `job doctor` found, and how a check is carried out so that none of them ends the others."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace

from job.errors import AccessDeniedError, JobError, UsageError
from job.secrets import redact


@dataclass(frozen=True)
class Finding:
    """One line of the answer."""

    name: str
    """What was looked at."""
    ok: bool | None
    """None if it could not be seen from here, which is no fault."""
    said: str
    """What was found; if it is not ok, what to do."""
    exit_code: int = 0
    """The code that the command ends with, if this is the first fault."""


class Unseen(Exception):
    """Something cannot be known from here: a right to look is missing, say. `str()` says what, and what to do."""


def look(name: str, check: Callable[[], str]) -> Finding:
    """The finding of `check`, which returns what is well, and raises a `JobError` or `Unseen` otherwise.

    No secret is in it, whatever services and programs have said.
    """
    finding = _carry_out(name, check)
    return replace(finding, said=redact(" ".join(finding.said.split())))


def _carry_out(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except Unseen as unseen:
        return Finding(name, None, str(unseen))
    except JobError as error:
        return Finding(name, False, str(error), error.exit_code)
    except Exception as error:  # noqa: BLE001 - a bug in one check must not hide what the others find
        return Finding(
            name, False, f"{type(error).__name__}: {error}; this is a bug of `job doctor`", JobError.exit_code
        )


def ask(what: str, right: str, question: Callable[[], str]) -> str:
    """The answer to `question`. Raises `Unseen` if these credentials lack the `right` to ask it."""
    try:
        return question()
    except AccessDeniedError as error:
        raise Unseen(f"{what} cannot be seen without the right {right}: {' '.join(str(error).split())}") from error


def call(command: list[str], *, seconds: float, advice: str) -> str:
    """The standard output of a program. Raises `UsageError` with its last line and `advice` if it fails."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds)
    except FileNotFoundError as error:
        raise UsageError(f"{command[0]} is not installed on this machine; {advice}") from error
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{command[0]} did not answer within {seconds:g} s; {advice}") from error
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "").strip().splitlines()
        raise UsageError(f"{lines[-1] if lines else f'exit code {error.returncode}'}; {advice}") from error
    return answer.stdout
