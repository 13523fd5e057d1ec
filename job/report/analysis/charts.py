"""What is to be drawn, as data: the numbers, names and labels of a chart. `job.report.render.figures` draws it.

Accuracies are fractions of one; whoever draws them shows percent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Numbers = Sequence[float] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """A curve: over `x` the heights, and a band where there is more than one run."""

    label: str
    """Empty where another line stands in the legend for this one."""
    optimizer: str
    """Gives the colour and the marker."""
    x: Sequence[float]
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    dash: int = 0
    """A number per kind of line: it tells configurations of one optimizer apart, or training from test."""
    is_broken: bool = False
    """A single run that diverged after its last point: a cross stands there."""
    tone: float | None = None
    """From 0 to 1 a place in a sequence of colours, for lines that have an order, such as the values of an attribute;
    None gives the optimizer's colour."""
    is_main: bool = False
    """Whether it is what the others are compared with, such as the baseline: solid and thicker."""


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
    """Below its label, such as how many seeds diverged."""


@dataclass(frozen=True)
class Dot:
    """A configuration or a run by a quantity and its accuracy."""

    label: str
    """The legend names each label once."""
    optimizer: str
    x: float
    accuracy: float


@dataclass(frozen=True)
class Dumbbell:
    """Two accuracies of one configuration, joined by a bar."""

    label: str
    optimizer: str
    left: float
    right: float


@dataclass(frozen=True)
class LineChart:
    """Lines with their bands."""

    lines: Sequence[Line]
    title: str
    xlabel: str
    ylabel: str
    accuracy: bool = False
    """Whether the heights are fractions of one, which are shown in percent."""
    logarithmic: bool = False


@dataclass(frozen=True)
class PanelChart:
    """Charts of lines beside each other, two in a row, on one scale of heights and with one legend."""

    panels: Sequence[LineChart]
    """Labels that are alike in several panels stand in the legend once."""
    title: str


@dataclass(frozen=True)
class Trial:
    """One tried value of an attribute."""

    position: float
    """Along the axis."""
    point: Point
    is_best: bool = False
    is_baseline: bool = False


@dataclass(frozen=True)
class Response:
    """What one optimizer reaches over the values of an attribute."""

    label: str
    optimizer: str
    trials: Sequence[Trial]
    """By their position."""
    at_edge: Literal["low", "high"] | None = None
    """Beyond which end of the tried values better ones may be."""


@dataclass(frozen=True)
class ResponseChart:
    """Accuracy over the values of an attribute, a line with a band per optimizer."""

    responses: Sequence[Response]
    title: str
    xlabel: str
    ylabel: str
    ticks: Sequence[tuple[float, str]]
    """Positions along the axis, and what stands below them."""
    gap: float | None = None
    """Where the axis is broken, because 0 has no place on a logarithmic one."""


@dataclass(frozen=True)
class PointChart:
    """Accuracies by value of an attribute, with intervals and single runs."""

    points: Sequence[Point]
    title: str
    ylabel: str
    baseline: str
    """The label of the baseline, which is marked."""


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars of fractions of one, the first on top, with intervals where there are some."""

    points: Sequence[Point]
    title: str
    xlabel: str
    ends: Sequence[str]
    """The text at the end of each bar."""


@dataclass(frozen=True)
class DumbbellChart:
    """A bar between two accuracies in each row, with the distance in points."""

    rows: Sequence[Dumbbell]
    title: str
    left: str
    """What the left accuracies are of."""
    right: str


@dataclass(frozen=True)
class DotChart:
    """Accuracies against another quantity."""

    dots: Sequence[Dot]
    title: str
    xlabel: str
    ylabel: str
    logarithmic: bool = False
    """Whether the other quantity is shown on a logarithmic axis."""


@dataclass(frozen=True)
class HeatMap:
    """Accuracies as shades, with their percent in the cells."""

    values: npt.NDArray[np.float64]
    """(num_rows, num_columns); NaN where nothing was measured."""
    rows: Sequence[str]
    columns: Sequence[str]
    title: str
    row_label: str = ""
    column_label: str = ""
    crossed: Sequence[tuple[int, int]] = ()
    """Row and column of the cells that get a cross."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """Counts of test images, a row per true class."""

    counts: Sequence[Sequence[int]]
    classes: Sequence[str]
    title: str


@dataclass(frozen=True)
class ForestRow:
    """A configuration in a forest."""

    label: str
    optimizer: str
    mean: float
    low: float | None
    high: float | None
    seeds: Mapping[int, float]
    """What a user gets of each seed: the accuracy, and that of guessing where it diverged."""
    is_within_reach: bool


@dataclass(frozen=True)
class ForestChart:
    """Configurations below each other, the best on top: means, intervals and seeds."""

    rows: Sequence[ForestRow]
    xlabel: str


@dataclass(frozen=True)
class ConfusionChart:
    """Confusion matrices of the same classes beside each other, with one scale of shades."""

    matrices: Sequence[ConfusionMatrix]
    title: str


Chart = (
    ForestChart
    | LineChart
    | PanelChart
    | ResponseChart
    | PointChart
    | BarChart
    | DumbbellChart
    | DotChart
    | HeatMap
    | ConfusionChart
)


@dataclass(frozen=True)
class Picture:
    """A chart with the name of its file and the sentence below it, which also stands for it where it is not seen."""

    name: str
    caption: str
    chart: Chart
