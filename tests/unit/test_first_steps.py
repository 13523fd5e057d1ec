"""The first steps that the formulas predict, beside those that torch takes, and the table over a study."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import pytest

from job.manifest import Manifest
from job.manifest.optimizers import OPTIMIZERS
from job.report.analysis.reasons.mechanisms import describe_mechanism
from job.report.analysis.reasons.predictions import Start, predict_first_step, start_factor
from job.report.analysis.reasons.update_rules import UPDATE_RULES
from tests.records import make_manifest

NUM_STEPS = 10
GRADIENT, WEIGHT = 0.01, 0.1
"""Root mean squares, of the order of a pretrained network's."""


def measure(manifest: Manifest, *, constant: bool = False) -> tuple[float, Start]:
    """Root mean square of torch's first update, and what it started from; `constant`: all gradients of one size."""
    import torch

    from job.training.engine.optimizers import build_optimizer, learning_rate_factor, set_learning_rate

    random = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(WEIGHT * torch.randn(200, 300, generator=random, dtype=torch.float64))]
    for weight in weights:
        gradient = torch.randn(weight.shape, generator=random, dtype=torch.float64)
        weight.grad = GRADIENT * (gradient.sign() if constant else gradient)
    start = Start(rms([weight.grad for weight in weights]), rms([weight.detach() for weight in weights]))
    before = [weight.detach().clone() for weight in weights]
    optimizer = build_optimizer(manifest.optimizer, weights)
    factor = learning_rate_factor(manifest.schedule, step=0, num_epochs=manifest.epochs, num_steps=NUM_STEPS)
    set_learning_rate(optimizer, manifest.optimizer.lr * factor)
    optimizer.step()
    return rms([weight.detach() - was for weight, was in zip(weights, before, strict=True)]), start


def rms(tensors: list[Any]) -> float:
    total = sum(float((tensor**2).sum()) for tensor in tensors)
    return math.sqrt(total / sum(tensor.numel() for tensor in tensors))


def predict(manifest: Manifest, start: Start) -> float:
    predicted = predict_first_step(manifest, start=start, num_steps=NUM_STEPS)
    assert predicted is not None
    return predicted


