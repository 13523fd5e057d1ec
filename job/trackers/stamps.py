"""What an export leaves of a run, so that the next export knows whether the run is there as it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from job.trackers.recorded import RecordedRun

STAMP_NAME = "job-export.json"
Outcome = Literal["new", "replaced", "unchanged"]


@dataclass(frozen=True)
class Stamp:
    """Which result of a run is there (`RecordedRun.stamp`), and whether with its weights."""

    result: str
    with_model: bool


def judge(found: Stamp | None, run: RecordedRun, *, with_model: bool) -> Outcome:
    """What becomes of `run` where `found` is there of it. Weights that are there stay, asked for or not."""
    if found is None:
        return "new"
    is_same = found.result == run.stamp and (found.with_model or not with_model)
    return "unchanged" if is_same else "replaced"


def read_stamp(folder: Path) -> Stamp | None:
    """The stamp in the run's folder `folder`; None where there is none that can be read."""
    try:
        content = json.loads((folder / STAMP_NAME).read_bytes())
        return Stamp(str(content["result"]), with_model=bool(content["model"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_stamp(folder: Path, run: RecordedRun, *, with_model: bool) -> None:
    """Note in `folder` what it is of."""
    content = {"run": run.keys.prefix, "place": run.place, "result": run.stamp, "model": with_model}
    (folder / STAMP_NAME).write_text(json.dumps(content, indent=1), encoding="utf-8")
