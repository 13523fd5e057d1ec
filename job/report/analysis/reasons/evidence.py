"""What rules are given (`Evidence`), and the comparisons and curves that they share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from job.report.analysis.charts import Line
from job.report.analysis.configurations import Configuration
from job.report.analysis.effects import OptimizerEffects
from job.report.analysis.estimates import Comparison
from job.report.analysis.judgement import Judgement
from job.report.analysis.measurements import Floats, Measurements, mean_curve
from job.report.analysis.origins import find_differences
from job.report.analysis.verdict import Verdict

APART = 2.0
"""Steps are told apart where they differ twofold: the first ones of two seeds differ by a few hundredths."""


@dataclass(frozen=True)
class Contrast:
    """A configuration beside those that it is compared with, over the seeds that all of them have.

    The rows of every table are those seeds, in one order, so that rows of two configurations can be compared.
    """

    subject: Configuration
    others: Sequence[Configuration]
    """At least one."""
    seeds: Sequence[int]
    """At least one."""
    measured: Measurements

    def epochs(self, configuration: Configuration, column: str) -> Floats:
        """(num_seeds, num_epochs) of a column of `Runs.epochs`; at least one column, NaN where nothing was measured."""
        return _widen(self.measured.epochs(configuration, column, seeds=self.seeds))

    def steps(self, configuration: Configuration, quantity: str) -> Floats:
        """(num_seeds, up to 10) of the backbone's quantity at the first steps of training; otherwise as `epochs`."""
        return _widen(self.measured.steps(configuration, quantity, seeds=self.seeds))

    def keep(self, others: Sequence[Configuration]) -> Contrast | None:
        """The same contrast with these of the others alone; None where `others` is empty."""
        return Contrast(self.subject, others, self.seeds, self.measured) if others else None

    @property
    def everywhere(self) -> str:
        """Words for a claim that holds in every seed: `in each of 3 seeds`."""
        return show_seeds(len(self.seeds))


