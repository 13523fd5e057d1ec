"""What attributes do: baselines, effects, grids, and what tuning buys."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from job.report.analysis.budget import tell_budget
from job.report.analysis.effects import OptimizerEffects, answer_attribute
from job.report.analysis.statistics import expected_maximum
from job.report.analysis.wording import show_comparison
from job.runs import RunResult
from tests.records import build_study, diverged, made_by, make_manifest, make_result, make_study

NOISE = [0.0, 0.01, -0.005, 0.004]


def adam(score: float, *, noise: float = 0.0, **fields: Any) -> list[RunResult]:
    return [
        make_result(make_manifest("adam", seed=seed, **fields), accuracy=score + each + noise * (-1) ** seed)
        for seed, each in enumerate(NOISE)
    ]


def told(effects: OptimizerEffects, attribute: str) -> str:
    """The difference and interval of the attribute's only value."""
    (effect,) = [effect for effect in effects.effects if effect.attribute == attribute]
    return show_comparison(effect.comparison)


def test_baseline_is_what_the_others_differ_from_in_one_attribute(tmp_path: Path) -> None:
    study = build_study(
        tmp_path, *adam(0.8, lr=0.003), *adam(0.7, lr=0.03), *adam(0.8, lr=0.003, betas=(0.5, 0.999)),
        *adam(0.81, lr=0.003, eps=0.01),
    )  # fmt: skip
    (effects,) = study.effects
    assert effects.baseline.attributes["optimizer.lr"] == 0.003
    assert [(each.attribute, each.value) for each in effects.effects] == [
        ("optimizer.betas", (0.5, 0.999)), ("optimizer.eps", 0.01), ("optimizer.lr", 0.03),
    ]  # fmt: skip
    assert {each.label for each in study.configurations} == {
        "Adam", "Adam lr 0.03", "Adam betas (0.5, 0.999)", "Adam eps 0.01",
    }  # fmt: skip


def test_baseline_of_a_full_grid_is_the_default(tmp_path: Path) -> None:
    results = [run for lr in (0.01, 0.001) for eps in (1e-8, 1e-3) for run in adam(0.8, lr=lr, eps=eps)]
    baseline = build_study(tmp_path, *results).effects[0].baseline
    assert (baseline.attributes["optimizer.lr"], baseline.attributes["optimizer.eps"]) == (0.001, 1e-8)


def test_effect_is_the_paired_difference_to_the_baseline(tmp_path: Path) -> None:
    """Of two configurations the interval is that of the paired t test, but for the scale that it is computed on."""
    (effects,) = build_study(tmp_path, *adam(0.8), *adam(0.7, lr=0.01, noise=0.003)).effects
    comparison = effects.effects[0].comparison
    assert comparison is not None
    expected = stats.ttest_rel(
        [0.7 + each + 0.003 * (-1) ** seed for seed, each in enumerate(NOISE)], [0.8 + each for each in NOISE]
    )
    assert comparison.difference == pytest.approx(-0.1)
    assert comparison.p is not None
    assert comparison.p < 0.001
    assert (comparison.low, comparison.high) == pytest.approx(tuple(expected.confidence_interval()), abs=0.002)


def test_summary_tells_what_mattered_and_what_did_not(tmp_path: Path) -> None:
    results = adam(0.8) + adam(0.7, lr=0.01, noise=0.003) + adam(0.8, eps=0.01, noise=0.002)
    (effects,) = build_study(tmp_path, *results).effects
    assert effects.summary == [
        f"What mattered for Adam: lr (0.01: {told(effects, 'optimizer.lr')} points, against 0.001).",
        "Practically no effect, less than 1 point either way: "
        f"eps (0.01: {told(effects, 'optimizer.eps')} points, against 1e-08).",
    ]


def test_one_seed_leaves_effects_uncertain(tmp_path: Path) -> None:
    (effects,) = build_study(tmp_path, adam(0.8)[0], adam(0.7, lr=0.01)[0], adam(0.79, lr=0.1)[0]).effects
    assert effects.summary == [
        "Large but not certain: lr (0.01: −10.0 points with one seed, against 0.001).",
        "Not known: lr (0.1: −1.0 points with one seed, against 0.001).",
    ]


