"""How the accuracy answers to an attribute with numbers: tried values, the best, the edge, and where they stand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from job.report.analysis.charts import LineChart, PanelChart, ResponseChart
from job.report.analysis.sensitivity import Sensitivity
from job.report.analysis.study import Study
from job.report.render.sensitivity_pictures import build_attribute_curves, build_importance, build_sensitivity
from job.runs import RunResult
from tests.records import build_study, diverged, make_manifest, make_result

NOISE = [0.0, 0.01, -0.005]


def runs(optimizer: str, score: float, **fields: Any) -> list[RunResult]:
    return [
        make_result(make_manifest(optimizer, seed=seed, **fields), accuracy=score + each)
        for seed, each in enumerate(NOISE)
    ]


def over_rates(optimizer: str, scores: Mapping[float, float], **fields: Any) -> list[RunResult]:
    return [run for lr, score in scores.items() for run in runs(optimizer, score, lr=lr, **fields)]


def find(study: Study, attribute: str) -> Sensitivity:
    (found,) = [own for own in study.sensitivities if own.attribute == attribute]
    return found


def test_every_tried_value_has_the_judgements_estimate(tmp_path: Path) -> None:
    study = build_study(tmp_path, *over_rates("adam", {0.0001: 0.7, 0.001: 0.8, 0.01: 0.6}))
    (adam,) = find(study, "optimizer.lr").optimizers
    assert [tried.value for tried in adam.tried] == [0.0001, 0.001, 0.01]
    assert study.judgement is not None
    for tried, score in zip(adam.tried, (0.7, 0.8, 0.6), strict=True):
        assert tried.estimate == study.judgement.fitted.estimate(tried.configuration)
        assert tried.estimate is not None
        assert tried.estimate.mean == pytest.approx(score + sum(NOISE) / 3, abs=1e-3)
    assert (adam.best, adam.baseline, adam.at_edge) == (1, 1, None)


@pytest.mark.parametrize(
    ("scores", "edge", "warning"),
    [
        ({0.0001: 0.8, 0.001: 0.7, 0.01: 0.6}, "low", "0.0001, is the smallest that was tried: a smaller one may"),
        ({0.0001: 0.6, 0.001: 0.7, 0.01: 0.8}, "high", "0.01, is the largest that was tried: a larger one may"),
        ({0.0001: 0.6, 0.001: 0.8, 0.01: 0.7}, None, None),
    ],
)
def test_best_at_the_edge_of_what_was_tried_is_warned_of(
    tmp_path: Path, scores: dict[float, float], edge: str | None, warning: str | None
) -> None:
    study = build_study(tmp_path, *over_rates("adam", scores))
    found = find(study, "optimizer.lr")
    assert found.optimizers[0].at_edge == edge
    expected = [f"Adam's best learning rate, {warning} be better."] if warning else []
    assert found.warnings == expected
    (picture,) = build_sensitivity(study)
    assert all(sentence in picture.caption for sentence in expected)


def test_no_smaller_value_than_zero_is_asked_for(tmp_path: Path) -> None:
    study = build_study(tmp_path, *runs("adam", 0.8), *runs("adam", 0.7, weight_decay=0.01))
    assert find(study, "optimizer.weight_decay").warnings == []


def test_edge_where_the_attribute_makes_no_difference_is_not_warned_of(tmp_path: Path) -> None:
    study = build_study(tmp_path, *runs("adam", 0.8), *runs("adam", 0.8, eps=1e-7), *runs("adam", 0.801, eps=1e-6))
    found = find(study, "optimizer.eps")
    assert (found.optimizers[0].at_edge, found.optimizers[0].is_flat) == ("high", True)
    assert found.warnings == []


def test_learning_rates_of_all_optimizers_share_a_logarithmic_axis(tmp_path: Path) -> None:
    results = over_rates("adam", {0.001: 0.8, 0.003: 0.7}) + over_rates("adadelta", {0.1: 0.7, 1.0: 0.8})
    study = build_study(tmp_path, *results)
    (picture,) = build_sensitivity(study)
    assert isinstance(picture.chart, ResponseChart)
    assert {response.optimizer for response in picture.chart.responses} == {"adam", "adadelta"}
    positions = {label: position for position, label in picture.chart.ticks}
    assert positions["1"] - positions["0.1"] == pytest.approx(1)
    assert positions["0.1"] - positions["0.001"] == pytest.approx(2)
    assert all(trial.point.low is not None for response in picture.chart.responses for trial in response.trials)


def test_learning_rates_are_those_of_the_setting_with_most_of_them(tmp_path: Path) -> None:
    """Two with the baseline's weight decay, three with another one."""
    results = over_rates("adam", {0.001: 0.8, 0.01: 0.7})
    results += [run for eps in (1e-7, 1e-6, 1e-5) for run in runs("adam", 0.8, eps=eps)]
    results += over_rates("adam", {0.0003: 0.82, 0.003: 0.81, 0.03: 0.6}, weight_decay=0.01)
    (adam,) = find(build_study(tmp_path, *results), "optimizer.lr").optimizers
    assert [tried.value for tried in adam.tried] == [0.0003, 0.003, 0.03]
    assert adam.baseline is None
    (eps,) = find(build_study(tmp_path / "again", *results), "optimizer.eps").optimizers
    assert len(eps.tried) == 4
    assert eps.tried[0].configuration.label == "Adam"


