"""The SVGs of the report: small, whole, the same every time, and with marks for the page's script."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import IdentityTransform

from job.plots import render
from job.report.analysis.charts import Line, LineChart, Point, PointChart
from job.report.render.elements import show_number, write_path
from job.report.render.figures import draw
from job.report.render.svg import Tag, render_svg

SVG = "{http://www.w3.org/2000/svg}"


def curves(label: str = "Adam lr 0.001") -> LineChart:
    rng, epochs = np.random.default_rng(0), list(range(1, 11))
    lines = []
    for optimizer in ("adam", "adagrad", "adadelta", "rmsprop"):
        y = np.sort(rng.random(10))
        lines.append(Line(label if optimizer == "adam" else optimizer, optimizer, epochs, y, y - 0.02, y + 0.02))
    return LineChart(lines, "Test accuracy", "epoch", "top-1", accuracy=True)


def read(figure: Figure) -> ET.Element:
    return ET.fromstring(render_svg(figure))


def groups(root: ET.Element, kind: str) -> list[ET.Element]:
    return [group for group in root.iter(f"{SVG}g") if group.get("class") == kind]


def test_chart_of_four_lines_has_a_third_of_matplotlibs_bytes() -> None:
    small, usual = render_svg(draw(curves())), render(draw(curves()), "svg")
    assert len(small) < 9000
    assert len(small) < len(usual) / 3


def test_same_chart_gives_the_same_bytes() -> None:
    assert render_svg(draw(curves())) == render_svg(draw(curves()))


def test_svg_has_no_ids_that_could_meet_on_a_page() -> None:
    assert not [element for element in read(draw(curves())).iter() if element.get("id")]


def test_line_with_its_band_and_marks_is_one_group() -> None:
    root = read(draw(curves()))
    series = groups(root, "series")
    assert [(group.get("data-label"), group.get("data-optimizer")) for group in series] == [
        ("Adam lr 0.001", "adam"), ("adagrad", "adagrad"), ("adadelta", "adadelta"), ("rmsprop", "rmsprop"),
    ]  # fmt: skip
    adam = series[0]
    assert len([path for path in adam.iter(f"{SVG}path") if path.get("fill-opacity")]) == 1
    (marks,) = [path for path in adam.iter(f"{SVG}path") if path.get("data-v")]
    assert (marks.get("d") or "").count("M") == 10
    assert {group.get("data-label") for group in groups(root, "legend")} == {
        group.get("data-label") for group in series
    }


@pytest.mark.parametrize("place", range(4))
def test_every_mark_tells_what_it_shows_and_stands_where_its_line_is(place: int) -> None:
    chart = curves()
    _, line, marks = groups(read(draw(chart)), "series")[place].iter(f"{SVG}path")
    assert (marks.get("data-v") or "").split("|") == [
        f"epoch {epoch}: {100 * value:.1f} %" for epoch, value in enumerate(chart.lines[place].y, 1)
    ]
    starts = re.findall(r"M(-?[\d.]+) ?(-?[\d.]+)", marks.get("d") or "")
    assert len(starts) == 10
    ends = follow(line.get("d") or "")
    assert [float(number) for number in starts[-1]] == pytest.approx(ends, abs=4)


def test_texts_of_marks_are_told_apart_by_a_sign_that_none_has() -> None:
    figure = Figure(figsize=(2, 2))
    (line,) = figure.subplots().plot([0, 1], [0, 1], "s")
    Tag("a", marks=["one|two", 'a "third"']).put(line)
    (marks,) = groups(read(figure), "series")[0].iter(f"{SVG}path")
    assert marks.get("data-v") == 'one/two|a "third"'


def test_single_seeds_are_a_group_within_their_series() -> None:
    chart = PointChart([Point("none", "adam", 0.8, 0.7, 0.9, [0.75, 0.85])], "Schedules", "test top-1", "none")
    (series,) = groups(read(draw(chart)), "series")
    (seeds,) = groups(series, "seeds")
    assert [mark.get("data-v") for mark in seeds.iter(f"{SVG}circle")] == [
        "none, one seed: 75.0 %", "none, one seed: 85.0 %",
    ]  # fmt: skip


@pytest.mark.parametrize("label", ["<script>alert(1)</script>", 'a "quoted" & odd', "tab\tnull\0bell\a", "$x$ 猫"])
def test_odd_labels_are_text(label: str) -> None:
    root = read(draw(curves(label)))
    assert not list(root.iter(f"{SVG}script"))
    shown = "".join(character if character.isprintable() else "\ufffd" for character in label)
    assert groups(root, "series")[0].get("data-label") == shown
    assert shown in {"".join(text.itertext()) for text in root.iter(f"{SVG}text")}


def test_path_goes_on_relatively_without_losing_its_place() -> None:
    """A thousand steps of a third of a tenth: rounding each one alone would end somewhere else."""
    ends = np.column_stack([np.arange(1000) / 30, np.sin(np.arange(1000))])
    assert follow(write_path(Path(ends), IdentityTransform())) == pytest.approx(ends[-1], abs=0.051)


def follow(d: str) -> tuple[float, float]:
    """Where a path of M, l, h and v ends."""
    x = y = 0.0
    for command, text in re.findall(r"([Mlhv])([^Mlhv]*)", d):
        numbers = [float(number) for number in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", text)]
        if command == "h":
            x += sum(numbers)
        elif command == "v":
            y += sum(numbers)
        else:
            x, y = (x + sum(numbers[::2]), y + sum(numbers[1::2]))
    return x, y


def test_numbers_have_no_more_characters_than_they_need() -> None:
    assert [show_number(value) for value in (12.0, 0.5, -0.25, -0.04, 3.14159)] == ["12", ".5", "-.2", "0", "3.1"]


def test_line_outside_the_axes_is_cut_at_their_edge() -> None:
    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    (line,) = axes.plot([0, 1], [0, 100])
    Tag("steep").put(line)
    axes.set_ylim(0, 1)
    (path,) = groups(read(figure), "series")[0].iter(f"{SVG}path")
    top = axes.bbox.y1
    heights = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d") or "")]
    assert heights[1] == pytest.approx(144 - axes.bbox.y0, abs=0.2)
    assert heights[1] + heights[3] == pytest.approx(144 - top, abs=1.5)


def test_picture_elements_are_drawn_too() -> None:
    figure = Figure(figsize=(2, 2))
    figure.subplots().imshow(np.eye(3))
    (image,) = read(figure).iter(f"{SVG}image")
    assert (image.get("href") or "").startswith("data:image/png;base64,")


def test_markers_of_every_shape_stand_where_their_points_are() -> None:
    figure = Figure(figsize=(2, 2), dpi=72)
    axes = figure.subplots()
    for marker in "os^vDPX*dhp<>":
        axes.plot([0.5], [0.5], marker)
    root = read(figure)
    assert len(list(root.iter(f"{SVG}circle"))) == 1