def test_loss_that_is_the_same_in_every_seed_is_certain(tmp_path: Path) -> None:
    """All seeds lose 50 points: that they agree to the image is evidence, and no division by zero."""
    (effects,) = build_study(tmp_path, *adam(0.8), *adam(0.3, lr=0.1)).effects
    comparison = effects.effects[0].comparison
    assert comparison is not None
    assert comparison.answer == "worse"
    assert effects.summary[0].startswith("What mattered for Adam: lr (0.1: −50.0 [")


def test_value_that_changes_nothing_in_any_seed_has_practically_no_effect(tmp_path: Path) -> None:
    (effects,) = build_study(tmp_path, *adam(0.8), *adam(0.8, eps=1e-7)).effects
    assert effects.summary == [
        "Practically no effect, less than 1 point either way: eps (1e-07: +0.0 [−0.1, 0.1] points, against 1e-08)."
    ]


def test_large_loss_that_two_seeds_do_not_make_certain_is_told_as_large(tmp_path: Path) -> None:
    """From 79.6 to 60 or 75 %: an interval that holds 0 and much more, and no "no effect"."""
    base = [make_result(make_manifest("adagrad", seed=seed), accuracy=0.796) for seed in (0, 1)]
    lost = [
        make_result(make_manifest("adagrad", seed=seed, lr=0.1), accuracy=value)
        for seed, value in enumerate([0.60, 0.75])
    ]
    (effects,) = build_study(tmp_path, *base, *lost).effects
    assert effects.summary == [
        f"Large but not certain: lr (0.1: {told(effects, 'optimizer.lr')} points, against 0.001)."
    ]
    comparison = effects.effects[0].comparison
    assert comparison is not None
    assert (comparison.low or 0) < -0.12 < 0 < (comparison.high or 0)


def test_every_value_stands_in_exactly_one_sentence(tmp_path: Path) -> None:
    results = adam(0.8) + adam(0.7, lr=0.01, noise=0.003) + adam(0.3, lr=0.1) + [adam(0.78, lr=0.003)[0]]
    (effects,) = build_study(tmp_path, *results, *map(diverged, adam(0.5, lr=1.0))).effects
    text = " ".join(effects.summary)
    assert [len(re.findall(rf"[( ]{value}: ", text)) for value in ("0.003", "0.01", "0.1", "1")] == [1, 1, 1, 1]
    assert "Diverged with every seed: lr (1: 4 of 4 seeds diverged, against 0.001)." in effects.summary


def test_no_effect_is_said_only_of_an_interval_near_zero(tmp_path: Path) -> None:
    (effects,) = build_study(tmp_path, *adam(0.8), *adam(0.8, eps=0.01, noise=0.02)).effects
    comparison = effects.effects[0].comparison
    assert comparison is not None
    assert comparison.low is not None
    assert comparison.low < -0.01
    assert effects.summary[0].startswith("Not known: eps (0.01: +0.0 [")


def test_value_that_always_diverged_counts_as_guessing(tmp_path: Path) -> None:
    (effects,) = build_study(tmp_path, *adam(0.8), *map(diverged, adam(0.7, lr=1.0))).effects
    (effect,) = effects.effects
    assert effect.comparison is not None
    assert effect.comparison.difference == pytest.approx(0.1 - np.mean([0.8 + each for each in NOISE]), abs=1e-3)
    assert effect.comparison.answer == "worse"
    assert effects.summary == ["Diverged with every seed: lr (1: 4 of 4 seeds diverged, against 0.001)."]


