"""Which runs of a sweep lack a result, and why, told from its plan and their progress. It reads no storage itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from job.runs import judge_unfinished

STRICT_KINDS = ("missing", "failed", "lost", "running", "interrupted", "corrupt")
"""The kinds of holes that make a strict report fail: all but `diverged`, which is a result."""


@dataclass(frozen=True)
class Hole:
    """A run without a usable result."""

    experiment: str
    run_id: str
    kind: str
    reason: str


def find_missing(planned: Mapping[str, Iterable[str]], seen: set[tuple[str, str]]) -> list[Hole]:
    """The planned runs, by experiment, of which there is no trace in `seen`."""
    return [
        Hole(experiment, run_id, "missing", "planned in sweep.json, never started")
        for experiment, ids in planned.items()
        for run_id in dict.fromkeys(ids)
        if (experiment, run_id) not in seen
    ]


def describe_unfinished(experiment: str, run_id: str, progress: bytes | None, *, now: datetime) -> Hole:
    """What became of a run that has files but no result, as `job status` says it too, and how far it had come."""
    judgement = judge_unfinished(progress, now=now)
    reason, last = judgement.reason, judgement.progress
    if last is not None:
        reason = reason or "no reason given"
        if judgement.state == "failed" and last.exit_code is not None:
            reason += f" (exit code {last.exit_code})"
        reason += f"; {last.epoch} of {last.num_epochs} epochs done"
    return Hole(experiment, run_id, judgement.state, reason)