ADAMS: list[dict[str, Any]] = [{}, {"betas": (0.5, 0.9)}, {"weight_decay": 0.3}, {"lr": 0.1}, {"betas": (0.0, 0.99)}]
DECOUPLED: list[dict[str, Any]] = [{"decoupled_weight_decay": True, "weight_decay": 3.0}]
SETTINGS: Mapping[str, list[dict[str, Any]]] = {
    "adam": [*ADAMS, *DECOUPLED, {"amsgrad": True}],
    "adamw": [*ADAMS, {"weight_decay": 3.0}, {"amsgrad": True}],
    "adamax": ADAMS,
    "nadam": [*ADAMS, *DECOUPLED, {"momentum_decay": 0.5}, {"momentum_decay": 0.0, "betas": (0.99, 0.9)}],
    "radam": [*ADAMS, *DECOUPLED, {"betas": (0.9, 0.0)}],
    "adagrad": [{}, {"lr_decay": 0.5}, {"weight_decay": 0.3}, {"initial_accumulator_value": 1.0}],
    "adadelta": [{"eps": 1e-12}, {"lr": 1.0, "rho": 0.99, "eps": 1e-12}, {"weight_decay": 0.3, "eps": 1e-12}],
    "rmsprop": [{}, {"alpha": 0.9}, {"centered": True}, {"alpha": 0.5, "centered": True}, {"momentum": 0.9},
                {"weight_decay": 0.3}, {"alpha": 0.0}],
    "sgd": [{}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.5}, {"momentum": 0.9, "nesterov": True},
            {"weight_decay": 0.3}],
    "asgd": [{}, {"lambd": 0.1}, {"alpha": 0.1, "t0": 5.0}, {"weight_decay": 0.3}, {"weight_decay": 0.3, "lambd": 0.1}],
    "adabelief": [{}, {"weight_decay": 3.0}, {"weight_decay": 0.3, "decoupled_decay": False}, {"rectify": False},
                  {"rectify": False, "betas": (0.5, 0.99)}],
    "adan": [{}, {"betas": (0.9, 0.5, 0.9)}, {"weight_decay": 3.0}, {"weight_decay": 3.0, "no_prox": True}],
    "lamb": [{}, {"weight_decay": 0.3}, {"weight_decay": 0.0}, {"lr": 0.1, "max_grad_norm": None}],
    "laprop": [{}, {"betas": (0.5, 0.9)}, {"weight_decay": 3.0}],
    "lars": [{}, {"lr": 0.1, "momentum": 0.9, "nesterov": True}],
    "lion": [{}, {"weight_decay": 3.0}, {"caution": True}],
    "mars": [{}, {"mars_type": "lion"}, {"weight_decay": 3.0}, {"gamma": 0.5}],
    "nadamw": [{}, {"betas": (0.5, 0.9)}, {"weight_decay": 3.0}],
    "rmsproptf": [{}, {"alpha": 0.5, "centered": True}, {"weight_decay": 0.3},
                  {"weight_decay": 3.0, "decoupled_decay": True}],
    "sgdw": [{}, {"momentum": 0.9, "nesterov": True}, {"weight_decay": 0.3}],
    "adamwschedulefree": [{}, {"betas": (0.5, 0.9)}, {"weight_decay": 3.0}, {"r": 1.0}],
    "prodigy": [{}, {"lr": 1.0, "d0": 1e-3}, {"use_bias_correction": True}, {"betas": (0.5, 0.9), "d0": 1e-3},
                {"weight_decay": 0.3, "decouple": False}],
    "rprop": [{}, {"lr": 1e-9}, {"step_sizes": (1e-6, 5e-4)}, {"etas": (0.1, 3.0)}],
}  # fmt: skip
CASES = [pytest.param(name, settings, id=f"{name} {settings}") for name, rows in SETTINGS.items() for settings in rows]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_first_step_of_torch_is_the_one_that_the_formula_predicts(name: str, settings: dict[str, Any]) -> None:
    manifest = make_manifest(name, **settings)
    measured, start = measure(manifest)
    assert measured == pytest.approx(predict(manifest, start), rel=0.01)


CLIPPED = ("lamb", "mars")
"""Gradients are clipped to a norm before they are divided by their size, which shows beside a large eps alone."""


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_prediction_is_exact_where_all_gradients_have_one_size(name: str, settings: dict[str, Any]) -> None:
    has_eps = "eps" in OPTIMIZERS[name].model_fields and name not in CLIPPED
    large_eps = {"eps": 1e-4 if name == "adadelta" else 0.01} if has_eps else {}
    manifest = make_manifest(name, **settings | {"weight_decay": 0.0} | large_eps if name != "rprop" else settings)
    measured, start = measure(manifest, constant=True)
    assert measured == pytest.approx(predict(manifest, start), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("adam", {"eps": eps}) for eps in (1e-3, 0.01, 0.1)]
    + [("rmsprop", {"eps": 0.01}), ("adagrad", {"initial_accumulator_value": 1e-4}), ("adadelta", {"eps": 1e-6}),
       ("adadelta", {"eps": 1e-4}), ("madgrad", {})],
)  # fmt: skip
def test_prediction_is_an_upper_bound_where_eps_counts(name: str, settings: dict[str, Any]) -> None:
    manifest = make_manifest(name, **settings)
    measured, start = measure(manifest)
    assert 0.75 * predict(manifest, start) < measured < predict(manifest, start)


@pytest.mark.parametrize("d", [1.0, 2.0])
def test_first_step_of_adafactor_is_relative_to_the_weights(d: float) -> None:
    manifest = make_manifest("adafactor", lr=0.01, d=d)
    measured, start = measure(manifest)
    assert measured == pytest.approx(predict(manifest, start), rel=0.02)
    assert measured == pytest.approx(0.01 * WEIGHT, rel=0.02)


