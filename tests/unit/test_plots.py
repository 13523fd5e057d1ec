"""Every picture of a run draws, whatever the names and however many classes."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from job import plots
from tests.integration.test_report import epoch

STRANGE = ["<script>", "$x^2$", "Ünïcödé", "a" * 80, "50% & more"]


def class_names(number: int) -> list[str]:
    return [*STRANGE, *(f"class {index}" for index in range(number))][:number]


def figures(num_classes: int) -> dict[str, Figure]:
    random = np.random.default_rng(0)
    classes = class_names(num_classes)
    accuracy = [None, *random.random(num_classes - 1).tolist()]
    history = [epoch(1, 0.3), epoch(2, 0.6)]
    confusion = random.integers(0, 9, (num_classes, num_classes)).tolist()
    image = random.integers(0, 256, (3, 32, 32), dtype=np.uint8)
    samples = [plots.Sample(image, classes[0], classes[index % 2], 0.5) for index in range(5)]
    return {
        "loss": plots.draw_loss(history, title="adam"),
        "accuracy": plots.draw_accuracy(history, title="adam"),
        "confusion": plots.draw_confusion(
            random.integers(0, 9, (num_classes,) * 2).tolist(), classes=classes, title="x"
        ),
        "class_accuracy": plots.draw_class_accuracy(accuracy, classes=classes, top1=0.5, title="adam"),
        "samples": plots.draw_samples(samples, title="adam"),
    }


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_every_figure_is_a_picture_in_both_formats(num_classes: int) -> None:
    for name, figure in figures(num_classes).items():
        with Image.open(io.BytesIO(plots.render(figure))) as image:
            assert image.width >= 400, name
        root = ET.fromstring(plots.render(figure, "svg"))
        assert root.tag.endswith("svg"), name


def test_same_numbers_give_the_same_bytes() -> None:
    once, again = figures(10), figures(10)
    for name in once:
        for image_format in ("png", "svg"):
            assert plots.render(once[name], image_format) == plots.render(again[name], image_format), name


def test_loss_that_is_not_finite_leaves_a_gap() -> None:
    broken = epoch(2, 0.1).model_copy(update={"train": epoch(2, 0.1).train.model_copy(update={"loss": None})})
    (axes,) = plots.draw_loss([epoch(1, 0.1), broken, epoch(3, 0.1)], title="sgd").axes
    assert np.isnan(axes.lines[0].get_ydata()).tolist() == [False, True, False]
