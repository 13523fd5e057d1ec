"""The pictures of what the values of attributes do: accuracy over the values, curves per value, and which attributes
matter."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

from job.report.analysis.charts import (
    BarChart,
    Line,
    LineChart,
    PanelChart,
    Picture,
    Point,
    Response,
    ResponseChart,
    Trial,
)
from job.report.analysis.configurations import Configuration, have_same_seeds
from job.report.analysis.effects import OptimizerEffects, order_value
from job.report.analysis.sensitivity import OptimizerSensitivity, Sensitivity, TriedValue, name_attribute
from job.report.analysis.study import Study
from job.report.analysis.wording import join, name_optimizer, percent, show_attribute, show_value
from job.report.render.pictures import BROKEN, draw_curves

MOST_CURVES = 7
"""Values of an attribute with a curve each: colours of more cannot be told apart."""
MOST_TICKS = 12
MOST_BARS = 24
NOTABLE = 0.01
"""A part of the variance that is worth a word."""


def build_sensitivity(study: Study) -> list[Picture]:
    """Accuracy over the values of every attribute with numbers, all optimizers on one axis, the learning rate first."""
    return [_build_response(sensitivity) for sensitivity in study.sensitivities]


def _build_response(sensitivity: Sensitivity) -> Picture:
    name, attribute = name_attribute(sensitivity.attribute), show_attribute(sensitivity.attribute)
    chart = ResponseChart(
        [_build_line(sensitivity, own) for own in sensitivity.optimizers],
        title=f"Accuracy over the {name}" if name != attribute else f"Accuracy over {name}",
        xlabel=f"{name}{' (logarithmic)' if sensitivity.scale == 'logarithmic' else ''}",
        ylabel="test top-1",
        ticks=_choose_ticks(sensitivity),
        gap=sensitivity.gap if sensitivity.has_gap else None,
    )
    optimizers = join([name_optimizer(own.optimizer) for own in sensitivity.optimizers])
    caption = f"{optimizers} over {name}, all else alike."
    tried = [value.configuration for own in sensitivity.optimizers for value in own.tried]
    if any(configuration.fate for configuration in tried):
        caption += " A cross: diverged with some seed, or, at the foot, with every seed."
    if not have_same_seeds(tried):
        caption += " Means are adjusted for the seeds, which not all have in common."
    return Picture(f"sensitivity-{slug(attribute)}", " ".join([caption, *sensitivity.warnings]), chart)


def _build_line(sensitivity: Sensitivity, own: OptimizerSensitivity) -> Response:
    trials = [
        Trial(
            sensitivity.place(tried.value), _build_point(tried), is_best=place == own.best,
            is_baseline=place == own.baseline,
        )
        for place, tried in enumerate(own.tried)
    ]  # fmt: skip
    edge = None if own.is_flat else own.at_edge
    return Response(name_optimizer(own.optimizer), own.optimizer, trials, edge)


def _build_point(tried: TriedValue) -> Point:
    configuration, estimate = tried.configuration, tried.estimate
    scores = list(configuration.scores.values())
    if not scores or estimate is None:
        return Point(show_value(tried.value), configuration.optimizer, math.nan, remark=configuration.fate)
    return Point(
        show_value(tried.value), configuration.optimizer, estimate.mean, estimate.low, estimate.high,
        scores if len(scores) > 1 else [], configuration.fate,
    )  # fmt: skip


def _choose_ticks(sensitivity: Sensitivity) -> list[tuple[float, str]]:
    """The tried values; of many, some that are evenly spread, and the first and the last in any case."""
    values = sensitivity.values
    if len(values) > MOST_TICKS:
        steps = (len(values) - 1) / (MOST_TICKS - 1)
        values = [values[round(place * steps)] for place in range(MOST_TICKS)]
    return [(sensitivity.place(value), show_value(value)) for value in values]


def build_attribute_curves(study: Study) -> list[Picture]:
    """Test accuracy by epoch with a curve per value, a picture per attribute and in it a panel per optimizer."""
    attributes = dict.fromkeys(
        importance.name
        for effects in study.effects
        for importance in effects.importances
        if any(effect.attribute == importance.name for effect in effects.effects)
    )
    ordered = [own.attribute for own in study.sensitivities if own.attribute in attributes]
    ordered += [attribute for attribute in attributes if attribute not in ordered]
    return [picture for attribute in ordered for picture in _build_curves(study, attribute)]


def _build_curves(study: Study, attribute: str) -> list[Picture]:
    chosen = [(effects, _choose_values(effects, attribute)) for effects in study.effects]
    chosen = [(effects, entries) for effects, entries in chosen if len(entries) > 1]
    values = sorted({value for _, entries in chosen for value, _ in entries}, key=order_value)
    panels, most = [], max(len(values) - 1, 1)
    for effects, entries in chosen:
        lines = [
            line
            for value, configuration in entries
            for line in _draw_value(study, configuration, show_value(value), values.index(value) / most,
                                    is_baseline=configuration is effects.baseline)
        ]  # fmt: skip
        if lines:
            panels.append(LineChart(lines, name_optimizer(effects.optimizer), "epoch", "test top-1", accuracy=True))
    if not panels:
        return []
    name = show_attribute(attribute)
    shown = [configuration for _, entries in chosen for _, configuration in entries]
    caption = (
        f"Test accuracy by epoch for every value of {name}, all else as in the baseline (solid and thick); means over "
        "seeds. The darker, the smaller the value."
    )
    caption += f" {BROKEN}" if any(configuration.fate for configuration in shown) else ""
    return [Picture(f"curves-{slug(name)}", caption, PanelChart(panels, f"Curves by {name}"))]


def _choose_values(effects: OptimizerEffects, attribute: str) -> list[tuple[Any, Configuration]]:
    """The values with a curve, in their order: of many the baseline, the smallest, the largest and some between."""
    entries = [(effect.value, effect.configuration) for effect in effects.effects if effect.attribute == attribute]
    entries.sort(key=lambda entry: order_value(entry[0]))
    most = MOST_CURVES - 1
    if len(entries) > most:
        entries = [entries[round(place * (len(entries) - 1) / (most - 1))] for place in range(most)]
    entries.append((effects.baseline.attributes.get(attribute), effects.baseline))
    return sorted(entries, key=lambda entry: order_value(entry[0]))


def _draw_value(
    study: Study, configuration: Configuration, value: str, tone: float, *, is_baseline: bool
) -> list[Line]:
    """The value's curve without its band, which would hide the others; the label once."""
    return [
        replace(
            line, label=value if line.label else "", low=None, high=None, tone=tone, is_main=is_baseline,
            dash=0 if is_baseline else 1,
        )
        for line in draw_curves(study, "test_top1", [configuration])
    ]  # fmt: skip


