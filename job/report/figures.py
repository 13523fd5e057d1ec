"""The shapes that the report draws: lines with bands, points with intervals, bars, dots and heat maps.

Sized to be read on a phone: 345 points wide, so that nothing is scaled down at 390 pixels. An optimizer has the same
colour and marker in every figure, and no other has them (`job.manifest.optimizers`).
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

from job.manifest.optimizers import OPTIMIZERS
from job.plots import STYLE, fit_label, new_figure

COLOURS = {name: kind.colour for name, kind in OPTIMIZERS.items()}
MARKERS = {name: kind.marker for name, kind in OPTIMIZERS.items()}
OTHER = "#6b7280"
DASHES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))
WIDTH, HEIGHT = 4.8, 3.3
"""Inches."""
SMALL: dict[Any, Any] = STYLE | {"font.size": 9, "legend.fontsize": 8.5, "lines.linewidth": 1.8}

BESIDE = 0.06
"""How far right of a mean its single values stand, so that its mark does not hide them."""


@dataclass(frozen=True)
class Picture:
    """A figure with the name of its file and the sentence below it, which also stands for it where it is not seen."""

    name: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Line:
    """A curve: over `x` the heights, and a band where there is more than one run."""

    label: str
    """Empty where another line stands in the legend for this one."""
    optimizer: str
    x: Sequence[float]
    y: Sequence[float] | npt.NDArray[np.float64]
    low: Sequence[float] | npt.NDArray[np.float64] | None = None
    high: Sequence[float] | npt.NDArray[np.float64] | None = None
    dash: int = 0
    """Index into DASHES: tells configurations of one optimizer apart, or training from test."""
    is_broken: bool = False
    """A single run that diverged after its last point: a cross stands there."""


@dataclass(frozen=True)
class Point:
    """A value with its interval and the values that it is the mean of."""

    label: str
    optimizer: str
    value: float
    """NaN where it diverged: a cross stands at the foot instead."""
    low: float | None = None
    high: float | None = None
    members: Sequence[float] = ()
    remark: str = ""
    """Below its label."""


@mpl.rc_context(SMALL)
def draw_lines(
    lines: Sequence[Line], *, title: str, xlabel: str, ylabel: str, accuracy: bool = False, logarithmic: bool = False,
    marks: Sequence[tuple[float, str]] = (),
) -> Figure:  # fmt: skip
    """Lines with their bands; `marks` are dashed horizontal lines with a word."""
    figure, axes = _axes(title)
    for line in lines:
        colour, dash = COLOURS.get(line.optimizer, OTHER), DASHES[line.dash % len(DASHES)]
        marker = MARKERS.get(line.optimizer, "o") if len(line.x) <= 30 else None
        label = fit_label(line.label, 48) if line.label else "_"
        axes.plot(line.x, line.y, linestyle=dash, color=colour, marker=marker, markersize=4, label=label)
        if line.is_broken and len(line.x):
            axes.plot(line.x[-1:], line.y[-1:], "x", color=colour, markersize=10, markeredgewidth=2)
        if line.low is not None and line.high is not None:
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
    for height, word in marks:
        axes.axhline(height, color="#374151", linestyle="--", linewidth=1)
        axes.text(1.0, height, word, transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=8)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    positive = [value for line in lines for value in line.y if value > 0]
    if logarithmic and positive:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(positive) < 100 * min(positive) else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    if accuracy:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    _legend(figure, axes)
    return figure


@mpl.rc_context(SMALL)
def draw_points(points: Sequence[Point], *, title: str, ylabel: str, baseline: str | None = None) -> Figure:
    """Accuracies by value of an attribute, with intervals and single runs; the baseline's name is marked."""
    figure, axes = _axes(title, height=2.7)
    for place, point in enumerate(points):
        colour = COLOURS.get(point.optimizer, OTHER)
        axes.plot(
            [place + BESIDE] * len(point.members),
            point.members,
            "o",
            color=colour,
            alpha=0.4,
            markersize=4,
            linewidth=0,
        )
        if point.low is not None and point.high is not None:
            axes.plot([place, place], [point.low, point.high], color=colour, linewidth=2)
        is_baseline = point.label == baseline
        if math.isnan(point.value):
            axes.plot([place], [0.04], "x", color=colour, markersize=9, markeredgewidth=2,
                      transform=axes.get_xaxis_transform())  # fmt: skip
            continue
        axes.plot([place], [point.value], MARKERS.get(point.optimizer, "o"), color=colour, markersize=8,
                  markerfacecolor="white" if is_baseline else colour, markeredgewidth=2)  # fmt: skip
    names = [
        "\n".join(
            [
                fit_label(point.label, 14),
                *(["baseline"] if point.label == baseline else []),
                *([point.remark] if point.remark else []),
            ]
        )
        for point in points
    ]
    axes.set_xticks(range(len(points)), names, rotation=30 if len(points) > 5 else 0)
    axes.set(ylabel=ylabel, xlim=(-0.6, len(points) - 0.4))
    _room(axes, [value for point in points for value in (point.value, *point.members) if not math.isnan(value)])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    return figure


