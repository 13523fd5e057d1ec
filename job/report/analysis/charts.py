"""What is to be drawn, as data: the numbers, names and labels of a chart. `job.report.render.figures` draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
class PointChart:
    """Accuracies by value of an attribute, with intervals and single runs."""

    points: Sequence[Point]
    title: str
    ylabel: str
    baseline: str
    """The label of the baseline, which is marked."""


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars, the first on top."""

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


Chart = ForestChart | LineChart | PointChart | BarChart | DumbbellChart | DotChart | HeatMap | ConfusionMatrix


@dataclass(frozen=True)
class Picture:
    """A chart with the name of its file and the sentence below it, which also stands for it where it is not seen."""

    name: str
    caption: str
    chart: Chart
