"""The published losses and class accuracies as pictures, ours beside them where the budget is the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from job.report.analysis.charts import HeatMap, Line, LineChart, Picture
from job.report.analysis.reference import Losses, Pair, SideBySide
from job.report.analysis.wording import join, name_optimizer

DASHED = "Dashed is published."
APART = "Ours are not beside them: another budget."


def build_reference_losses(sides: SideBySide) -> list[Picture]:
    """Training and test loss by epoch: published (dashed), and the mean of ours over the seeds (solid)."""
    pictures = []
    for part in ("train", "test"):
        lines = [line for pair in sides.pairs for line in _draw_losses(pair, part)]
        if lines:
            what = "Training" if part == "train" else "Test"
            title = f"{what} loss, published{' and here' if _has_ours(sides) else ''}"
            chart = LineChart(lines, title=title, xlabel="epoch", ylabel="cross entropy (nats)")
            pictures.append(Picture(f"reference-{part}-loss", f"{title}: mean per image. {_explain(sides)}", chart))
    return pictures


def build_reference_classes(sides: SideBySide) -> list[Picture]:
    """The published accuracy of every class, and ours where the classes and the budget are the same."""
    columns: list[str] = []
    values: list[list[float]] = []
    for pair in sides.pairs:
        name = name_optimizer(pair.optimizer)
        if len(pair.published.class_accuracy) == len(sides.classes) > 0:
            columns.append(f"{name}, published")
            values.append(pair.published.class_accuracy)
        if pair.class_accuracy:
            columns.append(f"{name}, here")
            values.append([math.nan if value is None else value for value in pair.class_accuracy])
    if not columns:
        return []
    here = any(pair.class_accuracy for pair in sides.pairs)
    others = "" if here or not _has_ours(sides) else " Our classes are others, so ours are not beside them."
    title = f"Class-wise accuracy, published{' and here' if here else ''}"
    chart = HeatMap(np.array(values).T, rows=sides.classes, columns=columns, title=title)
    caption = f"Published accuracy per class in percent{', and ours' if here else ''}.{others}"
    return [Picture("reference-classes", f"{caption}{'' if _has_ours(sides) else f' {APART}'}", chart)]


def _draw_losses(pair: Pair, part: str) -> list[Line]:
    name = name_optimizer(pair.optimizer)
    lines = [_draw_line(f"{name}, published", pair, pair.published_losses, part, dash=1)]
    if pair.losses:
        lines.append(_draw_line(f"{name}, here", pair, pair.losses, part, dash=0))
    return [line for line in lines if len(line.x)]


def _draw_line(label: str, pair: Pair, losses: Losses, part: str, *, dash: int) -> Line:
    values: Sequence[float | None] = losses.train if part == "train" else losses.test
    known = [(epoch, value) for epoch, value in enumerate(values, start=1) if value is not None]
    return Line(label, pair.optimizer, [epoch for epoch, _ in known], [value for _, value in known], dash=dash)


def _has_ours(sides: SideBySide) -> bool:
    return any(pair.losses for pair in sides.pairs)


def _explain(sides: SideBySide) -> str:
    lacking = [name_optimizer(pair.optimizer) for pair in sides.pairs if not pair.losses]
    if not _has_ours(sides):
        return APART if any(pair.closest for pair in sides.pairs) else "There is no finished run of ours."
    return f"{DASHED}{f' Nothing of ours is beside {join(lacking)}.' if lacking else ''}"
