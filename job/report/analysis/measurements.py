"""What was measured along the epochs and the first steps, as arrays per configuration: a row per run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.manifest import Manifest
from job.report.analysis.configurations import Configuration
from job.report.read.frames import Runs
from job.runs import FIRST_STEPS

Floats = npt.NDArray[np.float64]


class Measurements:
    """The epochs and first steps of `runs`, as arrays of one configuration at a time. The tables are not copied."""

    def __init__(self, runs: Runs) -> None:
        self._tables = runs
        self._epochs = _find_rows(runs.epochs, "run")
        self._steps = _find_rows(runs.diagnostics, "run", "group")
        self._seeds = {run: int(seed) for run, seed in zip(runs.runs["run"], runs.runs["seed"], strict=True)}
        self._manifests = dict(zip(runs.runs["run"], runs.runs["manifest"], strict=True))
        self._num_train = {run: int(num) for run, num in zip(runs.runs["run"], runs.runs["num_train"], strict=True)}

    def seeds(self, configuration: Configuration) -> list[int]:
        """Those of the configuration's runs that have at least one epoch, smallest first."""
        return sorted({self._seeds[run] for run in configuration.runs if (run,) in self._epochs})

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
        return self._gather(self._tables.epochs[column], self._epochs, configuration, seeds)

    def steps(
        self,
        configuration: Configuration,
        quantity: str,
        *,
        group: str = "backbone",
        seeds: Sequence[int] | None = None,
    ) -> Floats:
        """(num_runs, up to 10) of one quantity at the first steps of training; with `seeds` a row for each of them."""
        column = self._tables.diagnostics[quantity]
        return self._gather(column, self._steps, configuration, seeds, group)[:, :FIRST_STEPS]

    def _gather(
        self,
        column: pd.Series[float],
        places: Mapping[tuple[str, ...], slice],
        configuration: Configuration,
        seeds: Sequence[int] | None,
        *group: str,
    ) -> Floats:
        """A row for each of the configuration's runs that is in `places`; with `seeds` one for each, perhaps empty."""
        runs = configuration.runs
        if seeds is None:
            found = [places[run, *group] for run in runs if (run, *group) in places]
        else:
            by_seed = {self._seeds[run]: run for run in reversed(runs) if (run,) in self._epochs}
            found = [places.get((by_seed[seed], *group), slice(0)) for seed in seeds]
        values = column.to_numpy(dtype=float)
        return _pad([values[place] for place in found])


def mean_curve(values: Floats) -> Floats:
    """The mean over the runs at each epoch or step, NaN where none was measured."""
    known = np.isfinite(values)
    totals = np.where(known, values, 0).sum(axis=0)
    return np.where(known.any(axis=0), totals / np.maximum(known.sum(axis=0), 1), np.nan)


def _find_rows(table: pd.DataFrame, *by: str) -> dict[tuple[str, ...], slice]:
    """Where the rows are that have the same in the columns `by`: they lie together."""
    keys = table[list(by)]
    starts = np.flatnonzero((keys != keys.shift()).any(axis=1))
    names = keys.iloc[starts].itertuples(index=False, name=None)
    return dict(zip(names, map(slice, starts, [*starts[1:], len(table)]), strict=True))


def _pad(rows: Sequence[Floats]) -> Floats:
    table = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return table
