"""Each reason appears with the right numbers where its evidence is in the data, and not where something speaks against.

Every rule has adversarial records beside the ones that it is made for: nearly the same curves, in which its sentence
would be false.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from job.manifest.optimizers import OPTIMIZERS
from job.report.analysis.reasons import Reason
from job.report.analysis.reasons.mechanisms import describe_mechanism
from job.report.analysis.wording import part
from job.runs import RunResult
from tests.records import build_study, diverged, made_by, make_manifest, make_result
from tests.traces import check_reason

GOOD = [0.80, 0.85, 0.88, 0.90, 0.91, 0.91]
SLOW = [0.3, 0.4, 0.5, 0.6, 0.7, 0.7]
OF_THE_MANIFEST = ("lr", "alpha", "weight_decay", "lr_decay", "eps", "model", "schedule", "batch_size")


def reasons(folder: Path, *results: RunResult | Sequence[RunResult]) -> dict[str, Reason]:
    flat = [one for each in results for one in ([each] if isinstance(each, RunResult) else each)]
    found = build_study(folder, *flat).reasons
    for reason in found:
        check_reason(reason)
    return {each.picture.name.removeprefix("reason-"): each for each in found}


def run(optimizer: str, *, seed: int = 0, epochs: int = 6, top1: Any = None, **options: Any) -> RunResult:
    fields = {key: options.pop(key) for key in list(options) if key in OF_THE_MANIFEST}
    manifest = make_manifest(optimizer, seed=seed, epochs=epochs, **fields)
    return make_result(manifest, top1=GOOD if top1 is None else top1, **options)


def runs(optimizer: str, *, seeds: int = 3, last: dict[str, Any] | None = None, **options: Any) -> list[RunResult]:
    """A run per seed, the last of them with other options: the one seed that disagrees."""
    return [run(optimizer, seed=seed, **options | (last or {} if seed == seeds - 1 else {})) for seed in range(seeds)]


# The first step


def test_large_first_step_is_told_beside_others_at_the_same_rate_with_the_formula(tmp_path: Path) -> None:
    # rms 0.01 over 11,176,512 weights is a norm of 33.43; over a norm of 60 it is 0.5572
    reason = reasons(tmp_path, runs("rmsprop", first_step=0.5572, top1=SLOW), runs("adam", first_step=0.0557))[
        "first-steps"
    ]
    assert reason.numbers["first update relative to the weights of RMSprop"] == pytest.approx(0.5572)
    assert reason.numbers["first update relative to the weights of RMSprop / Adam"] == pytest.approx(10.0, rel=1e-3)
    assert reason.numbers["first update per weight of RMSprop"] == pytest.approx(0.01, rel=1e-3)
    assert reason.numbers["predicted first update per weight of RMSprop"] == pytest.approx(0.01, rel=1e-3)
    assert "by 55.7 % of its norm. At the same lr of 0.001 these changed it less: Adam by 5.57 %" in reason.sentence
    assert "its update rule predicts 0.01, about lr/sqrt(1 − alpha)" in reason.sentence
    assert (reason.standing, reason.about) == ("consistent", ("rmsprop",))
    assert (
        "gets 30.0 % of the test images right, fewer than each of these in each of 3 seeds (Adam 80.0 %)"
        in reason.sentence
    )
    assert "away from where they started" not in reason.sentence  # not recorded


def test_distance_after_the_first_epoch_is_told_where_it_was_recorded(tmp_path: Path) -> None:
    far = runs("rmsprop", first_step=0.5, distances=[30.0] * 6)
    reason = reasons(tmp_path / "a", far, runs("adam", first_step=0.05, distances=[6.0] * 6))["first-steps"]
    distance = "distance from the start relative to the first weights, after epoch 1, of RMSprop"
    assert reason.numbers[distance] == pytest.approx(0.5)
    assert "weights are 50 % of their initial norm away" in reason.sentence
    near = runs("adam", first_step=0.05, distances=[6.0] * 6, last={"distances": [31.0] * 6})
    assert "initial norm" not in reasons(tmp_path / "b", far, near)["first-steps"].sentence


@pytest.mark.parametrize(
    ("large", "other"),
    [
        pytest.param({"first_step": 0.05}, {"first_step": 0.05}, id="no step is large"),
        pytest.param({}, {"first_step": 0.4}, id="the other one is large as well"),
        pytest.param({}, {"lr": 0.0001, "first_step": 0.005}, id="the other one has another learning rate"),
        pytest.param({}, {"batch_size": 10, "first_step": 0.05}, id="the other one was trained otherwise"),
        pytest.param(
            {"model": {"weights": "none"}}, {"model": {"weights": "none"}, "first_step": 0.05}, id="no weights"
        ),
        pytest.param({"last": {"first_step": 0.08}}, {"first_step": 0.05}, id="one seed begins with a small step"),
    ],
)
def test_first_step_is_no_reason_where(large: dict[str, Any], other: dict[str, Any], tmp_path: Path) -> None:
    assert "first-steps" not in reasons(tmp_path, runs("rmsprop", **{"first_step": 0.5} | large), runs("adam", **other))


def test_large_first_step_that_cost_no_accuracy_is_not_said_to_have_cost_any(tmp_path: Path) -> None:
    harmless = runs("rmsprop", first_step=0.5, last={"top1": SLOW})
    reason = reasons(tmp_path, harmless, runs("adam", first_step=0.05))["first-steps"]
    assert "not fewer than each of these" in reason.sentence
    assert "the accuracies do not show that features were lost" in reason.sentence
    assert "overwritten" not in reason.title + reason.sentence


def test_formula_is_not_claimed_where_it_does_not_fit(tmp_path: Path) -> None:
    assert (
        "sqrt"
        not in reasons(tmp_path, run("rmsprop", first_step=0.2), run("adam", first_step=0.01))["first-steps"].sentence
    )


# Adadelta at the others' rate


def test_adadelta_at_a_thousandth_of_its_rate_is_told(tmp_path: Path) -> None:
    slow = [0.10, 0.2, 0.3, 0.4, 0.5, 0.6]
    tiny = runs("adadelta", first_step=0.0002, train_top1=slow, distances=[0.3 * epoch for epoch in range(1, 7)])
    reason = reasons(tmp_path, tiny, runs("adam", first_step=0.02, distances=[12.0] * 6))["tiny-steps"]
    first = "first ten updates relative to the weights of Adadelta"
    assert reason.numbers[first] == pytest.approx(0.0002 * 0.775)  # falls to 0.55 over ten steps
    assert reason.numbers["lr of the formula relative to that of the run"] == 1000
    assert reason.numbers["first ten updates relative to the weights of Adam / Adadelta"] == pytest.approx(100)
    distance = "distance from the start relative to the first weights, in the last epoch, of Adadelta"
    assert reason.numbers[distance] == pytest.approx(0.03)
    assert "1/1,000 of the step that its formula gives" in reason.sentence
    assert (
        "gets 10.0 % of the training images right, fewer than each of the others in each of 3 seeds (Adam 88.0 %)"
        in reason.sentence
    )
    assert "weights are 3 % of their initial norm away from where they started, nearer" in reason.sentence


def test_adadelta_that_starts_as_well_as_the_others_is_not_called_slow_nor_near(tmp_path: Path) -> None:
    quick = [0.97] * 6
    sentence = reasons(
        tmp_path / "a", runs("adadelta", first_step=0.0002, train_top1=quick), runs("adam", first_step=0.02)
    )["tiny-steps"].sentence
    assert "fewer" not in sentence
    assert "97.0" not in sentence
    assert "initial norm" not in sentence  # no distance was recorded
    far = runs("adadelta", first_step=0.0002, distances=[15.0] * 6)
    others = runs("adam", first_step=0.02, distances=[12.0] * 6)
    assert "initial norm" not in reasons(tmp_path / "b", far, others)["tiny-steps"].sentence


@pytest.mark.parametrize(
    ("optimizer", "fields", "other"),
    [
        pytest.param("adadelta", {"lr": 1.0}, {"lr": 1.0}, id="at its own rate"),
        pytest.param("adadelta", {"first_step": 0.02}, {}, id="with steps that are not tiny"),
        pytest.param("sgd", {}, {}, id="another optimizer"),
        pytest.param("adadelta", {}, {"first_step": 0.0004}, id="the other one's steps are tiny as well"),
        pytest.param("adadelta", {}, {"lr": 0.01}, id="the other one has another learning rate"),
        pytest.param("adadelta", {"last": {"first_step": 0.02}}, {}, id="in one seed the steps are not tiny"),
        pytest.param("adadelta", {"schedule": {"name": "onecycle"}}, {"schedule": {"name": "onecycle"}}, id="warm-up"),
    ],
)
def test_tiny_steps_are_no_reason_where(
    optimizer: str, fields: dict[str, Any], other: dict[str, Any], tmp_path: Path
) -> None:
    tiny = runs(optimizer, **{"first_step": 0.0002} | fields)
    assert "tiny-steps" not in reasons(tmp_path, tiny, runs("adam", **{"first_step": 0.05} | other))


# Steps and weights over the epochs


def test_adagrad_s_step_for_the_same_gradient_is_told_beside_the_others(tmp_path: Path) -> None:
    falling: dict[str, Any] = {"gradient_fall": 2.0}
    reason = reasons(tmp_path, runs("adagrad", shrink=20.0, **falling), runs("adam", shrink=2.0, **falling))[
        "shrinking-steps"
    ]
    fall = "update per gradient, epoch 1 relative to the last, of"
    assert reason.numbers[f"{fall} Adagrad"] == pytest.approx(19, rel=0.05)  # 20, the large first step of 1.9, over 2
    assert reason.numbers[f"{fall} Adam"] == pytest.approx(1.9, rel=0.05)
    assert "at the same lr: Adam 1.9 times smaller" in reason.sentence
    assert "in each of 3 seeds" in reason.sentence


@pytest.mark.parametrize(
    ("adagrad", "adam"),
    [
        pytest.param({"shrink": 20.0}, {"shrink": 20.0}, id="the other one's shrinks as much"),
        pytest.param({"shrink": 20.0, "gradient_fall": 40.0}, {}, id="the gradient shrinks as much"),
        pytest.param({"shrink": 1.0}, {"shrink": 0.5}, id="it does not shrink"),
        pytest.param({"shrink": 20.0, "lr": 0.01}, {}, id="the other one has another learning rate"),
        pytest.param({"shrink": 20.0, "lr_decay": 0.01}, {}, id="lr_decay shrinks it"),
        pytest.param({"shrink": 20.0, "weight_decay": 0.1}, {}, id="the gradient is not all of the step"),
        pytest.param(
            {"shrink": 20.0, "schedule": {"name": "cosine"}}, {"schedule": {"name": "cosine"}}, id="a schedule"
        ),
        pytest.param({"shrink": 20.0, "last": {"shrink": 1.0}}, {}, id="in one seed it does not shrink"),
    ],
)
def test_shrinking_steps_are_no_reason_where(adagrad: dict[str, Any], adam: dict[str, Any], tmp_path: Path) -> None:
    assert "shrinking-steps" not in reasons(tmp_path, runs("adagrad", **adagrad), runs("adam", **adam))


def test_growing_weights_are_told_with_the_steps_as_they_were_measured(tmp_path: Path) -> None:
    growing = runs("rmsprop", first_step=0.05, weight_norm=(60.0, 90.0), shrink=0.2)  # its steps grow fivefold
    reason = reasons(tmp_path, growing, runs("adam"))["weight-norm"]
    assert reason.numbers["weight norm before the first step of RMSprop"] == 60.0
    assert reason.numbers["growth of the weight norm of RMSprop"] == pytest.approx(0.5, abs=0.03)
    second, last = (
        reason.numbers[f"updates relative to the weights in {epoch} of RMSprop"]
        for epoch in ("epoch 2", "the last epoch")
    )
    assert (second, last) == pytest.approx((0.005 * 5**0.2, 0.025), rel=0.02)
    assert "an update of the same norm is 1.49 times smaller" in reason.sentence
    assert f"was {100 * second:.3g} % of the norm in epoch 2 and {100 * last:.3g} % in epoch 6" in reason.sentence
    assert not {"falls", "fell"} & set(reason.sentence.split())


@pytest.mark.parametrize(
    ("rmsprop", "adam"),
    [
        pytest.param({}, {}, id="they stay"),
        pytest.param({"weight_norm": (60.0, 90.0)}, {"weight_norm": (60.0, 95.0)}, id="the other one's grow more"),
        pytest.param({"weight_norm": (60.0, 90.0)}, {"lr": 0.0001}, id="the other one has another learning rate"),
        pytest.param(
            {"weight_norm": (60.0, 90.0), "last": {"weight_norm": (60.0, 60.0)}}, {}, id="in one seed they stay"
        ),
    ],
)
def test_growing_weights_are_no_reason_where(rmsprop: dict[str, Any], adam: dict[str, Any], tmp_path: Path) -> None:
    found = reasons(tmp_path, runs("rmsprop", **{"first_step": 0.05} | rmsprop), runs("adam", **adam))
    assert "RMSprop" not in (found["weight-norm"].title if "weight-norm" in found else "")


# Fit and generalisation

FITTED = [0.8, 0.9, 0.95, 0.97, 0.98, 0.98]
POOR = [0.6, 0.65, 0.7, 0.72, 0.74, 0.75]
WIDE: dict[str, Any] = {"top1": POOR, "train_top1": FITTED}
NARROW: dict[str, Any] = {"train_top1": FITTED}
LESS, MORE = {"top1": [0.8] * 6, "train_top1": [0.9] * 6}, {"top1": [0.94] * 6, "train_top1": [0.99] * 6}


def test_generalisation_gap_is_told_where_fit_is_alike(tmp_path: Path) -> None:
    reason = reasons(tmp_path, runs("adam", top1=POOR, train_top1=FITTED), runs("adagrad", train_top1=FITTED))["gap"]
    assert reason.numbers["difference Adagrad − Adam, test images"] == pytest.approx(0.16)
    assert reason.numbers["difference Adagrad − Adam, training images"] == pytest.approx(0.0)
    assert "Adam and Adagrad both fit the training images (98.0 % and 98.0 % right" in reason.sentence
    assert "Adam gets 75.0 % right and Adagrad 91.0 %" in reason.sentence
    assert "+16.0 points on the test images and +0.0 on the training images" in reason.sentence


@pytest.mark.parametrize(
    ("adam", "adagrad"),
    [
        pytest.param({}, {}, id="gaps are equal"),
        pytest.param(WIDE, {"top1": SLOW, "train_top1": SLOW}, id="the other never fitted"),
        pytest.param({"top1": SLOW, "train_top1": [0.7] * 6}, NARROW, id="it never fitted itself"),
        pytest.param(LESS, MORE, id="fits differ as tests do"),
        pytest.param(WIDE | {"last": {"top1": GOOD}}, NARROW, id="one seed has no gap"),
        pytest.param(WIDE, NARROW | {"batch_size": 10}, id="trained otherwise"),
    ],
)  # fmt: skip
def test_gap_is_no_reason_where(adam: dict[str, Any], adagrad: dict[str, Any], tmp_path: Path) -> None:
    assert "gap" not in reasons(tmp_path, runs("adam", **adam), runs("adagrad", **adagrad))


OVERFITTING = [0.8, 0.6, 0.5, 0.6, 0.7, 0.8]
UNLEARNING = [0.9, 0.95, 0.97, 0.95, 0.9, 0.9]


def test_overfitting_is_told_from_its_onset_beside_the_others(tmp_path: Path) -> None:
    reason = reasons(tmp_path, runs("adam", test_loss=OVERFITTING), runs("adagrad"))["overfitting"]
    assert reason.numbers["epoch of the lowest test loss of Adam"] == 3
    assert "Adam: after epoch 3 of 6 the test loss rises from 0.500 to 0.800 in the last epoch" in reason.sentence
    assert "the test accuracy changes by +3.0 points" in reason.sentence
    assert "From epoch 3 to the last the test loss of the others changed by: Adagrad −21 %" in reason.sentence


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="the test loss falls"),
        pytest.param({"test_loss": [0.8, 0.7, 0.6, 0.55, 0.5, 0.8]}, id="its last epoch alone is higher"),
        pytest.param({"test_loss": [0.8, 0.5, 0.9, 0.7, 0.6, 0.56]}, id="a noisy loss comes down again"),
        pytest.param({"test_loss": [0.8, 0.6, 0.5, 0.51, 0.52, 0.53]}, id="it hardly rises"),
        pytest.param({"test_loss": [2, 1, 1.04, 1.03, 1.02, 1.5]}, id="it falls, then jumps once"),
        pytest.param({"test_loss": [2, 1, 1.02, 1.03, 1.04, 1.5]}, id="it hardly rises, then jumps once"),
        pytest.param({"test_loss": OVERFITTING, "train_top1": UNLEARNING}, id="the training loss rises"),
        pytest.param({"test_loss": OVERFITTING, "last": {"test_loss": [0.8, 0.6] + [0.5] * 4}}, id="one seed stays"),
    ],
)  # fmt: skip
def test_overfitting_is_no_reason_where(options: dict[str, Any], tmp_path: Path) -> None:
    assert "overfitting" not in reasons(tmp_path, runs("adam", **options), runs("adagrad"))


def test_onset_just_before_the_end_is_not_called_overfitting(tmp_path: Path) -> None:
    """The lowest test loss after epoch 19 of 20."""
    losses = [1.0 - 0.03 * epoch for epoch in range(19)] + [0.6]
    accuracies = [0.4 + 0.02 * epoch for epoch in range(20)]
    found = reasons(tmp_path, *runs("adam", epochs=20, top1=accuracies, test_loss=losses), run("adagrad"))
    assert "overfitting" not in found


RISING = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def test_unfinished_training_is_told(tmp_path: Path) -> None:
    reason = reasons(tmp_path, runs("adadelta", top1=RISING), runs("adagrad"))["unfinished"]
    rises = {name: value for name, value in reason.numbers.items() if name.startswith("rise of the test accuracy")}
    assert rises["rise of the test accuracy over the last two epochs of Adadelta"] == pytest.approx(0.2)
    assert (
        "In each of the last two epochs the test accuracy still rose in every run: that of Adadelta by 20.0 points "
        "over both (68.0 % of the training images right)" in reason.sentence
    )
    assert "these did not rise steadily: Adagrad +1.0 points" in reason.sentence
    assert "The order is that after 6 epochs" in reason.sentence


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="it has converged"),
        pytest.param({"train_top1": [0.5, 0.6, 0.7, 0.8, 0.9, 0.97]}, id="the training images are right"),
        pytest.param({"last": {"top1": [0.1, 0.2, 0.3, 0.4, 0.39, 0.6]}}, id="one seed dips"),
        pytest.param({"schedule": {"name": "cosine"}}, id="the schedule ends there"),
    ],
)
def test_training_is_not_called_unfinished_where(options: dict[str, Any], tmp_path: Path) -> None:
    rising = {} if not options else {"top1": RISING}
    assert "unfinished" not in reasons(tmp_path, runs("adadelta", **rising | options), runs("adagrad"))


JUMPING = [0.6, 0.7, 0.6, 0.7, 0.6, 0.7, 0.6, 0.7]
CALM = [0.6, 0.65, 0.7, 0.71, 0.72, 0.73, 0.74, 0.75]
JUMPY: dict[str, Any] = {"top1": JUMPING, "epochs": 8}
QUIET: dict[str, Any] = {"top1": CALM, "epochs": 8}


def test_noise_between_epochs_is_told(tmp_path: Path) -> None:
    calm = runs("adagrad", top1=CALM, epochs=8)
    reason = reasons(tmp_path, runs("rmsprop", top1=JUMPING, epochs=8), calm)["epoch-noise"]
    assert reason.numbers["movement of the test accuracy between epochs of RMSprop"] == pytest.approx(0.1)
    assert "RMSprop moved by 10.0 points" in reason.sentence


@pytest.mark.parametrize(
    ("rmsprop", "adagrad"),
    [
        pytest.param(QUIET, QUIET, id="a steady rise"),
        pytest.param(JUMPY, JUMPY, id="both jump"),
        pytest.param(JUMPY | {"last": {"top1": CALM}}, QUIET, id="one seed is calm"),
        pytest.param(JUMPY, {}, id="the other one was trained otherwise"),
        pytest.param({"top1": JUMPING[:4], "epochs": 4}, {"top1": CALM[:4], "epochs": 4}, id="too few epochs"),
    ],
)  # fmt: skip
def test_noise_is_no_reason_where(rmsprop: dict[str, Any], adagrad: dict[str, Any], tmp_path: Path) -> None:
    assert "epoch-noise" not in reasons(tmp_path, runs("rmsprop", **rmsprop), runs("adagrad", **adagrad))


# Attributes

WORSE = [value - 0.2 for value in GOOD]
BETTER = [value + 0.05 for value in GOOD]


def test_weight_decay_is_told_by_what_it_did_to_the_norm(tmp_path: Path) -> None:
    decayed = runs("adam", weight_decay=0.1, weight_norm=(60.0, 40.0))
    reason = reasons(tmp_path, runs("adam", seeds=4), decayed)["attribute-adam-weight-decay"]
    assert (reason.title, reason.attribute) == ("What weight_decay does in Adam", "optimizer.weight_decay")
    assert reason.numbers["weight norm in the last epoch of Adam"] == 60.0
    assert reason.numbers["weight norm in the last epoch of Adam weight_decay 0.1"] == pytest.approx(40, abs=0.7)
    assert "is added to the gradient before anything else, and then divided as the gradient is" in reason.sentence
    assert "With weight_decay 0.1 instead of 0 the norm of its weights ends smaller (40." in reason.sentence
    assert reason.standing == "measured"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="the norm stays"),
        pytest.param(
            {"weight_norm": (60.0, 40.0), "last": {"weight_norm": (60.0, 80.0)}}, id="one seed goes the other way"
        ),
    ],
)
def test_weight_decay_is_not_said_to_change_the_norm_where(options: dict[str, Any], tmp_path: Path) -> None:
    found = reasons(tmp_path, runs("adam", seeds=4), runs("adam", weight_decay=0.1, **options))
    sentence = found["attribute-adam-weight-decay"].sentence
    assert "norm of its weights" not in sentence
    assert "With weight_decay 0.1 instead of 0 nothing that was measured differs clearly in each of 3 seeds" in sentence


def test_mechanism_is_that_of_the_optimizer(tmp_path: Path) -> None:
    sentences = [
        reasons(tmp_path / name, runs(name, seeds=4), runs(name, weight_decay=0.5))[
            f"attribute-{name}-weight-decay"
        ].sentence
        for name in ("adamw", "sgd")
    ]
    assert "every step takes lr · weight_decay of each weight away" in sentences[0]
    assert "so each step pulls the weights towards 0" in sentences[1]


def test_every_attribute_of_every_optimizer_has_its_mechanism() -> None:
    for name, kind in OPTIMIZERS.items():
        optimizer = make_manifest(name).optimizer
        for attribute in kind.model_fields.keys() - {"name"}:
            is_adamw_s = attribute.startswith("adamw_") and attribute != "adamw_lr"
            told = describe_mechanism(optimizer, f"optimizer.{attribute}")
            assert is_adamw_s or "is a part of the configuration" not in told, (name, attribute)


def test_attribute_is_explained_by_the_steps_it_changed(tmp_path: Path) -> None:
    reason = reasons(tmp_path, runs("adam", seeds=2), run("adam", lr=0.01, top1=WORSE))["attribute-adam-lr"]
    assert reason.numbers["difference Adam lr 0.01 − Adam"] == pytest.approx(-0.2)
    larger = "first ten updates relative to the weights of Adam lr 0.01 / Adam"
    assert reason.numbers[larger] == pytest.approx(10, rel=0.01)
    assert "In Adam, every step is multiplied by lr." in reason.sentence
    assert "By its formula the first step per weight is 0.01 instead of 0.001" in reason.sentence
    assert "With lr 0.01 instead of 0.001 its first ten updates are 10 times larger" in reason.sentence
    assert reason.sentence.endswith("Its accuracy is lower by 20.0 points, which one seed cannot make certain.")
    assert reason.gist.endswith("first steps 10 times larger, accuracy −20.0 points, not certain.")


def test_eps_that_is_small_beside_the_gradients_is_said_to_change_nothing(tmp_path: Path) -> None:
    """The gradient's norm is 20 over 11,176,512 weights: a root mean square of 0.00598."""
    options: dict[str, Any] = {"top1": [0.8] * 6, "first_step": 0.05}
    found = reasons(tmp_path, runs("adam", seeds=4, **options), runs("adam", eps=1e-6, **options))
    reason = found["attribute-adam-eps"]
    assert "The root mean square of the first gradients is 0.00598, 5,982 times eps" in reason.sentence
    assert "nothing that was measured differs clearly in each of 3 seeds" in reason.sentence
    assert "stays practically the same: +0.0" in reason.sentence
    assert (reason.standing, reason.intervention) == ("measured", None)


