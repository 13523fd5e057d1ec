"""Whether the seconds of runs may be set beside each other: a busy machine makes an optimizer look slow."""

from __future__ import annotations

from collections import defaultdict

import pandas as pd

from job.report.analysis.origins import UNKNOWN
from job.report.analysis.wording import join, times

MOST_SPREAD = 1.5
"""Fastest over slowest run of the same work. The optimizers' own steps differ by less on a ResNet18."""
WORK = ("num_train", "batch_size", "image_size", "augmentation", "precision", "deterministic", "used_precision",
        "model.name", "model.freeze_backbone", "device", "num_threads", "instance_type")  # fmt: skip
"""What an image costs besides the optimizer's step."""
MACHINE = {"device": "devices", "instance_type": "instance types", "num_threads": "numbers of threads"}
RULE = (
    "Times are set beside each other only where all runs had the same device, instance type and number of threads, and "
    f"where the images per second of the same work differ less than {MOST_SPREAD:g}-fold between runs."
)


def find_speeds(runs: pd.DataFrame) -> tuple[float, float]:
    """The images per second of the slowest and of the fastest finished run of the same work, where they differ most; 0
    where no speed is known."""
    speeds: dict[tuple[str, ...], list[float]] = defaultdict(list)
    finished = runs[runs["status"] == "completed"]
    for speed, *work in finished[["train_images_per_second", *WORK]].itertuples(index=False):
        if speed > 0:
            speeds[tuple(map(str, work))].append(speed)
    widest = max(speeds.values(), key=lambda own: max(own) / min(own), default=[0.0])
    return min(widest), max(widest)


def judge_times(runs: pd.DataFrame) -> str | None:
    """Why the times of these rows of `Runs.runs` cannot be compared, as a sentence; None where they can."""
    finished = runs[runs["status"] == "completed"]
    told = []
    for column, plural in MACHINE.items():
        known = finished[column].dropna()
        values = sorted({f"{value:g}" if isinstance(value, float) else str(value) for value in known})
        if values and len(known) < len(finished):
            values.append(UNKNOWN)
        if len(values) > 1:
            told.append(f"the runs had different {plural} ({join(values[:6])})")
    low, high = find_speeds(runs)
    if high >= MOST_SPREAD * low > 0:
        told.append(
            f"the images per second of the same work differ {times(high / low)}-fold between runs "
            f"({low:.3g} to {high:.3g})"
        )
    return f"Times are not compared: {join(told)}." if told else None
