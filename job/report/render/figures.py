"""The report's charts as matplotlib figures: `job.report.analysis.charts` says what is in them, and here how they look.

Here are those of points, bars and dots; `lines` and `matrices` have the others, and `frame` what all have in common.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from job.report.analysis.charts import (
    BarChart,
    Chart,
    ConfusionChart,
    Dot,
    DotChart,
    DumbbellChart,
    ForestChart,
    HeatMap,
    LineChart,
    PanelChart,
    Point,
    PointChart,
    ResponseChart,
)
from job.report.analysis.wording import percent
from job.report.render.forest import draw_forest
from job.report.render.frame import (
    LINE,
    MARKERS,
    SMALL,
    find_colour,
    leave_room,
    new_axes,
    put_legend,
    show_percents,
    wrap_label,
)
from job.report.render.lines import FOOT, draw_lines, draw_panels, draw_response, tell_point
from job.report.render.matrices import draw_confusions, draw_heat
from job.report.render.svg import Tag

BESIDE = 0.06
"""How far right of a mean its single values stand, so that its mark does not hide them."""
ROW = 0.34
"""Inches of a row of bars; a label of more lines has more."""
LONGEST, LONGEST_BELOW = 26, 50
"""Characters in a line of a label at the left, and of one below."""
MOST_TOLD = 60
"""Dots of one label that tell their numbers when they are pointed at."""


@mpl.rc_context(SMALL)
def _draw_points(chart: PointChart) -> Figure:
    points = chart.points
    figure, (axes,) = new_axes(chart.title, height=2.7)
    for place, point in enumerate(points):
        _draw_point(axes, place, point, is_baseline=point.label == chart.baseline)
    names = [
        "\n".join(
            [
                wrap_label(point.label, width=14),
                *(["baseline"] if point.label == chart.baseline else []),
                *([point.remark] if point.remark else []),
            ]
        )
        for point in points
    ]
    axes.set_xticks(range(len(points)), names, rotation=30 if len(points) > 5 else 0)
    axes.set(ylabel=chart.ylabel, xlim=(-0.6, len(points) - 0.4))
    leave_room(axes, [value for point in points for value in (point.value, *point.members) if not math.isnan(value)])
    show_percents(axes.yaxis)
    return figure


def _draw_point(axes: Axes, place: int, point: Point, *, is_baseline: bool) -> None:
    colour, tag = find_colour(point.optimizer), Tag(point.label, point.optimizer)
    if point.members:
        seeds = [f"{point.label}, one seed: {percent(value)}" for value in point.members]
        (dots,) = axes.plot([place + BESIDE] * len(seeds), point.members, "o", color=colour, alpha=0.4, markersize=4)
        replace(tag, marks=seeds, is_seed=True).put(dots)
    if point.low is not None and point.high is not None:
        tag.put(axes.plot([place, place], [point.low, point.high], color=colour, linewidth=2)[0])
    if math.isnan(point.value):
        tag.put(axes.plot([place], [FOOT], "x", color=colour, markersize=9, markeredgewidth=2,
                          transform=axes.get_xaxis_transform())[0])  # fmt: skip
        return
    (mark,) = axes.plot([place], [point.value], marker=MARKERS.get(point.optimizer, "o"), linestyle="none",
                        color=colour, markersize=8, markerfacecolor="white" if is_baseline else colour,
                        markeredgewidth=2)  # fmt: skip
    replace(tag, marks=[tell_point(point)]).put(mark)


@mpl.rc_context(SMALL)
def _draw_bars(chart: BarChart) -> Figure:
    points, labels = chart.points, [wrap_label(point.label, width=LONGEST) for point in chart.points]
    figure, axes, heights = _rows(chart.title, labels)
    for height, point in zip(heights, points, strict=True):
        tag, colour = Tag(point.label, point.optimizer), find_colour(point.optimizer)
        tag.put(axes.barh(height, point.value, height=0.7, color=colour).patches[0])
        if point.low is not None and point.high is not None:
            tag.put(axes.plot([point.low, point.high], [height, height], color="black", linewidth=1.2)[0])
            (ends,) = axes.plot([point.low, point.high], [height, height], "|", color="black", markersize=6)
            tag.put(ends)
    for height, text in zip(heights, chart.ends, strict=True):
        axes.text(1.01, height, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.set(xlabel=chart.xlabel, xlim=(0, 1))
    show_percents(axes.xaxis)
    return figure


@mpl.rc_context(SMALL)
def _draw_dumbbells(chart: DumbbellChart) -> Figure:
    figure, axes, heights = _rows(chart.title, [wrap_label(row.label, width=LONGEST) for row in chart.rows])
    for height, row in zip(heights, chart.rows, strict=True):
        colour, tag = find_colour(row.optimizer), Tag(row.label, row.optimizer)
        (bar,) = axes.plot([row.left, row.right], [height, height], color=colour, linewidth=4, alpha=0.5,
                           solid_capstyle="butt")  # fmt: skip
        (filled,) = axes.plot([row.left], [height], "o", color=colour, markersize=7)
        (empty,) = axes.plot([row.right], [height], "o", color=colour, markersize=7, markerfacecolor="white",
                             markeredgewidth=1.5)  # fmt: skip
        tag.put(bar)
        replace(tag, marks=[f"{row.label}, {chart.left}: {percent(row.left)}"]).put(filled)
        replace(tag, marks=[f"{row.label}, {chart.right}: {percent(row.right)}"]).put(empty)
        text = f"{100 * (row.right - row.left):.1f}".replace("-", "−")
        axes.text(1.01, height, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    told = textwrap.wrap(f"filled: {chart.left}; open: {chart.right}; number: points between", LONGEST_BELOW)
    axes.set_xlabel("\n".join(told))
    show_percents(axes.xaxis)
    return figure


def _rows(title: str, labels: Sequence[str]) -> tuple[Figure, Axes, range]:
    """Axes with a row for each label, and the rows' heights, the first on top."""
    num_lines = sum(label.count("\n") for label in labels)
    figure, (axes,) = new_axes(title, height=1.2 + ROW * len(labels) + LINE * num_lines)
    heights = range(len(labels))[::-1]
    axes.set_yticks(heights, labels)
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(visible=False, axis="y")
    return figure, axes, heights