@pytest.mark.parametrize(
    ("spread", "told"),
    [
        pytest.param((0.5, 0.5, 0.5), "lower by 40.0 [39.9, 40.1] points. lr changes", id="uniform"),
        pytest.param((0.85, 0.84, 0.1), "points, which these seeds do not make certain.", id="uncertain"),
        pytest.param((0.5, 0.51, 0.49), "lower by 40.0 [38.3, 41.7] points. lr changes", id="certain"),
    ],
)
def test_certainty_of_an_attribute_s_effect_is_told_by_its_seeds(
    spread: Sequence[float], told: str, tmp_path: Path
) -> None:
    worse = [run("adam", seed=seed, lr=0.01, top1=[score] * 6) for seed, score in enumerate(spread)]
    reason = reasons(tmp_path, runs("adam", top1=[0.9] * 5 + [0.9]), worse)["attribute-adam-lr"]
    assert told in reason.sentence
    assert reason.standing == ("tested" if "lr changes" in told else "measured")


OLD = {"torch": "2.11.0"}


def test_no_reason_compares_runs_of_another_torch(tmp_path: Path) -> None:
    """The verdict and the effects name it; a reason across it would tell torch's doing as the optimizer's."""
    worse: dict[str, Any] = {"lr": 0.01, "top1": WORSE, "weight_norm": (60.0, 40.0)}
    results = [[runs("rmsprop", weight_norm=(60.0, 85.0)), runs("adam", **worse)], [runs("adam")]]
    alike = [made_by(each) for family in itertools.chain(*results) for each in family]
    mixed = [made_by(each, **facts) for part, facts in zip(results, ({}, OLD), strict=True) for f in part for each in f]
    assert {"first-steps", "weight-norm", "attribute-adam-lr"} <= reasons(tmp_path / "alike", alike).keys()
    found = reasons(tmp_path / "mixed", mixed)
    assert found.keys() == {"attribute-adam-lr"}
    reason = found["attribute-adam-lr"]
    assert reason.sentence.endswith("points, but not by lr alone: torch 2.15.0 against 2.11.0.")
    assert reason.standing == "measured"


