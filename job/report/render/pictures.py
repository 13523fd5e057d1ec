"""The pictures of a study: which numbers go into which chart, under which name, with which caption."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from job.report.analysis.charts import (
    Chart,
    Dot,
    DotChart,
    Dumbbell,
    DumbbellChart,
    Line,
    LineChart,
    PanelChart,
    Picture,
)
from job.report.analysis.configurations import Configuration, have_same_seeds
from job.report.analysis.measurements import mean_curve
from job.report.analysis.reasons import Evidence
from job.report.analysis.reference import SideBySide
from job.report.analysis.study import Study
from job.report.analysis.wording import count, join, name_optimizer

MOST_DOTS = 500
SATURATED = 0.97
"""Top-5 accuracy that leaves nothing to see."""
MOST_VALUES = 12
"""So many values of an attribute get an interval and a label each; where there are more numbers, they are dots."""
BAND = "Lines are means over seeds, bands their range."
OTHER_SEEDS = "Not all have the same seeds, so the lines differ by their seeds as well."
BROKEN = "Where a seed diverged, each run has a line of its own, with a cross at the last epoch before the divergence."


def build_curves(study: Study) -> list[Picture]:
    """Test beside training accuracy, test beside training loss, and the sizes of the updates, by epoch; top-5 where it
    tells more than that nearly all of it is right."""
    pairs = (
        ("accuracy", "Accuracy", "top-1", (("test_top1", "test"), ("train_top1", "training"))),
        ("loss", "Loss", "cross entropy (nats)", (("test_loss", "test"), ("train_loss", "training"))),
        ("updates", "Size of the updates", "update / weight",
         (("backbone_update_to_weight", "backbone"), ("fc_update_to_weight", "fc"))),
    )  # fmt: skip
    explained = f"{BAND} {BROKEN}" if any(configuration.fate for configuration in study.shown) else BAND
    explained += "" if have_same_seeds(study.shown) else f" {OTHER_SEEDS}"
    pictures = []
    for name, title, ylabel, columns in pairs:
        found = [(word, draw_curves(study, column, study.shown)) for column, word in columns]
        found = [(word, lines) for word, lines in found if lines]
        if not found:
            continue
        lines = [line for _, own in found for line in own]
        is_logarithmic = name == "updates" or (name == "loss" and _spans_decades(lines))
        panels = [
            LineChart(own, word, "epoch", ylabel, accuracy=name == "accuracy", logarithmic=is_logarithmic)
            for word, own in found
        ]
        what = "Mean norm of the updates over that of the weights" if name == "updates" else title
        what += " (logarithmic)" if is_logarithmic else ""
        told = f"{what}, {join([word for word, _ in found])}, by epoch, on one scale. {explained}"
        pictures.append(Picture(name, told, PanelChart(panels, title)))
    top5 = draw_curves(study, "test_top5", study.shown)
    if top5 and max(float(line.y[-1]) for line in top5) < SATURATED:
        chart = LineChart(top5, "Test top-5 accuracy", "epoch", "top-5", accuracy=True)
        pictures.append(Picture("test-top5", f"Test top-5 accuracy, by epoch. {explained}", chart))
    return pictures


def _spans_decades(lines: Sequence[Line]) -> bool:
    """Whether the largest is more than ten times the smallest, which a linear scale would press to its foot."""
    heights = [float(value) for line in lines for value in line.y if value > 0]
    return bool(heights) and max(heights) > 10 * min(heights)


def draw_curves(study: Study, column: str, shown: Sequence[Configuration]) -> list[Line]:
    """Means over the seeds; single runs where a seed diverged, because a mean over the survivors would flatter.

    Of configurations of one optimizer the baseline is solid, or the best where the baseline is not shown.
    """
    evidence = Evidence(shown, study.configurations, study.effects, study.measured)
    lines: list[Line] = []
    for configuration, dash in zip(shown, _choose_dashes(study, shown), strict=True):
        if configuration.always_finished:
            lines += evidence.epoch_lines(column, [configuration], dash=dash)
            continue
        label = configuration.title
        for run in configuration.runs:
            for line in evidence.epoch_lines(column, [replace(configuration, runs=(run,))], dash=dash):
                lines.append(replace(line, label=label, is_broken=run not in configuration.finished))
                label = ""
    return lines


def _choose_dashes(study: Study, shown: Sequence[Configuration]) -> list[int]:
    """A number for each configuration, 0 for the one of its optimizer that the others are compared with."""
    baselines = study.judgement.baselines.values() if study.judgement else []
    first = {own.optimizer: own.digest for own in reversed(shown)}
    first |= {own.optimizer: own.digest for own in baselines if any(own.digest == other.digest for other in shown)}
    taken: dict[str, int] = defaultdict(int)
    dashes = []
    for configuration in shown:
        if configuration.digest == first[configuration.optimizer]:
            dashes.append(0)
        else:
            taken[configuration.optimizer] += 1
            dashes.append(taken[configuration.optimizer])
    return dashes


def share_pictures(pictures: Sequence[Picture]) -> list[Picture]:
    """In place of each picture of lines the one among `pictures` that shows the same lines and the most others."""
    shared = []
    for picture in pictures:
        wider = [other for other in pictures if _shows_all(other.chart, picture.chart)]
        shared.append(max(wider, key=_count_lines, default=picture))
    return shared


def _count_lines(picture: Picture) -> int:
    return len(picture.chart.lines) if isinstance(picture.chart, LineChart) else 0


def _shows_all(chart: Chart, wanted: Chart) -> bool:
    """Whether `chart` has the axes and the lines of `wanted`."""
    if not isinstance(chart, LineChart) or not isinstance(wanted, LineChart):
        return False
    if (chart.xlabel, chart.ylabel, chart.logarithmic) != (wanted.xlabel, wanted.ylabel, wanted.logarithmic):
        return False
    return all(any(_is_same(line, other) for other in chart.lines) for line in wanted.lines)


def _is_same(one: Line, other: Line) -> bool:
    alike = (one.label, one.dash, one.is_broken) == (other.label, other.dash, other.is_broken)
    return alike and np.array_equal(one.x, other.x) and np.array_equal(one.y, other.y, equal_nan=True)


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
    """Each optimizer's default beside the expected best of as many trials as all have."""
    lines = [line for line in study.budget if line.default.scores]
    tuned = [line.num_trials for line in lines if len(line.expected) > 1]
    if not tuned:
        return []
    rows = [
        Dumbbell(name_optimizer(line.optimizer), line.optimizer, line.default.adjusted or 0.0, line.tuned_score)
        for line in sorted(lines, key=lambda line: -line.tuned_score)
    ]
    chart = DumbbellChart(
        rows, title="Default against tuned", left="default", right=f"expected best of {tuned[0]} trials"
    )
    caption = (
        f"The default (filled), and the best to be expected of {tuned[0]} configurations drawn at random from those "
        "that were run (open), the same number for every optimizer."
    )
    single = [name_optimizer(line.optimizer) for line in lines if len(line.expected) == 1]
    caption += f" Of {join(single)} a single configuration was run." if single else ""
    failed = any(not configuration.always_finished for configuration in study.configurations)
    caption += " A seed that diverged counts as guessing." if failed else ""
    return [Picture("budget", caption, chart)]


def build_reference(sides: SideBySide, study: Study) -> list[Picture]:
    """Published curves (dashed) beside ours (solid), test and training on one scale."""
    panels = []
    for ours, theirs, title in (("test_top1", "test_accuracy", "test"), ("train_top1", "train_accuracy", "training")):
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
                    for line in draw_curves(study, ours, [pair.ours])
                ]
        if lines:
            panels.append(LineChart(lines, title, "epoch", "top-1", accuracy=True))
    if not panels:
        return []
    caption = f"Accuracy, {join([panel.title for panel in panels])}, published (dashed) and here (solid)."
    return [Picture("reference-accuracy", caption, PanelChart(panels, "Published and here"))]