def test_value_that_diverged_with_one_seed_is_not_told_by_the_seeds_that_survived(tmp_path: Path) -> None:
    """Its finished runs are 10 points better, but the fourth counts as guessing."""
    better = adam(0.9, lr=1.0, noise=0.001)
    (effects,) = build_study(tmp_path, *adam(0.8), *better[:3], diverged(better[3], epoch=4)).effects
    comparison = effects.effects[0].comparison
    assert comparison is not None
    assert comparison.difference == pytest.approx((3 * 0.9 + 0.1) / 4 - 0.8, abs=0.005)
    assert comparison.answer == "unknown"
    assert effects.summary == [
        f"Large but not certain: lr (1: {told(effects, 'optimizer.lr')} points, 1 of 4 seeds diverged, against 0.001)."
    ]


def test_effects_of_a_baseline_that_shares_no_seed_are_not_compared(tmp_path: Path) -> None:
    (effects,) = build_study(tmp_path, *adam(0.8)[:3], *adam(0.7, lr=0.1)[3:]).effects
    assert effects.summary == ["Not compared: lr (0.1: no seed in common with the baseline, against 0.001)."]


def test_effect_between_runs_of_another_torch_is_not_the_attribute_s(tmp_path: Path) -> None:
    old = [made_by(run, torch="2.11.0") for run in adam(0.8)]
    new = [made_by(run, torch="2.15.0") for run in adam(0.7, lr=0.01, noise=0.003)]
    (effects,) = build_study(tmp_path, *old, *new).effects
    assert effects.summary == [
        f"Not the attribute alone: lr (0.01: {told(effects, 'optimizer.lr')} points, but torch 2.15.0 against 2.11.0, "
        "against 0.001)."
    ]


def test_crossed_cell_that_diverged_is_marked_and_has_no_mean(tmp_path: Path) -> None:
    lost = adam(0.9, lr=0.01, eps=0.1)
    results = [*adam(0.8), *adam(0.7, lr=0.01), *adam(0.75, eps=0.1), *lost[:3], diverged(lost[3], epoch=4)]
    ((grid,),) = [each.grids for each in build_study(tmp_path, *results).effects]
    assert np.isnan(grid.means).sum() == 1
    ((row, column),) = grid.diverged
    assert np.isnan(grid.means[row, column])


def test_crossed_attributes_give_a_grid_of_means(tmp_path: Path) -> None:
    study = build_study(tmp_path, *make_study(seeds=2))
    rmsprop = next(each for each in study.effects if each.optimizer == "rmsprop")
    (grid,) = rmsprop.grids
    assert (grid.rows, grid.row_values) == ("optimizer.lr", [0.0001, 0.001])
    assert (grid.columns, grid.column_values) == ("optimizer.alpha", [0.9, 0.99])
    by_label = {each.label: each.mean for each in study.configurations}
    assert grid.means[1, 1] == pytest.approx(by_label["RMSprop"])
    assert grid.means[0, 0] == pytest.approx(by_label["RMSprop lr 0.0001, alpha 0.9"])


def test_attributes_moved_one_at_a_time_are_no_grid(tmp_path: Path) -> None:
    study = build_study(tmp_path, *make_study(seeds=2))
    assert next(each for each in study.effects if each.optimizer == "adam").grids == []


def test_schedule_is_one_attribute(tmp_path: Path) -> None:
    cosine = {"name": "cosine", "warmup_epochs": 1.0}
    (effects,) = build_study(tmp_path, *adam(0.8), *adam(0.82, schedule=cosine)).effects
    assert {(effects.baseline.attributes["schedule"], each.value) for each in effects.effects} == {
        ("none", "cosine, warmup_epochs 1")
    } or effects.baseline.attributes["schedule"].startswith("cosine")
    assert [each.attribute for each in effects.effects] == ["schedule"]


def test_budget_view_sets_the_default_against_the_tuned(tmp_path: Path) -> None:
    study = build_study(tmp_path, *adam(0.8), *adam(0.7, lr=0.01), *adam(0.86, lr=0.0001))
    (line,) = study.budget
    means = [round(float(np.mean([score + each for each in NOISE])), 5) for score in (0.8, 0.7, 0.86)]
    assert line.is_torch_default
    assert (line.default.label, line.tuned.label) == ("Adam", "Adam lr 0.0001")
    assert line.expected == pytest.approx(expected_maximum(means), abs=1e-3)
    assert line.expected[-1] == pytest.approx(line.tuned.mean)