def test_order_by_step_size_leaves_out_pairs_of_another_torch(tmp_path: Path) -> None:
    results = by_rate("adam", [0.9, 0.8, 0.7, 0.6, 0.5])
    others = [made_by(each, **(OLD if each.manifest.optimizer.lr < 1e-3 else {})) for each in results]
    sentence = reasons(tmp_path, others)["step-and-accuracy"].sentence
    assert "(4 pairs)" in sentence  # of 10: one below the third rate, three from there on


def test_change_of_an_attribute_alone_is_told_before_one_that_was_run_with_another_torch(tmp_path: Path) -> None:
    larger = [made_by(each, **OLD) for each in runs("adam", lr=0.1, top1=[0.1] * 6)]
    results = [made_by(each) for each in [*runs("adam"), *runs("adam", lr=0.01, top1=WORSE)]]
    sentence = reasons(tmp_path, results, larger)["attribute-adam-lr"].sentence
    assert "With lr 0.01 instead of 0.001" in sentence
    assert "torch" not in sentence


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"top1": WORSE, "first_step": 0.055}, id="no step changed"),
        pytest.param({"top1": WORSE, "last": {"top1": BETTER}}, id="one seed goes the other way"),
        pytest.param({"top1": WORSE, "last": {"first_step": 0.055}}, id="in one seed no step changed"),
    ],
)
def test_size_of_the_steps_is_not_called_the_cause_where(options: dict[str, Any], tmp_path: Path) -> None:
    reason = reasons(tmp_path, runs("adam", seeds=4), runs("adam", lr=0.01, **options))["attribute-adam-lr"]
    assert "steps are too" not in reason.sentence
    assert (reason.standing, reason.intervention) == ("measured", None)


