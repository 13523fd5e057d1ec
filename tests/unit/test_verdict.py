"""The answer in one sentence: decided, undecided, or nothing to be said; and the leaderboard that it heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from job.report.analysis.field import choose_field
from job.report.analysis.verdict import judge_field
from job.runs import RunResult, Scores
from tests.records import build_study, diverged, make_manifest, make_result

SCORES = {"adagrad": [0.90, 0.91, 0.93, 0.92, 0.90], "adam": [0.87, 0.88, 0.90, 0.89, 0.86]}


def runs_of(scores: dict[str, list[float]]) -> list[RunResult]:
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
        f"[{100 * between.low:.1f}, {100 * between.high:.1f}], n = 5 common seeds (p < 0.001, paired t test)."
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
    assert f"n = 3 common seeds (p = {p:.2f}, paired t test)" in verdict.sentence
    assert "about 19 more seeds would tell" in verdict.sentence  # 22 have a power of 80 % at dz 0.64


def test_equal_means_are_not_promised_a_decision(tmp_path: Path) -> None:
    verdict = build_study(tmp_path, *runs_of({"adam": [0.8, 0.9], "adagrad": [0.9, 0.8]})).verdict
    assert "not even 1000 seeds would tell" in verdict.sentence


def test_one_seed_says_nothing_about_certainty(tmp_path: Path) -> None:
    verdict = build_study(tmp_path, *runs_of({"adam": [0.8], "adagrad": [0.9]})).verdict
    assert verdict.sentence == (
        "Undecided: Adagrad 90.0 % and Adam 80.0 % differ by +10.0 points, n = 1 common seed: with one seed nothing "
        "can be said about certainty."
    )
    assert "One run of one seed says nothing" in verdict.notes[0]


def test_differences_alike_in_every_seed_are_not_taken_for_certainty(tmp_path: Path) -> None:
    verdict = build_study(tmp_path, *runs_of({"adam": [0.8, 0.7], "adagrad": [0.9, 0.8]})).verdict
    assert not verdict.decided
    assert verdict.sentence.endswith(
        "by +10.0 points, n = 2 common seeds, the same in each (no spread between seeds: interval not computable)."
    )


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


def with_seeds(name: str, scores: dict[int, float], **fields: Any) -> list[RunResult]:
    return [make_result(make_manifest(name, seed=seed, **fields), accuracy=value) for seed, value in scores.items()]


def test_without_common_seeds_nothing_is_decided_and_the_reason_is_given(tmp_path: Path) -> None:
    results = with_seeds("adam", {0: 0.8, 1: 0.81, 2: 0.79}) + with_seeds("adagrad", {7: 0.9, 8: 0.91, 9: 0.92})
    study = build_study(tmp_path, *results)
    assert not study.verdict.decided
    assert study.verdict.sentence.startswith("Undecided: Adagrad 91.0 % [88.5, 93.5] and Adam have no seed in common")
    assert study.standings[1].behind is None
    assert "Adagrad: 7, 8 and 9; Adam: 0, 1 and 2" in study.verdict.notes[-1]


def test_easy_seeds_that_only_one_has_make_no_winner(tmp_path: Path) -> None:
    """Seeds 2 to 4 are easy and were run with Adam alone; where both were run, Adagrad is 5 points ahead."""
    results = with_seeds("adam", dict(enumerate([0.80, 0.81, 0.99, 0.99, 0.99])))
    results += with_seeds("adagrad", {0: 0.85, 1: 0.861})
    study = build_study(tmp_path, *results)
    verdict = study.verdict
    assert [line.configuration.label for line in study.standings] == ["Adagrad", "Adam"]
    assert verdict.leader is not None
    assert verdict.leader.label == "Adagrad"
    assert verdict.sentence.startswith("Adagrad 85.5 % [")  # 0.8555 over 1000 images
    assert "+5.0 points over Adam [" in verdict.sentence
    assert "n = 2 common seeds (all numbers are over these; Adam has 5) (p = " in verdict.sentence
    behind = study.standings[1].behind
    assert behind is not None
    assert behind.difference == pytest.approx(-0.0505)
    assert behind.num == 2
    assert "Adagrad: 0 and 1; Adam: 0, 1, 2, 3 and 4" in verdict.notes[-1]
    assert "adjusted for the seeds" in study.order


def test_means_and_difference_of_a_sentence_are_over_the_same_seeds(tmp_path: Path) -> None:
    """The means over all seeds differ by 13.9 points, those over the common ones by 10.9."""
    results = with_seeds("adagrad", {0: 0.80, 1: 0.90, 2: 0.95, 3: 0.95})
    results += with_seeds("adam", {0: 0.701, 1: 0.781})
    sentence = build_study(tmp_path, *results).verdict.sentence
    assert sentence.startswith("Undecided: Adagrad 85.0 % [")
    assert "and Adam 74.1 % [" in sentence
    assert "differ by +10.9 [" in sentence
    assert "n = 2 common seeds (all numbers are over these; Adagrad has 4)" in sentence


def test_circle_of_pairs_has_one_order_and_no_winner(tmp_path: Path) -> None:
    """A beats B over seeds 0 and 1, B beats C over 2 and 3, C beats A over 4 and 5."""
    results = with_seeds("adam", {0: 0.9, 1: 0.901, 4: 0.80, 5: 0.803})
    results += with_seeds("adagrad", {0: 0.8, 1: 0.802, 2: 0.9, 3: 0.904})
    results += with_seeds("sgd", {2: 0.8, 3: 0.801, 4: 0.9, 5: 0.901})
    study = build_study(tmp_path, *results)
    assert not study.verdict.decided
    assert len({line.configuration.label for line in study.standings}) == 3


def test_leader_that_is_behind_a_rival_in_their_common_seeds_is_said_to_lead_by_the_order(tmp_path: Path) -> None:
    """The same distance in each common seed, and one common seed alone, tell no certainty, but they tell the sign."""
    results = with_seeds("adam", {0: 0.9, 1: 0.9, 4: 0.5}) + with_seeds("sgd", {2: 0.94, 3: 0.95, 4: 0.7, 5: 0.71})
    adagrad = {1: 0.88, 2: 0.95, 3: 0.96}
    sentence = build_study(tmp_path / "uniform", *results, *with_seeds("adagrad", adagrad)).verdict.sentence
    assert "differ by −1.0 points, n = 2 common seeds" in sentence
    assert (
        "the same in each (no spread between seeds: interval not computable): SGD leads by its mean adjusted for the "
        "seeds, but not here." in sentence
    )
    del adagrad[3]
    sentence = build_study(tmp_path / "one", *results, *with_seeds("adagrad", adagrad)).verdict.sentence
    assert "differ by −1.0 points, n = 1 common seed" in sentence
    assert (
        "SGD leads by its mean adjusted for the seeds, but not here; with one seed nothing can be said about certainty."
        in sentence
    )


def test_one_rival_that_is_not_beaten_for_certain_leaves_it_undecided(tmp_path: Path) -> None:
    scores = {"adagrad": [0.90, 0.91, 0.90, 0.91], "adam": [0.88, 0.892, 0.88, 0.889], "sgd": [0.99, 0.60, 0.99, 0.80]}
    verdict = build_study(tmp_path, *runs_of(scores)).verdict
    assert not verdict.decided
    assert verdict.sentence.startswith("Undecided: Adagrad 90.5 % [89.6, 91.4] and SGD")
    assert verdict.sentence.endswith("Adagrad is ahead of Adam.")


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
    assert judge_field(choose_field([]), []).sentence == "No run has finished with a score here yet."


@pytest.mark.parametrize(("num", "told"), [(1, "the only one diverged"), (3, "all 3 diverged")])
def test_runs_that_all_diverged_are_told_in_plain_words(num: int, told: str, tmp_path: Path) -> None:
    results = [diverged(make_result(make_manifest("sgd", seed=seed))) for seed in range(num)]
    study = build_study(tmp_path, *results)
    assert study.verdict.sentence == f"No run has finished with a score here yet: {told}."
    (reason,) = study.reasons
    which = "the only run of SGD" if num == 1 else "3 of 3 runs of SGD"
    assert reason.sentence.startswith(f"The loss stopped being finite in {which} (in the first epoch).")


def test_lone_configuration_is_told_without_a_rival(tmp_path: Path) -> None:
    verdict = build_study(tmp_path, *runs_of({"adam": [0.8, 0.82]})).verdict
    assert "nothing to compare it with yet" in verdict.sentence


def test_run_that_diverged_has_no_score_however_far_it_came(tmp_path: Path) -> None:
    results = [*runs_of(SCORES), diverged(make_result(make_manifest("sgd", lr=10.0)))]
    results.append(diverged(make_result(make_manifest("adam", seed=9), accuracy=0.2), epoch=3))
    study = build_study(tmp_path, *results)
    by_name = {line.configuration.optimizer: line for line in study.standings}
    assert (by_name["sgd"].score, by_name["sgd"].top5, by_name["sgd"].behind) == (None, None, None)
    assert by_name["sgd"].configuration.fate == "its only seed diverged"
    score = by_name["adam"].score
    assert score is not None
    assert score.num == 5
    assert by_name["adam"].configuration.fate == "1 of 6 seeds diverged"
    assert by_name["adam"].reach.num == 6


def test_optimizer_that_always_diverged_is_never_the_winner(tmp_path: Path) -> None:
    """SGD was at 99 % after its last finite epoch, in every seed."""
    lost = [diverged(make_result(make_manifest("sgd", seed=seed), accuracy=0.99), epoch=4) for seed in range(3)]
    study = build_study(tmp_path, *runs_of({"adam": [0.80, 0.81, 0.805]}), *lost)
    assert [line.configuration.label for line in study.standings] == ["Adam", "SGD"]
    assert study.verdict.sentence == (
        "Adam 80.5 % [79.3, 81.7], n = 3 seeds, is the only one that finished with every seed "
        "(SGD: 3 of 3 seeds diverged)."
    )
    assert [each.label for each in study.shown] == ["Adam"]
    assert study.standings[1].score is None


def test_configuration_that_diverged_once_stands_behind_one_that_always_finished(tmp_path: Path) -> None:
    good = [make_result(make_manifest("sgd", seed=seed), accuracy=0.95 + seed / 500) for seed in range(2)]
    lost = diverged(make_result(make_manifest("sgd", seed=2), accuracy=0.95), epoch=3)
    study = build_study(tmp_path, *runs_of({"adam": [0.80, 0.81, 0.82], "adagrad": [0.7, 0.71, 0.723]}), *good, lost)
    assert [line.configuration.title for line in study.standings] == [
        "Adam", "Adagrad", "SGD (1 of 3 seeds diverged)",
    ]  # fmt: skip
    assert study.verdict.sentence.startswith("Adam 81.0 %")
    assert "over Adagrad" in study.verdict.sentence
    assert any("Diverged: SGD: 1 of 3 seeds diverged." in note for note in study.verdict.notes)
    assert study.standings[2].behind is None  # over the seeds that survived it would seem ahead


def test_nobody_wins_where_all_diverged_with_some_seed(tmp_path: Path) -> None:
    results = runs_of({"adam": [0.8, 0.81, 0.8], "adagrad": [0.5, 0.51, 0.5]})
    results += [diverged(make_result(make_manifest(name, seed=3))) for name in ("adam", "adagrad")]
    verdict = build_study(tmp_path, *results).verdict
    assert not verdict.decided
    assert verdict.sentence == (
        "Undecided: none finished with every seed (Adam: 1 of 4 seeds diverged and Adagrad: 1 of 4 seeds diverged)."
    )


def test_best_configuration_of_an_optimizer_is_one_that_always_finishes(tmp_path: Path) -> None:
    results = runs_of({"adam": [0.8, 0.81], "adagrad": [0.85, 0.87]})
    results += with_seeds("adam", {0: 0.95}, lr=0.1)
    results.append(diverged(make_result(make_manifest("adam", seed=1, lr=0.1)), epoch=2))
    study = build_study(tmp_path, *results)
    assert {each.label for each in study.shown} == {"Adagrad", "Adam"}
    (line,) = [line for line in study.budget if line.optimizer == "adam"]
    assert line.tuned.label == "Adam"
    assert list(line.expected) == pytest.approx([0.805 / 2, 0.805])  # the failed trial counts as 0


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


def validated(name: str, seed: int, *, tests: list[float], validation: list[float], **fields: Any) -> RunResult:
    """A run whose best epoch was chosen on its validation images."""
    manifest = make_manifest(name, seed=seed, dataset={"name": "stl10", "validation_fraction": 0.1}, **fields)
    result = make_result(manifest, top1=tests, num_validation=500)
    history = [
        record.model_copy(update={"validation": Scores(loss=1.0, top1=value)})
        for record, value in zip(result.history, validation, strict=True)
    ]
    epoch = validation.index(max(validation)) + 1
    best = {"epoch": epoch, "chosen_on": "validation", "test": history[epoch - 1].test}
    return make_result(manifest, top1=tests, num_validation=500, history=history, best=best)


def test_all_numbers_of_a_line_are_of_the_epoch_that_validation_chose(tmp_path: Path) -> None:
    result = validated("adam", 0, tests=[0.5, 0.9, 0.7, 0.6], validation=[0.4, 0.8, 0.7, 0.7])
    study = build_study(tmp_path, result)
    (line,) = study.standings
    chosen = result.history[1]
    assert line.score is not None
    assert (line.score.mean, line.top5, line.loss) == (0.9, chosen.test.top5, chosen.test.loss)
    assert (line.train_top1, line.validation) == (chosen.train.top1, 0.8)
    assert "chosen on held-out training images" in study.facts[-1]
    row = study.runs.runs.iloc[0]
    assert (row["score_epoch"], row["score_top5"], row["score_loss"]) == (2, chosen.test.top5, chosen.test.loss)
    assert row["final_top1"] == 0.6


def test_configurations_are_chosen_by_validation_and_reported_on_test_images(tmp_path: Path) -> None:
    """lr 0.01 is the best of Adam on the test images, lr 0.001 on the validation images."""
    results = []
    for seed, noise in enumerate([0, 0.003, 0.001]):
        results += [
            validated("adam", seed, tests=[0.80 + noise] * 4, validation=[0.85] * 4),
            validated("adam", seed, tests=[0.90 + noise] * 4, validation=[0.75] * 4, lr=0.01),
            validated("adagrad", seed, tests=[0.70 - noise] * 4, validation=[0.80] * 4),
        ]
    study = build_study(tmp_path, *results)
    assert [line.configuration.label for line in study.standings] == ["Adam", "Adagrad", "Adam lr 0.01"]
    assert [each.label for each in study.shown] == ["Adam", "Adagrad"]
    assert study.verdict.sentence.startswith("Adam 80.1 % [")
    assert "points over Adagrad" in study.verdict.sentence
    assert any("chosen by its score on validation images" in note for note in study.verdict.notes)
    (line,) = [line for line in study.budget if line.optimizer == "adam"]
    assert line.tuned.label == "Adam"
    score = study.standings[0].score
    assert score is not None
    assert line.expected[-1] == pytest.approx(score.mean)


def test_winner_on_validation_that_loses_on_the_test_images_is_no_winner(tmp_path: Path) -> None:
    results = []
    for seed, noise in enumerate([0, 0.003, 0.001]):
        results += [
            validated("adam", seed, tests=[0.70 + noise] * 4, validation=[0.85] * 4),
            validated("adagrad", seed, tests=[0.80 - noise] * 4, validation=[0.80] * 4),
        ]
    verdict = build_study(tmp_path, *results).verdict
    assert not verdict.decided
    assert verdict.sentence.startswith("Undecided: Adam 70.1 %")
    assert "differ by −9.7 [" in verdict.sentence
    assert verdict.sentence.endswith("Adam leads by its score on validation images, but not here.")
