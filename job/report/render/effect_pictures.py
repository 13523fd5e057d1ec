"""The pictures of attributes without numbers, such as schedules, and a heat map where two attributes were crossed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from job.report.analysis.charts import HeatMap, Picture, Point, PointChart
from job.report.analysis.configurations import Configuration, have_same_seeds
from job.report.analysis.effects import Grid, OptimizerEffects, order_value
from job.report.analysis.judgement import Fitted
from job.report.analysis.sensitivity import is_number
from job.report.analysis.wording import join, name_optimizer, show_attribute, show_value
from job.report.render.sensitivity_pictures import slug

MOST_VALUES = 24
"""So many values of an attribute can be read in a chart, or in a row of a heat map."""
MOST_NAMED = 12
"""So many values are named in a caption."""
Entry = tuple[Any, Configuration]
"""A value of an attribute, and the configuration that has it."""


def build_effects(effects: OptimizerEffects, fitted: Fitted) -> list[Picture]:
    """A picture per attribute of one optimizer with values other than numbers, the most important first, and one per
    crossing of two attributes."""
    shown = {effect.attribute for effect in effects.effects}
    attributes = [importance.name for importance in effects.importances if importance.name in shown]
    built = [_build_attribute(effects, attribute, fitted) for attribute in attributes]
    built += [_build_grid(effects.optimizer, grid) for grid in effects.grids]
    return [picture for picture in built if picture is not None]


def _build_attribute(effects: OptimizerEffects, attribute: str, fitted: Fitted) -> Picture | None:
    """Every value with its interval; None where all are numbers, which stand on an axis in a picture of their own, or
    where none was run."""
    entries = [(effects.baseline.attributes.get(attribute), effects.baseline)]
    entries += [(effect.value, effect.configuration) for effect in effects.effects if effect.attribute == attribute]
    entries.sort(key=lambda entry: order_value(entry[0]))
    known = [(value, configuration) for value, configuration in entries if configuration.scores or configuration.fate]
    if not known or all(is_number(value) for value, _ in entries):
        return None
    name = f"effect-{effects.optimizer}-{slug(show_attribute(attribute))}"
    return Picture(name, _tell_points(effects, attribute, entries), _chart_points(effects, attribute, known, fitted))


def _chart_points(effects: OptimizerEffects, attribute: str, known: Sequence[Entry], fitted: Fitted) -> PointChart:
    return PointChart(
        [_build_point(show_value(value), configuration, fitted) for value, configuration in known[:MOST_VALUES]],
        title=_title(effects, attribute),
        ylabel="test top-1",
        baseline=show_value(effects.baseline.attributes.get(attribute)),
    )


def _tell_points(effects: OptimizerEffects, attribute: str, entries: Sequence[Entry]) -> str:
    shown, name = name_optimizer(effects.optimizer), show_attribute(attribute)
    caption = f"{shown} with {name} changed alone: means with 95 % intervals; pale dots are single seeds."
    if not have_same_seeds(configuration for _, configuration in entries):
        caption += " Means are adjusted for the seeds, which not all have in common."
    lost = [show_value(value) for value, configuration in entries if configuration.fate]
    caption += f" {name} {join(lost[:MOST_NAMED])}: diverged with some seed or all (cross)." if lost else ""
    return caption


def _build_grid(optimizer: str, grid: Grid) -> Picture | None:
    """None where the grid has more cells than can be read."""
    if max(grid.means.shape) > MOST_VALUES:
        return None
    shown, rows, columns = name_optimizer(optimizer), show_attribute(grid.rows), show_attribute(grid.columns)
    chart = HeatMap(
        grid.means,
        rows=[show_value(value) for value in grid.row_values],
        columns=[show_value(value) for value in grid.column_values],
        title=f"{shown}: {rows} and {columns}",
        row_label=rows,
        column_label=columns,
        crossed=grid.diverged,
    )
    caption = f"{shown} with {rows} and {columns} crossed: mean test accuracy in percent."
    caption += " A cross: diverged with some seed or all." if grid.diverged else ""
    return Picture(f"grid-{optimizer}-{slug(rows)}-{slug(columns)}", caption, chart)


def _build_point(label: str, configuration: Configuration, fitted: Fitted) -> Point:
    """The configuration's mean with its interval, and its seeds beside it."""
    if configuration.fate:
        num, num_lost = len(configuration.seeds), len(configuration.seeds) - len(configuration.scores)
        lost = f"{num_lost} of {num}\ndiverged" if num > 1 else "diverged"
        return Point(label, configuration.optimizer, math.nan, remark=lost)
    estimate, scores = fitted.estimate(configuration), list(configuration.scores.values())
    low, high = (estimate.low, estimate.high) if estimate else (None, None)
    mean = estimate.mean if estimate else configuration.mean
    return Point(label, configuration.optimizer, mean, low, high, scores if len(scores) > 1 else [])


def _title(effects: OptimizerEffects, attribute: str) -> str:
    return f"{name_optimizer(effects.optimizer)}: {show_attribute(attribute)}"
