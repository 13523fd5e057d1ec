"""What each attribute does: per optimizer, every value against the baseline, and grids where two were crossed."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from job.report.configurations import Configuration, find_baseline, varying_attributes
from job.report.statistics import Comparison, compare, correct_comparisons
from job.report.wording import join, name_optimizer, points, show_attribute, show_comparison, show_value

MOST_TOLD = 5
"""Values of an attribute in a sentence."""


@dataclass(frozen=True)
class Effect:
    """One value of one attribute against the baseline."""

    attribute: str
    value: Any
    configuration: Configuration
    comparison: Comparison | None
    """Against the baseline, corrected over the optimizer's effects; None where the configuration has no score."""


@dataclass(frozen=True)
class Grid:
    """Mean scores where two attributes were crossed, all else equal; NaN where a cell was not run."""

    rows: str
    columns: str
    row_values: list[Any]
    column_values: list[Any]
    means: npt.NDArray[np.float64]


@dataclass(frozen=True)
class OptimizerEffects:
    """Everything about one optimizer's attributes."""

    optimizer: str
    baseline: Configuration
    effects: list[Effect]
    grids: list[Grid]
    summary: list[str]
    """Which attributes mattered, which did not, and of which nothing can be said."""


def measure_effects(configurations: Sequence[Configuration]) -> list[OptimizerEffects]:
    """The effects per optimizer that has more than one configuration with one attribute changed."""
    families: dict[str, list[Configuration]] = defaultdict(list)
    for each in configurations:
        families[each.optimizer].append(each)
    found = [_measure(optimizer, family) for optimizer, family in families.items()]
    return [each for each in found if each.effects]


def _measure(optimizer: str, family: Sequence[Configuration]) -> OptimizerEffects:
    baseline = find_baseline(family)
    neighbours = [each for each in family if len(each.changed) == 1 and baseline.scores]
    tested = [each for each in neighbours if each.scores]
    comparisons = correct_comparisons([compare(each.scores, baseline.scores) for each in tested])
    by_digest = dict(zip((each.digest for each in tested), comparisons, strict=True))
    effects = [
        Effect(attribute, value, each, by_digest.get(each.digest))
        for each in neighbours
        for attribute, value in each.changed.items()
    ]
    effects.sort(key=lambda effect: (effect.attribute, order_value(effect.value)))
    return OptimizerEffects(optimizer, baseline, effects, _find_grids(family), _summarise(optimizer, baseline, effects))


def _summarise(optimizer: str, baseline: Configuration, effects: Sequence[Effect]) -> list[str]:
    mattered, quiet, unknown = [], [], []
    for attribute, group in itertools.groupby(effects, key=lambda effect: effect.attribute):
        compared = [(each, each.comparison) for each in group if each.comparison is not None]
        name = show_attribute(attribute)
        decided = [pair for pair in compared if pair[1].decided]
        if decided:
            decided.sort(key=lambda pair: -abs(pair[1].difference))
            values = [f"{show_value(each.value)}: {show_comparison(comparison)} points" for each, comparison in decided]
            if len(values) > MOST_TOLD:
                values = [*values[:MOST_TOLD], f"{len(values) - MOST_TOLD} more values with smaller ones"]
            was = show_value(baseline.attributes.get(attribute))
            mattered.append(f"{name} ({join(values)}, against {was})")
        elif any(comparison.p is not None for _, comparison in compared):
            reaches = [abs(bound) for _, each in compared for bound in (each.low, each.high) if bound is not None]
            quiet.append(f"{name} (any effect of the values tried is within {100 * max(reaches):.1f} points)")
        elif compared:
            largest = max((comparison.difference for _, comparison in compared), key=abs)
            unknown.append(f"{name} ({points(largest)} points at most)")
    shown = name_optimizer(optimizer)
    sentences = []
    if mattered:
        sentences.append(f"What mattered for {shown}: {join(mattered)}.")
    if quiet:
        sentences.append(f"No certain effect of {join(quiet)}.")
    if unknown:
        sentences.append(f"Too few seeds to say anything certain of {join(unknown)}.")
    return sentences


def _find_grids(family: Sequence[Configuration]) -> list[Grid]:
    """For every two attributes the largest crossing of at least two values each in which most cells were run."""
    varying = varying_attributes(family)
    grids = []
    for first, second in itertools.combinations(varying, 2):
        groups: dict[tuple[Any, ...], list[Configuration]] = defaultdict(list)
        for each in family:
            groups[tuple(each.attributes.get(other) for other in varying if other not in (first, second))].append(each)
        grid = _build_grid(first, second, max(groups.values(), key=len))
        if min(grid.means.shape) >= 2 and np.isfinite(grid.means).mean() > 0.5 and _is_crossed(grid.means):
            grids.append(grid)
    return grids


def _is_crossed(means: npt.NDArray[np.float64]) -> bool:
    """Whether two rows share two columns: one attribute at a time gives a cross without any such square."""
    known = np.isfinite(means).astype(int)
    shared = known @ known.T
    np.fill_diagonal(shared, 0)
    return bool(shared.max() >= 2)


def _build_grid(first: str, second: str, group: Sequence[Configuration]) -> Grid:
    rows = sorted({each.attributes.get(first) for each in group}, key=order_value)
    columns = sorted({each.attributes.get(second) for each in group}, key=order_value)
    means = np.full((len(rows), len(columns)), np.nan)
    for each in group:
        if each.scores:
            means[rows.index(each.attributes.get(first)), columns.index(each.attributes.get(second))] = each.mean
    return Grid(first, second, rows, columns, means)


def order_value(value: Any) -> tuple[bool, Any]:
    """Numbers by size and before everything else, which goes by how it is written."""
    number = isinstance(value, int | float)
    return (not number, value if number else show_value(value))
