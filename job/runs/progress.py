"""Judges what became of a run that has no result, by its progress.json. `job status` and the report share this judge.

`job.submit.status` adds what the back ends know.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from job.runs.records import Progress

LOST_AFTER_SECONDS = 900.0
"""A run that has reported nothing for longer than this is lost, because a run reports every 15 s while it trains."""
MAX_REASON = 300
"""At most this many characters of a run's own error are shown."""


@dataclass(frozen=True)
class Judgement:
    """What became of a run without a result."""

    state: Literal["running", "interrupted", "failed", "lost", "corrupt"]
    reason: str
    """Why, in one sentence. For a run that failed it is the run's own error, or empty if the run gave none."""
    progress: Progress | None = None
    """What the run reported last; None if there is nothing that can be read."""


def judge_unfinished(progress: bytes | None, *, now: datetime) -> Judgement:
    """What became of a run that has files but no result.json. `progress` is the content of its progress.json, if any.

    A run that reported within the last `LOST_AFTER_SECONDS` counts as running, unless it reported that it stopped. If
    it reported that it is done, its result is still being stored; if no result has come by then, the run is lost.
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