def test_zero_has_a_place_of_its_own_on_a_logarithmic_axis(tmp_path: Path) -> None:
    decays = {0.0: 0.8, 0.0001: 0.81, 0.01: 0.82}
    results = [run for decay, score in decays.items() for run in runs("adam", score, weight_decay=decay)]
    found = find(build_study(tmp_path, *results), "optimizer.weight_decay")
    assert (found.scale, found.has_gap) == ("logarithmic", True)
    zero, small, large = (found.place(value) for value in decays)
    assert large - small == pytest.approx(2)
    assert zero < found.gap < small
    assert small - zero >= 1


def test_values_that_would_stand_on_each_other_stand_evenly(tmp_path: Path) -> None:
    results = [run for value in (0.5, 0.99, 0.999) for run in runs("rmsprop", 0.7, alpha=value)]
    found = find(build_study(tmp_path, *results), "optimizer.alpha")
    assert (found.scale, [found.place(value) for value in found.values]) == ("even", [0, 1, 2])


def test_divergence_is_counted_and_told(tmp_path: Path) -> None:
    some, every = runs("adam", 0.75, lr=0.1), runs("adam", 0.1, lr=1.0)
    results = [*over_rates("adam", {0.001: 0.8, 0.0001: 0.7}), diverged(some[0]), *some[1:], *map(diverged, every)]
    study = build_study(tmp_path, *results)
    found = find(study, "optimizer.lr")
    assert [tried.diverged_fraction for tried in found.optimizers[0].tried] == pytest.approx([0, 0, 1 / 3, 1])
    assert found.sentences[0].endswith("Diverged: 0.1 (1 of 3 seeds diverged) and 1 (3 of 3 seeds diverged).")
    (picture,) = build_sensitivity(study)
    assert "A cross: diverged with some seed, or, at the foot, with every seed." in picture.caption


def test_curves_have_a_line_per_value_with_the_baseline_solid(tmp_path: Path) -> None:
    results = over_rates("adam", {0.0001: 0.7, 0.001: 0.8, 0.01: 0.6}) + over_rates("adagrad", {0.001: 0.8, 0.01: 0.7})
    (picture,) = build_attribute_curves(build_study(tmp_path, *results))
    assert picture.name == "curves-lr"
    assert isinstance(picture.chart, PanelChart)
    panels: dict[str, LineChart] = {panel.title: panel for panel in picture.chart.panels}
    assert [line.label for line in panels["Adam"].lines] == ["0.0001", "0.001", "0.01"]
    assert [line.tone for line in panels["Adam"].lines] == [0, 0.5, 1]
    assert [line.tone for line in panels["Adagrad"].lines] == [0.5, 1]  # a value has one colour everywhere
    for panel in panels.values():
        (solid,) = [line for line in panel.lines if line.is_main]
        assert (solid.dash, {line.dash for line in panel.lines if line is not solid}) == (0, {1})


def test_schedules_have_curves_but_no_place_on_an_axis(tmp_path: Path) -> None:
    cosine = {"name": "cosine", "warmup_epochs": 1.0}
    study = build_study(tmp_path, *runs("adam", 0.8), *runs("adam", 0.82, schedule=cosine))
    assert build_sensitivity(study) == []
    assert [picture.name for picture in build_attribute_curves(study)] == ["curves-schedule"]


def test_importance_shows_the_shares_with_their_intervals(tmp_path: Path) -> None:
    results = over_rates("adam", {0.001: 0.8, 0.01: 0.5}) + runs("adam", 0.79, eps=0.01)
    study = build_study(tmp_path, *results)
    (picture,) = build_importance(study)
    lr = next(importance for importance in study.effects[0].importances if importance.name == "optimizer.lr")
    assert lr.share is not None
    assert lr.share.fraction > 0.9
    point = next(point for point in picture.chart.points if point.label == "Adam lr")  # type: ignore[union-attr]
    assert (point.value, point.low, point.high) == (lr.share.fraction, lr.share.low, lr.share.high)
