"""Our model of how AWS Batch decides over another attempt, and what the exit codes of `job.errors` ask it to decide."""

from __future__ import annotations

from typing import Any

from job.errors import HostError, Interruption, JobError, StorageError

RETRYABLE = (HostError, StorageError, Interruption)
"""The branches of the error tree after which the same command may succeed."""
OTHER_EXIT_CODES = (1, 2, 126, 127, 134, 137, 139)
"""A bug, wrong usage, and what shells and kernels say: the same attempt would end the same way."""
EXITED = "Essential container in task exited"
"""What Batch says of a container that ran and ended, whatever its code and whoever ended it."""
EVALUATE_ON_EXIT = [
    *({"OnExitCode": code, "Action": "RETRY"} for code in ("71", "74", "75", "143")),
    {"OnStatusReason": f"{EXITED}*", "Action": "EXIT"},
]
OTHER_FAILURES = [
    ("Host EC2 (instance i-0123456789abcdef0) terminated.", ""),
    ("Host EC2 (instance i-0123456789abcdef0) stopped.", ""),
    *(
        ("Task failed to start", f"{error}: told in more words")
        for error in (
            "CannotCreateContainerError", "CannotInspectContainerError", "CannotPullContainerError",
            "CannotStartContainerError", "DockerTimeoutError", "InternalError", "ResourceInitializationError",
        )
    ),
    ("Task failed to start", ""),
    ("", "AGENT"),
]  # fmt: skip
"""Status reason and container's reason of attempts that failed before or beside the program, by
https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html and
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html: another one may work."""


def decide(rules: list[dict[str, str]], *, exit_code: int | None = None, reason: str = "", status: str = "") -> str:
    """RETRY or EXIT as AWS Batch says it decides.

    The first rule all of whose conditions match counts, no match means RETRY; a pattern may end with `*` and `*` alone
    matches a missing reason too: https://docs.aws.amazon.com/batch/latest/APIReference/API_EvaluateOnExit.html and the
    examples of https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html.
    """
    seen = {"OnExitCode": "" if exit_code is None else str(exit_code), "OnReason": reason, "OnStatusReason": status}

    def matches(pattern: str, value: str) -> bool:
        return value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern

    for entry in rules:
        if all(matches(pattern, seen[key]) for key, pattern in entry.items() if key != "Action"):
            return entry["Action"].upper()
    return "RETRY"


def is_tried_again(strategy: dict[str, Any], *, attempt: int, exit_code: int) -> bool:
    """Whether a retry strategy goes on after an attempt (from 1) that ended with `exit_code`."""
    if attempt >= strategy.get("attempts", 1):
        return False
    rules = [{key[0].upper() + key[1:]: value for key, value in rule.items()} for rule in strategy["evaluateOnExit"]]
    return decide(rules, exit_code=exit_code, status=EXITED) == "RETRY"


def exit_codes() -> dict[int, bool]:
    """Every exit code that `job.errors` gives a class, and whether it is worth another attempt."""
    codes = dict.fromkeys(OTHER_EXIT_CODES, False)
    pending: list[type[JobError]] = [JobError]
    while pending:
        error = pending.pop()
        pending += error.__subclasses__()
        if "exit_code" in vars(error):
            codes[error.exit_code] = issubclass(error, RETRYABLE)
    return codes
