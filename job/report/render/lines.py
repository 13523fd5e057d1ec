"""Charts of lines: curves by epoch or step, panels of them, and accuracy over an attribute's values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from job.report.analysis.charts import Line, LineChart, PanelChart, Point, Response, ResponseChart, Trial
from job.report.analysis.estimates import Estimate
from job.report.analysis.wording import percent, show_estimate
from job.report.render.frame import (
    DASHES,
    HEIGHT,
    MARKERS,
    SMALL,
    find_colour,
    leave_room,
    new_axes,
    put_legend,
    show_logarithms,
    show_percents,
)
from job.report.render.svg import Tag

MOST_MARKED = 30
"""Lines of more points carry no marks."""
IN_A_ROW = 2
"""Panels beside each other."""
FOOT = 0.04
"""The height in the axes at which a cross stands where every seed diverged."""
BEHIND, AHEAD = 2.0, 0.01
"""What belongs to a line is drawn together, so that it is one group: the heights of the first line and of the next."""


@mpl.rc_context(SMALL)
def draw_lines(chart: LineChart) -> Figure:
    """Lines with their bands, and a cross where a run diverged."""
    figure, (axes,) = new_axes(chart.title)
    _fill(axes, chart)
    put_legend(figure, [axes], _list_labels([chart]))
    return figure


@mpl.rc_context(SMALL)
def draw_panels(chart: PanelChart) -> Figure:
    """The panels on one scale of heights."""
    columns = min(IN_A_ROW, len(chart.panels))
    rows = -(-len(chart.panels) // columns)
    figure, drawn = new_axes(chart.title, height=0.6 + 2.2 * rows, rows=rows, columns=columns)
    for axes, panel in zip(drawn, chart.panels, strict=False):
        _fill(axes, panel)
        axes.set_title(panel.title, fontsize=9)
        if axes not in drawn[::columns]:
            axes.set_ylabel("")
    for axes in drawn[len(chart.panels) :]:
        axes.set_visible(False)
    put_legend(figure, drawn[: len(chart.panels)], _list_labels(chart.panels))
    return figure


def _list_labels(charts: Sequence[LineChart]) -> dict[str, str]:
    """The optimizer of each label, which is none where the colour tells the place in an order: then in that order."""
    lines = sorted((line for chart in charts for line in chart.lines if line.label), key=lambda line: line.tone or 0.0)
    return {line.label: line.optimizer if line.tone is None else "" for line in lines}


def _fill(axes: Axes, chart: LineChart) -> None:
    for place, line in enumerate(chart.lines):
        _draw_line(axes, line, chart, BEHIND + AHEAD * place)
    axes.set(xlabel=chart.xlabel, ylabel=chart.ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    if chart.logarithmic:
        show_logarithms(axes, [float(value) for line in chart.lines for value in line.y])
    if chart.accuracy:
        show_percents(axes.yaxis)


def _draw_line(axes: Axes, line: Line, chart: LineChart, height: float) -> None:
    colour = find_colour(line.optimizer, tone=line.tone)
    shape = "o" if line.tone is not None else MARKERS.get(line.optimizer, "o")
    marker = shape if len(line.x) <= MOST_MARKED else None
    artists: list[Artist] = []
    artists += axes.plot(
        line.x, line.y, linestyle="-" if line.is_main else DASHES[line.dash % len(DASHES)], color=colour,
        marker=marker, markersize=4, linewidth=2.6 if line.is_main else 1.8, label=line.label or "_",
    )  # fmt: skip
    shown = [_tell(chart, x, float(y)) for x, y in zip(line.x, line.y, strict=True)] if marker else []
    if line.low is not None and line.high is not None:
        artists.append(axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0))
    for artist in artists:  # the band below the line
        is_line = artist is artists[0]
        _put(artist, height - (0 if is_line else AHEAD / 2), line.label, line.optimizer, shown if is_line else ())
    if line.is_broken and len(line.x):
        (cross,) = axes.plot(line.x[-1:], line.y[-1:], "x", color=colour, markersize=10, markeredgewidth=2)
        _put(cross, height, line.label, line.optimizer, [f"{shown[-1]}; then it diverged"] if shown else ())


def _put(artist: Artist, height: float, label: str, optimizer: str, marks: Sequence[str] = ()) -> None:
    artist.set_zorder(height)
    Tag(label, optimizer, marks).put(artist)


def _tell(chart: LineChart, x: float, y: float) -> str:
    return f"{chart.xlabel} {x:g}: {percent(y) if chart.accuracy else f'{y:.3g}'}"


@mpl.rc_context(SMALL)
def draw_response(chart: ResponseChart) -> Figure:
    """A line per optimizer; a ring marks its best value, a white mark its baseline, a cross seeds that diverged."""
    figure, (axes,) = new_axes(chart.title, height=HEIGHT - 0.3)
    for place, response in enumerate(chart.responses):
        _draw_response(axes, response, BEHIND + AHEAD * place)
    positions = [position for position, _ in chart.ticks]
    reach = max(positions) - min(positions) or 1.0
    tilted = len(positions) * max(len(label) for _, label in chart.ticks) > 50
    axes.set_xticks(positions, [label for _, label in chart.ticks], rotation=35 if tilted else 0)
    axes.set(xlabel=chart.xlabel, ylabel=chart.ylabel)
    axes.set_xlim(min(positions) - 0.12 * reach, max(positions) + 0.12 * reach)
    if chart.gap is not None:
        axes.axvline(chart.gap, color="white", linewidth=5, zorder=3)
        axes.text(chart.gap, 0, "//", transform=axes.get_xaxis_transform(), ha="center", va="center", fontsize=9)
    means = [trial.point.value for response in chart.responses for trial in response.trials]
    leave_room(axes, [mean for mean in means if not math.isnan(mean)])
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -0.02), min(high, 1.02))
    show_percents(axes.yaxis)
    put_legend(figure, [axes], {response.label: response.optimizer for response in chart.responses})
    return figure


def _draw_response(axes: Axes, response: Response, height: float) -> None:
    colour, marker = find_colour(response.optimizer), MARKERS.get(response.optimizer, "o")
    known = [trial for trial in response.trials if not math.isnan(trial.point.value)]
    x, y = [trial.position for trial in known], [trial.point.value for trial in known]
    artists: list[Artist] = []
    if known and all(trial.point.low is not None for trial in known):
        low, high = (np.array([getattr(trial.point, end) for trial in known], dtype=float) for end in ("low", "high"))
        artists.append(axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0))
    artists += axes.plot(x, y, color=colour, marker=marker, markersize=6, label=response.label)
    Tag(response.label, response.optimizer, [tell_point(trial.point) for trial in known]).put(artists[-1])
    waiting: list[Trial] = []
    for trial in response.trials:
        waiting.append(trial)
        if not (trial.point.remark or trial.is_baseline or trial.is_best):
            continue
        artists += [*_mark_seeds(axes, waiting, response, colour), *_mark_lost(axes, trial, colour)]
        waiting = []
        if trial.is_baseline and trial in known:
            artists += axes.plot(trial.position, trial.point.value, marker=marker, linestyle="none",
                                 color=colour, markersize=6, markerfacecolor="white", markeredgewidth=1.5)  # fmt: skip
            Tag(response.label, response.optimizer, [f"{tell_point(trial.point)}, the baseline"]).put(artists[-1])
        if trial.is_best:
            artists += axes.plot(trial.position, trial.point.value, "o", color=colour, markersize=12,
                                 markerfacecolor="none", markeredgewidth=1.2)  # fmt: skip
            if response.at_edge:
                arrow, ha = ("←", "right") if response.at_edge == "low" else ("→", "left")
                shift = -8 if response.at_edge == "low" else 8
                artists.append(axes.annotate(arrow, (trial.position, trial.point.value), (shift, 0), ha=ha,
                                             textcoords="offset points", va="center", color=colour))  # fmt: skip
    artists += _mark_seeds(axes, waiting, response, colour)
    for artist in artists:
        artist.set_zorder(height)
        if not artist.get_gid():
            Tag(response.label, response.optimizer).put(artist)


def _mark_seeds(axes: Axes, trials: Sequence[Trial], response: Response, colour: str) -> list[Artist]:
    """The single seeds of several trials, as one artist: an artist for each of thousands takes seconds."""
    seeds = [(trial.position, value, trial.point.label) for trial in trials for value in trial.point.members]
    if not seeds:
        return []
    x, y, labels = zip(*seeds, strict=True)
    (marks,) = axes.plot(x, y, "o", color=colour, alpha=0.4, markersize=3.5)
    told = [f"{label}, one seed: {percent(value)}" for label, value in zip(labels, y, strict=True)]
    Tag(response.label, response.optimizer, told, is_seed=True).put(marks)
    return [marks]


def _mark_lost(axes: Axes, trial: Trial, colour: str) -> list[Artist]:
    """A cross where some seeds diverged: at the foot where all did."""
    if not trial.point.remark:
        return []
    gone = math.isnan(trial.point.value)
    transform = axes.get_xaxis_transform() if gone else axes.transData
    return [*axes.plot(trial.position, FOOT if gone else trial.point.value, "x", color=colour, markersize=9,
                       markeredgewidth=2, transform=transform)]  # fmt: skip


def tell_point(point: Point) -> str:
    """`0.001: 79.6 % [75.0, 83.5]`, as a page shows it when it is pointed at."""
    told = f"{point.label}: {show_estimate(Estimate(point.value, point.low, point.high))}"
    return f"{told}, {point.remark}" if point.remark else told
