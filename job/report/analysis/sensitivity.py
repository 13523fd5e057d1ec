"""How the accuracy answers to an attribute whose values are numbers: every tried value of every optimizer on one axis.

Along a line of values everything else is equal. It is that through the optimizer's baseline; for the learning rate that
with most values, because the best learning rate moves with the other attributes and more values show where it lies.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from job.report.analysis.baselines import varying_attributes
from job.report.analysis.configurations import Configuration, split_by_optimizer
from job.report.analysis.estimates import Estimate
from job.report.analysis.judgement import Judgement
from job.report.analysis.wording import join, name_optimizer, percent, show_attribute, show_estimate, show_value

LEARNING_RATE = "optimizer.lr"
WIDE = 30
"""From so many times the smallest value on, the values of an attribute stand on a logarithmic axis."""
CLOSE = 0.12
"""On a linear axis, neighbours closer than this part of it cannot be told apart: then the values stand evenly."""

Edge = Literal["low", "high"]
Scale = Literal["logarithmic", "linear", "even"]


@dataclass(frozen=True)
class TriedValue:
    """One value of the attribute, and what the optimizer reaches with it."""

    value: float
    configuration: Configuration
    estimate: Estimate | None
    """The adjusted mean with the interval for other seeds; a seed that diverged counts as guessing. None where no run
    has ended."""

    @property
    def diverged_fraction(self) -> float:
        """The part of the seeds that diverged."""
        num = len(self.configuration.seeds)
        return 1 - len(self.configuration.scores) / num if num else 0.0


@dataclass(frozen=True)
class OptimizerSensitivity:
    """The values that one optimizer was tried with, everything else equal."""

    optimizer: str
    tried: tuple[TriedValue, ...]
    """By value, at least two."""
    best: int | None
    """Which of `tried` is best, by what configurations are chosen by; None where every run diverged."""
    baseline: int | None
    """Which of `tried` is the optimizer's baseline; None where the line does not go through it."""
    at_edge: Edge | None
    """At which end of the tried values the best lies; None where it lies between others, or where there is nothing
    beyond it, as below 0."""
    is_flat: bool
    """Whether the best and its neighbour are shown to be practically equal."""


@dataclass(frozen=True)
class Sensitivity:
    """One attribute, with all optimizers that were tried with several of its values."""

    attribute: str
    optimizers: tuple[OptimizerSensitivity, ...]
    scale: Scale

    @property
    def warnings(self) -> list[str]:
        """A sentence per optimizer whose best value is the first or the last of those tried, unless it makes no
        difference there."""
        return [
            warning
            for own in self.optimizers
            if own.at_edge and not own.is_flat
            for warning in [warn_of_edge(self.attribute, own)]
        ]

    @property
    def sentences(self) -> list[str]:
        """What each optimizer is best with, of which values, and which of them diverged."""
        return [_tell_best(self.attribute, own) for own in self.optimizers]

    def place(self, value: float) -> float:
        """The position of a tried value along the axis; 0 has one of its own below a logarithmic axis."""
        values = self.values
        if self.scale == "linear":
            return value
        if self.scale == "even":
            return float(values.index(value))
        return math.log10(value) if value > 0 else self.gap - self._step / 2

    @cached_property
    def values(self) -> list[float]:
        """All tried values, by size."""
        return sorted({tried.value for own in self.optimizers for tried in own.tried})

    @property
    def has_gap(self) -> bool:
        """Whether the axis is broken between 0 and the first value above it."""
        return self.scale == "logarithmic" and self.values[0] == 0

    @property
    def gap(self) -> float:
        """The position of the break of a logarithmic axis."""
        return math.log10(min(value for value in self.values if value > 0)) - self._step / 2

    @property
    def _step(self) -> float:
        """As wide as a sixth of the axis, and at least a decade."""
        positive = [math.log10(value) for value in self.values if value > 0]
        return max(1.0, (positive[-1] - positive[0]) / 6)


def measure_sensitivity(configurations: Sequence[Configuration], judgement: Judgement | None) -> list[Sensitivity]:
    """The attributes with numbers that some optimizer was tried with several of, the learning rate first and the others
    in the manifest's order. `configurations` are best first."""
    if judgement is None:
        return []
    found: dict[str, list[OptimizerSensitivity]] = defaultdict(list)
    for family in split_by_optimizer(own for own in configurations if own.seeds).values():
        for attribute in varying_attributes(family):
            measured = _measure(attribute, family, judgement)
            if measured:
                found[attribute].append(measured)
    ordered = sorted(found, key=lambda attribute: attribute != LEARNING_RATE)
    return [
        Sensitivity(attribute, tuple(found[attribute]), _choose_scale(attribute, found[attribute]))
        for attribute in ordered
    ]


