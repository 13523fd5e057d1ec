"""The pictures of what each attribute does: a chart per attribute, and a heat map where two were crossed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from job.report.analysis.charts import Dot, DotChart, HeatMap, Picture, Point, PointChart
from job.report.analysis.configurations import Configuration, have_same_seeds
from job.report.analysis.effects import Grid, OptimizerEffects, order_value
from job.report.analysis.judgement import Fitted
from job.report.analysis.wording import count, join, name_optimizer, show_attribute, show_value
from job.report.render.pictures import MOST_VALUES

WIDE = 30
"""From so many times the smallest value on, the values of an attribute stand on a logarithmic axis."""
Entry = tuple[Any, Configuration]
"""A value of an attribute, and the configuration that has it."""


def build_effects(effects: OptimizerEffects, fitted: Fitted) -> list[Picture]:
    """A picture per attribute of one optimizer, the most important first, and one per crossing of two attributes."""
    shown = {effect.attribute for effect in effects.effects}
    attributes = [importance.name for importance in effects.importances if importance.name in shown]
    built = [_build_attribute(effects, attribute, fitted) for attribute in attributes]
    built += [_build_grid(effects.optimizer, grid) for grid in effects.grids]
    return [picture for picture in built if picture is not None]


def _build_attribute(effects: OptimizerEffects, attribute: str, fitted: Fitted) -> Picture | None:
    """Every value with its interval; many numbers as dots along an axis; None where none of these finished."""
    entries = [(effects.baseline.attributes.get(attribute), effects.baseline)]
    entries += [(effect.value, effect.configuration) for effect in effects.effects if effect.attribute == attribute]
    entries.sort(key=lambda entry: order_value(entry[0]))
    name = f"effect-{effects.optimizer}-{_slug(show_attribute(attribute))}"
    known = [(value, configuration) for value, configuration in entries if configuration.scores or configuration.fate]
    if len(known) <= MOST_VALUES or not all(isinstance(value, int | float) for value, _ in known):
        return Picture(
            name, _tell_points(effects, attribute, entries), _chart_points(effects, attribute, known, fitted)
        )
    finished = [(value, configuration) for value, configuration in known if configuration.always_finished]
    if not finished:
        return None
    return Picture(name, _tell_dots(effects, attribute, entries), _chart_dots(effects, attribute, finished))


def _chart_points(effects: OptimizerEffects, attribute: str, known: Sequence[Entry], fitted: Fitted) -> PointChart:
    return PointChart(
        [_build_point(show_value(value), configuration, fitted) for value, configuration in known[: 2 * MOST_VALUES]],
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
    caption += f" {name} {join(lost[:MOST_VALUES])}: diverged with some seed or all (cross)." if lost else ""
    return caption


def _chart_dots(effects: OptimizerEffects, attribute: str, finished: Sequence[Entry]) -> DotChart:
    dots = [
        Dot(name_optimizer(effects.optimizer), effects.optimizer, float(value or 0), configuration.adjusted or 0.0)
        for value, configuration in finished
    ]
    return DotChart(
        dots,
        title=_title(effects, attribute),
        xlabel=show_attribute(attribute),
        ylabel="test top-1",
        logarithmic=dots[0].x > 0 and dots[-1].x > WIDE * dots[0].x,
    )


def _tell_dots(effects: OptimizerEffects, attribute: str, entries: Sequence[Entry]) -> str:
    shown, name = name_optimizer(effects.optimizer), show_attribute(attribute)
    num = sum(configuration.always_finished for _, configuration in entries)
    num_lost = sum(bool(configuration.fate) for _, configuration in entries)
    caption = f"{shown} with {name} changed alone: the mean over seeds at each of {num} values."
    caption += f" {count(num_lost, 'value')} more diverged with some seed or all." if num_lost else ""
    return caption


def _build_grid(optimizer: str, grid: Grid) -> Picture | None:
    """None where the grid has more cells than can be read."""
    if max(grid.means.shape) > 2 * MOST_VALUES:
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
    return Picture(f"grid-{optimizer}-{_slug(rows)}-{_slug(columns)}", caption, chart)


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


def _slug(text: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in text.lower())[:40]