def build_importance(study: Study) -> list[Picture]:
    """The share of every attribute in the variance, with its interval, optimizer by optimizer; none for an optimizer of
    which a single attribute was varied."""
    shares = [
        (effects.optimizer, importance)
        for effects in study.effects
        for importance in effects.importances
        if importance.share is not None and len(effects.importances) > 1  # all of it is no news
    ]
    if not shares:
        return []
    points = [
        Point(
            f"{name_optimizer(optimizer)} {show_attribute(importance.name)}", optimizer, importance.share.fraction,
            importance.share.low, importance.share.high,
        )
        for optimizer, importance in shares[:MOST_BARS]
        if importance.share is not None
    ]  # fmt: skip
    chart = BarChart(
        points, "Importance of attributes", "share of the variance",
        ends=[percent(point.value, 0) for point in points],
    )  # fmt: skip
    caption = (
        "The share of each attribute in the variance of an optimizer's accuracy over the values that were tried, on "
        "the logit scale, with 95 % intervals for other seeds."
    )
    totals: dict[str, float] = defaultdict(float)
    for optimizer, importance in shares:
        totals[optimizer] += importance.share.fraction if importance.share else 0.0
    together = [name_optimizer(optimizer) for optimizer, total in totals.items() if total < 1 - NOTABLE]
    if together:
        caption += f" What {join(together)} lacks to 100 % depends on several attributes together."
    if any(importance.share is not None and importance.share.low is None for _, importance in shares):
        caption += " Without intervals: with one seed the shares have its noise in them."
    return [Picture("importance", caption, chart)]


def slug(text: str) -> str:
    """`text` as a part of a file's name."""
    return "".join(character if character.isalnum() else "-" for character in text.lower())[:40]