RATES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def by_rate(optimizer: str, scores: Sequence[float], *, seeds: int = 2, **options: Any) -> list[RunResult]:
    return [
        each
        for lr, score in zip(RATES, scores, strict=True)
        for each in runs(optimizer, seeds=seeds, lr=lr, top1=[score] * 6, **options)
    ]


def test_order_of_accuracy_by_step_size_is_told_within_an_optimizer(tmp_path: Path) -> None:
    reason = reasons(tmp_path, by_rate("adam", [0.9, 0.8, 0.7, 0.6, 0.5]))["step-and-accuracy"]
    assert reason.numbers["num_pairs with less accuracy of Adam"] == reason.numbers["num_pairs"] == 10
    assert "Adam is worse with larger updates in all of its 10 pairs" in reason.sentence
    assert not {"p", "Spearman's"} & set(reason.sentence.replace("(", " ").split())


def test_inverted_u_is_not_called_a_fall(tmp_path: Path) -> None:
    reason = reasons(tmp_path, by_rate("adam", [0.5, 0.7, 0.9, 0.6, 0.4]))["step-and-accuracy"]
    assert "Adam gains with larger updates up to Adam " in reason.sentence + " "
    assert "and loses beyond it" in reason.sentence
    assert "worse" not in reason.sentence


