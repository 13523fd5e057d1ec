"""The pictures of a run, as matplotlib figures from its records; torch is not needed to draw them.

Colours are Okabe and Ito's, told apart also by colour-blind people (https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from job.runs import EpochRecord

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6b7280"
LEGIBLE_CLASSES = 20
"""With more classes than these, cells and bars carry no names and no counts."""
MAX_LABEL_LENGTH = 16
TITLE: dict[str, Any] = {"loc": "left", "fontweight": "bold"}
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.fonttype": "none",
    "svg.hashsalt": "job",
}


@dataclass(frozen=True)
class Sample:
    """One test image with what the network said of it."""

    image: npt.NDArray[np.uint8]
    """(3, height, width), RGB."""
    true_class: str
    predicted_class: str
    probability: float
    """What the network gave the predicted class."""


def render(figure: Figure, image_format: Literal["png", "svg"] = "png") -> bytes:
    """The figure as a file's content, the same bytes for the same figure."""
    buffer = io.BytesIO()
    metadata = {"Software": None} if image_format == "png" else {"Date": None}
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format=image_format, dpi=150, metadata=metadata)
    return buffer.getvalue()


def draw_loss(history: Sequence[EpochRecord], *, title: str) -> Figure:
    """Training and test loss by epoch."""
    figure, axes = _figure(7, 4.2)
    _draw_curves(
        axes,
        {
            "train": [record.train.loss for record in history],
            "validation": [record.validation.loss if record.validation else None for record in history],
            "test": [record.test.loss for record in history],
        },
    )
    axes.set_title(f"Loss, {title}", **TITLE)
    axes.set(xlabel="epoch", ylabel="mean cross entropy (nats)")
    axes.set_ylim(bottom=0)
    return figure


def draw_accuracy(history: Sequence[EpochRecord], *, title: str) -> Figure:
    """Training and test top-1 and test top-5 by epoch."""
    figure, axes = _figure(7, 4.2)
    _draw_curves(
        axes,
        {
            "train": [record.train.top1 for record in history],
            "validation": [record.validation.top1 if record.validation else None for record in history],
            "test": [record.test.top1 for record in history],
            "test top-5": [record.test.top5 for record in history],
        },
    )
    axes.set_title(f"Accuracy, {title}", **TITLE)
    axes.set(xlabel="epoch", ylabel="top-1 accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(top=1.01)
    return figure


def draw_confusion(confusion: Sequence[Sequence[int]], *, classes: Sequence[str], title: str) -> Figure:
    """Counts of test images, a row per true class; the shade is the part of the row."""
    counts = np.array(confusion)
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    legible = len(classes) <= LEGIBLE_CLASSES
    side = 1.8 + (0.62 * len(classes) if legible else 7)
    figure, axes = _figure(side + 0.8, side)
    axes.grid(visible=False)
    axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    axes.set_title(f"Confusion matrix, {title}", **TITLE)
    axes.set(xlabel="predicted class", ylabel="true class")
    if legible:
        labels = [_label(name) for name in classes]
        axes.set_xticks(range(len(classes)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(classes)), labels)
        for (row, column), count in np.ndenumerate(counts):
            shade = "white" if parts[row, column] > 0.5 else ("black" if count else "#b0b7c3")
            axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize=8)
    return figure


def draw_class_accuracy(
    class_accuracy: Sequence[float | None], *, classes: Sequence[str], top1: float, title: str
) -> Figure:
    """Test accuracy of every class, the best on top, with the accuracy over all as a line."""
    present = [(value, _label(name)) for value, name in zip(class_accuracy, classes, strict=True) if value is not None]
    values, names = zip(*sorted(present), strict=True)
    legible = len(names) <= LEGIBLE_CLASSES
    figure, axes = _figure(7, 1.4 + (0.32 * len(names) if legible else 6))
    axes.grid(visible=False)
    axes.barh(range(len(names)), values, color=BLUE, height=0.75 if legible else 1.0)
    axes.axvline(top1, color=GREY, linestyle="--", linewidth=1.2)
    axes.text(
        top1,
        len(names) - 0.4,
        f"all {top1:.1%}",
        color=GREY,
        ha="center",
        va="bottom",
        fontsize=9,
        bbox={"color": "white", "pad": 1},
    )
    axes.set_yticks(range(len(names)), names) if legible else axes.set_yticks([])
    if legible:
        for row, value in enumerate(values):
            inside = value > 0.12
            axes.text(
                value - 0.01 if inside else value + 0.01,
                row,
                f"{value:.1%}",
                ha="right" if inside else "left",
                va="center",
                color="white" if inside else "black",
                fontsize=8.5,
            )
    axes.set(xlabel="test top-1 accuracy", xlim=(0, 1), ylim=(-0.6, len(names) + 0.2))
    axes.set_title(f"Class-wise accuracy, {title}", pad=14, **TITLE)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def draw_samples(samples: Sequence[Sample], *, title: str) -> Figure:
    """Test images with true and predicted class, right ones marked in green and wrong ones in red."""
    num_columns = min(8, max(1, len(samples)))
    num_rows = -(-len(samples) // num_columns)
    figure, _ = _figure(1.55 * num_columns, 2.05 * num_rows + 0.6, axes=False)
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, sample in zip(grid.flat, samples, strict=False):
        right = sample.true_class == sample.predicted_class
        axes.imshow(sample.image.transpose(1, 2, 0))
        said = f"{_label(sample.predicted_class)} {sample.probability:.0%}"
        label = f"✓ {said}" if right else f"✗ {said}\nis {_label(sample.true_class)}"
        axes.set_title(
            label, fontsize=8, color=GREEN if right else RED, loc="center", fontweight="normal", linespacing=1.1
        )
    figure.suptitle(f"Test images, {title}", x=0.01, ha="left", fontweight="bold", fontsize=11)
    return figure


def _draw_curves(axes: Axes, curves: dict[str, list[float | None]]) -> None:
    styles = {"train": (ORANGE, "--"), "validation": (GREEN, "-."), "test": (BLUE, "-"), "test top-5": (GREY, ":")}
    for name, values in curves.items():
        if any(value is not None for value in values):
            colour, line = styles[name]
            heights = [np.nan if value is None else value for value in values]
            axes.plot(range(1, len(values) + 1), heights, line, color=colour, label=name, marker="o", markersize=3.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)


def _figure(width: float, height: float, *, axes: bool = True) -> tuple[Figure, Axes]:
    """A figure of this many inches in the project's style, outside pyplot's global state."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots() if axes else None  # type: ignore[return-value]


def _label(name: str) -> str:
    """A class name as it fits beside an axis; a dollar sign would begin a formula."""
    short = name if len(name) <= MAX_LABEL_LENGTH else f"{name[: MAX_LABEL_LENGTH - 1]}…"
    return short.replace("$", r"\$")