@pytest.mark.parametrize("name", ["adam", "rprop", "asgd", "adafactor", "sgd"])
@pytest.mark.parametrize(
    "schedule",
    [
        {"name": "none"},
        {"name": "none", "warmup_epochs": 2.0},
        {"name": "cosine"},
        {"name": "cosine", "warmup_epochs": 0.5},
        {"name": "onecycle"},
        {"name": "onecycle", "div_factor": 4.0},
    ],
)
def test_schedule_counts_in_the_first_step(name: str, schedule: dict[str, Any]) -> None:
    manifest = make_manifest(name, schedule=schedule)
    measured, start = measure(manifest)
    assert measured == pytest.approx(predict(manifest, start), rel=0.02)


def test_factor_of_the_first_step_is_that_of_the_training() -> None:
    from job.training.engine.optimizers import learning_rate_factor

    schedules = [
        *({"name": name, "warmup_epochs": epochs} for name in ("none", "cosine") for epochs in (0.0, 0.01, 0.5, 3.0)),
        *({"name": "onecycle", "warmup_fraction": part} for part in (0.001, 0.025, 0.3, 0.9)),
    ]
    for fields, num_epochs, num_steps in itertools.product(schedules, (3, 10), (1, 4, 100)):
        schedule = make_manifest("adam", epochs=num_epochs, schedule=fields).schedule
        ours = start_factor(schedule, num_epochs=num_epochs, num_steps=num_steps)
        theirs = learning_rate_factor(schedule, step=0, num_epochs=num_epochs, num_steps=num_steps)
        assert ours == pytest.approx(theirs, rel=1e-9), fields


NOT_PREDICTED = {"muon", "adamp", "adopt", "novograd"}


def test_every_optimizer_has_its_rule_and_nearly_all_a_prediction() -> None:
    assert UPDATE_RULES.keys() == OPTIMIZERS.keys()
    for name, rule in UPDATE_RULES.items():
        assert rule.formula
        assert any(character.isdigit() for character in rule.reference)  # a year, so a paper
        found = predict_first_step(make_manifest(name), start=Start(GRADIENT, WEIGHT), num_steps=NUM_STEPS)
        assert (found is None) == (name in NOT_PREDICTED)
        assert ("predicted" in rule.first_step) >= (name in NOT_PREDICTED)


def test_formula_that_divides_by_zero_predicts_nothing() -> None:
    manifest = make_manifest("rmsprop", alpha=0.0, centered=True, eps=0.0)
    assert predict_first_step(manifest, start=Start(GRADIENT, WEIGHT), num_steps=NUM_STEPS) is None


def test_eps_of_adagrad_stands_beside_the_root_of_a_sum_and_counts_less_with_every_step() -> None:
    """By torch's own steps under a constant gradient as large as eps: a half of the first one is lost, then less."""
    import torch

    weight, steps = torch.nn.Parameter(torch.zeros((), dtype=torch.float64)), []
    adagrad = torch.optim.Adagrad([weight], lr=1.0, eps=GRADIENT)
    for _ in range(50):
        before, weight.grad = weight.item(), torch.full_like(weight, GRADIENT)
        adagrad.step()
        steps.append(before - weight.item())
    roots = [GRADIENT * math.sqrt(place) for place in range(1, 51)]
    assert steps == pytest.approx([GRADIENT / (root + GRADIENT) for root in roots])
    lost = [1 - step * root / GRADIENT for step, root in zip(steps, roots, strict=True)]
    assert lost[0] == pytest.approx(0.5)
    assert lost == sorted(lost, reverse=True)
    told = describe_mechanism(make_manifest("adagrad").optimizer, "optimizer.eps")
    assert "to the root of the sum of all g²" in told
    assert told.endswith("and less with every step")
