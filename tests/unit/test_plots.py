"""Every picture of a run draws, whatever the names, however many classes, and whatever is missing."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Literal

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from job import plots
from job.runs import EpochRecord, Scores
from tests.records import make_manifest, make_result

STRANGE = ["<script>alert(1)</script>", "$x^2$", r"$\frac", "Größe & 猫 🐈", "a" * 300, "tab\tnull\0bell\a", "50%", ""]


def epoch(number: int, top1: float) -> EpochRecord:
    (record,) = make_result(make_manifest("adam", epochs=1), top1=[top1]).history
    return record.model_copy(update={"epoch": number})


HISTORY = [epoch(1, 0.3), epoch(2, 0.6)]
Draw = Callable[[int], Figure]


def class_names(number: int) -> list[str]:
    return [*STRANGE, *(f"class {index}" for index in range(number))][:number]


def draw_confusion(number: int) -> Figure:
    confusion = np.random.default_rng(0).integers(0, 900, (number, number))
    confusion[-1] = 0  # a class without test images
    return plots.draw_confusion(confusion.tolist(), classes=class_names(number), title="adam")


def draw_class_accuracy(number: int) -> Figure:
    accuracy = [None, *np.linspace(0, 1, number - 1).tolist()]
    return plots.draw_class_accuracy(accuracy, classes=class_names(number), top1=0.5, title="adam")


def draw_samples(number: int) -> Figure:
    image = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    names = class_names(number)
    samples = [plots.Sample(image, names[index % number], names[index // 2 % number], 0.5) for index in range(13)]
    return plots.draw_samples(samples, title="adam")


DRAWN: dict[str, Draw] = {
    "loss": lambda number: plots.draw_loss(HISTORY[:number], title="adam"),
    "accuracy": lambda number: plots.draw_accuracy(HISTORY[:number], title="adam"),
    "confusion": draw_confusion,
    "class_accuracy": draw_class_accuracy,
    "samples": draw_samples,
}


def texts(figure: Figure) -> list[str]:
    """Every text in the picture, as it stands in the SVG."""
    root = ET.fromstring(plots.render(figure, "svg"))
    return ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("number", [2, 10, 100])
@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_figure_is_a_picture_in_both_formats(draw: Draw, number: int) -> None:
    figure = draw(number)
    with Image.open(io.BytesIO(plots.render(figure))) as image:
        image.load()
        assert image.format == "PNG"
        assert image.width >= 700
        colors = image.getcolors(10**6)
        assert colors is not None
        assert len(colors) > 10  # not blank
    assert ET.fromstring(plots.render(figure, "svg")).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize("image_format", ["png", "svg"])
@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_same_figure_gives_the_same_bytes(draw: Draw, image_format: Literal["png", "svg"]) -> None:
    assert plots.render(draw(8), image_format) == plots.render(draw(8), image_format)


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    before = dict(mpl.rcParams)
    plots.render(draw_samples(2))
    assert dict(mpl.rcParams) == before


def test_names_are_drawn_as_they_are_written_but_short_and_printable() -> None:
    drawn = texts(draw_confusion(8))
    for name in ("$x^2$", r"$\frac", "Größe & 猫 🐈", "50%", "tab�null�bell�", f"{'a' * 23}…"):
        assert drawn.count(name) == 2, name  # beside a row and below a column
    assert drawn.count("<script>alert(1)</scrip…") == 2


def test_confusion_shows_every_count_where_there_is_room() -> None:
    counts = [[41, 42], [43, 44]]
    assert {"41", "42", "43", "44"} <= set(texts(plots.draw_confusion(counts, classes=["a", "b"], title="x")))
    assert len(texts(draw_confusion(100))) < 30


def test_confusion_leaves_out_zeros() -> None:
    drawn = texts(plots.draw_confusion([[41, 0], [0, 44]], classes=["a", "b"], title="x"))
    assert {"41", "44"} <= set(drawn)
    assert "0" not in drawn


def test_confusion_has_a_row_for_every_true_class() -> None:
    (axes,) = plots.draw_confusion([[8, 2], [0, 5]], classes=["cat", "dog"], title="x").axes
    cells = axes.images[0].get_array()
    assert cells is not None
    assert cells.tolist() == [[0.8, 0.2], [0.0, 1.0]]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")


def test_classes_are_sorted_by_accuracy_and_one_without_images_is_left_out() -> None:
    figure = plots.draw_class_accuracy([0.5, None, 0.25, 1.0], classes=["a", "b", "c", "d"], top1=0.6, title="x")
    (axes,) = figure.axes
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [bar.get_width() for bar in bars] == [0.25, 0.5, 1.0]  # from below
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "a", "d"]
    assert {"25.0 %", "50.0 %", "100.0 %", "all 60.0 %"} <= set(texts(figure))
    assert "b" not in texts(figure)


def test_no_class_with_test_images_is_drawn_as_well() -> None:
    assert plots.render(plots.draw_class_accuracy([None, None], classes=["a", "b"], top1=0.0, title="x"))


def test_samples_say_what_was_predicted_and_what_is_true() -> None:
    image = np.zeros((3, 8, 8), dtype=np.uint8)
    right, wrong = plots.Sample(image, "cat", "cat", 0.987), plots.Sample(image, "dog", "cat", 0.4)
    drawn = texts(plots.draw_samples([right, wrong], title="x"))
    assert {"✓ cat 99 %", "✗ cat 40 %", "is dog"} <= set(drawn)
    assert "is cat" not in drawn


# Curves


def without(record: EpochRecord, **parts: Scores | None) -> EpochRecord:
    return record.model_copy(update=parts)


def test_single_epoch_stands_at_a_whole_number() -> None:
    (axes,) = plots.draw_loss(HISTORY[:1], title="x").axes
    assert 1 in axes.get_xticks()
    assert all(tick == int(tick) for tick in axes.get_xticks())


def test_loss_that_is_not_finite_leaves_a_gap() -> None:
    broken = without(epoch(2, 0.1), train=Scores(loss=None, top1=0.1))
    figure = plots.draw_loss([epoch(1, 0.1), broken, epoch(3, 0.1)], title="sgd")
    assert np.isnan(figure.axes[0].lines[0].get_ydata()).tolist() == [False, True, False]
    assert plots.render(figure)


def test_curve_that_was_not_measured_is_not_named() -> None:
    assert not {"validation", "test top-5"} & set(texts(plots.draw_loss(HISTORY, title="x")))
    held_out = [without(record, validation=Scores(loss=1.0, top1=0.5)) for record in HISTORY]
    assert {"train", "validation", "test"} <= set(texts(plots.draw_loss(held_out, title="x")))
    assert {"validation", "test top-5"} <= set(texts(plots.draw_accuracy(held_out, title="x")))


def test_history_without_a_single_finite_loss_is_drawn_as_well() -> None:
    nothing = Scores(loss=None, top1=0.1)
    assert plots.render(plots.draw_loss([without(epoch(1, 0.1), train=nothing, test=nothing)], title="x"))
