"""The ranked forest of configurations as a matplotlib figure."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from job.plots import new_figure
from job.report.analysis.charts import ForestChart, ForestRow
from job.report.analysis.estimates import Estimate
from job.report.analysis.wording import percent, show_estimate
from job.report.render.frame import MARKERS, SMALL, WIDTH, find_colour, show_percents, wrap_label
from job.report.render.svg import Tag

REACH = "#dbeafe"
"""As the page shades their rows."""
LABEL_WIDTH = 30
"""Characters of a label in a line."""
ROW, MORE = 0.28, 0.13
"""Inches of a row, and of each line that its label has more."""
BELOW = 0.27
"""How far below a mean its seeds stand, as a part of a row of one line."""


@mpl.rc_context(SMALL)
def draw_forest(chart: ForestChart) -> Figure:
    """A row per configuration: its interval, its mean as a mark, its seeds as dots below, and its number at the end."""
    labels = [wrap_label(row.label, width=LABEL_WIDTH) for row in chart.rows]
    sizes = [1 + MORE / ROW * label.count("\n") for label in labels]
    figure = new_figure(WIDTH, 0.55 + ROW * sum(sizes), title="")
    axes = figure.subplots()
    heights = [-(sum(sizes[:place]) + size / 2) for place, size in enumerate(sizes)]
    for height, size, row in zip(heights, sizes, chart.rows, strict=True):
        if row.is_within_reach:
            axes.axhspan(height - size / 2, height + size / 2, color=REACH, linewidth=0, zorder=0)
        colour, tag = find_colour(row.optimizer), Tag(row.label, row.optimizer)
        if row.low is not None and row.high is not None:
            tag.put(axes.plot([row.low, row.high], [height, height], color=colour, linewidth=2)[0])
        if len(row.seeds) > 1:
            (dots,) = axes.plot(list(row.seeds.values()), [height - BELOW] * len(row.seeds), "o", color=colour,
                                alpha=0.55, markersize=3.2)  # fmt: skip
            seeds = [f"seed {seed}: {percent(value)}" for seed, value in row.seeds.items()]
            replace(tag, marks=seeds, is_seed=True).put(dots)
        (mark,) = axes.plot(
            [row.mean], [height], marker=MARKERS.get(row.optimizer, "o"), linestyle="none", color=colour, markersize=7
        )
        replace(tag, marks=[_tell(row)]).put(mark)
        axes.text(1.01, height, percent(row.mean), transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.set_yticks(heights, labels)
    axes.set(xlabel=chart.xlabel, ylim=(-sum(sizes) - 0.1, 0.1))
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    show_percents(axes.xaxis)
    return figure


def _tell(row: ForestRow) -> str:
    return show_estimate(Estimate(row.mean, row.low, row.high))
