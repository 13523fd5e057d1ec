"""Each reason appears with the right numbers where its evidence is in the data, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from job.report.reasons import Reason
from tests.records import build_study, diverged, make_manifest, make_result

GOOD = [0.80, 0.85, 0.88, 0.90, 0.91, 0.91]


def reasons(folder: Path, *results) -> dict[str, Reason]:
    return {each.picture.name.removeprefix("reason-"): each for each in build_study(folder, *results).reasons}


def run(optimizer: str, *, seed: int = 0, epochs: int = 6, top1=None, **options):
    fields = {
        key: options.pop(key) for key in list(options) if key in ("lr", "alpha", "weight_decay", "model", "schedule")
    }
    manifest = make_manifest(optimizer, seed=seed, epochs=epochs, **fields)
    return make_result(manifest, top1=GOOD if top1 is None else top1, **options)


def test_first_step_that_overwrites_is_told_with_its_size_and_the_formula(tmp_path: Path) -> None:
    slow = [0.3, 0.4, 0.5, 0.6, 0.7, 0.7]
    # rms 0.01 over 11,176,512 weights is a norm of 33.43; over a norm of 60 it is 0.5572
    found = reasons(tmp_path, run("rmsprop", first_step=0.5572, top1=slow), run("adam", first_step=0.0557))
    reason = found["first-steps"]
    assert reason.numbers["first_update_to_weight"] == pytest.approx(0.5572)
    assert reason.numbers["times_next"] == pytest.approx(10.0, rel=1e-3)
    assert reason.numbers["first_update_rms"] == pytest.approx(0.01, rel=1e-3)
    assert reason.numbers["predicted_update_rms"] == pytest.approx(0.001 / (1 - 0.99) ** 0.5)
    assert "by 55.7 % of its norm, 10 times as much as that of Adam (5.57 %)" in reason.sentence
    assert "lr/sqrt(1 − alpha) = 0.01 predicts" in reason.sentence
    assert "30.0 % of the test images are right, against 80.0 % with Adam" in reason.sentence


def test_small_first_steps_overwrite_nothing(tmp_path: Path) -> None:
    assert "first-steps" not in reasons(tmp_path, run("rmsprop", first_step=0.05), run("adam", first_step=0.05))


def test_weights_from_scratch_cannot_be_overwritten(tmp_path: Path) -> None:
    scratch = {"weights": "none"}
    found = reasons(tmp_path, run("rmsprop", first_step=0.5, model=scratch), run("adam", model=scratch))
    assert "first-steps" not in found


def test_formula_is_not_claimed_where_it_does_not_fit(tmp_path: Path) -> None:
    found = reasons(tmp_path, run("rmsprop", first_step=0.2), run("adam", first_step=0.01))
    assert "sqrt" not in found["first-steps"].sentence


def test_adadelta_at_a_thousandth_of_its_rate_is_told(tmp_path: Path) -> None:
    found = reasons(tmp_path, run("adadelta", first_step=0.0002), run("adam", first_step=0.02))
    reason = found["tiny-steps"]
    assert reason.numbers["mean_update_to_weight"] == pytest.approx(0.0002 * 0.775)  # falls to 0.55 over ten steps
    assert reason.numbers["part_of_design"] == 0.001
    assert reason.numbers["times_smaller"] == pytest.approx(100)
    assert "1/1,000 of the step it was designed for" in reason.sentence


@pytest.mark.parametrize(
    ("optimizer", "lr", "first_step"), [("adadelta", 1.0, 0.0002), ("adadelta", 0.001, 0.02), ("sgd", 0.001, 0.0002)]
)
def test_other_steps_are_not_called_adadelta_s(tmp_path: Path, optimizer: str, lr: float, first_step: float) -> None:
    assert "tiny-steps" not in reasons(tmp_path, run(optimizer, lr=lr, first_step=first_step), run("adam"))


def test_adagrad_s_shrinking_step_is_told_beside_the_others(tmp_path: Path) -> None:
    reason = reasons(tmp_path, run("adagrad", shrink=20.0), run("adam"))["shrinking-steps"]
    assert reason.numbers["times"] == pytest.approx(38, rel=0.05)  # 20, and the large first step in the first mean
    assert reason.numbers["others_most"] == pytest.approx(1.9, rel=0.05)
    assert "its gradients did not shrink" in reason.sentence


def test_steps_that_do_not_shrink_or_are_scheduled_to_are_no_reason(tmp_path: Path) -> None:
    assert "shrinking-steps" not in reasons(tmp_path / "a", run("adagrad", shrink=1.0), run("adam", shrink=20.0))
    scheduled = run("adagrad", shrink=20.0, schedule={"name": "cosine"})
    assert "shrinking-steps" not in reasons(tmp_path / "b", scheduled, run("adam"))


def test_generalisation_gap_is_told_where_fit_is_alike(tmp_path: Path) -> None:
    poor = [0.6, 0.65, 0.7, 0.72, 0.74, 0.75]
    trained = [0.8, 0.9, 0.95, 0.97, 0.98, 0.98]
    reason = reasons(tmp_path, run("adam", top1=poor, train_top1=trained), run("adagrad", train_top1=trained))["gap"]
    assert reason.numbers == pytest.approx(
        {"gap": 0.23, "other_gap": 0.07, "test_difference": 0.16, "train_difference": 0.0}
    )
    assert "Adam gets 98.0 % of the training images right and 75.0 % of the test images" in reason.sentence
    assert "mostly one of generalisation" in reason.sentence


def test_equal_gaps_are_no_reason(tmp_path: Path) -> None:
    assert "gap" not in reasons(tmp_path, run("adam"), run("adagrad"))


def test_overfitting_is_told_from_its_onset(tmp_path: Path) -> None:
    losses = [0.8, 0.6, 0.5, 0.6, 0.7, 0.8]
    reason = reasons(tmp_path, run("adam", test_loss=losses), run("adagrad"))["overfitting"]
    assert reason.numbers == {"adam_onset": 3.0}
    assert "Adam after epoch 3 (from 0.500 to 0.800, +60 %)" in reason.sentence


def test_falling_test_loss_is_no_overfitting(tmp_path: Path) -> None:
    assert "overfitting" not in reasons(tmp_path, run("adam"), run("adagrad"))


def test_unfinished_training_is_told(tmp_path: Path) -> None:
    rising = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    reason = reasons(tmp_path, run("adadelta", top1=rising), run("adagrad"))["unfinished"]
    assert reason.numbers == pytest.approx({"adadelta_gain": 0.2})
    assert "Adadelta gained 20.0 points (68.0 % of the training images right)" in reason.sentence


def test_converged_training_is_not_called_unfinished(tmp_path: Path) -> None:
    assert "unfinished" not in reasons(tmp_path, run("adam"), run("adagrad"))


def test_noise_between_epochs_is_told(tmp_path: Path) -> None:
    jumping = [0.6, 0.7, 0.6, 0.7, 0.6, 0.7, 0.6, 0.7]
    reason = reasons(
        tmp_path, run("rmsprop", top1=jumping, epochs=8), run("adagrad", top1=[*GOOD, 0.91, 0.91], epochs=8)
    )["epoch-noise"]
    assert reason.numbers["mean_change"] == pytest.approx(0.1)
    assert "RMSprop jumped by 10.0 points" in reason.sentence


def test_steady_rise_is_no_noise(tmp_path: Path) -> None:
    rising = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert "epoch-noise" not in reasons(tmp_path, run("rmsprop", top1=rising), run("adagrad"))


def test_growing_weights_are_told(tmp_path: Path) -> None:
    reason = reasons(tmp_path, run("rmsprop", weight_norm=(60.0, 90.0)), run("adam"))["weight-norm"]
    assert reason.numbers["start"] == 60.0
    assert reason.numbers["growth"] == pytest.approx(0.5, abs=0.03)
    assert "RMSprop inflated the backbone" in reason.sentence


def test_constant_weights_are_no_reason(tmp_path: Path) -> None:
    assert "weight-norm" not in reasons(tmp_path, run("rmsprop"), run("adam"))


def test_weight_decay_is_told_by_what_it_did_to_the_norm(tmp_path: Path) -> None:
    reason = reasons(
        tmp_path, run("adam"), run("adam", seed=1), run("adam", weight_decay=0.1, weight_norm=(60.0, 40.0))
    )["weight-decay"]
    assert reason.numbers["baseline_norm"] == 60.0
    assert reason.numbers["norm"] == pytest.approx(40, abs=0.7)
    assert "With weight decay 0.1 instead of 0 the backbone's norm" in reason.sentence


def test_weight_decay_without_effect_on_the_norm_is_no_reason(tmp_path: Path) -> None:
    assert "weight-decay" not in reasons(tmp_path, run("adam"), run("adam", seed=1), run("adam", weight_decay=1e-6))


def test_attribute_is_explained_by_the_steps_it_changed(tmp_path: Path) -> None:
    worse = [value - 0.2 for value in GOOD]
    reason = reasons(tmp_path, run("adam"), run("adam", seed=1), run("adam", lr=0.01, top1=worse))["attribute"]
    assert reason.numbers["effect"] == pytest.approx(-0.2)
    assert reason.numbers["update_to_weight"] == pytest.approx(10 * reason.numbers["baseline_update_to_weight"])
    assert "lr 0.01 instead of 0.001 makes the first ten updates of Adam 10 times larger" in reason.sentence
    assert "which these seeds do not make certain" in reason.sentence


def test_attribute_that_changed_accuracy_but_no_step_is_not_explained(tmp_path: Path) -> None:
    worse = [value - 0.2 for value in GOOD]
    found = reasons(tmp_path, run("adam"), run("adam", seed=1), run("adam", lr=0.01, top1=worse, first_step=0.055))
    assert "attribute" not in found


def test_step_size_and_accuracy_are_related_over_many_configurations(tmp_path: Path) -> None:
    rates = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
    results = [run("adam", lr=lr, top1=[0.9 - 0.05 * index] * 6) for index, lr in enumerate(rates)]
    reason = reasons(tmp_path, *results)["step-and-accuracy"]
    assert reason.numbers["rho"] == pytest.approx(-1.0)
    assert "Over all 7 configurations" in reason.sentence
    assert "the larger, the lower" in reason.sentence


def test_unrelated_or_few_configurations_show_no_such_relation(tmp_path: Path) -> None:
    rates = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2]
    mixed = [0.7, 0.9, 0.6, 0.8, 0.65, 0.95, 0.75]
    results = [run("adam", lr=lr, top1=[score] * 6) for lr, score in zip(rates, mixed, strict=True)]
    assert "step-and-accuracy" not in reasons(tmp_path / "a", *results)
    assert "step-and-accuracy" not in reasons(tmp_path / "b", *results[:3])


def test_divergence_is_told_with_how_often_and_when(tmp_path: Path) -> None:
    lost = [diverged(run("sgd", seed=seed, lr=10.0), epoch=1 + seed) for seed in range(2)]
    reason = reasons(tmp_path, run("adam"), *lost, run("sgd", seed=2, lr=10.0))["divergence"]
    assert reason.numbers == {"num_diverged": 2.0}
    assert "2 of 3 runs of SGD" in reason.sentence


def test_without_divergence_nothing_is_said_of_it(tmp_path: Path) -> None:
    assert "divergence" not in reasons(tmp_path, run("adam"), run("sgd"))


def test_frozen_backbone_has_no_reasons_in_its_steps(tmp_path: Path) -> None:
    result = run("rmsprop", first_step=0.5, model={"freeze_backbone": True})
    frozen = [
        record.model_copy(update={"diagnostics": record.diagnostics.model_copy(update={"backbone": None})})
        for record in result.history
    ]
    assert "first-steps" not in reasons(tmp_path, result.model_copy(update={"history": frozen}), run("adam"))