@dataclass(frozen=True)
class Evidence:
    """What was measured of the configurations that are compared."""

    shown: Sequence[Configuration]
    """The best configuration of every optimizer, or the best few of a single one; best first."""
    configurations: Sequence[Configuration]
    """All configurations of the study."""
    effects: Sequence[OptimizerEffects]
    measured: Measurements
    judgement: Judgement | None = None
    """Decides every comparison of accuracies that a reason tells; without it a reason tells none."""
    verdict: Verdict | None = None

    @property
    def whole(self) -> list[Configuration]:
        """Those shown of which no run diverged: the mean over survivors would speak for runs that failed."""
        return [configuration for configuration in self.shown if is_whole(configuration)]

    @property
    def subjects(self) -> list[Configuration]:
        """The configurations shown and the baselines, without those of which a run diverged."""
        baselines = [effects.baseline for effects in self.effects if is_whole(effects.baseline)]
        return list({configuration.digest: configuration for configuration in (*self.whole, *baselines)}.values())

    def rivals(self, subject: Configuration) -> Contrast | None:
        """`subject` beside the others shown that were trained alike; optimizer and its attributes may differ."""
        return self._contrast(subject, self.rivals_of(subject))

    def rivals_of(self, subject: Configuration) -> list[Configuration]:
        """The others of `rivals`, also those that share no seed with `subject`."""
        return [
            configuration
            for configuration in self.whole
            if configuration.digest != subject.digest and are_trained_alike(configuration, subject)
        ]

    def peers(self, subject: Configuration) -> Contrast | None:
        """`subject` beside other optimizers at the same learning rate, trained alike.

        For what grows with the learning rate. Of every optimizer that configuration is taken that differs least
        from the optimizer's baseline.
        """
        closest: dict[str, Configuration] = {}
        for configuration in self.configurations:
            same = configuration.attributes["optimizer.lr"] == subject.attributes["optimizer.lr"]
            if (
                configuration.optimizer != subject.optimizer
                and same
                and is_whole(configuration)
                and are_trained_alike(configuration, subject)
            ):
                best = closest.setdefault(configuration.optimizer, configuration)
                if len(configuration.changed) < len(best.changed):
                    closest[configuration.optimizer] = configuration
        return self._contrast(subject, list(closest.values()))

    def pair(self, subject: Configuration, other: Configuration) -> Contrast | None:
        """`subject` beside one other configuration; None where a run of either diverged or they share no seed.

        Whether they were trained and made alike is the caller's to ask, or to say.
        """
        return self._contrast(subject, [other]) if is_whole(subject) and is_whole(other) else None

    def compare(self, ours: Configuration, theirs: Configuration) -> Comparison | None:
        """Ours minus theirs, as the judgement has it; None without a judgement or a common seed."""
        return self.judgement.compare(ours, theirs) if self.judgement else None

    def _contrast(self, subject: Configuration, others: Sequence[Configuration]) -> Contrast | None:
        own = set(self.measured.seeds(subject))
        sharing = [configuration for configuration in others if own & set(self.measured.seeds(configuration))]
        seeds = own.intersection(*(self.measured.seeds(configuration) for configuration in sharing))
        return Contrast(subject, sharing, sorted(seeds), self.measured) if sharing and seeds else None

    def epoch_lines(self, column: str, configurations: Sequence[Configuration], *, dash: int = 0) -> list[Line]:
        """A line over the epochs per configuration, with the range over its runs as a band."""
        lines = []
        for index, configuration in enumerate(configurations):
            values = self.measured.epochs(configuration, column)
            if np.isfinite(values).any():
                own = sum(other.optimizer == configuration.optimizer for other in configurations[:index])
                lines.append(build_line(configuration, values, dash=dash + own))
        return lines

    def ratio_lines(self, upper: str, lower: str, configurations: Sequence[Configuration]) -> list[Line]:
        """As `epoch_lines`, of the ratio of two columns."""
        lines = []
        for configuration in configurations:
            ratios = divide(self.measured.epochs(configuration, upper), self.measured.epochs(configuration, lower))
            if np.isfinite(ratios).any():
                lines.append(build_line(configuration, ratios, dash=0))
        return lines

    def step_lines(self, quantity: str, configurations: Sequence[Configuration]) -> list[Line]:
        """A line over the first steps per configuration."""
        lines = []
        for index, configuration in enumerate(configurations):
            values = self.measured.steps(configuration, quantity)
            if np.isfinite(values).any():
                own = sum(other.optimizer == configuration.optimizer for other in configurations[:index])
                lines.append(build_line(configuration, values, dash=own))
        return lines


def _widen(values: Floats) -> Floats:
    return values if values.shape[1] else np.full((len(values), 1), np.nan)


def divide(numerator: Floats, denominator: Floats) -> Floats:
    """The ratio, NaN where the denominator is not positive or either was not measured."""
    known = np.isfinite(numerator) & (np.nan_to_num(denominator) > 0)
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=known)


def is_whole(configuration: Configuration) -> bool:
    """Whether no run of it diverged."""
    return not configuration.num_diverged


def show_seeds(num: int) -> str:
    """Where a claim was seen to hold: `in each of 3 seeds`."""
    return f"in each of {num} seeds" if num > 1 else "in the one seed that there is"


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


def are_trained_alike(first: Configuration, second: Configuration) -> bool:
    """Whether all but the optimizer and its attributes is the same: epochs, schedule, …, and what made the runs."""
    return _around(first) == _around(second) and are_made_alike(first, second)


def are_made_alike(first: Configuration, second: Configuration) -> bool:
    """Whether code, torch, image, device and data of both are the same: by seed, or of all runs without a common one.

    What is not recorded differs from nothing, as in the verdict.
    """
    if first.origins == second.origins:
        return True
    common = first.origins.keys() & second.origins.keys()
    pairs = [(first.origins[seed], second.origins[seed]) for seed in sorted(common)]
    return not find_differences(pairs or itertools.product(first.origins.values(), second.origins.values()))


def _around(configuration: Configuration) -> dict[str, object]:
    return {key: value for key, value in configuration.attributes.items() if not key.startswith("optimizer.")}
