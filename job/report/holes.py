"""What a sweep lacks, from its plan and from the progress of the runs that have no result; pure but for reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from job.runs import LOST_AFTER_SECONDS, Progress, Record

STRICT_KINDS = ("missing", "failed", "lost", "running", "interrupted", "corrupt")
"""What makes a strict report fail: all but `diverged`, which is a result."""


class PlannedRun(Record):
    """An entry of a plan, as far as the report needs it: `job.plan` of another version may know other manifests."""

    run_id: str


class Plan(Record):
    """sweep.json, as far as the report needs it."""

    runs: list[PlannedRun]


@dataclass(frozen=True)
class Hole:
    """A run without a usable result."""

    experiment: str
    run_id: str
    kind: str
    reason: str


def read_plan(content: bytes) -> list[str]:
    """The run ids of a sweep.json. Raises `ValueError` if it is none."""
    return [entry.run_id for entry in Plan.model_validate_json(content).runs]


def find_missing(planned: Mapping[str, Iterable[str]], seen: set[tuple[str, str]]) -> list[Hole]:
    """The planned runs, by experiment, of which there is no trace in `seen`."""
    return [
        Hole(experiment, run_id, "missing", "planned in sweep.json, never started")
        for experiment, ids in planned.items()
        for run_id in dict.fromkeys(ids)
        if (experiment, run_id) not in seen
    ]


def judge_unfinished(experiment: str, run_id: str, progress: bytes | None, *, now: datetime) -> Hole:
    """What became of a run that has files but no result."""
    if progress is None:
        return Hole(experiment, run_id, "lost", "started, and left no progress")
    try:
        state = Progress.model_validate_json(progress)
    except ValidationError:
        return Hole(experiment, run_id, "corrupt", "progress.json cannot be read, and there is no result")
    done = f"{state.epoch} of {state.num_epochs} epochs done"
    updated = state.updated_at if state.updated_at.tzinfo else state.updated_at.replace(tzinfo=now.tzinfo)
    silent = now - updated
    if state.state == "failed":
        code = f" (exit code {state.exit_code})" if state.exit_code is not None else ""
        return Hole(experiment, run_id, "failed", f"{(state.error or 'no reason given')[:300]}{code}; {done}")
    if state.state == "interrupted":
        return Hole(experiment, run_id, "interrupted", f"stopped with its checkpoint saved; {done}")
    if state.state in ("completed", "diverged"):
        return Hole(experiment, run_id, "lost", f"says that it {state.state}, but there is no result.json")
    if silent.total_seconds() > LOST_AFTER_SECONDS:
        minutes = int(silent.total_seconds() // 60)
        return Hole(experiment, run_id, "lost", f"says that it is {state.state}, silent for {minutes} minutes; {done}")
    return Hole(experiment, run_id, "running", f"{state.state}; {done}")
