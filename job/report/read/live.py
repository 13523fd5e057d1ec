"""What the runs of a sweep have recorded so far, for a page that is written again and again while they train.

Of each run its progress.json and history.jsonl are read, and again only when they have changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from pydantic import BaseModel, ValidationError

from job.errors import ObjectMissing
from job.plan import SweepPlan, plan_key
from job.runs import Progress, RunKeys
from job.storage import Store

NUM_READERS = 10
"""So many threads read at once, because botocore keeps this many connections in its pool by default."""


class _Top1(BaseModel):
    top1: float


class _Epoch(BaseModel):
    """What a curve needs of a line of history.jsonl."""

    epoch: int
    train: _Top1
    test: _Top1


@dataclass(frozen=True)
class LiveRecord:
    """What one run has recorded so far."""

    train_top1: tuple[float, ...] = ()
    """After each epoch, from the first."""
    test_top1: tuple[float, ...] = ()
    is_diverged: bool = False
    epoch: int = 0
    num_epochs: int | None = None
    trained_seconds: float = 0.0
    seconds: float = 0.0
    """Of all attempts that are recorded."""
    cost_usd: float | None = None
    """Of the attempts whose price is known; None if none is."""


class LiveRecords:
    """Keeps what was read, with its version."""

    def __init__(self, store: Store, experiment: str) -> None:
        self._store, self._experiment = store, experiment
        self._known: dict[str, tuple[tuple[str | None, str | None], LiveRecord]] = {}

    def read(self, versions: Mapping[str, str]) -> dict[str, LiveRecord]:
        """The records by run id. `versions` are those of all keys of the experiment, as the store lists them."""
        wanted: dict[str, tuple[str | None, str | None]] = {}
        for key in versions:
            parts = key.split("/")
            if len(parts) == 4 and parts[3] == "progress.json":
                keys = RunKeys(self._experiment, parts[2])
                wanted[parts[2]] = (versions.get(keys.progress), versions.get(keys.history))
        changed = [run_id for run_id, version in wanted.items() if self._version(run_id) != version]
        with ThreadPoolExecutor(NUM_READERS) as readers:
            for run_id, record in zip(changed, readers.map(self._read, changed), strict=True):
                self._known[run_id] = wanted[run_id], record
        return {run_id: self._known[run_id][1] for run_id in wanted}

    def _version(self, run_id: str) -> tuple[str | None, str | None] | None:
        return self._known[run_id][0] if run_id in self._known else None

    def _read(self, run_id: str) -> LiveRecord:
        """What can be read of the run. A file that is gone or broken adds nothing: `job status` tells of it."""
        keys = RunKeys(self._experiment, run_id)
        record = LiveRecord()
        try:
            record = _take_progress(Progress.model_validate_json(self._store.read(keys.progress)))
            lines = self._store.read(keys.history).splitlines()
            epochs = [_Epoch.model_validate_json(line) for line in lines]
        except (ObjectMissing, ValidationError):
            return record
        return replace(
            record,
            train_top1=tuple(epoch.train.top1 for epoch in epochs),
            test_top1=tuple(epoch.test.top1 for epoch in epochs),
        )


def read_sweep_plan(store: Store, experiment: str) -> SweepPlan | None:
    """The plan with its manifests; None if another version wrote it, which had others."""
    try:
        return SweepPlan.model_validate_json(store.read(plan_key(experiment)))
    except (ObjectMissing, ValidationError):
        return None


def _take_progress(progress: Progress) -> LiveRecord:
    attempts = progress.attempt_records
    paid = [attempt.seconds / 3600 * attempt.usd_per_hour for attempt in attempts if attempt.usd_per_hour is not None]
    return LiveRecord(
        is_diverged=progress.state == "diverged",
        epoch=progress.epoch,
        num_epochs=progress.num_epochs,
        trained_seconds=progress.trained_seconds,
        seconds=sum(attempt.seconds for attempt in attempts),
        cost_usd=sum(paid) if paid else None,
    )
