"""The pictures of a study: which numbers go into which shape, under which name, with which caption."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from job.plots import LEGIBLE_CLASSES, draw_confusion
from job.report.analysis.configurations import Configuration, have_same_seeds
from job.report.analysis.effects import OptimizerEffects, order_value
from job.report.analysis.measurements import Floats, mean_curve
from job.report.analysis.reasons import Evidence
from job.report.analysis.reference import SideBySide
from job.report.analysis.statistics import estimate_mean
from job.report.analysis.study import Study
from job.report.analysis.wording import count, join, name_optimizer, show_attribute, show_seeds, show_value
from job.report.render.figures import Line, Picture, Point, draw_cloud, draw_heat, draw_lines, draw_points

MOST_DOTS = 2000
MOST_VALUES = 12
"""Of an attribute, each with its interval and a word of its own; more numbers are dots along an axis."""
BAND = "Lines are means over seeds, bands their range."
OTHER_SEEDS = "Not all have the same seeds, so the lines differ by their seeds as well."
BROKEN = "Where a seed diverged, each run has a line of its own, with a cross at the last epoch before the divergence."


def draw_curves(study: Study) -> list[Picture]:
    """Training and test accuracy and loss, top-5, and the size of the updates, by epoch."""
    nats = "cross entropy (nats)"
    wanted = (
        ("test_top1", "Test accuracy", "top-1", True),
        ("train_top1", "Training accuracy", "top-1", True),
        ("test_loss", "Test loss", nats, False),
        ("train_loss", "Training loss", nats, False),
        ("test_top5", "Test top-5 accuracy", "top-5", True),
        ("backbone_update_to_weight", "Size of the backbone's updates", "update / weight", False),
        ("fc_update_to_weight", "Size of fc's updates", "update / weight", False),
    )
    pictures = []
    for column, title, ylabel, accuracy in wanted:
        lines = _curves(study, column, study.shown)
        logarithmic = column.endswith("update_to_weight")
        what = f"{title}: mean norm over that of the weights (logarithmic)" if logarithmic else title
        if lines:
            figure = draw_lines(
                lines, title=title, xlabel="epoch", ylabel=ylabel, accuracy=accuracy, logarithmic=logarithmic
            )
            explained = f"{BAND} {BROKEN}" if any(each.fate for each in study.shown) else BAND
            explained += "" if have_same_seeds(study.shown) else f" {OTHER_SEEDS}"
            pictures.append(Picture(column.replace("_", "-"), f"{what}, by epoch. {explained}", figure))
    return pictures


def _curves(study: Study, column: str, shown: Sequence[Configuration]) -> list[Line]:
    """Means over seeds; where a seed diverged the single runs, as a mean over the survivors would flatter."""
    evidence = Evidence(shown, study.configurations, study.effects, study.measured)
    lines: list[Line] = []
    for index, each in enumerate(shown):
        dash = sum(other.optimizer == each.optimizer for other in shown[:index])
        if each.always_finished:
            lines += evidence.epoch_lines(column, [each], dash=dash)
            continue
        label = each.title
        for run in each.runs:
            for line in evidence.epoch_lines(column, [replace(each, runs=(run,))], dash=dash):
                lines.append(replace(line, label=label, is_broken=run not in each.finished))
                label = ""
    return lines


def draw_classes(study: Study) -> list[Picture]:
    """Class-wise accuracy across those shown, the hardest class below.

    Over the seeds that all of them have, where there are some; those of which a seed diverged are left out, as a mean
    over the survivors would flatter.
    """
    table, finished = study.runs.classes, [each for each in study.shown if each.always_finished]
    seeds = _common_seeds(finished)
    rows = study.runs.runs
    wanted = rows.loc[rows["seed"].isin(seeds), "run"] if seeds else rows["run"]
    table = table[table["run"].isin(wanted)]
    columns = [table[table["run"].isin(each.finished)].groupby("class")["top1"].mean() for each in finished]
    measured = [(each, column) for each, column in zip(finished, columns, strict=True) if len(column.dropna())]
    if not measured:
        return []
    names = sorted({name for _, column in measured for name in column.index})
    values = np.array([[column.get(name, np.nan) for _, column in measured] for name in names], dtype=float)
    order = np.argsort(-np.nan_to_num(values).mean(axis=1), kind="stable")
    lost = [each.title for each in study.shown if not each.always_finished]
    remark = f"{_tell_seeds(finished)}{f' Left out: {join(lost[:MOST_VALUES])}.' if lost else ''}"
    if len(names) > LEGIBLE_CLASSES:
        lines = [
            Line(each.title, each.optimizer, list(range(1, len(names) + 1)), values[order, index], dash=0)
            for index, (each, _) in enumerate(measured)
        ]
        caption = f"Test accuracy of the {len(names)} classes, the easiest on the left.{remark}"
        figure = draw_lines(lines, title="Class-wise accuracy", xlabel="class", ylabel="test top-1", accuracy=True)
        return [Picture("class-accuracy", caption, figure)]
    hardest = names[order[-1]]
    caption = (
        f"Test accuracy per class in percent after the last epoch, mean over the seeds; {hardest} is the hardest on "
        f"average.{remark}"
    )
    figure = draw_heat(
        values[order], rows=[names[index] for index in order], columns=[each.title for each, _ in measured],
        title="Class-wise accuracy",
    )  # fmt: skip
    return [Picture("class-accuracy", caption, figure)]


def draw_confusions(confusions: Mapping[str, tuple[list[str], Floats]], study: Study) -> list[Picture]:
    """A matrix per configuration shown, over all its seeds; `confusions` are by digest."""
    pictures = []
    for index, each in enumerate(study.shown):
        if each.digest in confusions:
            classes, counts = confusions[each.digest]
            figure = draw_confusion(counts.astype(int).tolist(), classes=classes, title=each.label)
            seeds = f"{count(len(each.scores), 'seed')}{f'; {each.fate}' if each.fate else ''}"
            caption = f"Confusion matrix of {each.label} after the last epoch: counts of test images over {seeds}."
            pictures.append(Picture(f"confusion-{index + 1}-{each.optimizer}", caption, figure))
    return pictures


def draw_cost(study: Study) -> list[Picture]:
    """Accuracy along the seconds of training, and against the money that runs took where it is known.

    Nothing where the times cannot be compared; of configurations that always finished.
    """
    if study.times_apart:
        return []
    lines: list[Line] = []
    for each in [each for each in study.shown if each.always_finished]:
        seconds = mean_curve(study.measured.epochs(each, "train_seconds").cumsum(axis=1))
        top1 = mean_curve(study.measured.epochs(each, "test_top1"))
        if len(seconds):
            own = sum(line.optimizer == each.optimizer for line in lines)
            lines.append(Line(each.label, each.optimizer, list(seconds), top1, dash=own))
    pictures = []
    if lines:
        figure = draw_lines(
            lines, title="Accuracy against time", xlabel="seconds of training", ylabel="test top-1", accuracy=True
        )
        caption = "Test accuracy against the seconds of training that it took, means over seeds."
        pictures.append(Picture("accuracy-time", caption, figure))
    rows = study.runs.runs
    known = rows[rows["score"].notna() & rows["estimated_cost_usd"].notna()].iloc[:MOST_DOTS]
    if len(known):
        points = [
            (name_optimizer(optimizer), optimizer, float(x), float(score))
            for optimizer, x, score in zip(known["optimizer"], known["estimated_cost_usd"], known["score"], strict=True)
        ]
        figure = draw_cloud(points, title="Accuracy against cost", xlabel="cost of a run (USD)", ylabel="test top-1")
        lost = int((rows["status"] == "diverged").sum())
        caption = "A dot per run: its estimated cost and its accuracy."
        caption += f" {count(lost, 'run')} that diverged, and cost as well, have no accuracy." if lost else ""
        pictures.append(Picture("accuracy-cost", caption, figure))
    return pictures


def draw_effects(effects: OptimizerEffects) -> list[Picture]:
    """A small multiple per attribute, and a heat map per crossing."""
    shown = name_optimizer(effects.optimizer)
    pictures = []
    for attribute in dict.fromkeys(effect.attribute for effect in effects.effects):
        was = effects.baseline.attributes.get(attribute)
        entries = [(was, effects.baseline)]
        entries += [(each.value, each.configuration) for each in effects.effects if each.attribute == attribute]
        entries.sort(key=lambda entry: order_value(entry[0]))
        name = show_attribute(attribute)
        seeds = _common_seeds([each for _, each in entries])
        caption = f"{shown} with {name} changed alone: means with 95 % intervals; pale dots are single seeds."
        caption += _tell_seeds([each for _, each in entries])
        lost = [show_value(value) for value, each in entries if each.fate]
        caption += f" {name} {join(lost[:MOST_VALUES])}: diverged with some seed or all (cross)." if lost else ""
        scored = [(value, each) for value, each in entries if each.scores or each.fate]
        if len(scored) <= MOST_VALUES or not all(isinstance(value, int | float) for value, _ in scored):
            points = [_point(show_value(value), each, seeds) for value, each in scored[: 2 * MOST_VALUES]]
            figure = draw_points(points, title=f"{shown}: {name}", ylabel="test top-1", baseline=show_value(was))
        else:
            scored = [(value, each) for value, each in scored if each.always_finished]
            caption = f"{shown} with {name} changed alone: the mean over seeds at each of {len(scored)} values."
            caption += f" {count(len(lost), 'value')} more diverged with some seed or all." if lost else ""
            dots = [(shown, effects.optimizer, float(value or 0), each.adjusted or 0.0) for value, each in scored]
            if not dots:
                continue
            wide = dots[0][2] > 0 and dots[-1][2] > 30 * dots[0][2]
            figure = draw_cloud(dots, title=f"{shown}: {name}", xlabel=name, ylabel="test top-1", logarithmic=wide)
        pictures.append(Picture(f"effect-{effects.optimizer}-{_slug(name)}", caption, figure))
    for grid in effects.grids:
        if max(grid.means.shape) > 2 * MOST_VALUES:
            continue  # more cells than can be read
        rows, columns = show_attribute(grid.rows), show_attribute(grid.columns)
        figure = draw_heat(
            grid.means, rows=[show_value(value) for value in grid.row_values],
            columns=[show_value(value) for value in grid.column_values], title=f"{shown}: {rows} and {columns}",
            row_label=rows, column_label=columns, crossed=grid.diverged,
        )  # fmt: skip
        caption = f"{shown} with {rows} and {columns} crossed: mean test accuracy in percent."
        caption += " A cross: diverged with some seed or all." if grid.diverged else ""
        pictures.append(Picture(f"grid-{effects.optimizer}-{_slug(rows)}-{_slug(columns)}", caption, figure))
    return pictures


def draw_budget(study: Study) -> list[Picture]:
    """Expected best accuracy against the number of trials."""
    if not study.budget:
        return []
    lines = [
        Line(name_optimizer(line.optimizer), line.optimizer, list(range(1, len(line.expected) + 1)), line.expected)
        for line in study.budget
    ]
    figure = draw_lines(
        lines, title="What tuning buys", xlabel="random trials", ylabel="expected best test top-1", accuracy=True
    )
    caption = "Expected best accuracy after so many configurations drawn at random from those that were run."
    failed = sum(not each.always_finished for each in study.configurations)
    caption += " One that diverged with any seed counts as 0." if failed else ""
    return [Picture("budget", caption, figure)]


def draw_reference(sides: SideBySide, study: Study) -> list[Picture]:
    """Published curves (dashed) beside ours (solid)."""
    pictures = []
    for ours, theirs, title in (
        ("test_top1", "test_accuracy", "Test accuracy, published and here"),
        ("train_top1", "train_accuracy", "Training accuracy, published and here"),
    ):
        lines = []
        for pair in sides.pairs:
            name = name_optimizer(pair.optimizer)
            known = [(each.epoch, getattr(each, theirs)) for each in pair.published.epochs]
            points = [(epoch, value) for epoch, value in known if value is not None]
            if points:
                x, y = zip(*points, strict=True)
                lines.append(Line(f"{name}, published", pair.optimizer, x, y, dash=1))
            if pair.ours:
                here = f"{name}, here{f' ({pair.ours.fate})' if pair.ours.fate else ''}"
                lines += [
                    replace(line, label=here if line.label else "", dash=0)
                    for line in _curves(study, ours, [pair.ours])
                ]
        if lines:
            figure = draw_lines(lines, title=title, xlabel="epoch", ylabel="top-1", accuracy=True)
            pictures.append(Picture(f"reference-{ours.replace('_', '-')}", f"{title}: dashed is published.", figure))
    return pictures


def _common_seeds(configurations: Sequence[Configuration]) -> set[int]:
    """The seeds that all that always finished have, where some have more of them; else none."""
    own = [set(each.scores) for each in configurations if each.always_finished]
    return set[int]() if have_same_seeds(configurations) or not own else set.intersection(*own)


def _tell_seeds(configurations: Sequence[Configuration]) -> str:
    """Over which seeds a picture is, where not all have the same."""
    if seeds := _common_seeds(configurations):
        return f" All over the seeds that all of them have ({show_seeds(seeds)})."
    if have_same_seeds(configurations):
        return ""
    return " They have no seed in common, so they differ by their seeds as well."


def _point(label: str, configuration: Configuration, seeds: set[int]) -> Point:
    """Over `seeds`, or over all where there are none."""
    if configuration.fate:
        num, num_lost = len(configuration.seeds), len(configuration.seeds) - len(configuration.scores)
        lost = f"{num_lost} of {num}\ndiverged" if num > 1 else "diverged"
        return Point(label, configuration.optimizer, math.nan, remark=lost)
    members = [score for seed, score in configuration.scores.items() if not seeds or seed in seeds]
    estimate = estimate_mean(members)
    low, high = estimate.low and max(estimate.low, 0.0), estimate.high and min(estimate.high, 1.0)
    shown = members if len(members) > 1 else []
    return Point(label, configuration.optimizer, estimate.mean, low, high, shown)


def _slug(text: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in text.lower())[:40]