def is_number(value: Any) -> bool:
    """Whether a value has a place on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def warn_of_edge(attribute: str, own: OptimizerSensitivity) -> str:
    """Asks for values beyond the best one; `own.at_edge` is an end."""
    best = own.tried[own.best or 0].value
    which, beyond = ("smallest", "smaller") if own.at_edge == "low" else ("largest", "larger")
    return (
        f"{name_optimizer(own.optimizer)}'s best {name_attribute(attribute)}, {show_value(best)}, is the {which} that "
        f"was tried: a {beyond} one may be better."
    )


def name_attribute(attribute: str) -> str:
    """The attribute in a sentence: `learning rate` for lr."""
    return "learning rate" if attribute == LEARNING_RATE else show_attribute(attribute)


def _measure(attribute: str, family: Sequence[Configuration], judgement: Judgement) -> OptimizerSensitivity | None:
    baseline = judgement.baselines.get(family[0].optimizer)
    line = _find_line(attribute, family, baseline)
    if len(line) < 2:
        return None
    places = {configuration.digest: place for place, configuration in enumerate(line)}
    tried = tuple(
        TriedValue(own.attributes[attribute], own, judgement.fitted.estimate(own) if own.outcomes else None)
        for own in line
    )
    best = next((places[own.digest] for own in family if own.digest in places and own.scores), None)
    edge = _find_edge(best, tried)
    is_flat = False
    if edge and best is not None:
        neighbour = judgement.compare(line[best], line[1 if edge == "low" else -2])
        is_flat = neighbour is not None and neighbour.answer == "equal"
    own_baseline = places.get(baseline.digest) if baseline else None
    return OptimizerSensitivity(family[0].optimizer, tried, best, own_baseline, edge, is_flat)


def _find_line(attribute: str, family: Sequence[Configuration], baseline: Configuration | None) -> list[Configuration]:
    """The configurations that differ in the attribute alone, by its value; empty where there is no such line."""
    lines: dict[frozenset[tuple[str, Any]], list[Configuration]] = defaultdict(list)
    for configuration in family:
        if is_number(configuration.attributes.get(attribute)):
            others = frozenset(item for item in configuration.attributes.items() if item[0] != attribute)
            lines[others].append(configuration)
    through = [line for line in lines.values() if baseline is not None and baseline in line]
    candidates = list(lines.values()) if attribute == LEARNING_RATE or not through else through
    # Of equals the one through the baseline, then the one with the best configuration, which comes first.
    longest = max(candidates, key=lambda line: (len(line), line in through), default=[])
    return sorted(longest, key=lambda configuration: float(configuration.attributes[attribute]))


def _find_edge(best: int | None, tried: Sequence[TriedValue]) -> Edge | None:
    if best == 0:
        return "low" if tried[0].value != 0 else None
    return "high" if best == len(tried) - 1 else None


def _choose_scale(attribute: str, measured: Sequence[OptimizerSensitivity]) -> Scale:
    values = sorted({tried.value for own in measured for tried in own.tried})
    positive = [value for value in values if value > 0]
    wide = 1 if attribute == LEARNING_RATE or len(positive) == 1 else WIDE
    if values[0] >= 0 and positive and positive[-1] >= wide * positive[0]:
        return "logarithmic"
    reach = values[-1] - values[0]
    gaps = [after - before for before, after in itertools.pairwise(values)]
    return "even" if min(gaps) < CLOSE * reach else "linear"


def _tell_best(attribute: str, own: OptimizerSensitivity) -> str:
    name, optimizer = name_attribute(attribute), name_optimizer(own.optimizer)
    lost = [f"{show_value(tried.value)} ({tried.configuration.fate})" for tried in own.tried if tried.diverged_fraction]
    diverged = f" Diverged: {join(lost)}." if lost else ""
    if own.best is None:
        return f"{optimizer} diverged with every {name} that was tried.{diverged}"
    best = own.tried[own.best]
    worst = min(tried.estimate.mean for tried in own.tried if tried.estimate)
    return (
        f"{optimizer} is best with {name} {show_value(best.value)}: {show_estimate(best.estimate)}; the worst of "
        f"{len(own.tried)} values tried gives {percent(worst)}.{diverged}"
    )
