"""The rules of the report's figures: one scale, one legend, percent written in one way, labels that are not cut."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from job.report.analysis.charts import (
    BarChart,
    Chart,
    ConfusionChart,
    ConfusionMatrix,
    Line,
    LineChart,
    PanelChart,
    Picture,
    Point,
    Response,
    ResponseChart,
    Trial,
)
from job.report.analysis.study import Study
from job.report.render.class_pictures import build_confusions
from job.report.render.figures import DRAWN, draw
from job.report.render.frame import OTHER, find_colour, wrap_label
from job.report.render.lines import FOOT
from job.report.render.pictures import build_budget, build_curves, share_pictures
from job.report.render.svg import render_svg
from tests.records import build_study, make_manifest, make_result, make_study

NAN = float("nan")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return build_study(tmp_path_factory.mktemp("study"), *make_study(seeds=2))


def texts(figure: Figure) -> list[str]:
    root = ET.fromstring(render_svg(figure))
    return ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]


def line(label: str, heights: list[float], optimizer: str = "adam", *, dash: int = 0) -> Line:
    return Line(label, optimizer, list(range(1, len(heights) + 1)), heights, dash=dash)


def test_a_study_has_each_curve_once(study: Study) -> None:
    pictures = build_curves(study)
    assert [picture.name for picture in pictures] == ["accuracy", "loss", "updates"]
    for picture in pictures:
        assert isinstance(picture.chart, PanelChart)
        assert len(picture.chart.panels) == 2


def test_reasons_whose_lines_are_in_the_figure_of_another_share_it() -> None:
    adam, adagrad, sgd = (
        line("Adam", [0.2, 0.5]),
        line("Adagrad", [0.3, 0.6], "adagrad"),
        line("SGD", [0.1, 0.2], "sgd"),
    )

    def picture(name: str, *lines: Line, ylabel: str = "update / weight") -> Picture:
        return Picture(name, f"{name}.", LineChart(lines, name, "step", ylabel))

    pictures = [
        picture("a pair", adam, adagrad), picture("all", sgd, adagrad, adam), picture("others", adam, ylabel="loss"),
        picture("another run", replace(adam, y=[0.2, 0.4])), picture("a pair again", adagrad, adam),
    ]  # fmt: skip
    assert [own.name for own in share_pictures(pictures)] == ["all", "all", "others", "another run", "all"]


def test_top5_is_shown_where_it_is_not_saturated(tmp_path: Path) -> None:
    """The records' top-5 is 15 points above the accuracy."""
    low = [make_result(make_manifest("adam", seed=seed), accuracy=0.5) for seed in (0, 1)]
    assert "test-top5" in [picture.name for picture in build_curves(build_study(tmp_path, *low))]


def test_panels_are_on_one_scale_and_name_each_line_once() -> None:
    panels = [LineChart([line("Adam", heights)], title, "epoch", "top-1", accuracy=True)
              for title, heights in (("test", [0.2, 0.5]), ("training", [0.4, 0.9]))]  # fmt: skip
    figure = draw(PanelChart(panels, "Accuracy"))
    assert texts(figure).count("Adam") == 1
    left, right = figure.axes
    assert left.get_ylim() == right.get_ylim()


@pytest.mark.parametrize(("heights", "scale"), [([2.0, 0.1], "log"), ([2.0, 0.3], "linear")])
def test_loss_is_logarithmic_where_it_spans_more_than_a_decade(
    tmp_path: Path, heights: list[float], scale: str
) -> None:
    results = [
        make_result(
            make_manifest("adam", seed=seed, epochs=2), top1=[0.3, 0.5], train_top1=[0.3, 0.5], test_loss=heights
        )
        for seed in (0, 1)
    ]
    loss = next(picture for picture in build_curves(build_study(tmp_path, *results)) if picture.name == "loss")
    assert draw(loss.chart).axes[0].get_yscale() == scale


def test_every_kind_of_chart_is_drawn_by_something() -> None:
    assert set(DRAWN) == set(get_args(Chart))


def test_baseline_is_the_solid_line_although_another_configuration_is_better(tmp_path: Path) -> None:
    results = [
        make_result(make_manifest("adam", seed=seed, lr=lr), accuracy=score + 0.001 * seed)
        for lr, score in ((0.001, 0.8), (0.0001, 0.85), (0.01, 0.7))
        for seed in (0, 1)
    ]
    study = build_study(tmp_path, *results)
    assert study.shown[0].label == "Adam lr 0.0001"
    (panel, _) = next(picture.chart.panels for picture in build_curves(study) if isinstance(picture.chart, PanelChart))
    assert {own.label: own.dash for own in panel.lines} == {"Adam": 0, "Adam lr 0.0001": 1, "Adam lr 0.01": 2}


def test_percent_is_written_in_one_way_with_the_digits_that_it_needs() -> None:
    wide = texts(draw(LineChart([line("Adam", [0.2, 0.8])], "x", "epoch", "top-1", accuracy=True)))
    narrow = texts(draw(LineChart([line("Adam", [0.8, 0.805])], "x", "epoch", "top-1", accuracy=True)))
    ticks = [[text for text in found if "%" in text] for found in (wide, narrow)]
    assert all(re.fullmatch(r"\d+ %", text) for text in ticks[0])
    assert all(re.fullmatch(r"\d+\.\d %", text) for text in ticks[1])
    assert min(map(len, ticks)) > 2


