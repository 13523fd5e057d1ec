"""What tuning buys: the expected best score after k random trials of each optimizer, from the finished runs.

Reporting it instead of the best of a large search: Dodge et al. 2019, "Show Your Work", arXiv:1909.03004; unbiased
as in Tang et al. 2020, arXiv:2004.13705. A trial is a configuration, its value the mean score, adjusted for the
seeds, in which one that diverged counts as guessing. With validation images the best of k trials is the one with the
highest validation accuracy, and its value is its test accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from job.report.analysis.baselines import find_baseline, read_defaults
from job.report.analysis.configurations import Configuration, split_by_optimizer
from job.report.analysis.statistics import expected_maximum


@dataclass(frozen=True)
class BudgetLine:
    """What tuning one optimizer buys."""

    optimizer: str
    default: Configuration
    """The configuration with torch's defaults where it was run, else the baseline."""
    is_torch_default: bool
    tuned: Configuration
    """The best configuration of the optimizer."""
    expected: npt.NDArray[np.float64]
    """Expected best score after 1, 2, … trials drawn from the configurations that were run, without repetition."""


def view_budget(configurations: Sequence[Configuration]) -> list[BudgetLine]:
    """A line per optimizer, by the best of its configurations; empty unless an optimizer has at least two of them.

    `configurations` are best first, and best under settings that were open to all optimizers.
    """
    families = split_by_optimizer(configurations)
    if all(len(family) < 2 for family in families.values()):
        return []
    return [_line(optimizer, family) for optimizer, family in families.items() if family[0].scores]


def _line(optimizer: str, family: Sequence[Configuration]) -> BudgetLine:
    defaults = read_defaults(optimizer)
    optimizer_defaults = {key: value for key, value in defaults.items() if key.startswith("optimizer.")}
    at_default = [
        configuration
        for configuration in family
        if all(configuration.attributes.get(key) == value for key, value in optimizer_defaults.items())
    ]
    return BudgetLine(
        optimizer,
        default=find_baseline(at_default or family),
        is_torch_default=bool(at_default),
        tuned=family[0],
        expected=expected_maximum(
            [configuration.adjusted or 0.0 for configuration in family],
            chosen_by=[-place for place in range(len(family))],
        ),
    )
