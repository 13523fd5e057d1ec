"""What `load_runs` gives: five pandas tables over an output's runs, and what their columns mean.

Accuracies are fractions of one, losses mean cross entropies in nats, times seconds. A value that was not
measured or was not finite is NaN. `run` is `<experiment>/<run_id>` and joins the tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.runs import GROUPS, QUANTITIES

FACTS = {
    "package_version": "job",
    "git_sha": "code",
    "torch": "torch",
    "torchvision": "torchvision",
    "image_digest": "image",
    "used_precision": "precision",
    "device_kind": "device",
    "data_sha256": "data",
    "weights_sha256": "weights",
}
"""What can change an accuracy, by the column of `Runs.runs`, as sentences name it. Another GPU of the same precision
changes it by rounding alone and is not counted; for times it is (`job.report.analysis.times`)."""
RUN_COLUMNS = (
    "run", "experiment", "run_id", "name", "optimizer", "seed", "configuration", "task", "status",
    "score", "score_on", "score_epoch", "score_top5", "score_loss", "train_top1", "train_loss", "validation_top1",
    "final_top1", "final_top5", "final_loss", "best_epoch", "best_top1", "best_top5", "best_loss",
    "best_chosen_on", "diverged_epoch", "diverged_step", "num_epochs", "num_train",
    "num_validation", "num_test", "num_classes", "num_parameters", "test_sha256", "startup_seconds", "staging_seconds",
    "train_seconds", "evaluate_seconds", "upload_seconds", "total_seconds", "lost_seconds", "train_images_per_second",
    "peak_memory_bytes", "utilisation_fraction", "energy_joules", "device", "num_threads", "instance_type", "python",
    *FACTS, "attempts", "estimated_cost_usd", "finished_at", "manifest",
)  # fmt: skip
EPOCH_COLUMNS = (
    "epoch", "learning_rate", "train_loss", "train_top1", "validation_loss", "validation_top1", "test_loss",
    "test_top1", "test_top5", "train_seconds", "evaluate_seconds",
    *(f"{group}_{quantity}" for group in GROUPS for quantity in QUANTITIES),
    *(f"{group}_distance_from_start" for group in GROUPS),
)  # fmt: skip
CLASS_COLUMNS = ("run", "class", "top1")
DIAGNOSTIC_COLUMNS = ("step", *QUANTITIES)
HOLE_COLUMNS = ("experiment", "run_id", "kind", "reason")


@dataclass(frozen=True)
class Runs:
    """Tables over the runs of an output.

    A few rows suffice for most questions: `load_runs("runs").runs.groupby("optimizer").score.mean()`.
    """

    runs: pd.DataFrame
    """A row per finished run. `configuration` is the digest of the manifest without name and seed, the same for
    the runs of one configuration over several seeds; `task` tells data sets apart. `score` is what comparisons
    use: test top-1 of the epoch chosen on validation images where there were some, else after the last epoch
    (`score_on` says which). `score_top5`, `score_loss`, `train_top1`, `train_loss` and `validation_top1` are of the
    same epoch, `score_epoch`. A run that diverged (`status`) has none of them, and neither `final_…` nor `best_…`:
    its curves up to there are in `epochs`. `test_sha256` is the digest of the test images and their labels. It and what
    made the run (`git_sha`, `torch`, `image_digest`, …) are missing where they were not recorded. The manifest's fields
    follow as columns such as `optimizer.lr` and `batch_size`."""
    epochs: pd.DataFrame
    """A row per run and epoch; `backbone_update_to_weight` and the like are means over every tenth step,
    `backbone_distance_from_start` is the norm of the weights after the epoch minus those before the training."""
    classes: pd.DataFrame
    """A row per run and class: test top-1 after the last epoch."""
    diagnostics: pd.DataFrame
    """A row per run, `group` (`backbone` or `fc`) and step, from 0, over the first ten steps of training."""
    holes: pd.DataFrame
    """A row per run that has no result or no usable one: `kind` (missing, failed, lost, running, interrupted,
    corrupt) and `reason`. Runs that diverged are results; they are listed here as well, as `diverged`."""
    test_right: Mapping[str, npt.NDArray[np.bool_]]
    """By `run`: (num_test,) which test images were right after the last epoch, in the order of the data set. Where an
    epoch was chosen on validation images, `score` may be of an earlier one (`score_epoch`). The mean is `final_top1`,
    but for an image or two where a run was resumed after its last epoch on a machine that rounds otherwise. Two runs
    with the same `test_sha256` can be compared image by image. Runs that diverged are left out, and those of before
    2026-11-25, which did not record it."""

    def select(self, chosen: pd.DataFrame) -> Runs:
        """The part of all tables that belongs to the rows `chosen` of `runs`; holes stay as they are."""
        if len(chosen) == len(self.runs):  # the tables of 10,000 runs need not be there twice
            return self
        names = set(chosen["run"])
        tables = {name: getattr(self, name) for name in ("runs", "epochs", "classes", "diagnostics")}
        own = {name: table[table["run"].isin(names)] for name, table in tables.items()}
        right = {run: images for run, images in self.test_right.items() if run in names}
        return Runs(**own, holes=self.holes, test_right=right)


def flatten_manifest(manifest: str) -> dict[str, Any]:
    """The JSON manifest's fields by dotted name, lists as tuples; name, seed and the optimizer's name left out."""
    flat: dict[str, Any] = {}
    for field, value in json.loads(manifest).items():
        if isinstance(value, dict):
            flat |= {f"{field}.{key}": tuple(part) if isinstance(part, list) else part for key, part in value.items()}
        else:
            flat[field] = value
    return {key: value for key, value in flat.items() if key not in ("name", "seed", "optimizer.name")}


def add_attributes(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` with a column for every field of the manifests."""
    attributes = pd.DataFrame([flatten_manifest(manifest) for manifest in runs["manifest"]], index=runs.index)
    return pd.concat([runs, attributes], axis=1)