def test_optimizer_without_an_order_is_told_as_such_beside_one_with(tmp_path: Path) -> None:
    found = reasons(tmp_path, by_rate("adam", [0.9, 0.8, 0.7, 0.6, 0.5]), by_rate("sgd", [0.5, 0.9, 0.4, 0.8, 0.6]))
    assert "SGD shows no order" in found["step-and-accuracy"].sentence


@pytest.mark.parametrize("scores", [(0.7, 0.9, 0.6, 0.8, 0.65), (0.8, 0.801, 0.802, 0.803, 0.804)])
def test_accuracy_without_an_order_is_no_reason(scores: Sequence[float], tmp_path: Path) -> None:
    assert "step-and-accuracy" not in reasons(tmp_path, by_rate("adam", scores))


def test_differences_between_optimizers_are_no_order_within_them(tmp_path: Path) -> None:
    """Eight configurations in which larger steps go with lower accuracy only because the optimizers differ."""
    varied: list[dict[str, Any]] = [{"eps": 1e-8}, {"eps": 1e-6}]
    unvaried: list[dict[str, Any]] = [{}]
    results = [
        each
        for optimizer, size, score in (
            ("adam", 0.001, 0.9),
            ("adagrad", 0.01, 0.8),
            ("sgd", 0.1, 0.7),
            ("rmsprop", 1, 0.6),
        )
        for attributes in (varied if optimizer != "sgd" else unvaried)
        for each in runs(optimizer, first_step=size, top1=[score] * 6, **attributes)
    ]
    assert "step-and-accuracy" not in reasons(tmp_path, results)