@mpl.rc_context(SMALL)
def draw_bars(
    points: Sequence[Point], *, title: str, xlabel: str, shown: Sequence[str], logarithmic: bool = False
) -> Figure:
    """Horizontal bars, the first on top, each with the text of `shown` at its end."""
    figure, axes = _axes(title, height=1.3 + 0.34 * len(points))
    rows = range(len(points))[::-1]
    axes.barh(
        rows, [point.value for point in points], height=0.7, color=[COLOURS.get(p.optimizer, OTHER) for p in points]
    )
    axes.set_yticks(rows, [fit_label(point.label, 26) for point in points])
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for row, text in zip(rows, shown, strict=True):
        axes.text(1.01, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.set(xlabel=xlabel)
    axes.grid(visible=False, axis="y")
    return figure


@mpl.rc_context(SMALL)
def draw_dumbbells(rows: Sequence[tuple[str, str, float, float]], *, title: str, ends: tuple[str, str]) -> Figure:
    """A bar between two accuracies per row of (label, optimizer, left, right), with the distance in points."""
    figure, axes = _axes(title, height=1.5 + 0.34 * len(rows))
    for row, (_, optimizer, left, right) in zip(range(len(rows))[::-1], rows, strict=True):
        colour = COLOURS.get(optimizer, OTHER)
        axes.plot([left, right], [row, row], color=colour, linewidth=4, alpha=0.5, solid_capstyle="butt")
        axes.plot([left], [row], "o", color=colour, markersize=7)
        axes.plot([right], [row], "o", color=colour, markersize=7, markerfacecolor="white", markeredgewidth=1.5)
        text = f"{100 * (right - left):.1f}"
        axes.text(1.01, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.set_yticks(range(len(rows))[::-1], [fit_label(label, 26) for label, *_ in rows])
    axes.set(xlabel=f"filled: {ends[0]}; open: {ends[1]}; number: points between", ylim=(-0.6, len(rows) - 0.4))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.grid(visible=False, axis="y")
    return figure


@mpl.rc_context(SMALL)
def draw_cloud(
    points: Sequence[tuple[str, str, float, float]], *, title: str, xlabel: str, ylabel: str, logarithmic: bool = False
) -> Figure:
    """A dot per (label, optimizer, x, accuracy); the legend names each label once."""
    figure, axes = _axes(title)
    clouds: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for label, optimizer, x, y in points:
        clouds.setdefault((label, optimizer), []).append((x, y))
    for (label, optimizer), dots in clouds.items():
        marker, colour = MARKERS.get(optimizer, "o"), COLOURS.get(optimizer, OTHER)
        axes.plot(
            *zip(*dots, strict=True),
            marker,
            color=colour,
            markersize=6,
            alpha=0.75,
            linewidth=0,
            label=fit_label(label, 40),
        )
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    _legend(figure, axes)
    return figure


@mpl.rc_context(SMALL)
def draw_heat(
    values: npt.NDArray[np.float64], *, rows: Sequence[str], columns: Sequence[str], title: str,
    row_label: str = "", column_label: str = "", crossed: Sequence[tuple[int, int]] = (),
) -> Figure:  # fmt: skip
    """Accuracies as shades with their percent in the cells; a cell is empty where it was not measured, or `crossed`."""
    figure, axes = _axes(title, height=1.5 + 0.3 * len(rows))
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
    for row, column in crossed:
        axes.text(column, row, "×", ha="center", va="center", color="#b91c1c", fontsize=14)
    tilted = max(map(len, columns), default=0) * len(columns) > 34
    axes.set_xticks(range(len(columns)), [fit_label(name, 24) for name in columns], rotation=35 if tilted else 0,
                    ha="right" if tilted else "center", rotation_mode="anchor" if tilted else "default")  # fmt: skip
    axes.set_yticks(range(len(rows)), [fit_label(name, 18) for name in rows])
    axes.set(xlabel=column_label, ylabel=row_label)
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
    """At least a point of accuracy between top and bottom: a tick must not enlarge what is nothing."""
    low, high = axes.get_ylim()
    if high - low < 0.01 and values:
        middle = (min(values) + max(values)) / 2
        axes.set_ylim(middle - 0.005, middle + 0.005)
