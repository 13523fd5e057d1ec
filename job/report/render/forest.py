"""The ranked forest of configurations as a matplotlib figure."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from job.plots import fit_label, new_figure
from job.report.analysis.charts import ForestChart
from job.report.analysis.wording import percent
from job.report.render.figures import COLOURS, MARKERS, OTHER, SMALL, WIDTH

REACH = "#dbeafe"
LABEL_WIDTH = 24
"""Characters of a label in a line."""


@mpl.rc_context(SMALL)
def draw_forest(chart: ForestChart) -> Figure:
    """A row per configuration: its seeds as dots below the interval, the mean as a mark, and its number at the end."""
    labels = [textwrap.wrap(fit_label(row.label, 60), LABEL_WIDTH) or [""] for row in chart.rows]
    figure = new_figure(WIDTH, 0.75 + sum(0.17 + 0.15 * len(lines) for lines in labels), title="")
    figure.suptitle(None)
    axes = figure.subplots()
    heights = range(len(chart.rows))[::-1]
    for height, row in zip(heights, chart.rows, strict=True):
        colour = COLOURS.get(row.optimizer, OTHER)
        if row.is_within_reach:
            axes.axhspan(height - 0.5, height + 0.5, color=REACH, linewidth=0, zorder=0)
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [height, height], color=colour, linewidth=2, zorder=2)
        seeds = list(row.seeds.values())
        if len(seeds) > 1:
            axes.plot(seeds, [height - 0.27] * len(seeds), "o", color=colour, alpha=0.55, markersize=3.2, linewidth=0,
                      zorder=3)  # fmt: skip
        axes.plot([row.mean], [height], MARKERS.get(row.optimizer, "o"), color=colour, markersize=7, zorder=4)
        axes.text(1.01, height, percent(row.mean), transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.set_yticks(heights, ["\n".join(lines) for lines in labels])
    axes.set(xlabel=chart.xlabel, ylim=(-0.6, len(chart.rows) - 0.4))
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value, 0)))
    return figure
