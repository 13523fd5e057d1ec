"""The answer in one sentence: decided, undecided, or nothing to be said; and the leaderboard that it heads."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from job.report.analysis.field import choose_field
from job.report.analysis.verdict import judge_field
from job.report.analysis.wording import points, show_time
from job.runs import RunResult, Scores
from tests.records import build_study, diverged, make_manifest, make_result, with_right

SCORES = {"adagrad": [0.90, 0.91, 0.93, 0.92, 0.90], "adam": [0.87, 0.88, 0.90, 0.89, 0.86]}


def runs_of(scores: dict[str, list[float]]) -> list[RunResult]:
    return [
        make_result(make_manifest(name, seed=seed), accuracy=value)
        for name, values in scores.items()
        for seed, value in enumerate(values)
    ]


def test_clear_winner_is_named_with_interval_difference_and_seeds(tmp_path: Path) -> None:
    """Of two configurations the interval is that of the paired t test, but for the scale that it is computed on."""
    study = build_study(tmp_path, *runs_of(SCORES))
    verdict = study.verdict
    assert verdict.decided
    ((rival, comparison),) = verdict.rivals
    between = stats.ttest_rel(SCORES["adagrad"], SCORES["adam"]).confidence_interval()
    assert comparison.low == pytest.approx(between.low, abs=0.0015)
    assert comparison.high == pytest.approx(between.high, abs=0.0015)
    assert rival.label == "Adam"
    assert study.judgement is not None
    score = study.judgement.fitted.estimate(study.configurations[0])
    own = stats.ttest_1samp(SCORES["adagrad"], 0).confidence_interval()
    assert score is not None
    assert (score.low, score.high) == pytest.approx((own.low, own.high), abs=0.004)
    assert verdict.sentence == (
        f"Adagrad 91.2 % [{100 * (score.low or 0):.1f}, {100 * (score.high or 0):.1f}], +3.2 points over Adam "
        f"[{100 * (comparison.low or 0):.1f}, {100 * (comparison.high or 0):.1f}], n = 5 common seeds (p < 0.001)."
    )


def test_open_comparison_says_how_many_seeds_find_a_difference_that_matters(tmp_path: Path) -> None:
    """Six configurations of Adam that hardly differ make the noise known; the number is not read from a difference."""
    results = runs_of({"adagrad": [0.80, 0.79, 0.81], "adam": [0.79, 0.80, 0.80]})
    random = np.random.default_rng(0)
    for eps in (1e-7, 1e-6, 1e-5, 1e-4, 1e-3):
        results += [
            make_result(make_manifest("adam", seed=seed, eps=eps), accuracy=0.79 + 0.006 * random.standard_normal())
            for seed in range(3)
        ]
    study = build_study(tmp_path, *results)
    assert study.judgement is not None
    needed = study.judgement.seeds_needed
    assert needed is not None
    assert 3 < needed.low <= needed.likely <= needed.high
    assert study.verdict.sentence.startswith("Not yet known: Adagrad 80.0 % [")
    assert study.verdict.sentence.endswith(
        f"; to find a difference of 1 point takes {needed.low} to {needed.high} seeds of each."
    )


def test_noise_that_two_seeds_leave_unknown_promises_no_number_of_seeds(tmp_path: Path) -> None:
    verdict = build_study(tmp_path, *runs_of({"adam": [0.8, 0.9], "adagrad": [0.9, 0.8]})).verdict
    assert verdict.sentence.startswith("Not yet known: ")
    assert verdict.sentence.endswith("n = 2 common seeds (p = 1.00).")


def test_practically_equal_is_an_answer(tmp_path: Path) -> None:
    scores = {"adagrad": [0.900, 0.901, 0.899, 0.900, 0.901], "adam": [0.899, 0.900, 0.899, 0.899, 0.900]}
    study = build_study(tmp_path, *runs_of(scores | {"sgd": [0.70, 0.702, 0.699, 0.70, 0.701]}))
    assert study.verdict.decided
    assert study.verdict.sentence.startswith("Adagrad 90.0 % [")
    assert "and Adam 89.9 % [" in study.verdict.sentence
    assert "are practically equal: Adagrad is ahead by +0.1 [" in study.verdict.sentence
    assert "points, less than 1 point either way, n = 5 common seeds." in study.verdict.sentence
    assert study.verdict.sentence.endswith("Adagrad is ahead of SGD.")
    assert [line.within_reach for line in study.standings] == [True, True, False]


def test_margin_decides_what_is_practically_equal(tmp_path: Path) -> None:
    scores = {"adagrad": [0.900, 0.901, 0.899, 0.900, 0.901], "adam": [0.896, 0.897, 0.896, 0.896, 0.897]}
    answers = [
        build_study(tmp_path / str(margin), *runs_of(scores), margin=margin).verdict.rivals[0][1].answer
        for margin in (0.01, 0.001)
    ]
    assert answers == ["equal", "better"]


def test_one_seed_says_nothing_about_certainty(tmp_path: Path) -> None:
    verdict = build_study(tmp_path, *runs_of({"adam": [0.8], "adagrad": [0.9]})).verdict
    assert verdict.sentence == (
        "Not yet known: Adagrad 90.0 % and Adam 80.0 % differ by +10.0 points, n = 1 common seed: with one seed "
        "nothing can be said about certainty."
    )
    assert "One run of one seed says nothing" in verdict.notes[0]


def test_seeds_that_move_both_alike_leave_a_narrow_difference_of_wide_accuracies(tmp_path: Path) -> None:
    study = build_study(tmp_path, *runs_of({"adam": [0.8, 0.7, 0.75], "adagrad": [0.9, 0.802, 0.849]}))
    ((_, comparison),) = study.verdict.rivals
    (best, _) = study.standings
    assert best.score is not None
    assert (comparison.high or 0) - (comparison.low or 0) < (best.score.high or 0) - (best.score.low or 0)


def test_more_optimizers_widen_the_interval_of_each_pair(tmp_path: Path) -> None:
    """One family: what is chosen from more must be shown by more."""
    random = np.random.default_rng(1)
    scores = {name: list(0.9 + 0.004 * random.standard_normal(5)) for name in ("adagrad", "adam", "rmsprop", "sgd")}
    few = build_study(tmp_path / "few", *runs_of({name: scores[name] for name in ("adagrad", "adam")})).verdict
    many = build_study(tmp_path / "many", *runs_of(scores)).verdict
    assert few.rivals[0][1].p is not None
    assert len(many.rivals) == 3
    raw = [stats.ttest_rel(scores[first], scores[second]).pvalue for first, second in itertools.combinations(scores, 2)]
    assert min(own.p or 0 for _, own in many.rivals) > min(raw)


def test_open_lead_names_those_that_are_clearly_behind(tmp_path: Path) -> None:
    scores = {"adagrad": [0.90, 0.87, 0.91, 0.89], "adam": [0.89, 0.89, 0.89, 0.89], "sgd": [0.5, 0.48, 0.52, 0.5]}
    sentence = build_study(tmp_path, *runs_of(scores)).verdict.sentence
    assert sentence.startswith("Not yet known: Adagrad")
    assert sentence.endswith("Adagrad is ahead of SGD.")


def with_seeds(name: str, scores: dict[int, float], **fields: Any) -> list[RunResult]:
    return [make_result(make_manifest(name, seed=seed, **fields), accuracy=value) for seed, value in scores.items()]


def test_without_common_seeds_nothing_is_decided_and_the_reason_is_given(tmp_path: Path) -> None:
    results = with_seeds("adam", {0: 0.8, 1: 0.81, 2: 0.79}) + with_seeds("adagrad", {7: 0.9, 8: 0.91, 9: 0.92})
    study = build_study(tmp_path, *results)
    assert not study.verdict.decided
    assert study.verdict.sentence.startswith("Not yet known: Adagrad 91.0 % and Adam have no seed in common")
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
    assert "n = 2 common seeds (Adam has 5) (p = " in verdict.sentence
    behind = study.standings[1].behind
    assert behind is not None
    assert behind.difference < -0.02
    assert behind.num == 2
    assert "Adagrad: 0 and 1; Adam: 0, 1, 2, 3 and 4" in verdict.notes[-1]
    assert "adjusted for the seeds" in study.order


def test_means_and_difference_of_a_sentence_go_together(tmp_path: Path) -> None:
    """Adagrad also has two easy seeds: the means are adjusted for them, and so is their difference."""
    results = with_seeds("adagrad", {0: 0.80, 1: 0.90, 2: 0.95, 3: 0.95})
    results += with_seeds("adam", {0: 0.701, 1: 0.781})
    study = build_study(tmp_path, *results)
    ours, theirs = study.standings
    assert ours.score is not None
    assert theirs.score is not None
    assert theirs.behind is not None
    assert ours.score.mean == pytest.approx(0.9)
    assert theirs.score.mean > (0.701 + 0.781) / 2
    assert theirs.behind.difference == pytest.approx(theirs.score.mean - ours.score.mean)


def test_circle_of_pairs_has_one_order_and_no_winner(tmp_path: Path) -> None:
    """A beats B over seeds 0 and 1, B beats C over 2 and 3, C beats A over 4 and 5."""
    results = with_seeds("adam", {0: 0.9, 1: 0.901, 4: 0.80, 5: 0.803})
    results += with_seeds("adagrad", {0: 0.8, 1: 0.802, 2: 0.9, 3: 0.904})
    results += with_seeds("sgd", {2: 0.8, 3: 0.801, 4: 0.9, 5: 0.901})
    study = build_study(tmp_path, *results)
    assert not study.verdict.decided
    assert len({line.configuration.label for line in study.standings}) == 3


def test_one_rival_that_is_not_beaten_for_certain_leaves_it_undecided(tmp_path: Path) -> None:
    scores = {"adagrad": [0.90, 0.91, 0.90, 0.91], "adam": [0.88, 0.892, 0.88, 0.889], "sgd": [0.99, 0.60, 0.99, 0.80]}
    verdict = build_study(tmp_path, *runs_of(scores)).verdict
    assert not verdict.decided
    assert verdict.sentence.startswith("Not yet known: Adagrad 90.5 % [")


def test_choice_among_configurations_is_admitted(tmp_path: Path) -> None:
    results = runs_of(SCORES) + [
        make_result(make_manifest("adam", seed=seed, lr=0.0001), accuracy=0.85 + seed / 1000) for seed in range(3)
    ]
    notes = build_study(tmp_path, *results).verdict.notes
    assert "1 of Adagrad and 2 of Adam tried" in notes[0]
    assert "the intervals allow for that choice" in notes[0]
    assert not build_study(tmp_path / "other", *runs_of(SCORES)).verdict.notes


def test_configurations_of_a_single_optimizer_are_compared_with_each_other(tmp_path: Path) -> None:
    results = [
        make_result(make_manifest("adam", seed=seed, lr=lr), accuracy=score + noise)
        for lr, score in ((0.001, 0.8), (0.0001, 0.9))
        for seed, noise in enumerate([0, 0.01 + lr, 0.02])
    ]
    assert "Adam lr 0.0001" in build_study(tmp_path, *results).verdict.sentence


def test_nothing_finished_or_nothing_to_compare_is_said() -> None:
    assert judge_field(choose_field([]), [], None).sentence == "No run has finished with a score here yet."


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
    assert by_name["sgd"].top5 is None
    assert by_name["sgd"].configuration.scores == {}
    assert by_name["sgd"].configuration.outcomes == {0: 0.1}
    assert by_name["sgd"].configuration.fate == "its only seed diverged"
    assert by_name["adam"].configuration.outcomes == dict(enumerate(SCORES["adam"])) | {9: 0.1}
    assert by_name["adam"].configuration.fate == "1 of 6 seeds diverged"
    assert by_name["adam"].reach.num == 6


def test_optimizer_that_always_diverged_is_never_the_winner(tmp_path: Path) -> None:
    """SGD was at 99 % after its last finite epoch, in every seed."""
    lost = [diverged(make_result(make_manifest("sgd", seed=seed), accuracy=0.99), epoch=4) for seed in range(3)]
    study = build_study(tmp_path, *runs_of({"adam": [0.80, 0.81, 0.805]}), *lost)
    assert [line.configuration.label for line in study.standings] == ["Adam", "SGD"]
    assert study.verdict.sentence.startswith("Adam 80.5 % [")
    assert "points over SGD [" in study.verdict.sentence
    assert any("SGD finished with 0 of 3 seeds, so with 0 % to 71 % of all." in note for note in study.verdict.notes)
    assert [each.label for each in study.shown] == ["Adam"]
    score = study.standings[1].score
    assert score is not None
    assert score.mean == pytest.approx(0.1)


def test_seed_that_diverged_counts_as_guessing(tmp_path: Path) -> None:
    """SGD reaches 95 %, but a user gets it in two of three cases only."""
    good = [make_result(make_manifest("sgd", seed=seed), accuracy=0.95 + seed / 500) for seed in range(2)]
    lost = diverged(make_result(make_manifest("sgd", seed=2), accuracy=0.95), epoch=3)
    study = build_study(tmp_path, *runs_of({"adam": [0.80, 0.81, 0.82], "adagrad": [0.7, 0.71, 0.723]}), *good, lost)
    assert [line.configuration.title for line in study.standings] == [
        "Adam", "Adagrad", "SGD (1 of 3 seeds diverged)",
    ]  # fmt: skip
    assert study.standings[2].score is not None
    assert study.standings[2].score.mean == pytest.approx((0.95 + 0.952 + 0.1) / 3, abs=0.002)
    assert study.verdict.sentence.startswith("Not yet known: Adam 81.0 % [")
    assert study.verdict.sentence.endswith("Adam is ahead of Adagrad.")
    assert any(
        "SGD finished with 2 of 3 seeds, so with 9 % to 99 % of all. A seed that diverged counts as guessing" in note
        for note in study.verdict.notes
    )


def test_configuration_that_diverged_once_is_beaten_by_one_that_is_better_than_its_best(tmp_path: Path) -> None:
    """Whatever its rate of success, a user gets at most what its finished runs reach."""
    results = runs_of({"adam": [0.80, 0.81, 0.805], "sgd": [0.70, 0.712], "adagrad": [0.6, 0.61, 0.607]})
    results.append(diverged(make_result(make_manifest("sgd", seed=2)), epoch=3))
    verdict = build_study(tmp_path, *results).verdict
    assert verdict.decided
    answers = {rival.optimizer: comparison for rival, comparison in verdict.rivals}
    assert answers["sgd"].answer == "better"
    assert (answers["sgd"].low or 0) < 0.1 < answers["sgd"].difference < (answers["sgd"].high or 0)


def test_nobody_wins_where_all_diverged_with_some_seed(tmp_path: Path) -> None:
    results = runs_of({"adam": [0.8, 0.81, 0.8], "adagrad": [0.5, 0.51, 0.5]})
    results += [diverged(make_result(make_manifest(name, seed=3))) for name in ("adam", "adagrad")]
    verdict = build_study(tmp_path, *results).verdict
    assert not verdict.decided
    assert verdict.sentence.startswith("Not yet known: Adam ")
    assert verdict.sentence.count("(1 of 4 seeds diverged)") == 2


def test_best_configuration_of_an_optimizer_is_one_that_always_finishes(tmp_path: Path) -> None:
    results = runs_of({"adam": [0.8, 0.81], "adagrad": [0.85, 0.87]})
    results += with_seeds("adam", {0: 0.95}, lr=0.1)
    results.append(diverged(make_result(make_manifest("adam", seed=1, lr=0.1)), epoch=2))
    study = build_study(tmp_path, *results)
    assert {each.label for each in study.shown} == {"Adagrad", "Adam"}
    (line,) = [line for line in study.budget if line.optimizer == "adam"]
    assert line.tuned.label == "Adam"
    assert list(line.expected) == pytest.approx([(0.805 + (0.95 + 0.1) / 2) / 2, 0.805], abs=0.001)


def test_leaderboard_tells_what_a_target_took(tmp_path: Path) -> None:
    reached = make_result(make_manifest("adam"), top1=[0.5, 0.8, 0.7, 0.9])
    late = make_result(make_manifest("adam", seed=1), top1=[0.5, 0.6, 0.7, 0.8])
    (adam,) = build_study(tmp_path / "all", reached, late, target=0.8).standings
    assert (adam.reach.num_reached, adam.reach.num) == (2, 2)
    times = (adam.reach.epochs, adam.reach.seconds, adam.reach.cost_usd)
    assert [time.mean for time in times if time] == pytest.approx(
        [3.0, (2 * 20 + 4 * 20) / 2, (0.04 * 2 / 4 + 0.04) / 2]
    )


def test_run_that_never_reached_the_target_counts_as_long_as_it_was_watched(tmp_path: Path) -> None:
    """The mean over those that reached it would prefer Adam, which gets there early, but only with one seed."""
    early = make_result(make_manifest("adam"), top1=[0.8, 0.8, 0.8, 0.8])
    never = make_result(make_manifest("adam", seed=1), top1=[0.1, 0.2, 0.3, 0.4])
    always = [make_result(make_manifest("sgd", seed=seed), top1=[0.5, 0.8, 0.8, 0.8]) for seed in (0, 1)]
    lost = diverged(make_result(make_manifest("rmsprop"), top1=[0.8, 0.8, 0.8, 0.8]), epoch=3)
    study = build_study(tmp_path, early, never, *always, lost, target=0.8)
    reach = {line.configuration.optimizer: line.reach for line in study.standings}
    times = {name: own.epochs for name, own in reach.items() if own.epochs}
    assert {name: time.mean for name, time in times.items()} == {"adam": (1 + 4) / 2, "sgd": 2.0, "rmsprop": 4.0}
    assert show_time(times["adam"], 1) == "≥ 2.5 (1 of 2)"
    assert show_time(times["rmsprop"], 1) == "≥ 4.0 (0 of 1)"


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
    assert line.score.mean == pytest.approx(0.9)
    assert (line.top5, line.loss) == (chosen.test.top5, chosen.test.loss)
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
    assert verdict.sentence.startswith(
        "Validation and test images disagree: Adam was chosen on the validation images, but on the test images "
        "Adagrad 79.9 % ["
    )
    assert "] is better than Adam 70.1 % [" in verdict.sentence
    assert "] by 9.7 [" in verdict.sentence


def test_of_very_many_configurations_the_best_are_compared_and_the_rest_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("job.report.analysis.judgement.MOST_COMPARED", 4)
    results = runs_of({"adam": [0.7, 0.71]})
    for lr in (0.01, 0.02, 0.03, 0.04, 0.05):
        results += [
            make_result(make_manifest("adam", seed=seed, lr=lr), accuracy=0.8 + lr + seed / 100) for seed in (0, 1)
        ]
    study = build_study(tmp_path, *results)
    assert [line.behind is not None for line in study.standings] == [False, True, True, False, False, True]
    assert all(line.score is not None for line in study.standings)
    assert "Of 6 configurations the best 4 are compared with each other; the others have only their means." in (
        study.verdict.notes
    )


def test_other_images_may_tell_otherwise_and_the_page_says_how_far(tmp_path: Path) -> None:
    """Of 1,000 images alone the accuracies are known within 2.4 points, of those that both had right much better."""
    study = build_study(tmp_path / "known", *map(with_right, runs_of(SCORES)))
    ((_, comparison),) = study.verdict.rivals
    assert comparison.on_new_images is not None
    low, high = comparison.on_new_images
    assert low < (comparison.low or 0) < (comparison.high or 0) < high
    assert f"Adagrad minus Adam is [{points(low)}, {points(high)}] points." in study.verdict.notes[-1]
    unknown = build_study(tmp_path / "unknown", *runs_of(SCORES))
    assert unknown.verdict.rivals[0][1].on_new_images is None
    assert not any("other images" in note for note in unknown.verdict.notes)


def test_leader_by_validation_that_is_a_hair_behind_on_the_test_images_is_not_called_ahead(tmp_path: Path) -> None:
    results = []
    for seed, noise in enumerate([0, 0.001, 0.001, 0]):
        results += [
            validated("adam", seed, tests=[0.800 + noise] * 4, validation=[0.85] * 4),
            validated("adagrad", seed, tests=[0.801 + noise] * 4, validation=[0.80] * 4),
        ]
    sentence = build_study(tmp_path, *results).verdict.sentence
    assert "are practically equal: Adam differs by −0.1 [" in sentence


def test_without_a_seed_in_common_with_one_rival_the_others_are_still_told(tmp_path: Path) -> None:
    results = runs_of({"adagrad": SCORES["adagrad"], "sgd": [0.6, 0.61, 0.62, 0.6, 0.61]})
    study = build_study(tmp_path, *results, *with_seeds("adam", {7: 0.8, 8: 0.81}))
    assert not study.verdict.decided
    assert "Adagrad 91.2 % [" in study.verdict.sentence
    assert "and Adam have no seed in common" in study.verdict.sentence
    assert study.verdict.sentence.endswith("Adagrad is ahead of SGD.")
