"""What all figures of the report have in common: size, colours, axes, legend, labels and how percent are written.

They are sized to be read on a phone: 345 points wide, so that nothing is scaled down at 390 pixels. An optimizer has
the same colour and marker in every figure, and no other has them (`job.manifest.optimizers`).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter, LogLocator, NullLocator

from job.manifest.optimizers import OPTIMIZERS
from job.plots import STYLE, fit_label, new_figure
from job.report.analysis.wording import percent
from job.report.render.svg import Tag

COLOURS = {name: kind.colour for name, kind in OPTIMIZERS.items()}
MARKERS = {name: kind.marker for name, kind in OPTIMIZERS.items()}
OTHER = "#6b7280"
TONES = mpl.colormaps["viridis"]
BRIGHTEST = 0.85
"""Of the sequence of colours: yellow beyond it is pale on white."""
DASHES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))
WIDTH, HEIGHT = 4.8, 3.3
"""Inches."""
LINE = 0.14
"""Height of a line of small text, in inches."""
SMALL: dict[Any, Any] = STYLE | {
    "font.size": 9,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "xtick.major.size": 0,  # the grid says where they are
    "ytick.major.size": 0,
    "axes.axisbelow": True,
}
MOST_LINES = 3
"""A label has no more."""


def find_colour(optimizer: str, *, tone: float | None = None) -> str:
    """The optimizer's, or that of a place in a sequence."""
    return COLOURS.get(optimizer, OTHER) if tone is None else mpl.colors.to_hex(TONES(BRIGHTEST * tone))


def new_axes(title: str, *, height: float = HEIGHT, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with its title and `rows` times `columns` axes, which share their height's scale."""
    figure = new_figure(WIDTH, height, title="")
    lines = textwrap.wrap(fit_label(title, 100), 52) or [""]
    figure.suptitle("\n".join(lines), x=0.012, ha="left", fontweight="bold", fontsize=10)
    drawn = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for axes in drawn:
        axes.patch.set_visible(False)  # white on white
    return figure, drawn


def put_legend(figure: Figure, axes: Sequence[Axes], optimizers: dict[str, str]) -> None:
    """A legend below the axes, where it covers nothing; every label once. `optimizers` are by label, in their order."""
    known: dict[str, Any] = {}
    for own in axes:
        known |= dict(zip(*reversed(own.get_legend_handles_labels()), strict=True))
    known = {label: known[label] for label in sorted(known, key=list(optimizers).index)}
    if not known:
        return
    wrapped = [wrap_label(label) for label in known]
    longest = max(len(line) for label in wrapped for line in label.split("\n"))
    num_columns = max(1, min(len(known), 56 // (longest + 6)))  # characters beside each other
    rows = [wrapped[place : place + num_columns] for place in range(0, len(wrapped), num_columns)]
    num_lines = sum(max(label.count("\n") + 1 for label in row) for row in rows)
    figure.set_figheight(figure.get_figheight() + 0.03 * len(rows) + LINE * num_lines)
    labels = [list(known)[place] for place in _read_by_rows(len(known), num_columns)]
    legend = figure.legend(
        [known[label] for label in labels], [wrap_label(label) for label in labels], loc="outside lower center",
        ncols=num_columns, frameon=False, handlelength=3,
    )  # fmt: skip
    for label, handle, text in zip(labels, legend.legend_handles, legend.get_texts(), strict=True):
        tag = Tag(label, optimizers.get(label, ""), kind="legend")
        tag.put(text)
        if handle is not None:
            tag.put(handle)


def _read_by_rows(num: int, num_columns: int) -> list[int]:
    """Places in an order that, filled in column by column as matplotlib does, reads row by row."""
    sizes = [len(column) for column in np.array_split(np.arange(num), num_columns)]
    places = iter(range(num))
    columns: list[list[int]] = [[] for _ in sizes]
    for row in range(max(sizes)):
        for column, size in zip(columns, sizes, strict=True):
            if row < size:
                column.append(next(places))
    return [place for column in columns for place in column]


def wrap_label(text: str, *, width: int = 44) -> str:
    """A configuration's label in up to three lines, broken between its attributes and not inside one where it fits."""
    lines = [""]
    for piece in re.split(r"(?<=,) (?![^(]*\))", fit_label(text, 400)):
        joined = f"{lines[-1]} {piece}".strip()
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines += _break_piece(piece, width)
    lines = [line for line in lines if line]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"{lines[MOST_LINES - 1][: width - 1]}…"]
    return "\n".join(lines)


def _break_piece(piece: str, width: int) -> list[str]:
    """`piece` in lines, broken at blanks, or after underscores where a word is too long, and else anywhere."""
    lines = textwrap.wrap(piece, width, break_long_words=False)
    if any(len(line) > width for line in lines):
        lines = textwrap.wrap(piece.replace("_", "_ "), width)
        lines = [line.replace("_ ", "_") for line in lines]
    return lines or [piece]


class Percents(Formatter):
    """Fractions of one in percent, with as few decimals as tell the ticks apart."""

    def __init__(self) -> None:
        self._ticks: list[float] = []

    def set_locs(self, locs: list[float]) -> None:
        self._ticks = list(locs)

    def __call__(self, x: float, pos: int | None = None) -> str:  # noqa: ARG002 - matplotlib's
        decimals = (digits for digits in (0, 1) if all(_is_round(100 * value, digits) for value in self._ticks))
        return percent(x + 0.0, next(decimals, 2))


def _is_round(value: float, digits: int) -> bool:
    return abs(value - round(value, digits)) < 1e-6


def show_percents(axis: Axis) -> None:
    """Write the ticks of `axis` in percent."""
    axis.set_major_formatter(Percents())


def show_logarithms(axes: Axes, values: Sequence[float]) -> None:
    """Give `axes` a logarithmic scale of heights with plain numbers beside it."""
    positive = [value for value in values if value > 0]
    if not positive:
        return
    axes.set_yscale("log")
    span = max(positive) / min(positive)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if span < 100 else (1,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def leave_room(axes: Axes, values: Sequence[float]) -> None:
    """Let the axis span at least one point of accuracy, so that a tiny difference is not drawn as a large one."""
    low, high = axes.get_ylim()
    if high - low < 0.01 and values:
        middle = (min(values) + max(values)) / 2
        axes.set_ylim(middle - 0.005, middle + 0.005)
