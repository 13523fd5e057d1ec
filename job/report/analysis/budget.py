"""What tuning buys: the expected best score after k random trials of each optimizer, from the finished runs, beside its
default. The optimizers are set beside each other at equal k, because more trials alone make a best score higher.

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
from job.report.analysis.wording import name_optimizer, percent, points


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
    num_trials: int
    """How many trials all optimizers are set beside each other at: the most that every one has that was tuned at all.
    One of which a single configuration was run stands with that."""

    @property
    def tuned_score(self) -> float:
        """Expected best score after `num_trials`."""
        return float(self.expected[self.num_trials - 1])

    @property
    def gain(self) -> float:
        """What that is above the default."""
        return self.tuned_score - (self.default.adjusted or 0.0)


def view_budget(configurations: Sequence[Configuration]) -> list[BudgetLine]:
    """A line per optimizer, by the best of its configurations; empty unless an optimizer has at least two of them.

    `configurations` are best first, and best under settings that were open to all optimizers.
    """
    families = split_by_optimizer(configurations)
    if all(len(family) < 2 for family in families.values()):
        return []
    known = {optimizer: family for optimizer, family in families.items() if family[0].scores}
    most = min((len(family) for family in known.values() if len(family) > 1), default=1)
    return [_line(optimizer, family, min(most, len(family))) for optimizer, family in known.items()]


def tell_budget(lines: Sequence[BudgetLine]) -> list[str]:
    """A sentence per optimizer that was tuned: its default, and the expected best after the same number of trials."""
    return [
        f"{name_optimizer(line.optimizer)} gets {line.default.told_score} with {_name_default(line)}; the best of "
        f"{line.num_trials} trials is expected to get {percent(line.tuned_score)} ({points(line.gain)} points)."
        for line in list_tuned(lines)
    ]


def list_tuned(lines: Sequence[BudgetLine]) -> list[BudgetLine]:
    """Those of which more than one configuration was run."""
    return [line for line in lines if len(line.expected) > 1]


def _name_default(line: BudgetLine) -> str:
    return "torch's defaults" if line.is_torch_default else f"the baseline ({line.default.label})"


def _line(optimizer: str, family: Sequence[Configuration], num_trials: int) -> BudgetLine:
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
        num_trials=num_trials,
    )
