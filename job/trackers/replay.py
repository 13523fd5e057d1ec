"""Which runs are written to a tracker: those that it does not have yet, or has another result of."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

from job.trackers.recorded import RecordedRun
from job.trackers.stamps import Outcome
from job.versions import EXTRAS, extra

TRACKERS = {
    "tensorboard": "job.trackers.tensorboard_events",
    "mlflow": "job.trackers.mlflow_runs",
    "wandb-offline": "job.trackers.wandb_files",
    "csv": "job.trackers.csv_tables",
}
"""The module of each tool. It has `DEFAULT`, the place without --into, and `open_tracker(place)`."""


class Tracker(Protocol):
    """A place that a tool reads. What a run left there is found by its experiment and its run id."""

    advice: str
    """What to do next, for the command's last line."""

    def add(self, run: RecordedRun, *, with_model: bool) -> Outcome:
        """Put the whole run there, with its weights or without, unless it is there as it is (`judge`). It takes the
        place of an older result of this run. Stopped midway, it leaves nothing that counts."""

    def close(self) -> None:
        """Write what can only be written once all runs are known."""


@dataclass(frozen=True)
class Replayed:
    """How many runs an export wrote, and how many were there as they are."""

    num_new: int
    num_replaced: int
    num_unchanged: int


def open_tracker(name: str, place: str | None) -> tuple[Tracker, str]:
    """The tracker `name` at `place`, or at its default; and the place.

    Raises `UsageError` if it cannot be at `place`, or if its extra is not installed.
    """
    package = name.partition("-")[0]
    with extra(package) if package in EXTRAS else nullcontext():
        module = importlib.import_module(TRACKERS[name])
    where = place or module.DEFAULT
    return module.open_tracker(where), where


def replay(runs: Iterable[RecordedRun], tracker: Tracker, *, with_models: bool) -> Replayed:
    """Give `runs` to `tracker`, which writes those that it does not have as they are."""
    counts = Counter(tracker.add(run, with_model=with_models) for run in runs)
    tracker.close()
    return Replayed(counts["new"], counts["replaced"], counts["unchanged"])
