"""When a reason is called tested: its intervention was run, and the accuracy moved as the reason says, or did not.

Beside each intervention that supports its reason stand nearly the same runs in which it speaks against it, decides
nothing, or changed something else as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from job.report.analysis.reasons import Reason, compare_first_steps
from job.report.analysis.study import Study
from job.runs import RunResult
from tests.records import build_study, make_manifest, make_result, make_study
from tests.traces import check_reason
from tests.unit.test_verdict import validated

LOW, HIGH = [0.3, 0.4, 0.5, 0.6, 0.6, 0.6], [0.8, 0.85, 0.88, 0.9, 0.9, 0.9]
OF_THE_MANIFEST = ("lr", "alpha", "eps", "rho", "schedule", "batch_size")
WARM: dict[str, Any] = {"schedule": {"name": "none", "warmup_epochs": 1.0}}


def runs(optimizer: str, *, seeds: int = 3, **options: Any) -> list[RunResult]:
    fields = {key: options.pop(key) for key in list(options) if key in OF_THE_MANIFEST}
    tops = options.pop("tops", None)
    return [
        make_result(
            make_manifest(optimizer, seed=seed, epochs=6, **fields),
            **options | ({"top1": [tops[seed]] * 6} if tops else {}),
        )
        for seed in range(seeds)
    ]


def study(folder: Path, *results: Sequence[RunResult]) -> Study:
    return build_study(folder, *(result for family in results for result in family))


def reasons(folder: Path, *results: Sequence[RunResult]) -> dict[str, Reason]:
    found = study(folder, *results).reasons
    for reason in found:
        check_reason(reason)
    return {each.picture.name.removeprefix("reason-"): each for each in found}


LARGE = runs("rmsprop", first_step=0.5, top1=LOW)
OTHERS = runs("adam", first_step=0.05, top1=HIGH)


def test_untested_reason_names_the_intervention_that_would_test_it(tmp_path: Path) -> None:
    reason = reasons(tmp_path, LARGE, OTHERS)["first-steps"]
    assert (reason.standing, reason.shown_standing) == ("consistent", "consistent with")
    assert reason.intervention is not None
    assert reason.intervention.changes == {"schedule.warmup_epochs": 1.0}
    assert reason.intervention.label == "RMSprop with one epoch of warm-up"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({"lr": 0.0001}, "with lr 0.0001, which scales all of its steps", id="another lr"),
        pytest.param(WARM, "with a warm-up of 1 epoch, after which lr is the same", id="a warm-up"),
    ],
)
def test_intervention_that_moves_the_accuracy_makes_the_reason_tested(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    reason = reasons(tmp_path, LARGE, OTHERS, runs("rmsprop", first_step=0.05, top1=HIGH, **change))["first-steps"]
    assert reason.shown_standing == "tested by intervention"
    assert f"Tested by intervention: {told}, RMSprop gets 90.0 % of the test images right instead of 60.0 %: +30.0" in (
        reason.sentence
    )
    assert "it gains 30.0 points" in reason.gist


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param({"top1": LOW}, "practically the same (less than 1 point either way)", id="nothing moves"),
        pytest.param({"top1": [0.2] * 6}, "−40.0", id="it moves the other way"),
    ],
)
def test_intervention_that_does_not_do_what_the_reason_says_is_told(
    options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    changed = runs("rmsprop", first_step=0.05, **WARM, **options)
    reason = reasons(tmp_path, LARGE, OTHERS, changed)["first-steps"]
    assert reason.standing == "consistent"
    assert "An intervention speaks against it: with a warm-up of 1 epoch" in reason.sentence
    assert told in reason.sentence
    assert reason.intervention is None  # it was tested, and failed


def test_one_intervention_for_and_one_against_are_both_told(tmp_path: Path) -> None:
    by_lr = runs("rmsprop", first_step=0.05, lr=0.0001, top1=HIGH)
    reason = reasons(tmp_path, LARGE, OTHERS, by_lr, runs("rmsprop", first_step=0.05, top1=LOW, **WARM))["first-steps"]
    assert reason.standing == "consistent"
    assert "Tested by intervention: with lr 0.0001" in reason.sentence
    assert "An intervention speaks against it: with a warm-up of 1 epoch" in reason.sentence


def test_intervention_that_decides_nothing_leaves_the_reason_consistent_and_asks_for_itself(tmp_path: Path) -> None:
    changed = runs("rmsprop", first_step=0.05, tops=(0.9, 0.35, 0.7), **WARM)
    reason = reasons(tmp_path, LARGE, OTHERS, changed)["first-steps"]
    assert reason.standing == "consistent"
    assert "An intervention was run and decides nothing" in reason.sentence
    assert reason.intervention is not None
    assert reason.intervention.changes == {"schedule.warmup_epochs": 1.0}


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"lr": 0.0005, "first_step": 0.25}, id="its first step is still large"),
        pytest.param({"lr": 0.0001, "alpha": 0.9, "first_step": 0.05}, id="two attributes changed"),
        pytest.param({"lr": 0.0001, "batch_size": 100, "first_step": 0.05}, id="the batch size changed too"),
    ],
)
def test_what_is_no_intervention_on_the_first_step_does_not_test_it(changed: dict[str, Any], tmp_path: Path) -> None:
    large = runs("rmsprop", seeds=4, first_step=0.5, top1=LOW)
    another = runs("rmsprop", eps=1e-7, first_step=0.5, top1=LOW)  # makes the first one the baseline
    found = reasons(tmp_path, large, another, OTHERS, runs("rmsprop", top1=HIGH, **changed))
    reason = found["first-steps"]
    assert reason.standing == "consistent"
    assert "ntervention" not in reason.sentence


def test_attribute_is_tested_by_an_lr_that_makes_steps_of_the_same_size(tmp_path: Path) -> None:
    attribute = runs("rmsprop", eps=0.01, first_step=0.05, top1=HIGH)
    alone = reasons(tmp_path / "alone", LARGE, OTHERS, attribute)["attribute-rmsprop-eps"]
    assert alone.standing == "consistent"
    assert alone.intervention is not None
    assert alone.intervention.changes == {"optimizer.lr": 0.0001}
    by_lr = runs("rmsprop", lr=0.0001, first_step=0.05, top1=HIGH)
    tested = reasons(tmp_path / "tested", LARGE, OTHERS, attribute, by_lr)["attribute-rmsprop-eps"]
    assert tested.standing == "tested"
    smaller = runs("rmsprop", lr=0.0001, first_step=0.005, top1=HIGH)
    assert (
        reasons(tmp_path / "not", LARGE, OTHERS, attribute, smaller)["attribute-rmsprop-eps"].standing == "consistent"
    )


def test_warm_up_asks_whether_the_first_steps_are_why_an_lr_is_too_large(tmp_path: Path) -> None:
    small = runs("rmsprop", lr=0.0001, first_step=0.05, top1=HIGH)
    reason = reasons(tmp_path / "a", LARGE, small)["attribute-rmsprop-lr"]
    assert "this is an intervention by itself: at lr 0.001 the steps are too large" in reason.sentence
    assert reason.intervention is not None
    assert reason.intervention.changes == {"schedule.warmup_epochs": 1.0}
    warm = runs("rmsprop", first_step=0.005, top1=LOW, **WARM)
    reason = reasons(tmp_path / "b", LARGE, small, warm)["attribute-rmsprop-lr"]
    assert "An intervention speaks against it: with a warm-up of 1 epoch" in reason.sentence


def test_warm_up_is_no_test_of_what_the_schedule_does(tmp_path: Path) -> None:
    reason = reasons(tmp_path, LARGE, OTHERS, runs("rmsprop", first_step=0.05, top1=HIGH, **WARM))[
        "attribute-rmsprop-schedule"
    ]
    assert reason.standing == "consistent"
    assert "ntervention" not in reason.sentence


# Pairs


def test_pair_of_the_leader_is_told_by_what_differs_in_every_seed(tmp_path: Path) -> None:
    leader = runs("adam", first_step=0.05, top1=HIGH, train_top1=[0.99] * 6)
    rival = runs("rmsprop", first_step=0.5, top1=LOW, train_top1=[0.7] * 6)
    reason = reasons(tmp_path, leader, rival)["pair-adam-rmsprop"]
    assert reason.about == ("adam", "rmsprop")
    assert reason.sentence.startswith("Adam is better than RMSprop by 30.0 [")
    assert "Measured for Adam against RMSprop in each of 3 seeds: its first ten updates are 10 times smaller" in (
        reason.sentence
    )
    assert "it gets more training images right in the last epoch (99.0 % against 70.0 %)" in reason.sentence
    assert reason.sentence.endswith("so none of it alone is shown to be the cause.")
    larger = "first ten updates relative to the weights of RMSprop / Adam"
    assert reason.numbers[larger] == pytest.approx(10, rel=0.01)
    assert reason.standing == "consistent"
    assert reason.intervention is not None
    assert reason.intervention.changes == {"optimizer.lr": 0.0001}


def test_pair_with_first_steps_of_one_size_says_that_they_are_not_the_difference(tmp_path: Path) -> None:
    reason = reasons(tmp_path, OTHERS, runs("adagrad", first_step=0.05, top1=LOW))["pair-adam-adagrad"]
    assert "first updates are of one size (5 % and 5 % of the backbone's norm)" in reason.sentence


def test_rival_that_does_no_better_with_the_leader_s_steps_speaks_against_them(tmp_path: Path) -> None:
    worse = runs("rmsprop", lr=0.0001, first_step=0.05, top1=[0.2] * 6)
    reason = reasons(tmp_path, LARGE, OTHERS, worse)["pair-adam-rmsprop"]
    assert "An intervention speaks against it: with lr 0.0001" in reason.sentence
    assert reason.intervention is None


def test_rival_that_was_still_learning_is_told(tmp_path: Path) -> None:
    rising = runs("rmsprop", first_step=0.5, top1=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    sentence = reasons(tmp_path, OTHERS, rising)["pair-adam-rmsprop"].sentence
    assert "RMSprop was still learning at the end: +20.0 points over its last two epochs." in sentence


def test_equal_and_undecided_pairs_claim_no_cause(tmp_path: Path) -> None:
    equal = reasons(tmp_path / "a", OTHERS, runs("adagrad", first_step=0.5, top1=HIGH))["pair-adagrad-adam"]
    assert "are practically equal" in equal.sentence
    uncertain = runs("rmsprop", first_step=0.5, tops=(0.9, 0.35, 0.7))
    unknown = reasons(tmp_path / "b", OTHERS, uncertain)["pair-adam-rmsprop"]
    assert "Whether Adam is better than RMSprop is not known" in unknown.sentence
    assert {(each.standing, each.intervention) for each in (equal, unknown)} == {("measured", None)}


def test_rival_that_is_better_on_the_test_images_is_told_as_such(tmp_path: Path) -> None:
    """Validation images chose Adam, and on the test images it is clearly behind."""
    families = [
        [validated(name, seed, tests=[top1 + seed / 1000] * 4, validation=[chosen] * 4) for seed in range(3)]
        for name, top1, chosen in (("adam", 0.7, 0.85), ("adagrad", 0.8, 0.80))
    ]
    reason = reasons(tmp_path, *families)["pair-adam-adagrad"]
    assert reason.sentence.startswith("On the test images Adagrad is better than Adam by 10.0 [")
    assert reason.gist.startswith("Adam loses to Adagrad by 10.0 points on the test images")
    assert (reason.standing, reason.intervention) == ("measured", None)


def test_pair_that_was_trained_otherwise_is_not_explained(tmp_path: Path) -> None:
    assert "pair-adam-rmsprop" not in reasons(tmp_path, OTHERS, runs("rmsprop", batch_size=10, top1=LOW))


# All reasons


def test_every_gist_is_one_short_sentence_and_every_picture_has_its_name(tmp_path: Path) -> None:
    found = build_study(tmp_path, *make_study(seeds=3)).reasons
    assert len(found) > 10
    for reason in found:
        assert 20 < len(reason.gist) <= 140, reason.gist
        assert reason.gist.endswith(".")
        assert reason.about
    names = [reason.picture.name for reason in found]
    assert len(set(names)) == len(names)


# The table of first steps


def test_first_steps_are_compared_with_their_formulas(tmp_path: Path) -> None:
    """A norm of 60 over 11,176,512 weights: an update of 5.572 % of it is 0.001 per weight."""
    own = study(
        tmp_path,
        runs("rmsprop", first_step=0.5572, top1=LOW),
        runs("adam", first_step=0.05572, top1=HIGH),
        runs("adadelta", first_step=0.00013, top1=LOW),
    )
    lines = {line.optimizer: line for line in compare_first_steps(own.evidence)}
    assert lines["adam"].predicted == pytest.approx(0.001, rel=1e-3)
    assert lines["adam"].ratio == pytest.approx(1.0, rel=1e-3)
    assert lines["rmsprop"].predicted == pytest.approx(0.01, rel=1e-3)
    gradient = 20 / 11_176_512**0.5
    expected = 0.001 * 1e-3 * gradient / (0.1 * gradient**2 + 1e-6) ** 0.5
    assert lines["adadelta"].predicted == pytest.approx(expected, rel=1e-6)
    assert "lr/sqrt(1 − alpha)" in lines["rmsprop"].rule.first_step
    assert lines["rmsprop"].takeaway == (
        "The step is what the rule predicts; it changes the backbone's weights by 55.7 % of their norm, 557 times the "
        "usual thousandth."
    )
    assert lines["adadelta"].takeaway.startswith("The step is 2.0 times smaller than the rule predicts") or (
        "smaller than predicted, because eps counts" in lines["adadelta"].takeaway
    )


def test_first_step_without_a_formula_is_told_as_such(tmp_path: Path) -> None:
    (line,) = compare_first_steps(study(tmp_path, runs("muon")).evidence)
    assert (line.predicted, line.ratio) == (None, None)
    assert line.takeaway.startswith("No formula of Muon predicts its first step")


def test_runs_without_diagnostics_have_no_line(tmp_path: Path) -> None:
    results = []
    for result in runs("adam"):
        history = [
            record.model_copy(
                update={
                    "diagnostics": record.diagnostics.model_copy(update={"steps": [], "backbone": None, "fc": EMPTY})
                }
            )
            for record in result.history
        ]
        results.append(result.model_copy(update={"history": history}))
    assert compare_first_steps(study(tmp_path, results).evidence) == []


EMPTY = (
    make_result(make_manifest("adam"))
    .history[0]
    .diagnostics.fc.model_copy(
        update={name: [] for name in ("gradient_norm", "update_norm", "weight_norm", "update_to_weight", "update_rms")}
    )
)
