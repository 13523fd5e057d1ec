"""What each attribute does: per optimizer, every value against the baseline, and grids where two were crossed.

In the sentences every value stands once, under what is known of it: that it mattered, that it changed nothing, or how
large its effect was and why that is not certain. "No effect" is said only of an interval within SMALL_EFFECT of zero.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from job.report.analysis.baselines import find_baseline, varying_attributes
from job.report.analysis.configurations import Configuration, compare_configurations
from job.report.analysis.statistics import Comparison, correct_comparisons
from job.report.analysis.wording import (
    all_of,
    join,
    name_optimizer,
    points,
    show_attribute,
    show_comparison,
    show_value,
)

MOST_TOLD = 5
"""So many values of an attribute are told in a sentence; the others are counted."""
SMALL_EFFECT = 0.01
"""A point of accuracy: an effect whose interval lies within it is called none."""
LARGE_EFFECT = 0.05
"""Five points of accuracy: such a difference is called large, certain or not."""


@dataclass(frozen=True)
class Effect:
    """One value of one attribute against the baseline."""

    attribute: str
    value: Any
    configuration: Configuration
    comparison: Comparison | None
    """Against the baseline, corrected over the optimizer's effects; None where a seed of either diverged, or where they
    have no seed in common."""
    why_not_compared: str = ""
    """Empty where there is a comparison."""


@dataclass(frozen=True)
class Grid:
    """Mean scores, adjusted for the seeds, where two attributes were crossed, all else equal.

    NaN where a cell was not run or diverged.
    """

    rows: str
    columns: str
    row_values: list[Any]
    column_values: list[Any]
    means: npt.NDArray[np.float64]
    diverged: list[tuple[int, int]]
    """Row and column of the cells in which a seed diverged."""


@dataclass(frozen=True)
class OptimizerEffects:
    """Everything about one optimizer's attributes."""

    optimizer: str
    baseline: Configuration
    effects: list[Effect]
    grids: list[Grid]
    summary: list[str]
    """What is known of every value, certain effects first."""


def measure_effects(configurations: Sequence[Configuration]) -> list[OptimizerEffects]:
    """The effects of each optimizer that has configurations with exactly one attribute changed."""
    families: dict[str, list[Configuration]] = defaultdict(list)
    for configuration in configurations:
        families[configuration.optimizer].append(configuration)
    found = [_measure(optimizer, family) for optimizer, family in families.items()]
    return [effects for effects in found if effects.effects]


def _measure(optimizer: str, family: Sequence[Configuration]) -> OptimizerEffects:
    baseline = find_baseline(family)
    neighbours = [configuration for configuration in family if len(configuration.changed) == 1]
    pairs = [
        (configuration, compare_configurations(configuration, baseline))
        for configuration in neighbours
        if configuration.always_finished
    ]
    tested = [
        (configuration, comparison)
        for configuration, comparison in pairs
        if comparison is not None and baseline.always_finished
    ]
    comparisons = correct_comparisons([comparison for _, comparison in tested])
    by_digest = dict(zip((configuration.digest for configuration, _ in tested), comparisons, strict=True))
    effects = [
        Effect(attribute, value, configuration, by_digest.get(configuration.digest), _why_not(configuration, baseline))
        for configuration in neighbours
        for attribute, value in configuration.changed.items()
    ]
    effects.sort(key=lambda effect: (effect.attribute, order_value(effect.value)))
    return OptimizerEffects(optimizer, baseline, effects, _find_grids(family), _summarise(optimizer, baseline, effects))


def _summarise(optimizer: str, baseline: Configuration, effects: Sequence[Effect]) -> list[str]:
    """A sentence per kind of SENTENCES that lists all values of that kind."""
    found: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        found[_judge(effect)].append(effect)
    opening = SENTENCES | {"mattered": f"What mattered for {name_optimizer(optimizer)}"}
    return [f"{opening[kind]}: {_list(found[kind], baseline)}." for kind in opening if found[kind]]


def _why_not(configuration: Configuration, baseline: Configuration) -> str:
    if configuration.fate or not baseline.always_finished:
        return configuration.fate or f"baseline: {baseline.fate}"
    return "" if configuration.scores.keys() & baseline.scores.keys() else "no seed in common with the baseline"


SENTENCES = {
    "mattered": "What mattered",
    "uniform": "The same in every seed (no spread between seeds: interval not computable)",
    "large": "Large but not certain",
    "diverged": "Diverged",
    "unlike": "Not the attribute alone",
    "uncertain": "Not certain",
    "small": f"No effect beyond {100 * SMALL_EFFECT:g} point",
    "none": "No difference in any seed",
    "uncompared": "Not compared",
}
"""How a sentence begins, by what is known of the values in it; the sentences stand in this order."""


