"""The pictures of a run, as matplotlib figures from its records; torch is not needed to draw them.

Colours are Okabe and Ito's, told apart also by colour-blind people (https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from job.runs import EpochRecord

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#6b7280"
RIGHT, WRONG = "#006B4F", "#A84300"
"""The palette's green and vermilion, darkened to be read as small text."""
PNG_DPI, SVG_DPI = 150, FigureCanvasSVG.fixed_dpi
LEGIBLE_CLASSES = 20
"""With more classes than these, cells and bars carry no names and no counts."""
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "figure.constrained_layout.h_pad": 0.09,
    "figure.constrained_layout.w_pad": 0.09,
    "text.parse_math": False,  # a class may be named $x$
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
    """The figure as a file's content, the same bytes for the same figure. The layout of the first format holds."""
    buffer = io.BytesIO()
    metadata = {"Software": None} if image_format == "png" else {"Date": None}
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # a box stands for it, in SVG the character
        lay_out(figure, image_format)
        figure.savefig(buffer, format=image_format, dpi=PNG_DPI, metadata=metadata)
    return buffer.getvalue()


def lay_out(figure: Figure, image_format: Literal["png", "svg"]) -> None:
    """Place what is in the figure, as `savefig` would; but that draws the whole figure unseen to do it, in every format
    anew."""
    engine = figure.get_layout_engine()
    if engine is None:
        return
    canvas, dpi = (FigureCanvasAgg, PNG_DPI) if image_format == "png" else (FigureCanvasSVG, SVG_DPI)
    canvas(figure)
    figure.set_dpi(dpi)
    engine.execute(figure)
    figure.set_layout_engine(None)


@mpl.rc_context(STYLE)
def draw_loss(history: Sequence[EpochRecord], *, title: str) -> Figure:
    """Training and test loss by epoch."""
    figure = new_figure(7, 4.2, title=f"Loss, {title}")
    axes = figure.subplots()
    _draw_curves(
        axes,
        {
            "train": [record.train.loss for record in history],
            "validation": [record.validation.loss if record.validation else None for record in history],
            "test": [record.test.loss for record in history],
        },
    )
    axes.set(xlabel="epoch", ylabel="mean cross entropy (nats)")
    axes.set_ylim(bottom=0)
    return figure


@mpl.rc_context(STYLE)
def draw_accuracy(history: Sequence[EpochRecord], *, title: str) -> Figure:
    """Training and test top-1 and test top-5 by epoch."""
    figure = new_figure(7, 4.2, title=f"Accuracy, {title}")
    axes = figure.subplots()
    _draw_curves(
        axes,
        {
            "train": [record.train.top1 for record in history],
            "validation": [record.validation.top1 if record.validation else None for record in history],
            "test": [record.test.top1 for record in history],
            "test top-5": [record.test.top5 for record in history],
        },
    )
    axes.set(xlabel="epoch", ylabel="accuracy")
    _show_percents(axes.yaxis)
    axes.set_ylim(top=1.01)
    return figure


@mpl.rc_context(STYLE)
def draw_confusion(confusion: Sequence[Sequence[int]], *, classes: Sequence[str], title: str) -> Figure:
    """Counts of test images, a row per true class; the shade is the part of the row."""
    counts = np.array(confusion)
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    named = len(classes) <= LEGIBLE_CLASSES
    side = max(5.5, 1.8 + (0.5 * len(classes) if named else 6))
    figure = new_figure(side, side, title=f"Confusion matrix, {title}")
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted class", ylabel="true class")
    if named:
        names = [fit_label(name) for name in classes]
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        for (row, column), count in np.ndenumerate(counts):
            if count:  # zeros would hide the errors
                shade = "white" if parts[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize=8)
    return figure


