"""The answer in one sentence: decided, undecided, or nothing to be said; and the leaderboard that it heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from job.report.verdict import judge
from tests.records import build_study, diverged, make_manifest, make_result

SCORES = {"adagrad": [0.90, 0.91, 0.93, 0.92, 0.90], "adam": [0.87, 0.88, 0.90, 0.89, 0.86]}


def runs_of(scores: dict[str, list[float]]):
    return [
        make_result(make_manifest(name, seed=seed), accuracy=value)
        for name, values in scores.items()
        for seed, value in enumerate(values)
    ]


def test_clear_winner_is_named_with_interval_difference_and_seeds(tmp_path: Path) -> None:
    verdict = build_study(tmp_path, *runs_of(SCORES)).verdict
    ours, theirs = (np.array(SCORES[name]) for name in ("adagrad", "adam"))
    own = stats.ttest_1samp(ours, 0).confidence_interval()
    difference = stats.ttest_rel(ours, theirs)
    between = difference.confidence_interval()
    assert verdict.decided
    assert verdict.sentence == (
        f"Adagrad 91.2 % [{100 * own.low:.1f}, {100 * own.high:.1f}], +3.2 points over Adam "
        f"[{100 * between.low:.1f}, {100 * between.high:.1f}], n = 5 paired seeds (p < 0.001, paired t test)."
    )
    assert difference.pvalue < 0.001


def test_undecided_comparison_says_how_many_more_seeds_would_tell(tmp_path: Path) -> None:
    scores = {"adagrad": [0.90, 0.87, 0.91], "adam": [0.87, 0.88, 0.89]}
    verdict = build_study(tmp_path, *runs_of(scores)).verdict
    assert not verdict.decided
    assert verdict.sentence.startswith(
        "Undecided: Adagrad 89.3 % [84.2, 94.5] and Adam 88.0 % [85.5, 90.5] differ by +1.3 ["
    )
    p = stats.ttest_rel(scores["adagrad"], scores["adam"]).pvalue
    assert f"n = 3 paired seeds (p = {p:.2f}, paired t test)" in verdict.sentence
    assert "about 19 more seeds would tell" in verdict.sentence  # 22 have a power of 80 % at dz 0.64


def test_equal_means_are_not_promised_a_decision(tmp_path: Path) -> None:
    verdict = build_study(tmp_path, *runs_of({"adam": [0.8, 0.9], "adagrad": [0.9, 0.8]})).verdict
    assert "not even 1000 seeds would tell" in verdict.sentence


def test_one_seed_says_nothing_about_certainty(tmp_path: Path) -> None:
    verdict = build_study(tmp_path, *runs_of({"adam": [0.8], "adagrad": [0.9]})).verdict
    assert verdict.sentence == (
        "Undecided: Adagrad 90.0 % and Adam 80.0 % differ by +10.0 points, but with one seed nothing can be said "
        "about certainty."
    )
    assert "One run of one seed says nothing" in verdict.notes[0]


def test_differences_alike_in_every_seed_are_not_taken_for_certainty(tmp_path: Path) -> None:
    verdict = build_study(tmp_path, *runs_of({"adam": [0.8, 0.7], "adagrad": [0.9, 0.8]})).verdict
    assert not verdict.decided
    assert "no spread to judge it by" in verdict.sentence


def test_correction_over_optimizers_is_told(tmp_path: Path) -> None:
    scores = SCORES | {"rmsprop": [0.7, 0.71, 0.72, 0.7, 0.73], "sgd": [0.6, 0.62, 0.61, 0.6, 0.6]}
    verdict = build_study(tmp_path, *runs_of(scores)).verdict
    assert "Holm-corrected over 3 comparisons" in verdict.sentence
    raw = [stats.ttest_rel(SCORES["adagrad"], scores[name]).pvalue for name in ("adam", "rmsprop", "sgd")]
    assert verdict.rivals[0][1].adjusted_p == pytest.approx(max(sorted(raw)[-1], 2 * sorted(raw)[-2], 3 * min(raw)))


def test_undecided_lead_names_those_that_are_clearly_behind(tmp_path: Path) -> None:
    scores = {"adagrad": [0.90, 0.87, 0.91, 0.89], "adam": [0.89, 0.89, 0.89, 0.89], "sgd": [0.5, 0.48, 0.52, 0.5]}
    sentence = build_study(tmp_path, *runs_of(scores)).verdict.sentence
    assert sentence.startswith("Undecided: Adagrad")
    assert sentence.endswith("Adagrad is ahead of SGD.")


def test_unpaired_seeds_are_compared_with_welch_s_test(tmp_path: Path) -> None:
    results = runs_of({"adam": [0.8, 0.81, 0.79]})
    results += [make_result(make_manifest("adagrad", seed=7 + seed), accuracy=0.9 + seed / 100) for seed in range(3)]
    sentence = build_study(tmp_path, *results).verdict.sentence
    p = stats.ttest_ind([0.9, 0.91, 0.92], [0.8, 0.81, 0.79], equal_var=False).pvalue
    assert p < 0.001
    assert "n = 3 unpaired seeds (p < 0.001, Welch's t test)" in sentence


def test_choice_among_configurations_is_admitted(tmp_path: Path) -> None:
    results = runs_of(SCORES) + [
        make_result(make_manifest("adam", seed=seed, lr=0.0001), accuracy=0.85 + seed / 1000) for seed in range(3)
    ]
    notes = build_study(tmp_path, *results).verdict.notes
    assert "1 of Adagrad and 2 of Adam tried" in notes[0]
    assert "flatters those with more configurations" in notes[0]
    assert not build_study(tmp_path / "other", *runs_of(SCORES)).verdict.notes


def test_configurations_of_a_single_optimizer_are_compared_with_each_other(tmp_path: Path) -> None:
    results = [
        make_result(make_manifest("adam", seed=seed, lr=lr), accuracy=score + noise)
        for lr, score in ((0.001, 0.8), (0.0001, 0.9))
        for seed, noise in enumerate([0, 0.01 + lr, 0.02])
    ]
    assert "Adam lr 0.0001" in build_study(tmp_path, *results).verdict.sentence


def test_nothing_finished_or_nothing_to_compare_is_said() -> None:
    assert judge([]).sentence == "No run has finished with a score here yet."


def test_lone_configuration_is_told_without_a_rival(tmp_path: Path) -> None:
    verdict = build_study(tmp_path, *runs_of({"adam": [0.8, 0.82]})).verdict
    assert "nothing to compare it with yet" in verdict.sentence


def test_run_that_diverged_at_once_has_no_score_and_is_counted(tmp_path: Path) -> None:
    results = [*runs_of(SCORES), diverged(make_result(make_manifest("sgd", lr=10.0)))]
    results.append(diverged(make_result(make_manifest("adam", seed=9), accuracy=0.2), epoch=3))
    study = build_study(tmp_path, *results)
    last = study.standings[-1]
    assert (last.configuration.label, last.score, last.behind, last.configuration.num_diverged) == (
        "SGD",
        None,
        None,
        1,
    )
    adam = next(line for line in study.standings if line.configuration.optimizer == "adam")
    assert adam.score is not None
    assert adam.score.num == 6  # what it had before it diverged counts


def test_leaderboard_tells_what_a_target_took(tmp_path: Path) -> None:
    reached = make_result(make_manifest("adam"), top1=[0.5, 0.8, 0.7, 0.9])
    late = make_result(make_manifest("adam", seed=1), top1=[0.5, 0.6, 0.7, 0.8])
    never = make_result(make_manifest("sgd"), top1=[0.1, 0.2, 0.3, 0.4])
    adam, sgd = build_study(tmp_path, reached, late, never, target=0.8).standings
    assert (adam.reach.num_reached, adam.reach.num, adam.reach.epochs) == (2, 2, 3.0)
    assert adam.reach.seconds == pytest.approx((2 * 20 + 4 * 20) / 2)
    assert adam.reach.cost_usd == pytest.approx((0.04 * 2 / 4 + 0.04) / 2)
    assert (sgd.reach.num_reached, sgd.reach.num, sgd.reach.seconds) == (0, 1, None)


def test_default_target_is_a_part_of_the_best_score(tmp_path: Path) -> None:
    assert build_study(tmp_path, *runs_of(SCORES)).target == 0.86  # 95 % of 91.2 %, rounded down


def test_validated_runs_are_scored_at_the_epoch_that_validation_chose(tmp_path: Path) -> None:
    manifest = make_manifest("adam", dataset={"name": "stl10", "validation_fraction": 0.1})
    result = make_result(manifest, top1=[0.5, 0.9, 0.7, 0.6])
    best = {"epoch": 2, "chosen_on": "validation", "test": result.history[1].test}
    study = build_study(tmp_path, make_result(manifest, top1=[0.5, 0.9, 0.7, 0.6], best=best))
    assert study.configurations[0].mean == 0.9
    assert "chosen on held-out training images" in study.facts[-1]
