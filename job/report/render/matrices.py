"""Tables of shades: accuracies by two attributes or by class and configuration, and confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.typing import ColorType

from job.plots import LEGIBLE_CLASSES, fit_label
from job.report.analysis.charts import ConfusionChart, ConfusionMatrix, HeatMap
from job.report.analysis.wording import percent
from job.report.render.frame import LINE, SMALL, new_axes, wrap_label

SHADES, ERRORS = mpl.colormaps["Blues"], mpl.colormaps["Oranges"]
LEVELS = 10
"""So many shades are told apart; cells of one shade are one path of the SVG."""
RIGHT = "#e5e7eb"
"""The cells of the diagonal: what was right is not what one looks for."""
SIDE = 0.94
"""Of a cell, so that there is a line between two."""
IN_A_ROW = 2
DARK = 0.6
"""From this shade on text is white."""


@mpl.rc_context(SMALL)
def draw_heat(chart: HeatMap) -> Figure:
    """A cell per value, with its percent."""
    values, rows = chart.values, [wrap_label(name, width=20) for name in chart.rows]
    columns = [wrap_label(name, width=16) for name in chart.columns]
    tilted = max((len(name.split("\n")[0]) for name in columns), default=0) * len(columns) > 52
    figure, (axes,) = new_axes(chart.title, height=1.2 + 0.26 * len(rows) + (0.5 if tilted else 0.1))
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    cells = [
        ((row, column), 0.1 + 0.9 * (value - low) / max(high - low, 1e-9))
        for (row, column), value in np.ndenumerate(values)
        if np.isfinite(value)
    ]
    _shade(axes, cells)
    for (row, column), shade in cells:
        axes.text(column, row, f"{100 * values[row, column]:.1f}", ha="center", va="center",
                  color="white" if shade > DARK else "black")  # fmt: skip
    for row, column in chart.crossed:
        axes.text(column, row, "×", ha="center", va="center", color="#b91c1c", fontsize=14)
    _frame(axes, len(rows), len(columns))
    axes.set_xticks(range(len(columns)), columns, rotation=35 if tilted else 0,
                    ha="right" if tilted else "center", rotation_mode="anchor" if tilted else "default")  # fmt: skip
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=chart.column_label, ylabel=chart.row_label)
    return figure


@mpl.rc_context(SMALL)
def draw_confusions(chart: ConfusionChart) -> Figure:
    """The matrices, two in a row, names at the left and below alone, and the scale of shades at the foot."""
    matrices, num = chart.matrices, len(chart.matrices[0].classes)
    columns = min(IN_A_ROW, len(matrices))
    rows, named = -(-len(matrices) // columns), num <= LEGIBLE_CLASSES
    names = [fit_label(name, 16) for name in matrices[0].classes] if named else []
    titles = [wrap_label(matrix.title, width=26 if columns > 1 else 52) for matrix in matrices]
    heading = LINE * max(title.count("\n") + 1 for title in titles)
    cell = (2.0 if columns > 1 else 3.6) / num
    foot = 0.9 + (0.065 * max(map(len, names)) if names else 0.2)
    figure, _ = _grid(chart.title, rows=rows, columns=columns, height=rows * (num * cell + heading + 0.1) + foot)
    *drawn, scale = figure.axes
    most = max((_shares(matrix)[~np.eye(num, dtype=bool)].max(initial=0.0) for matrix in matrices), default=0.0)
    for place, (axes, matrix, title) in enumerate(zip(drawn, matrices, titles, strict=False)):
        _draw_matrix(axes, matrix, most or 1.0, size=9.0 if columns == 1 else min(7.0, 75 / num), named=named)
        axes.set_title(title, fontsize=8.5)
        is_lowest = place + columns >= len(matrices)
        axes.set_xticks(range(len(names)), names if is_lowest else [""] * len(names), rotation=90, fontsize=8)
        axes.set_yticks(range(len(names)), names if not place % columns else [""] * len(names), fontsize=8)
    for axes in drawn[len(matrices) :]:
        axes.set_visible(False)
    drawn[0].set_ylabel("true class")
    drawn[len(matrices) - 1].set_xlabel("predicted class")
    _draw_scale(scale, most)
    return figure


def _grid(title: str, *, rows: int, columns: int, height: float) -> tuple[Figure, Axes]:
    """A figure of `rows` times `columns` axes, with one more at the foot."""
    figure, (whole,) = new_axes(title, height=height)
    whole.remove()
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=[*[height / rows] * rows, 0.12])
    for row in range(rows):
        for column in range(columns):
            figure.add_subplot(grid[row, column]).patch.set_visible(False)
    scale = figure.add_subplot(grid[rows, :])
    scale.patch.set_visible(False)
    return figure, scale


def _shares(matrix: ConfusionMatrix) -> npt.NDArray[np.float64]:
    """Of each true class, the part that was predicted as each class."""
    counts = np.asarray(matrix.counts, dtype=float)
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def _draw_matrix(axes: Axes, matrix: ConfusionMatrix, most: float, *, size: float, named: bool) -> None:
    shares, num = _shares(matrix), len(matrix.classes)
    if not named:
        wrong = np.where(np.eye(num, dtype=bool), 0.0, np.ceil(LEVELS * shares / most) / LEVELS)
        axes.imshow(wrong, cmap=ERRORS, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        _frame(axes, num, num)
        return
    for row in range(num):
        axes.add_patch(_cells(row, row, row, RIGHT))
    wrong_cells = [
        ((row, column), share / most) for (row, column), share in np.ndenumerate(shares) if share and row != column
    ]
    _shade(axes, wrong_cells, errors=True)
    _frame(axes, num, num)
    texts = [
        (count > 99, row != column and _level(float(shares[row, column]) / most) > DARK, row, column)
        for (row, column), count in np.ndenumerate(np.asarray(matrix.counts))
        if count
    ]
    for is_long, is_dark, row, column in sorted(texts):  # those alike after each other
        axes.text(column, row, str(matrix.counts[row][column]), ha="center", va="center",
                  color="white" if is_dark else "black", fontsize=size * (0.9 if is_long else 1))  # fmt: skip


def _draw_scale(axes: Axes, most: float) -> None:
    """The shades of the errors, from none to the most frequent confusion."""
    for level in range(1, LEVELS + 1):
        axes.add_patch(Rectangle((level - 1, 0), 1, 1, facecolor=ERRORS(level / LEVELS), linewidth=0))
    axes.set(xlim=(0, LEVELS), ylim=(0, 1), xlabel="errors: part of the true class's images")
    axes.set_xticks([0, LEVELS / 2, LEVELS], [percent(part * most, 0) for part in (0, 0.5, 1)])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _shade(axes: Axes, cells: Sequence[tuple[tuple[int, int], float]], *, errors: bool = False) -> None:
    """Cells by row and column with shades from 0 to 1; those of one shade after each other."""
    colours = ERRORS if errors else SHADES
    runs: list[tuple[int, int, int, int]] = []  # shade, row, first and last column: neighbours are one rectangle
    for level, row, column in sorted((round(LEVELS * _level(shade)), row, column) for (row, column), shade in cells):
        if runs and runs[-1][:2] == (level, row) and runs[-1][3] == column - 1:
            runs[-1] = (level, row, runs[-1][2], column)
        else:
            runs.append((level, row, column, column))
    for level, row, first, last in runs:
        axes.add_patch(_cells(row, first, last, colours(level / LEVELS)))
    for column in sorted({column for (_, column), _ in cells}):
        axes.axvline(column - 0.5, color="white", linewidth=0.7)  # between the cells of a rectangle


def _cells(row: int, first: int, last: int, colour: ColorType) -> Rectangle:
    return Rectangle((first - SIDE / 2, row - SIDE / 2), last - first + SIDE, SIDE, facecolor=colour, linewidth=0)


def _level(shade: float) -> float:
    """The nearest of the shades, the palest of which can be seen."""
    return max(1, round(LEVELS * shade)) / LEVELS


def _frame(axes: Axes, num_rows: int, num_columns: int) -> None:
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set(xlim=(-0.5, num_columns - 0.5), ylim=(num_rows - 0.5, -0.5))