def test_seeds_that_disagree_are_no_order(tmp_path: Path) -> None:
    falling = by_rate("adam", [0.9, 0.8, 0.7, 0.6, 0.5], last={"top1": [0.7] * 6})
    assert "step-and-accuracy" not in reasons(tmp_path, falling)


def over_seeds(optimizer: str, lr: float, scores: dict[int, float]) -> list[RunResult]:
    return [run(optimizer, seed=seed, lr=lr, top1=[score] * 6) for seed, score in scores.items()]


EASY = {2: 0.99, 3: 0.99, 4: 0.99}
"""Seeds that only one of the configurations has."""


def test_order_by_step_size_does_not_count_easy_seeds_that_only_one_has(tmp_path: Path) -> None:
    results = over_seeds("adam", 1e-5, {0: 0.85, 1: 0.86}) + over_seeds("adam", 1e-4, {0: 0.83, 1: 0.84})
    results += over_seeds("adam", 1e-3, {0: 0.80, 1: 0.81} | EASY)
    reason = reasons(tmp_path, results)["step-and-accuracy"]
    assert (
        "Adam is worse with larger updates in all of its 3 pairs "
        "(from 85.5 % at 0.0426 % to 80.5 % at 4.26 % of the backbone's norm)." in reason.sentence
    )
    assert "adjusted for the seeds" in reason.picture.caption


