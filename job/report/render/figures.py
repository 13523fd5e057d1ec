"""The report's charts as matplotlib figures: `job.report.analysis.charts` says what is in them, and here how they look.

They are sized to be read on a phone: 345 points wide, so that nothing is scaled down at 390 pixels. An optimizer has
the same colour and marker in every figure, and no other has them (`job.manifest.optimizers`).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any, assert_never

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from job.manifest.optimizers import OPTIMIZERS
from job.plots import STYLE, draw_confusion, fit_label, new_figure
from job.report.analysis.charts import (
    BarChart,
    Chart,
    ConfusionMatrix,
    DotChart,
    DumbbellChart,
    HeatMap,
    LineChart,
    PointChart,
)

COLOURS = {name: kind.colour for name, kind in OPTIMIZERS.items()}
MARKERS = {name: kind.marker for name, kind in OPTIMIZERS.items()}
OTHER = "#6b7280"
DASHES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))
WIDTH, HEIGHT = 4.8, 3.3
"""Inches."""
SMALL: dict[Any, Any] = STYLE | {"font.size": 9, "legend.fontsize": 8.5, "lines.linewidth": 1.8}

BESIDE = 0.06
"""How far right of a mean its single values stand, so that its mark does not hide them."""


def draw(chart: Chart) -> Figure:
    """The chart as a figure."""
    match chart:
        case LineChart():
            return _draw_lines(chart)
        case PointChart():
            return _draw_points(chart)
        case BarChart():
            return _draw_bars(chart)
        case DumbbellChart():
            return _draw_dumbbells(chart)
        case DotChart():
            return _draw_dots(chart)
        case HeatMap():
            return _draw_heat(chart)
        case ConfusionMatrix():
            return draw_confusion(chart.counts, classes=chart.classes, title=chart.title)
        case _:
            assert_never(chart)


@mpl.rc_context(SMALL)
def _draw_lines(chart: LineChart) -> Figure:
    figure, axes = _axes(chart.title)
    for line in chart.lines:
        colour, dash = COLOURS.get(line.optimizer, OTHER), DASHES[line.dash % len(DASHES)]
        marker = MARKERS.get(line.optimizer, "o") if len(line.x) <= 30 else None
        label = fit_label(line.label, 48) if line.label else "_"
        axes.plot(line.x, line.y, linestyle=dash, color=colour, marker=marker, markersize=4, label=label)
        if line.is_broken and len(line.x):
            axes.plot(line.x[-1:], line.y[-1:], "x", color=colour, markersize=10, markeredgewidth=2)
        if line.low is not None and line.high is not None:
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
    axes.set(xlabel=chart.xlabel, ylabel=chart.ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    positive = [value for line in chart.lines for value in line.y if value > 0]
    if chart.logarithmic and positive:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(positive) < 100 * min(positive) else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    if chart.accuracy:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    _legend(figure, axes)
    return figure


@mpl.rc_context(SMALL)
def _draw_points(chart: PointChart) -> Figure:
    points = chart.points
    figure, axes = _axes(chart.title, height=2.7)
    for place, point in enumerate(points):
        colour, members = COLOURS.get(point.optimizer, OTHER), point.members
        beside = [place + BESIDE] * len(members)
        axes.plot(beside, members, "o", color=colour, alpha=0.4, markersize=4, linewidth=0)
        if point.low is not None and point.high is not None:
            axes.plot([place, place], [point.low, point.high], color=colour, linewidth=2)
        if math.isnan(point.value):
            axes.plot([place], [0.04], "x", color=colour, markersize=9, markeredgewidth=2,
                      transform=axes.get_xaxis_transform())  # fmt: skip
            continue
        filling = "white" if point.label == chart.baseline else colour
        axes.plot([place], [point.value], MARKERS.get(point.optimizer, "o"), color=colour, markersize=8,
                  markerfacecolor=filling, markeredgewidth=2)  # fmt: skip
    names = [
        "\n".join(
            [
                fit_label(point.label, 14),
                *(["baseline"] if point.label == chart.baseline else []),
                *([point.remark] if point.remark else []),
            ]
        )
        for point in points
    ]
    axes.set_xticks(range(len(points)), names, rotation=30 if len(points) > 5 else 0)
    axes.set(ylabel=chart.ylabel, xlim=(-0.6, len(points) - 0.4))
    _room(axes, [value for point in points for value in (point.value, *point.members) if not math.isnan(value)])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    return figure


@mpl.rc_context(SMALL)
def _draw_bars(chart: BarChart) -> Figure:
    points = chart.points
    figure, axes = _axes(chart.title, height=1.3 + 0.34 * len(points))
    rows = range(len(points))[::-1]
    colours = [COLOURS.get(point.optimizer, OTHER) for point in points]
    axes.barh(rows, [point.value for point in points], height=0.7, color=colours)
    axes.set_yticks(rows, [fit_label(point.label, 26) for point in points])
    for row, text in zip(rows, chart.ends, strict=True):
        axes.text(1.01, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.set(xlabel=chart.xlabel)
    axes.grid(visible=False, axis="y")
    return figure


@mpl.rc_context(SMALL)
def _draw_dumbbells(chart: DumbbellChart) -> Figure:
    heights = range(len(chart.rows))[::-1]
    figure, axes = _axes(chart.title, height=1.5 + 0.34 * len(chart.rows))
    for height, row in zip(heights, chart.rows, strict=True):
        colour = COLOURS.get(row.optimizer, OTHER)
        axes.plot([row.left, row.right], [height, height], color=colour, linewidth=4, alpha=0.5, solid_capstyle="butt")
        axes.plot([row.left], [height], "o", color=colour, markersize=7)
        axes.plot([row.right], [height], "o", color=colour, markersize=7, markerfacecolor="white", markeredgewidth=1.5)
        text = f"{100 * (row.right - row.left):.1f}"
        axes.text(1.01, height, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.set_yticks(heights, [fit_label(row.label, 26) for row in chart.rows])
    xlabel = f"filled: {chart.left}; open: {chart.right}; number: points between"
    axes.set(xlabel=xlabel, ylim=(-0.6, len(chart.rows) - 0.4))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.grid(visible=False, axis="y")
    return figure


@mpl.rc_context(SMALL)
def _draw_dots(chart: DotChart) -> Figure:
    figure, axes = _axes(chart.title)
    clouds: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for dot in chart.dots:
        clouds.setdefault((dot.label, dot.optimizer), []).append((dot.x, dot.accuracy))
    for (label, optimizer), places in clouds.items():
        marker, colour = MARKERS.get(optimizer, "o"), COLOURS.get(optimizer, OTHER)
        axes.plot(*zip(*places, strict=True), marker, color=colour, markersize=6, alpha=0.75, linewidth=0,
                  label=fit_label(label, 40))  # fmt: skip
    if chart.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set(xlabel=chart.xlabel, ylabel=chart.ylabel)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    _legend(figure, axes)
    return figure


@mpl.rc_context(SMALL)
def _draw_heat(chart: HeatMap) -> Figure:
    values, rows, columns = chart.values, chart.rows, chart.columns
    figure, axes = _axes(chart.title, height=1.5 + 0.3 * len(rows))
    axes.grid(visible=False)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    axes.imshow(
        np.ma.masked_invalid(values), cmap="Blues", aspect="auto", vmin=low - 0.1 * (high - low), vmax=high + 1e-9
    )
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = value > low + 0.6 * (high - low)
            axes.text(column, row, f"{100 * value:.1f}", ha="center", va="center", color="white" if dark else "black")
    for row, column in chart.crossed:
        axes.text(column, row, "×", ha="center", va="center", color="#b91c1c", fontsize=14)
    tilted = max(map(len, columns), default=0) * len(columns) > 34
    axes.set_xticks(range(len(columns)), [fit_label(name, 24) for name in columns], rotation=35 if tilted else 0,
                    ha="right" if tilted else "center", rotation_mode="anchor" if tilted else "default")  # fmt: skip
    axes.set_yticks(range(len(rows)), [fit_label(name, 18) for name in rows])
    axes.set(xlabel=chart.column_label, ylabel=chart.row_label)
    return figure


def _axes(title: str, *, height: float = HEIGHT) -> tuple[Figure, Axes]:
    figure = new_figure(WIDTH, height, title="")
    lines = textwrap.wrap(fit_label(title, 100), 52) or [""]
    figure.suptitle("\n".join(lines), x=0.012, ha="left", fontweight="bold", fontsize=10)
    return figure, figure.subplots()


def _legend(figure: Figure, axes: Axes) -> None:
    """Below the axes, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        num_columns = max(1, min(len(labels), 56 // (max(map(len, labels)) + 6)))  # characters beside each other
        figure.set_figheight(figure.get_figheight() + 0.17 * -(-len(labels) // num_columns))
        figure.legend(handles, labels, loc="outside lower center", ncols=num_columns, frameon=False, handlelength=3)


def _room(axes: Axes, values: Sequence[float]) -> None:
    """Let the axis span at least one point of accuracy, so that a tiny difference is not drawn as a large one."""
    low, high = axes.get_ylim()
    if high - low < 0.01 and values:
        middle = (min(values) + max(values)) / 2
        axes.set_ylim(middle - 0.005, middle + 0.005)
