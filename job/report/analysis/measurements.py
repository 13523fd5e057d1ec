"""What was measured along the epochs and the first steps, as arrays per configuration: a row per run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.manifest import Manifest
from job.report.analysis.configurations import Configuration
from job.report.read.frames import EPOCH_COLUMNS, Runs
from job.runs import FIRST_STEPS, GROUPS, QUANTITIES

Floats = npt.NDArray[np.float64]


class Measurements:
    """The epochs and first steps of `runs`, as arrays of one configuration at a time."""

    def __init__(self, runs: Runs) -> None:
        self._epochs = _by_run(runs.epochs, EPOCH_COLUMNS)
        self._steps = {
            group: _by_run(runs.diagnostics[runs.diagnostics["group"] == group], ("step", *QUANTITIES))
            for group in GROUPS
        }
        self._seeds = {run: int(seed) for run, seed in zip(runs.runs["run"], runs.runs["seed"], strict=True)}
        self._manifests = dict(zip(runs.runs["run"], runs.runs["manifest"], strict=True))
        self._num_train = {run: int(num) for run, num in zip(runs.runs["run"], runs.runs["num_train"], strict=True)}

    def seeds(self, configuration: Configuration) -> list[int]:
        """Those of the configuration's runs that have at least one epoch, smallest first."""
        return sorted({self._seeds[run] for run in configuration.runs if run in self._epochs})

    def manifest(self, configuration: Configuration) -> Manifest:
        """That of the configuration's first run; the others differ in seed and perhaps name."""
        return Manifest.model_validate_json(self._manifests[configuration.runs[0]])

    def num_steps(self, configuration: Configuration) -> int:
        """The steps of an epoch. A single image left over joins the batch before, as the training has it."""
        num_train = self._num_train[configuration.runs[0]]
        batch_size = int(configuration.attributes["batch_size"])
        num_steps = math.ceil(num_train / batch_size)
        return num_steps - 1 if num_train % batch_size == 1 and num_steps > 1 else num_steps

    def epochs(self, configuration: Configuration, column: str, *, seeds: Sequence[int] | None = None) -> Floats:
        """(num_runs, num_epochs) of a column of `Runs.epochs`; NaN where a run ended earlier.

        With `seeds` a row for each of them, in their order.
        """
        index = EPOCH_COLUMNS.index(column)
        return _pad([table[:, index] for table in self._select(self._epochs, configuration, seeds)])

    def steps(
        self,
        configuration: Configuration,
        quantity: str,
        *,
        group: str = "backbone",
        seeds: Sequence[int] | None = None,
    ) -> Floats:
        """(num_runs, up to 10) of one quantity at the first steps of training; with `seeds` a row for each of them."""
        index = 1 + QUANTITIES.index(quantity)
        tables = self._select(self._steps[group], configuration, seeds)
        return _pad([table[:FIRST_STEPS, index] for table in tables])

    def _select(
        self, tables: Mapping[Any, Floats], configuration: Configuration, seeds: Sequence[int] | None
    ) -> list[Floats]:
        """The tables of the configuration's runs that have one; with `seeds` one for each, empty where it has none."""
        if seeds is None:
            return [tables[run] for run in configuration.runs if run in tables]
        by_seed = {self._seeds[run]: run for run in reversed(configuration.runs) if run in self._epochs}
        nothing = np.empty((0, max(len(EPOCH_COLUMNS), 1 + len(QUANTITIES))))
        return [tables.get(by_seed[seed], nothing) for seed in seeds]


def mean_curve(values: Floats) -> Floats:
    """The mean over the runs at each epoch or step, NaN where none was measured."""
    known = np.isfinite(values)
    totals = np.where(known, values, 0).sum(axis=0)
    return np.where(known.any(axis=0), totals / np.maximum(known.sum(axis=0), 1), np.nan)


def _by_run(table: pd.DataFrame, columns: Sequence[str]) -> dict[Any, Floats]:
    if table.empty:
        return {}
    names = table["run"].to_numpy()
    values = table[list(columns)].to_numpy(dtype=float)
    starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))  # a run's rows lie together
    return dict(zip(names[starts], np.split(values, starts[1:]), strict=True))


def _pad(rows: Sequence[Floats]) -> Floats:
    table = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return table