def test_top_of_an_inverted_u_is_no_configuration_with_easy_seeds(tmp_path: Path) -> None:
    results = over_seeds("adam", 1e-5, {0: 0.70, 1: 0.71}) + over_seeds("adam", 1e-4, {0: 0.85, 1: 0.86})
    results += over_seeds("adam", 1e-3, {0: 0.80, 1: 0.81} | EASY)
    sentence = reasons(tmp_path, results)["step-and-accuracy"].sentence
    assert "Adam gains with larger updates up to Adam" in sentence
    assert "(85.5 % at 0.426 % of the backbone's norm) and loses beyond it" in sentence


def test_update_larger_than_the_weights_is_told_as_a_part_of_them(tmp_path: Path) -> None:
    reason = reasons(tmp_path, runs("rmsprop", first_step=4.26, top1=SLOW), runs("adam", first_step=0.05))
    told = reason["first-steps"].sentence
    assert told.startswith("The first update of RMSprop changed the pretrained backbone by 426 % of its norm.")
    assert (part(0.00013), part(0.55), part(1.0), part(4.26), part(12.345)) == (
        "0.013 %", "55 %", "100 %", "426 %", "1,234 %",
    )  # fmt: skip


# Divergence


def test_divergence_is_told_with_how_often_and_when(tmp_path: Path) -> None:
    lost = [diverged(run("sgd", seed=seed, lr=10.0), epoch=1 + seed) for seed in range(2)]
    reason = reasons(tmp_path, run("adam"), *lost, run("sgd", seed=2, lr=10.0))["divergence"]
    assert reason.numbers["num_diverged"] == 2
    assert "2 of 3 runs of SGD (after at most 1 whole epoch)" in reason.sentence  # not the survivor's six
    assert "Of the 1 run of the other configurations none diverged" in reason.sentence