@mpl.rc_context(STYLE)
def draw_class_accuracy(
    class_accuracy: Sequence[float | None], *, classes: Sequence[str], top1: float, title: str
) -> Figure:
    """Test accuracy of every class, the best on top, with the accuracy over all as a line.

    A class without test images is left out.
    """
    accuracy = {name: value for name, value in zip(classes, class_accuracy, strict=True) if value is not None}
    names = sorted(accuracy, key=lambda name: (accuracy[name], name))
    rows, named = range(len(names)), len(names) <= LEGIBLE_CLASSES
    figure = new_figure(7, 1.5 + (0.32 * len(names) if named else 6), title=f"Class-wise accuracy, {title}")
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.barh(rows, [accuracy[name] for name in names], color=BLUE, height=0.75 if named else 1.0)
    axes.axvline(top1, color="black", linestyle="--", linewidth=1)
    above = axes.get_xaxis_transform()
    axes.text(top1, 1.01, f"all {_percent(top1)}", transform=above, ha="center", va="bottom", fontsize=9)
    if named:
        axes.set_yticks(rows, [fit_label(name) for name in names])
        beside = axes.get_yaxis_transform()
        for row, name in enumerate(names):
            axes.text(1.015, row, _percent(accuracy[name]), transform=beside, va="center", fontsize=9)
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(names)} classes")
    axes.set(xlabel="test top-1 accuracy", xlim=(0, 1), ylim=(-0.6, max(len(names), 1) - 0.4))
    _show_percents(axes.xaxis)
    return figure


@mpl.rc_context(STYLE)
def draw_samples(samples: Sequence[Sample], *, title: str) -> Figure:
    """Test images with true and predicted class, right ones marked in green and wrong ones in red."""
    num_columns = min(8, max(1, len(samples)))
    num_rows = -(-len(samples) // num_columns)
    figure = new_figure(max(5, 1.55 * num_columns), 1.95 * num_rows + 0.4, title=f"Test images, {title}")
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, sample in zip(grid.flat, samples, strict=False):
        right = sample.true_class == sample.predicted_class
        axes.imshow(sample.image.transpose(1, 2, 0))
        said = f"{fit_label(sample.predicted_class, 14)} {_percent(sample.probability, 0)}"
        lines = [f"✓ {said}"] if right else [f"is {fit_label(sample.true_class, 14)}", f"✗ {said}"]
        for row, line in enumerate(lines):  # a text each, so that they stand at one height in every column
            axes.text(
                0.5, 1.04 + 0.12 * row, line, transform=axes.transAxes, ha="center", va="baseline", fontsize=8,
                color=RIGHT if right else WRONG,
            )  # fmt: skip
    return figure


def _percent(fraction: float, digits: int = 1) -> str:
    """0.886 as `88.6 %`, as the report writes it."""
    return f"{100 * fraction:.{digits}f} %"


def _show_percents(axis: Axis) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: _percent(value, 0)))


def _draw_curves(axes: Axes, curves: dict[str, list[float | None]]) -> None:
    styles = {"train": (ORANGE, "--"), "validation": (GREEN, "-."), "test": (BLUE, "-"), "test top-5": (GREY, ":")}
    for name, values in curves.items():
        if any(value is not None for value in values):
            colour, line = styles[name]
            heights = [np.nan if value is None else value for value in values]
            axes.plot(range(1, len(values) + 1), heights, line, color=colour, label=name, marker="o", markersize=3.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    num_epochs = max(map(len, curves.values()))
    axes.set_xlim(1 - 0.03 * (num_epochs + 1), num_epochs + 0.03 * (num_epochs + 1))
    if axes.lines and axes.figure:
        # below, never on a curve; and "best", which looks for room, warns where a busy machine takes a second for it
        axes.figure.legend(loc="outside lower center", ncols=len(axes.lines), frameon=False)


def new_figure(width: float, height: float, *, title: str) -> Figure:
    """A figure of this many inches, outside pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(fit_label(title, 64), x=0.012, ha="left", fontweight="bold", fontsize=11)
    return figure


def fit_label(text: str, limit: int = 24) -> str:
    """`text` fit to be drawn: not too long, and without the control characters that XML forbids."""
    printable = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return printable if len(printable) <= limit else f"{printable[: limit - 1]}…"
