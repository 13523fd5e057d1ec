"""What became of a run that has no result, by its own last word: the one judge that `job status` and the report share.

What a back end knows beside it, `job.submit.status` adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from job.runs.records import Progress

LOST_AFTER_SECONDS = 900.0
"""A run that says it runs, but said so longer ago, is lost: while it trains it reports every 15 s."""
MAX_REASON = 300
"""Characters of a run's own error that are shown."""


@dataclass(frozen=True)
class Judgement:
    """What became of a run without result."""

    state: Literal["running", "interrupted", "failed", "lost", "corrupt"]
    reason: str
    """Why, in one sentence; of a run that failed its own error, empty where it gave none."""
    progress: Progress | None = None
    """Its last word, where it can be read."""


def judge_unfinished(progress: bytes | None, *, now: datetime) -> Judgement:
    """What became of a run that has files but no result.json, from the content of its progress.json, if it has one.

    A run is believed to live as long as it spoke in the last `LOST_AFTER_SECONDS`, unless it said that it stopped. One
    that says it is done is about to write its result, and lost when none came.
    """
    if progress is None:
        return Judgement("lost", "started, and left no progress")
    try:
        last = Progress.model_validate_json(progress)
    except ValidationError:
        return Judgement("corrupt", "progress.json cannot be read, and there is no result")
    if last.state == "failed":
        return Judgement("failed", (last.error or "")[:MAX_REASON], last)
    if last.state == "interrupted":
        why = f": {last.error[:MAX_REASON]}" if last.error else ""
        return Judgement("interrupted", f"stopped with its checkpoint saved{why}", last)
    is_over = last.state in ("completed", "diverged")
    silent_seconds = (now - last.updated_at).total_seconds()
    if silent_seconds <= LOST_AFTER_SECONDS:
        return Judgement("running", f"{last.state}, its result is being stored" if is_over else last.state, last)
    silence = f"silent for {silent_seconds / 60:.0f} minutes"
    if is_over:
        return Judgement("lost", f"says that it {last.state}, but there is no result.json; {silence}", last)
    return Judgement("lost", f"says that it is {last.state}, {silence}", last)
