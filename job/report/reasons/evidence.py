"""What the rules look at, what they give, and the curves that several of them draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from job.report.configurations import Configuration
from job.report.effects import OptimizerEffects
from job.report.figures import Line, Picture
from job.report.measurements import Floats, Measurements, mean_curve


@dataclass(frozen=True)
class Reason:
    """One explanation."""

    title: str
    sentence: str
    numbers: Mapping[str, float]
    """What the sentence rests on, by name; fractions and ratios as they were measured."""
    picture: Picture


@dataclass(frozen=True)
class Evidence:
    """What was measured of the configurations that are compared."""

    shown: Sequence[Configuration]
    """The best configuration of every optimizer, or the best few of a single one; best first."""
    configurations: Sequence[Configuration]
    """All."""
    effects: Sequence[OptimizerEffects]
    measured: Measurements

    def first_values(self, quantity: str) -> list[tuple[Configuration, float]]:
        """Of those shown and the baselines: the quantity at the very first step, the largest first."""
        subjects = {each.digest: each for each in (*self.shown, *(effects.baseline for effects in self.effects))}
        values = [(each, self.measured.first(each, quantity)) for each in subjects.values()]
        return sorted([(each, value) for each, value in values if value], key=lambda pair: -pair[1])

    def epoch_lines(self, column: str, configurations: Sequence[Configuration], *, dash: int = 0) -> list[Line]:
        """A line over the epochs per configuration, with the range over its runs as a band."""
        lines = []
        for index, each in enumerate(configurations):
            values = self.measured.epochs(each, column)
            if np.isfinite(values).any():
                own = sum(other.optimizer == each.optimizer for other in configurations[:index])
                lines.append(build_line(each, values, dash=dash + own))
        return lines

    def step_lines(self, quantity: str, configurations: Sequence[Configuration]) -> list[Line]:
        """A line over the first steps per configuration."""
        lines = []
        for index, each in enumerate(configurations):
            values = self.measured.steps(each, quantity)
            if np.isfinite(values).any():
                own = sum(other.optimizer == each.optimizer for other in configurations[:index])
                lines.append(build_line(each, values, dash=own))
        return lines


def build_line(configuration: Configuration, values: Floats, *, dash: int, word: str = "") -> Line:
    """The mean over the runs, counted from 1, with their range where there are several; `word` goes to the label."""
    x = list(range(1, values.shape[1] + 1))
    label = f"{configuration.label}, {word}" if word else configuration.label
    if len(values) < 2:
        return Line(label, configuration.optimizer, x, mean_curve(values), dash=dash)
    known = np.isfinite(values)
    low = np.where(known.any(axis=0), np.where(known, values, np.inf).min(axis=0), np.nan)
    high = np.where(known.any(axis=0), np.where(known, values, -np.inf).max(axis=0), np.nan)
    return Line(label, configuration.optimizer, x, mean_curve(values), low, high, dash)
