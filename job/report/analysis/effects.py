"""What each attribute does: which attributes matter, every value against its baseline, and grids of two attributes.

In the sentences every value stands once, under what is known of it: that it is better or worse, that it practically
changes nothing, or how large its effect seems and why that is not certain.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from job.report.analysis.baselines import varying_attributes
from job.report.analysis.configurations import Configuration, split_by_optimizer
from job.report.analysis.estimates import Comparison
from job.report.analysis.inference.attributes import Attribute, Design, judge_attributes
from job.report.analysis.inference.attributes import Effect as Importance
from job.report.analysis.judgement import Judgement
from job.report.analysis.wording import (
    join,
    name_optimizer,
    show_attribute,
    show_comparison,
    show_margin,
    show_value,
)

MOST_TOLD = 5
"""So many values of an attribute are told in a sentence; the others are counted."""
LARGE_EFFECT = 0.05
"""Five points of accuracy: such a difference is called large, certain or not."""


@dataclass(frozen=True)
class Effect:
    """One value of one attribute against the baseline."""

    attribute: str
    value: Any
    configuration: Configuration
    comparison: Comparison | None
    """Against the baseline; None where they have no seed in common."""

    @property
    def why_not_compared(self) -> str:
        """Empty where there is a comparison."""
        return "" if self.comparison else "no seed in common with the baseline"


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
    importances: list[Importance]
    """Of every attribute that was varied, the most important one first."""
    effects: list[Effect]
    grids: list[Grid]
    summary: list[str]
    """What is known of every value, certain effects first."""


def measure_effects(configurations: Sequence[Configuration], judgement: Judgement | None) -> list[OptimizerEffects]:
    """The effects of each optimizer that has configurations with exactly one attribute changed."""
    if judgement is None:
        return []
    families = split_by_optimizer(own for own in configurations if own.digest in judgement.fitted.places)
    varied = {optimizer: family for optimizer, family in families.items() if len(family) > 1}
    designs = [_design(family, judgement) for family in varied.values()]
    importances = judge_attributes(judgement.fitted.model, designs)
    found = [
        _measure(optimizer, family, judgement, own)
        for (optimizer, family), own in zip(varied.items(), importances, strict=True)
    ]
    return [effects for effects in found if effects.effects]


def answer_attribute(effects: OptimizerEffects, importance: Importance) -> Literal["matters", "equal", "unknown"]:
    """`matters`, `equal` within the margin, or `unknown`; the values' own answers and the attribute's test agree."""
    own = [effect.comparison for effect in effects.effects if effect.attribute == importance.name]
    answers = [comparison.answer for comparison in own if comparison]
    if any(comparison.unlike for comparison in own if comparison):
        return "unknown"
    if (importance.p is not None and importance.p < ERROR) or {"better", "worse"} & set(answers):
        return "matters"
    return "equal" if answers and set(answers) == {"equal"} else "unknown"


def _design(family: list[Configuration], judgement: Judgement) -> Design:
    attributes = []
    for name in varying_attributes(family):
        values = tuple(configuration.attributes.get(name) for configuration in family)
        order = tuple(sorted(set(values), key=order_value))
        is_ordered = all(isinstance(value, int | float) and not isinstance(value, bool) for value in order)
        attributes.append(Attribute(name, values, order, is_ordered))
    places = judgement.fitted.places
    baseline = family.index(judgement.baselines[family[0].optimizer])
    return Design(tuple(places[configuration.digest] for configuration in family), tuple(attributes), baseline)


def _measure(
    optimizer: str, family: Sequence[Configuration], judgement: Judgement, importances: list[Importance]
) -> OptimizerEffects:
    baseline = judgement.baselines[optimizer]
    effects = [
        Effect(attribute, value, configuration, judgement.compare(configuration, baseline))
        for configuration in family
        if len(configuration.changed) == 1
        for attribute, value in configuration.changed.items()
    ]
    effects.sort(key=lambda effect: (effect.attribute, order_value(effect.value)))
    summary = _summarise(optimizer, baseline, effects, judgement.margin)
    return OptimizerEffects(optimizer, baseline, importances, effects, _find_grids(family), summary)


def _summarise(optimizer: str, baseline: Configuration, effects: Sequence[Effect], margin: float) -> list[str]:
    """A sentence per kind of SENTENCES that lists all values of that kind."""
    found: dict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        found[judge_effect(effect)].append(effect)
    opening = SENTENCES | {
        "mattered": f"What mattered for {name_optimizer(optimizer)}",
        "equal": f"Practically no effect, less than {show_margin(margin)} either way",
    }
    return [f"{opening[kind]}: {_list(found[kind], baseline)}." for kind in opening if found[kind]]


ERROR = 0.05
SENTENCES = {
    "mattered": "What mattered",
    "large": "Large but not certain",
    "diverged": "Diverged with every seed",
    "unlike": "Not the attribute alone",
    "uncertain": "Not known",
    "equal": "Practically no effect",
    "uncompared": "Not compared",
}
"""How a sentence begins, by what is known of the values in it; the sentences stand in this order."""


def judge_effect(effect: Effect) -> str:
    """What is known of the value: a key of SENTENCES."""
    comparison = effect.comparison
    if not effect.configuration.scores:
        return "diverged"
    if comparison is None:
        return "uncompared"
    if comparison.unlike:
        return "unlike"
    if comparison.decided:
        return "mattered"
    if comparison.answer == "equal":
        return "equal"
    return "large" if abs(comparison.difference) >= LARGE_EFFECT else "uncertain"


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
    comparison, fate = effect.comparison, effect.configuration.fate
    if not effect.configuration.scores:
        return fate
    if comparison is None:
        return effect.why_not_compared
    shown = f"{show_comparison(comparison)} points"
    if comparison.unlike:
        shown += f", but {join(list(comparison.unlike))}"
    elif comparison.low is None:
        shown += " with one seed"
    return f"{shown}, {fate}" if fate else shown


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