def test_without_divergence_nothing_is_said_of_it(tmp_path: Path) -> None:
    assert "divergence" not in reasons(tmp_path, run("adam"), run("sgd"))


def test_survivors_of_a_configuration_that_diverges_speak_for_no_other_reason(tmp_path: Path) -> None:
    """Each of these reasons appears with the same runs whole, and is gone once one of three seeds has diverged."""
    options: dict[str, Any] = {"first_step": 0.5, "weight_norm": (60.0, 90.0), "top1": JUMPING, "epochs": 8}
    whole = runs("rmsprop", **options)
    others = runs("adam", epochs=8, first_step=0.05, top1=CALM)
    told = {"first-steps", "weight-norm", "epoch-noise"}
    assert told <= reasons(tmp_path / "a", whole, others).keys()
    assert not told & reasons(tmp_path / "b", *whole[:2], diverged(whole[2], epoch=5), others).keys()


def test_frozen_backbone_has_no_reasons_in_its_steps(tmp_path: Path) -> None:
    results = []
    for result in (
        *runs("rmsprop", first_step=0.5, weight_norm=(60.0, 90.0)),
        *runs("adagrad", shrink=20.0),
        *runs("adam"),
    ):
        frozen = [
            record.model_copy(update={"diagnostics": record.diagnostics.model_copy(update={"backbone": None})})
            for record in result.history
        ]
        results.append(result.model_copy(update={"history": frozen}))
    assert not {"first-steps", "weight-norm", "shrinking-steps"} & reasons(tmp_path, results).keys()