def _judge(effect: Effect) -> str:
    """What is known of the value: a key of SENTENCES."""
    comparison = effect.comparison
    if comparison is None:
        return "diverged" if effect.configuration.fate else "uncompared"
    if comparison.unlike:
        return "unlike"
    if comparison.is_uniform:
        return "uniform" if comparison.difference else "none"
    if comparison.decided:
        return "mattered"
    if comparison.low is not None and comparison.high is not None and _reach(comparison) <= SMALL_EFFECT:
        return "small"
    return "large" if abs(comparison.difference) >= LARGE_EFFECT else "uncertain"


def _reach(comparison: Comparison) -> float:
    """The largest effect, in either direction, that the interval allows."""
    return max(-(comparison.low or 0.0), comparison.high or 0.0)


def _list(effects: Sequence[Effect], baseline: Configuration) -> str:
    """The values by attribute, the largest effects first."""
    told = []
    for attribute, group in itertools.groupby(effects, key=lambda effect: effect.attribute):
        own = sorted(group, key=lambda effect: -abs(effect.comparison.difference if effect.comparison else 0.0))
        values = [f"{show_value(effect.value)}: {_tell(effect)}" for effect in own]
        if len(values) > MOST_TOLD:
            values = [*values[:MOST_TOLD], f"{len(values) - MOST_TOLD} more values with smaller ones"]
        was = show_value(baseline.attributes.get(attribute))
        told.append(f"{show_attribute(attribute)} ({join(values)}, against {was})")
    return join(told)


def _tell(effect: Effect) -> str:
    """What was seen of one value."""
    comparison = effect.comparison
    if comparison is None:
        return effect.why_not_compared
    difference = f"{points(comparison.difference)} points"
    if comparison.unlike:
        return f"{difference}, but {join(list(comparison.unlike))}"
    if comparison.is_uniform:
        return f"{difference} in {all_of(comparison.num)} seeds" if comparison.difference else f"{comparison.num} seeds"
    if comparison.decided:
        return f"{show_comparison(comparison)} points"
    if comparison.low is None or comparison.high is None:
        return f"{difference} with one seed"
    kind = _judge(effect)
    if kind == "small":
        return f"within {100 * _reach(comparison):.1f} points"
    if kind == "large":
        return f"{difference} with {comparison.num} seeds"
    return f"{show_comparison(comparison)} points with {comparison.num} seeds"


def _find_grids(family: Sequence[Configuration]) -> list[Grid]:
    """For every two attributes the largest crossing of at least two values each in which most cells were run."""
    varying = varying_attributes(family)
    grids = []
    for first, second in itertools.combinations(varying, 2):
        groups: dict[tuple[Any, ...], list[Configuration]] = defaultdict(list)
        for configuration in family:
            groups[
                tuple(configuration.attributes.get(other) for other in varying if other not in (first, second))
            ].append(configuration)
        grid = _build_grid(first, second, max(groups.values(), key=len))
        was_run = np.isfinite(grid.means)
        for cell in grid.diverged:
            was_run[cell] = True
        if min(was_run.shape) >= 2 and was_run.mean() > 0.5 and _is_crossed(was_run):
            grids.append(grid)
    return grids


def _is_crossed(was_run: npt.NDArray[np.bool_]) -> bool:
    """Whether two rows share two columns: one attribute at a time gives a cross without any such square."""
    known = was_run.astype(int)
    shared = known @ known.T
    np.fill_diagonal(shared, 0)
    return bool(shared.max() >= 2)


def _build_grid(first: str, second: str, group: Sequence[Configuration]) -> Grid:
    rows = sorted({configuration.attributes.get(first) for configuration in group}, key=order_value)
    columns = sorted({configuration.attributes.get(second) for configuration in group}, key=order_value)
    means = np.full((len(rows), len(columns)), np.nan)
    diverged = []
    for configuration in group:
        row, column = (
            rows.index(configuration.attributes.get(first)),
            columns.index(configuration.attributes.get(second)),
        )
        if configuration.always_finished and configuration.adjusted is not None:
            means[row, column] = configuration.adjusted
        else:
            diverged.append((row, column))
    return Grid(first, second, rows, columns, means, diverged)


def order_value(value: Any) -> tuple[bool, Any]:
    """The key that sorts numbers by size, and everything else behind them by how it is written."""
    number = isinstance(value, int | float)
    return (not number, value if number else show_value(value))
