"""The ranked forest of configurations as a matplotlib figure."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from job.plots import new_figure
from job.report.analysis.charts import ForestChart, ForestRow
from job.report.analysis.wording import percent
from job.report.render.frame import LINE, MARKERS, SMALL, WIDTH, find_colour, show_percents, wrap_label
from job.report.render.svg import Tag

REACH = "#dbeafe"
"""As the page shades their rows."""
LABEL_WIDTH = 26
"""Characters of a label in a line."""
BELOW = 0.27
"""How far below a mean its seeds stand, as a part of a row."""


@mpl.rc_context(SMALL)
def draw_forest(chart: ForestChart) -> Figure:
    """A row per configuration: its interval, its mean as a mark, its seeds as dots below, and its number at the end."""
    labels = [wrap_label(row.label, width=LABEL_WIDTH) for row in chart.rows]
    num_lines = sum(label.count("\n") for label in labels)
    figure = new_figure(WIDTH, 0.55 + 0.28 * len(labels) + 0.8 * LINE * num_lines, title="")
    axes = figure.subplots()
    heights = range(len(chart.rows))[::-1]
    for height, row in zip(heights, chart.rows, strict=True):
        if row.is_within_reach:
            axes.axhspan(height - 0.5, height + 0.5, color=REACH, linewidth=0, zorder=0)
        colour, tag = find_colour(row.optimizer), Tag(row.label, row.optimizer)
        if row.low is not None and row.high is not None:
            tag.put(axes.plot([row.low, row.high], [height, height], color=colour, linewidth=2)[0])
        if len(row.seeds) > 1:
            (dots,) = axes.plot(list(row.seeds.values()), [height - BELOW] * len(row.seeds), "o", color=colour,
                                alpha=0.55, markersize=3.2)  # fmt: skip
            seeds = [f"seed {seed}: {percent(value)}" for seed, value in row.seeds.items()]
            replace(tag, marks=seeds, is_seed=True).put(dots)
        (mark,) = axes.plot([row.mean], [height], MARKERS.get(row.optimizer, "o"), color=colour, markersize=7)
        replace(tag, marks=[_tell(row)]).put(mark)
        axes.text(1.01, height, percent(row.mean), transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.set_yticks(heights, labels)
    axes.set(xlabel=chart.xlabel, ylim=(-0.6, len(chart.rows) - 0.4))
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    show_percents(axes.xaxis)
    return figure


def _tell(row: ForestRow) -> str:
    if row.low is None or row.high is None:
        return percent(row.mean)
    return f"{percent(row.mean)} [{100 * row.low:.1f}, {100 * row.high:.1f}]"
