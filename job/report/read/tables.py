"""The tables of an output's runs, grown run by run: of 10,000 runs nothing is held but what the tables need."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from job.report.read.frames import CLASS_COLUMNS, DIAGNOSTIC_COLUMNS, EPOCH_COLUMNS, RUN_COLUMNS
from job.report.read.rows import Floats, RunRows
from job.runs import GROUPS, QUANTITIES

Names = npt.NDArray[np.object_]
COLUMNS = {
    "runs": RUN_COLUMNS,
    "epochs": ("run", *EPOCH_COLUMNS),
    "classes": CLASS_COLUMNS,
    "diagnostics": ("run", "group", *DIAGNOSTIC_COLUMNS),
}
"""The columns of each table but that of the holes."""


class Tables:
    """Those of COLUMNS, with the rows of each in the order in which runs were added."""

    def __init__(self) -> None:
        self.test_right: dict[str, npt.NDArray[np.bool_]] = {}
        """By run, of those that recorded it."""
        self._runs: dict[str, list[Any]] = {name: [] for name in RUN_COLUMNS}
        self._num_rows: dict[str, list[int]] = {"epochs": [], "classes": [], "diagnostics": []}
        """Of every run in the table of this name; in that of the diagnostics for each of its groups."""
        self._epochs, self._diagnostics, self._top1 = array("d"), array("d"), array("d")
        self._classes: list[str] = []

    def add(self, rows: RunRows) -> None:
        """Append what one run has."""
        for name, column in self._runs.items():
            column.append(rows.run[name])
        if rows.test_right is not None:
            self.test_right[rows.run["run"]] = rows.test_right
        self._num_rows["epochs"].append(len(rows.epochs))
        self._epochs.frombytes(rows.epochs.tobytes())
        self._num_rows["classes"].append(len(rows.classes))
        self._classes += rows.classes
        self._top1.extend(rows.classes.values())
        for group in GROUPS:
            self._num_rows["diagnostics"].append(len(rows.diagnostics[group]))
            self._diagnostics.frombytes(rows.diagnostics[group].tobytes())

    def build(self) -> dict[str, pd.DataFrame]:
        """The tables by name."""
        if not self._runs["run"]:
            return {name: pd.DataFrame(columns=columns) for name, columns in COLUMNS.items()}
        names = np.array(self._runs["run"], dtype=object)
        return {
            "runs": pd.DataFrame(self._runs),
            "epochs": self._build_epochs(names),
            "classes": pd.DataFrame(
                {
                    "run": names.repeat(self._num_rows["classes"]),
                    "class": self._classes,
                    "top1": np.frombuffer(self._top1),
                }
            ),
            "diagnostics": self._build_diagnostics(names),
        }

    def _build_epochs(self, names: Names) -> pd.DataFrame:
        table = pd.DataFrame(_shape(self._epochs, EPOCH_COLUMNS), columns=list(EPOCH_COLUMNS))
        table["epoch"] = table["epoch"].astype(int)
        table.insert(0, "run", names.repeat(self._num_rows["epochs"]))
        return table

    def _build_diagnostics(self, names: Names) -> pd.DataFrame:
        sizes = self._num_rows["diagnostics"]
        table = pd.DataFrame(_shape(self._diagnostics, DIAGNOSTIC_COLUMNS), columns=list(DIAGNOSTIC_COLUMNS))
        table["step"] = table["step"].astype(int)
        table.insert(0, "group", np.tile(np.array(GROUPS, dtype=object), len(names)).repeat(sizes))
        table.insert(0, "run", names.repeat(len(GROUPS)).repeat(sizes))
        return table.astype(dict.fromkeys(QUANTITIES, "float64"))


def _shape(values: array[float], columns: Sequence[str]) -> Floats:
    return np.frombuffer(values).reshape(-1, len(columns))