@mpl.rc_context(SMALL)
def _draw_dots(chart: DotChart) -> Figure:
    figure, (axes,) = new_axes(chart.title)
    clouds: dict[tuple[str, str], list[Dot]] = {}
    for dot in chart.dots:
        clouds.setdefault((dot.label, dot.optimizer), []).append(dot)
    for (label, optimizer), dots in clouds.items():
        marker, colour = MARKERS.get(optimizer, "o"), find_colour(optimizer)
        (drawn,) = axes.plot([dot.x for dot in dots], [dot.accuracy for dot in dots], marker=marker,
                             linestyle="none", color=colour, markersize=6, alpha=0.75, label=label)  # fmt: skip
        marks = [f"{label}, {chart.xlabel} {dot.x:.3g}: {percent(dot.accuracy)}" for dot in dots]
        Tag(label, optimizer, marks if len(marks) <= MOST_TOLD else ()).put(drawn)
    if chart.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlabel=chart.xlabel, ylabel=chart.ylabel)
    show_percents(axes.yaxis)
    put_legend(figure, [axes], dict(clouds.keys()))
    return figure


DRAWN: dict[type[Any], Callable[[Any], Figure]] = {
    ForestChart: draw_forest,
    LineChart: draw_lines,
    PanelChart: draw_panels,
    ResponseChart: draw_response,
    PointChart: _draw_points,
    BarChart: _draw_bars,
    DumbbellChart: _draw_dumbbells,
    DotChart: _draw_dots,
    HeatMap: draw_heat,
    ConfusionChart: draw_confusions,
}
"""What draws each kind of `Chart`."""


def draw(chart: Chart) -> Figure:
    """The chart as a figure."""
    return DRAWN[type(chart)](chart)