@pytest.mark.parametrize(
    ("label", "lines"),
    [
        ("Adam", ["Adam"]),
        ("Adam lr 0.001, betas (0.9, 0.999)", ["Adam lr 0.001,", "betas (0.9, 0.999)"]),
        ("RMSprop eps 0.01, lr 0.0001, alpha 0.9", ["RMSprop eps 0.01,", "lr 0.0001, alpha 0.9"]),
        ("Adagrad initial_accumulator_value 0.1", ["Adagrad initial_", "accumulator_value 0.1"]),
    ],
)
def test_long_labels_are_wrapped_between_attributes(label: str, lines: list[str]) -> None:
    assert wrap_label(label, width=22).split("\n") == lines


def test_only_what_has_more_than_three_lines_is_cut() -> None:
    told = wrap_label(", ".join(f"attribute_{place} 0.001" for place in range(9)), width=24)
    assert told.count("\n") == 2
    assert told.endswith("…")


def test_confusion_matrices_stand_in_one_figure_without_zeros(study: Study) -> None:
    classes = ["cat", "dog", "ship"]
    matrices = {own.digest: (classes, np.array([[90, 10, 0], [5, 95, 0], [0, 0, 100]])) for own in study.shown}
    (picture,) = build_confusions(matrices, study)
    assert isinstance(picture.chart, ConfusionChart)
    assert len(picture.chart.matrices) == len(study.shown)
    drawn = texts(draw(picture.chart))
    assert (drawn.count("90"), drawn.count("10"), drawn.count("0")) == (len(study.shown), len(study.shown), 0)
    assert drawn.count("cat") == 2 + len(study.shown) // 2  # at the left of each row, and below the last one


def test_confusions_share_one_scale_of_shades() -> None:
    """The same part of a class's images has the same shade in both, and what was right has none."""
    few, many = ([[80, 20], [0, 100]], [[60, 40], [20, 80]])
    chart = ConfusionChart([ConfusionMatrix(counts, ["cat", "dog"], str(place)) for place, counts in
                            enumerate((few, many))], "Confusion matrices")  # fmt: skip
    first, second, scale = draw(chart).axes

    def colours(patches: list[Rectangle]) -> dict[tuple[float, float], object]:
        return {patch.get_xy(): patch.get_facecolor() for patch in patches}

    left, right = (
        colours([patch for patch in axes.patches if isinstance(patch, Rectangle)]) for axes in (first, second)
    )
    top_right, bottom_left, top_left = (0.53, -0.47), (-0.47, 0.53), (-0.47, -0.47)
    assert left[top_right] == right[bottom_left]  # a fifth
    assert right[top_right] != left[top_right]
    assert left[top_left] == right[top_left]
    assert [text.get_text() for text in scale.get_xticklabels()] == ["0 %", "20 %", "40 %"]


def test_many_classes_are_a_picture_without_counts() -> None:
    counts = np.random.default_rng(0).integers(0, 9, (100, 100)).tolist()
    chart = ConfusionChart([ConfusionMatrix(counts, [f"class {place}" for place in range(100)], "Adam")], "x")
    assert len(texts(draw(chart))) < 12
    assert len(render_svg(draw(chart))) < 20_000


def response(*points: Point, **changes: object) -> ResponseChart:
    trials = [Trial(float(place), point) for place, point in enumerate(points)]
    trials[0] = replace(trials[0], is_best=True, is_baseline=True)
    ticks = [(float(place), point.label) for place, point in enumerate(points)]
    return ResponseChart([Response("Adam", "adam", trials, "low")], "x", "lr", "test top-1", ticks)


def test_diverged_value_is_a_cross_at_the_foot() -> None:
    figure = draw(
        response(Point("0.01", "adam", 0.8, 0.7, 0.9), Point("1", "adam", NAN, remark="its only seed diverged"))
    )
    (axes,) = figure.axes
    (cross,) = [drawn for drawn in axes.lines if drawn.get_marker() == "x"]
    assert np.asarray(cross.get_xydata()).tolist() == [[1, FOOT]]  # the height is a part of the axes'


def test_best_value_has_a_ring_and_an_arrow_where_it_lies_at_the_edge() -> None:
    figure = draw(response(Point("0.01", "adam", 0.8, 0.7, 0.9), Point("0.1", "adam", 0.7, 0.6, 0.8)))
    (axes,) = figure.axes
    rings = [drawn for drawn in axes.lines if drawn.get_markerfacecolor() == "none"]
    assert [np.asarray(ring.get_xdata()).tolist() for ring in rings] == [[0]]
    assert "←" in texts(figure)


def test_bars_have_their_intervals() -> None:
    chart = BarChart([Point("Adam lr", "adam", 0.7, 0.5, 0.9)], "Importance", "share", ["70 %"])
    (axes,) = draw(chart).axes
    assert [np.asarray(drawn.get_xdata()).tolist() for drawn in axes.lines] == [[0.5, 0.9], [0.5, 0.9]]
    assert {"0 %", "100 %", "70 %"} <= set(texts(draw(chart)))


def test_default_stands_beside_the_tuned_at_equal_trials(study: Study) -> None:
    (picture,) = build_budget(study)
    assert "the same number for every optimizer" in picture.caption
    assert "a single configuration was run" in picture.caption


def test_legend_of_several_rows_reads_row_by_row() -> None:
    names = [f"Adam weight_decay {value}" for value in ("0.1", "0.2", "0.3", "0.4", "0.5")]
    figure = draw(LineChart([line(name, [0.1, 0.2]) for name in names], "x", "epoch", "top-1"))
    root = ET.fromstring(render_svg(figure))
    places = {
        str(text.text): (float(text.get("y") or 0), float(text.get("x") or 0))
        for text in root.iter("{http://www.w3.org/2000/svg}text")
    }
    assert sorted(names, key=places.__getitem__) == names
    assert len({places[name][0] for name in names}) == 3


def test_unknown_optimizer_has_a_colour_too() -> None:
    assert find_colour("soap") == OTHER
