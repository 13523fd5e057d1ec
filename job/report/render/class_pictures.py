"""The pictures of classes: accuracy of each, and which were taken for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from job.plots import LEGIBLE_CLASSES
from job.report.analysis.charts import ConfusionChart, ConfusionMatrix, HeatMap, Line, LineChart, Picture
from job.report.analysis.configurations import Configuration, have_same_seeds
from job.report.analysis.measurements import Floats
from job.report.analysis.study import Study
from job.report.analysis.wording import count, join, show_seeds

MOST_NAMED = 12
"""So many configurations are named in a caption."""


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
    remark = f"{tell_seeds(finished)}{f' Left out: {join(lost[:MOST_NAMED])}.' if lost else ''}"
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
    """The matrices of the configurations shown, over all their seeds, in one figure; `confusions` are by digest."""
    shown = [configuration for configuration in study.shown if configuration.digest in confusions]
    if not shown:
        return []
    matrices = [
        ConfusionMatrix(confusions[own.digest][1].astype(int).tolist(), confusions[own.digest][0], own.label)
        for own in shown
    ]
    alike = [matrix for matrix in matrices if matrix.classes == matrices[0].classes]
    seeds = [f"{count(len(own.scores), 'seed')}{f'; {own.fate}' if own.fate else ''}" for own in shown]
    told = (
        seeds[0]
        if len(set(seeds)) == 1
        else join([f"{each} ({own.label})" for each, own in zip(seeds, shown, strict=True)])
    )
    caption = (
        f"What was predicted of each true class after the last epoch: counts of test images over {told}. The darker, "
        "the more of the class's images were taken for that other class; right ones are grey, and zeros are left out."
    )
    return [Picture("confusion", caption, ConfusionChart(alike, "Confusion matrices"))]


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