def test_optimizers_are_set_beside_each_other_after_the_same_number_of_trials(tmp_path: Path) -> None:
    """More trials alone make a best score higher: of five configurations of Adam two count as much as Adagrad's two."""
    scores = {0.001: 0.70, 0.0001: 0.74, 0.01: 0.62, 0.003: 0.66, 0.03: 0.58}
    results = [run for lr, score in scores.items() for run in adam(score, lr=lr)]
    for lr, score in ((0.001, 0.75), (0.01, 0.65)):
        results += [make_result(make_manifest("adagrad", seed=seed, lr=lr), accuracy=score) for seed in range(4)]
    results += [make_result(make_manifest("sgd", seed=seed), accuracy=0.5) for seed in range(4)]
    lines = {line.optimizer: line for line in build_study(tmp_path, *results).budget}
    assert {name: line.num_trials for name, line in lines.items()} == {"adam": 2, "adagrad": 2, "sgd": 1}
    pairs = [max(pair) for pair in itertools.combinations(scores.values(), 2)]
    easy = float(np.mean(NOISE))
    assert lines["adam"].tuned_score == pytest.approx(np.mean(pairs) + easy, abs=0.002)
    assert lines["adagrad"].tuned_score == pytest.approx(0.75, abs=0.002)
    assert lines["adagrad"].gain == pytest.approx(0.1, abs=0.002)  # torch's default of Adagrad is 0.01
    told = tell_budget(list(lines.values()))
    expected = (
        "Adagrad gets 65.0 % with torch's defaults; the best of 2 trials is expected to get 75.0 % (+10.0 points)."
    )
    assert expected in told
    assert len(told) == 2  # of SGD there was nothing to choose


def test_without_any_tuning_there_is_no_budget_view(tmp_path: Path) -> None:
    assert build_study(tmp_path, *adam(0.8)).budget == []


def test_grid_and_budget_do_not_count_easy_seeds_that_only_one_has(tmp_path: Path) -> None:
    """eps changes nothing with any seed, and was not run with the two easy ones."""
    easy = [make_result(make_manifest("adam", seed=seed), accuracy=0.99) for seed in (4, 5)]
    results = [*adam(0.8), *easy, *adam(0.8, eps=0.1), *adam(0.7, lr=0.01), *adam(0.7, lr=0.01, eps=0.1)]
    study = build_study(tmp_path, *results)
    ((grid,),) = [effects.grids for effects in study.effects]
    columns = grid.means if grid.columns == "optimizer.eps" else grid.means.T
    assert columns[:, 0] == pytest.approx(columns[:, 1], abs=0.001)
    (line,) = study.budget
    assert line.expected[0] == pytest.approx(columns.mean())
    assert study.effects[0].summary[-1].startswith("Practically no effect, less than 1 point either way: eps (0.1: ")


def test_attributes_are_ordered_by_importance_with_one_test_each(tmp_path: Path) -> None:
    random = np.random.default_rng(3)

    def noisy(score: float, **fields: Any) -> list[RunResult]:
        return [
            make_result(make_manifest("adam", seed=seed, **fields), accuracy=score + 0.002 * random.standard_normal())
            for seed in range(4)
        ]

    results = [*noisy(0.85), *noisy(0.80, lr=0.003), *noisy(0.70, lr=0.01), *noisy(0.851, eps=1e-6)]
    (effects,) = build_study(tmp_path, *results).effects
    lr, eps = effects.importances
    assert (lr.name, eps.name) == ("optimizer.lr", "optimizer.eps")
    assert lr.importance == pytest.approx(0.15, abs=0.02)
    assert lr.trend == pytest.approx(-0.15, abs=0.02)
    assert lr.p is not None
    assert lr.p < 0.01
    assert eps.trend is None  # two values have no trend beside their difference
    assert answer_attribute(effects, lr) == "matters"
    assert answer_attribute(effects, eps) == "equal"
