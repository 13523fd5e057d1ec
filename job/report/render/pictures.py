"""The pictures of a study: which numbers go into which chart, under which name, with which caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from job.plots import LEGIBLE_CLASSES
from job.report.analysis.charts import ConfusionMatrix, Dot, DotChart, HeatMap, Line, LineChart, Picture
from job.report.analysis.configurations import Configuration, have_same_seeds
from job.report.analysis.measurements import Floats, mean_curve
from job.report.analysis.reasons import Evidence
from job.report.analysis.reference import SideBySide
from job.report.analysis.study import Study
from job.report.analysis.wording import count, join, name_optimizer, show_seeds

MOST_DOTS = 2000
MOST_VALUES = 12
"""So many values of an attribute get an interval and a label each; where there are more numbers, they are dots."""
BAND = "Lines are means over seeds, bands their range."
OTHER_SEEDS = "Not all have the same seeds, so the lines differ by their seeds as well."
BROKEN = "Where a seed diverged, each run has a line of its own, with a cross at the last epoch before the divergence."


def build_curves(study: Study) -> list[Picture]:
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
            chart = LineChart(
                lines, title=title, xlabel="epoch", ylabel=ylabel, accuracy=accuracy, logarithmic=logarithmic
            )
            explained = f"{BAND} {BROKEN}" if any(configuration.fate for configuration in study.shown) else BAND
            explained += "" if have_same_seeds(study.shown) else f" {OTHER_SEEDS}"
            pictures.append(Picture(column.replace("_", "-"), f"{what}, by epoch. {explained}", chart))
    return pictures


def _curves(study: Study, column: str, shown: Sequence[Configuration]) -> list[Line]:
    """Means over the seeds; single runs where a seed diverged, because a mean over the survivors would flatter."""
    evidence = Evidence(shown, study.configurations, study.effects, study.measured)
    lines: list[Line] = []
    for index, configuration in enumerate(shown):
        dash = sum(other.optimizer == configuration.optimizer for other in shown[:index])
        if configuration.always_finished:
            lines += evidence.epoch_lines(column, [configuration], dash=dash)
            continue
        label = configuration.title
        for run in configuration.runs:
            for line in evidence.epoch_lines(column, [replace(configuration, runs=(run,))], dash=dash):
                lines.append(replace(line, label=label, is_broken=run not in configuration.finished))
                label = ""
    return lines


def build_class_accuracy(study: Study) -> list[Picture]:
    """Class-wise accuracy across those shown, the hardest class below.

    Over the seeds that all of them have, where there are some; those of which a seed diverged are left out, as a mean
    over the survivors would flatter.
    """
    table, finished = (
        study.runs.classes,
        [configuration for configuration in study.shown if configuration.always_finished],
    )
    seeds = common_seeds(finished)
    rows = study.runs.runs
    wanted = rows.loc[rows["seed"].isin(seeds), "run"] if seeds else rows["run"]
    table = table[table["run"].isin(wanted)]
    columns = [
        table[table["run"].isin(configuration.finished)].groupby("class")["top1"].mean() for configuration in finished
    ]
    measured = [
        (configuration, column) for configuration, column in zip(finished, columns, strict=True) if len(column.dropna())
    ]
    if not measured:
        return []
    names = sorted({name for _, column in measured for name in column.index})
    values = np.array([[column.get(name, np.nan) for _, column in measured] for name in names], dtype=float)
    order = np.argsort(-np.nan_to_num(values).mean(axis=1), kind="stable")
    lost = [configuration.title for configuration in study.shown if not configuration.always_finished]
    remark = f"{tell_seeds(finished)}{f' Left out: {join(lost[:MOST_VALUES])}.' if lost else ''}"
    if len(names) > LEGIBLE_CLASSES:
        lines = [
            Line(
                configuration.title,
                configuration.optimizer,
                list(range(1, len(names) + 1)),
                values[order, index],
                dash=0,
            )
            for index, (configuration, _) in enumerate(measured)
        ]
        caption = f"Test accuracy of the {len(names)} classes, the easiest on the left.{remark}"
        curves = LineChart(lines, title="Class-wise accuracy", xlabel="class", ylabel="test top-1", accuracy=True)
        return [Picture("class-accuracy", caption, curves)]
    hardest = names[order[-1]]
    caption = (
        f"Test accuracy per class in percent after the last epoch, mean over the seeds; {hardest} is the hardest on "
        f"average.{remark}"
    )
    chart = HeatMap(
        values[order], rows=[names[index] for index in order],
        columns=[configuration.title for configuration, _ in measured], title="Class-wise accuracy",
    )  # fmt: skip
    return [Picture("class-accuracy", caption, chart)]


def build_confusions(confusions: Mapping[str, tuple[list[str], Floats]], study: Study) -> list[Picture]:
    """A matrix per configuration shown, over all its seeds; `confusions` are by digest."""
    pictures = []
    for index, configuration in enumerate(study.shown):
        if configuration.digest in confusions:
            classes, counts = confusions[configuration.digest]
            chart = ConfusionMatrix(counts.astype(int).tolist(), classes, configuration.label)
            seeds = (
                f"{count(len(configuration.scores), 'seed')}{f'; {configuration.fate}' if configuration.fate else ''}"
            )
            caption = (
                f"Confusion matrix of {configuration.label} after the last epoch: counts of test images over {seeds}."
            )
            pictures.append(Picture(f"confusion-{index + 1}-{configuration.optimizer}", caption, chart))
    return pictures


def build_cost(study: Study) -> list[Picture]:
    """Accuracy along the seconds of training, and against the money that runs took where it is known.

    Nothing where the times cannot be compared; of configurations that always finished.
    """
    if study.times_apart:
        return []
    lines: list[Line] = []
    for configuration in [configuration for configuration in study.shown if configuration.always_finished]:
        seconds = mean_curve(study.measured.epochs(configuration, "train_seconds").cumsum(axis=1))
        top1 = mean_curve(study.measured.epochs(configuration, "test_top1"))
        if len(seconds):
            own = sum(line.optimizer == configuration.optimizer for line in lines)
            lines.append(Line(configuration.label, configuration.optimizer, list(seconds), top1, dash=own))
    pictures = []
    if lines:
        chart = LineChart(
            lines, title="Accuracy against time", xlabel="seconds of training", ylabel="test top-1", accuracy=True
        )
        caption = "Test accuracy against the seconds of training that it took, means over seeds."
        pictures.append(Picture("accuracy-time", caption, chart))
    rows = study.runs.runs
    known = rows[rows["score"].notna() & rows["estimated_cost_usd"].notna()].iloc[:MOST_DOTS]
    if len(known):
        dots = [
            Dot(name_optimizer(optimizer), optimizer, float(x), float(score))
            for optimizer, x, score in zip(known["optimizer"], known["estimated_cost_usd"], known["score"], strict=True)
        ]
        cloud = DotChart(dots, title="Accuracy against cost", xlabel="cost of a run (USD)", ylabel="test top-1")
        lost = int((rows["status"] == "diverged").sum())
        caption = "A dot per run: its estimated cost and its accuracy."
        caption += f" {count(lost, 'run')} that diverged, and cost as well, have no accuracy." if lost else ""
        pictures.append(Picture("accuracy-cost", caption, cloud))
    return pictures


def build_budget(study: Study) -> list[Picture]:
    """Expected best accuracy against the number of trials."""
    if not study.budget:
        return []
    lines = [
        Line(name_optimizer(line.optimizer), line.optimizer, list(range(1, len(line.expected) + 1)), line.expected)
        for line in study.budget
    ]
    chart = LineChart(
        lines, title="What tuning buys", xlabel="random trials", ylabel="expected best test top-1", accuracy=True
    )
    caption = "Expected best accuracy after so many configurations drawn at random from those that were run."
    failed = sum(not configuration.always_finished for configuration in study.configurations)
    caption += " A seed that diverged counts as guessing." if failed else ""
    return [Picture("budget", caption, chart)]


def build_reference(sides: SideBySide, study: Study) -> list[Picture]:
    """Published curves (dashed) beside ours (solid)."""
    pictures = []
    for ours, theirs, title in (
        ("test_top1", "test_accuracy", "Test accuracy, published and here"),
        ("train_top1", "train_accuracy", "Training accuracy, published and here"),
    ):
        lines = []
        for pair in sides.pairs:
            name = name_optimizer(pair.optimizer)
            known = [(epoch.epoch, getattr(epoch, theirs)) for epoch in pair.published.epochs]
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
            chart = LineChart(lines, title=title, xlabel="epoch", ylabel="top-1", accuracy=True)
            pictures.append(Picture(f"reference-{ours.replace('_', '-')}", f"{title}: dashed is published.", chart))
    return pictures


def common_seeds(configurations: Sequence[Configuration]) -> set[int]:
    """The seeds shared by all configurations that always finished; empty where they all have the same seeds anyway."""
    own = [set(configuration.scores) for configuration in configurations if configuration.always_finished]
    return set[int]() if have_same_seeds(configurations) or not own else set.intersection(*own)


def tell_seeds(configurations: Sequence[Configuration]) -> str:
    """A sentence on the seeds that a picture is over; empty where all configurations have the same seeds."""
    if seeds := common_seeds(configurations):
        return f" All over the seeds that all of them have ({show_seeds(seeds)})."
    if have_same_seeds(configurations):
        return ""
    return " They have no seed in common, so they differ by their seeds as well."
