"""From a manifest's optimizer and schedule to torch's, step by step the same."""

from __future__ import annotations

import inspect
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR

from job.errors import ManifestError
from job.manifest import Manifest, parse_manifest
from job.manifest.models import Constant, Cosine, OneCycle, Schedule
from job.manifest.optimizers import OPTIMIZERS
from job.training.engine.muon import InFloat32
from job.training.engine.optimizers import (
    IMPLEMENTATION,
    build_optimizer,
    learning_rate_factor,
    restore_optimizer,
    set_learning_rate,
)
from tests.conftest import Answer
from tests.optimizers import ALONE, CONFIGURED, LIBRARIES

Job = Callable[..., Answer]
Tiny = Callable[..., Path]
Floats = npt.NDArray[np.float64]
LR = 0.1


def manifest(name: str, attributes: dict[str, Any]) -> Manifest:
    document = {"name": "mine", "optimizer": {"name": name} | attributes}
    return parse_manifest(json.dumps(document).encode(), source="test")


def trained(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], *, num_steps: int = 8) -> list[Tensor]:
    """The weights after some steps with gradients that are always the same ones."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(num_steps):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
    return [weight.detach().clone() for weight in weights]


def fresh_weights() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in [(3, 4), (5,), (4, 3, 3, 3)]]


@pytest.mark.parametrize("name", LIBRARIES)
def test_optimizer_is_the_class_of_its_name_with_the_attributes_of_the_manifest(name: str) -> None:
    expected, attributes = CONFIGURED[name]
    optimizer = build_optimizer(manifest(name, attributes).optimizer, fresh_weights())
    assert expected in type(optimizer).__mro__[:2]  # torch's are taken without their wrappers
    (group,) = optimizer.param_groups
    assert {key: group[key] for key in attributes} == attributes
    assert len(group["params"]) == 3


@pytest.mark.parametrize("name", CONFIGURED)
def test_table_of_this_test_covers_every_attribute(name: str) -> None:
    fields = type(manifest(name, {}).optimizer).model_fields
    assert {"name", *CONFIGURED[name][1]} == fields.keys()
    defaults = {key: fields[key].default for key in CONFIGURED[name][1]}
    same = {key for key, value in CONFIGURED[name][1].items() if value == defaults[key]}
    assert same <= {"dampening"}  # which nesterov excludes


@pytest.mark.parametrize("configured", [False, True], ids=["defaults", "configured"])
@pytest.mark.parametrize("name", ALONE)
def test_steps_are_those_of_torchs_plain_loop(name: str, configured: bool) -> None:
    expected, attributes = CONFIGURED[name]
    attributes = attributes if configured else {}
    ours, theirs = fresh_weights(), fresh_weights()
    stepped = trained(build_optimizer(manifest(name, attributes).optimizer, iter(ours)), ours)
    one_by_one = {"foreach": False} if "foreach" in inspect.signature(expected).parameters else {}
    reference = trained(expected(theirs, **one_by_one, **attributes), theirs)
    for weight, want, start in zip(stepped, reference, fresh_weights(), strict=True):
        torch.testing.assert_close(weight, want)
        assert not torch.equal(weight, start)


def test_dampening_reaches_torch() -> None:
    attributes: dict[str, Any] = {"lr": 0.02, "momentum": 0.5, "dampening": 0.5}
    ours, theirs = fresh_weights(), fresh_weights()
    stepped = trained(build_optimizer(manifest("sgd", attributes).optimizer, ours), ours)
    torch.testing.assert_close(stepped, trained(torch.optim.SGD(theirs, **attributes), theirs))


# Learning rates


def factors(schedule: Schedule, *, num_epochs: int, num_steps: int) -> list[float]:
    return [
        learning_rate_factor(schedule, step=step, num_epochs=num_epochs, num_steps=num_steps)
        for step in range(num_epochs * num_steps)
    ]


def learning_rates(scheduler: LRScheduler, *, num_steps: int) -> list[float]:
    """The learning rate of each step, as a training loop sees it."""
    found = []
    for step in range(num_steps):
        found.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        if step < num_steps - 1:
            scheduler.step()
    return found


def plain_sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD(fresh_weights(), lr=LR)


@pytest.mark.parametrize(
    ("num_epochs", "num_steps", "warmup_fraction"),
    [(10, 100, 0.3), (3, 7, 0.3), (1, 50, 0.5), (5, 1, 0.3), (2, 10, 0.95), (1, 2, 0.6), (4, 5, 0.04), (1, 9, 0.1)],
)
def test_onecycle_is_torchs_at_every_step(num_epochs: int, num_steps: int, warmup_fraction: float) -> None:
    total = num_epochs * num_steps
    schedule = OneCycle(name="onecycle", warmup_fraction=warmup_fraction, div_factor=20.0, final_div_factor=500.0)
    theirs = OneCycleLR(
        plain_sgd(),
        max_lr=LR,
        total_steps=total,
        pct_start=warmup_fraction,
        div_factor=20.0,
        final_div_factor=500.0,
        cycle_momentum=False,
    )
    ours = [LR * factor for factor in factors(schedule, num_epochs=num_epochs, num_steps=num_steps)]
    assert ours == pytest.approx(learning_rates(theirs, num_steps=total), rel=1e-9)


def test_onecycle_has_torchs_defaults() -> None:
    theirs = OneCycleLR(plain_sgd(), max_lr=LR, total_steps=40, cycle_momentum=False)
    ours = [LR * factor for factor in factors(OneCycle(name="onecycle"), num_epochs=4, num_steps=10)]
    assert ours == pytest.approx(learning_rates(theirs, num_steps=40), rel=1e-9)


@pytest.mark.parametrize("final_fraction", [0.0, 0.1])
@pytest.mark.parametrize(("num_epochs", "num_steps"), [(10, 100), (3, 7), (2, 1)])
def test_cosine_is_torchs_at_every_step(num_epochs: int, num_steps: int, final_fraction: float) -> None:
    total = num_epochs * num_steps
    schedule = Cosine(name="cosine", final_fraction=final_fraction)
    theirs = CosineAnnealingLR(plain_sgd(), T_max=total - 1, eta_min=LR * final_fraction)
    ours = [LR * factor for factor in factors(schedule, num_epochs=num_epochs, num_steps=num_steps)]
    assert ours == pytest.approx(learning_rates(theirs, num_steps=total), rel=1e-9, abs=1e-15)
    assert ours[-1] == pytest.approx(LR * final_fraction, abs=1e-15)


def test_constant_schedule_leaves_the_learning_rate_alone() -> None:
    assert factors(Constant(), num_epochs=3, num_steps=4) == [1.0] * 12


def test_warmup_is_torchs_linear_rise_and_ends_at_the_full_learning_rate() -> None:
    theirs = LinearLR(plain_sgd(), start_factor=1 / 8, total_iters=7)  # two epochs of four steps
    ours = factors(Constant(warmup_epochs=2.0), num_epochs=3, num_steps=4)
    assert [LR * factor for factor in ours] == pytest.approx(learning_rates(theirs, num_steps=12))
    assert ours[7:] == [1.0] * 5


def test_warmup_of_half_an_epoch_lasts_half_its_steps() -> None:
    assert factors(Constant(warmup_epochs=0.5), num_epochs=1, num_steps=8) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]


def test_cosine_after_warmup_is_torchs_over_the_remaining_steps() -> None:
    ours = factors(Cosine(name="cosine", warmup_epochs=1.0, final_fraction=0.2), num_epochs=4, num_steps=5)
    assert ours[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    theirs = CosineAnnealingLR(plain_sgd(), T_max=14, eta_min=LR * 0.2)
    assert [LR * factor for factor in ours[5:]] == pytest.approx(learning_rates(theirs, num_steps=15))


SCHEDULES = st.one_of(
    st.builds(Constant, warmup_epochs=st.floats(0, 8)),
    st.builds(Cosine, name=st.just("cosine"), warmup_epochs=st.floats(0, 8), final_fraction=st.floats(0, 0.99)),
    st.builds(
        OneCycle,
        name=st.just("onecycle"),
        warmup_fraction=st.floats(0, 1, exclude_min=True, exclude_max=True),
        div_factor=st.floats(1, 1e9),
        final_div_factor=st.floats(1, 1e9),
    ),
)


@settings(deadline=None)
@given(SCHEDULES, st.integers(1, 8), st.integers(1, 8))
def test_learning_rate_stays_between_nothing_and_its_own(schedule: Schedule, num_epochs: int, num_steps: int) -> None:
    found = factors(schedule, num_epochs=num_epochs, num_steps=num_steps)
    assert all(0 <= factor <= 1 + 1e-12 for factor in found)


@settings(deadline=None)
@given(st.floats(0, 3), st.floats(0, 0.99), st.integers(2, 8), st.integers(2, 8))
def test_cosine_ends_at_its_final_fraction(warmup: float, final: float, num_epochs: int, num_steps: int) -> None:
    schedule = Cosine(name="cosine", warmup_epochs=warmup, final_fraction=final)
    ends_before = warmup * num_steps < num_epochs * num_steps - 1
    last = factors(schedule, num_epochs=num_epochs, num_steps=num_steps)[-1]
    if ends_before:
        assert last == pytest.approx(final, abs=1e-12)


def test_learning_rate_on_the_device_changes_in_its_place() -> None:
    optimizer = torch.optim.SGD(fresh_weights(), lr=torch.tensor(LR), fused=True)
    place = optimizer.param_groups[0]["lr"]
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] is place
    assert place.item() == 0.25


@pytest.mark.parametrize("name", sorted(CONFIGURED))
def test_state_of_another_device_s_implementation_is_taken_over(name: str, capturable_on_cpu: None) -> None:
    """A checkpoint of a GPU goes on on the CPU and the other way round, each as suits the device."""
    config = manifest(name, CONFIGURED[name][1]).optimizer
    for first, second in ((True, False), (False, True)):
        weights, others = fresh_weights(), fresh_weights()
        saved = build_optimizer(config, weights, capturable=first)
        trained(saved, weights)
        optimizer = build_optimizer(config, others, capturable=second)
        before = {key: optimizer.param_groups[0].get(key) for key in (*IMPLEMENTATION, "lr")}
        restore_optimizer(optimizer, saved.state_dict())
        assert {key: optimizer.param_groups[0].get(key) for key in before} == before
        for mine, theirs in zip(optimizer.state.values(), saved.state.values(), strict=True):
            assert mine.keys() == theirs.keys()
            torch.testing.assert_close(mine, theirs)


# What an optimizer says about itself


def test_torch_without_the_class_is_named_with_the_release_that_has_it(
    job: Job, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No attempt on the same image can do better, so the scheduler must not try again."""
    monkeypatch.delattr(torch.optim, "NAdam")
    answer = job("run", "--manifest", tiny(optimizer={"name": "nadam"}), "--output", tmp_path / "out")
    assert answer.exit_code == 65
    assert answer.stderr.splitlines()[-1] == (
        f"error: optimizer.name is 'nadam', but the installed torch {torch.__version__} has no torch.optim.NAdam; "
        "install torch 2.11 or newer, or take another optimizer"
    )


SIGHT = {
    "all colours": np.eye(3),
    "no red": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "no green": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
    "no blue": np.array([[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]),
}  # fmt: skip
"""What is left of linear RGB to whoever lacks a kind of cone (Machado, Oliveira and Fernandes 2009, table 1)."""


IN_TORCH = {name for name, kind in OPTIMIZERS.items() if kind.library == "torch"}
"""Those that nearly all studies compare. No thirty colours are as far from each other to all eyes."""


def seen(colour: str, sight: Floats) -> Floats:
    """A colour of the report in Oklab, where distances are those that people see (Ottosson 2020)."""
    rgb = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = sight @ np.where(rgb <= 0.0404, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    cones = [
        [0.4122, 0.5363, 0.0514],
        [0.2119, 0.6807, 0.1074],
        [0.0883, 0.2817, 0.6300],
    ]
    to_lab = [
        [0.2105, 0.7936, -0.0041],
        [1.9780, -2.4286, 0.4506],
        [0.0259, 0.7828, -0.8087],
    ]
    return np.array(to_lab) @ np.cbrt(np.array(cones) @ np.clip(linear, 0, 1))  # fmt: skip


@pytest.mark.parametrize("sight", SIGHT)
def test_no_two_optimizers_look_alike_in_the_report(sight: str) -> None:
    markers = [kind.marker for kind in OPTIMIZERS.values()]
    assert len(set(markers)) == len(OPTIMIZERS)
    colours = {name: seen(kind.colour, SIGHT[sight]) for name, kind in OPTIMIZERS.items()}
    alike = [
        pair
        for pair in itertools.combinations(colours, 2)
        if np.linalg.norm(colours[pair[0]] - colours[pair[1]]) < (0.07 if IN_TORCH.issuperset(pair) else 0.05)
    ]
    assert alike == []


def test_optimizers_are_known_without_torch() -> None:
    """A machine that submits or reports has none."""
    program = "import sys; sys.modules['torch'] = None; import job.manifest.optimizers, job.report.render.figures"
    subprocess.run([sys.executable, "-c", program], check=True)


# Muon


def plain_muon(weights: list[nn.Parameter], attributes: dict[str, Any]) -> list[Tensor]:
    """The weights after steps of torch's Muon with a copy of the kernel as a matrix, and of its AdamW with the rest."""
    matrix, kernel, *others = [nn.Parameter(weights[2].detach().reshape(4, -1)), weights[2], *weights[:2]]
    adamw = {key.removeprefix("adamw_"): value for key, value in attributes.items() if key.startswith("adamw_")}
    optimizers = [
        torch.optim.Muon([matrix], **{key: value for key, value in attributes.items() if not key.startswith("adamw_")}),
        torch.optim.AdamW(others, **adamw),
    ]
    generator = torch.Generator().manual_seed(1)
    for _ in range(8):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        matrix.grad = kernel.grad.reshape(4, -1)  # type: ignore[union-attr]
        for optimizer in optimizers:
            optimizer.step()
    return [*(weight.detach() for weight in others), matrix.detach().view_as(kernel)]


@pytest.mark.parametrize("attributes", [{}, CONFIGURED["muon"][1]], ids=["defaults", "configured"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
def test_muon_trains_kernels_as_matrices_and_adamw_the_rest(
    layout: torch.memory_format, attributes: dict[str, Any]
) -> None:
    ours, theirs = fresh_weights(), fresh_weights()
    ours[2] = nn.Parameter(ours[2].detach().to(memory_format=layout))
    stepped = trained(build_optimizer(manifest("muon", attributes).optimizer, ours), ours)
    with InFloat32():
        expected = plain_muon(theirs, attributes)
    for weight, want, start in zip(stepped, expected, fresh_weights(), strict=True):
        torch.testing.assert_close(weight, want)
        assert not torch.equal(weight, start)


def test_muon_in_fp32_is_torchs_but_for_the_rounding_to_bf16() -> None:
    ours, theirs = fresh_weights(), fresh_weights()
    stepped = trained(build_optimizer(manifest("muon", {"lr": 0.02}).optimizer, ours), ours)
    expected = plain_muon(theirs, {"lr": 0.02})
    change = (expected[2] - fresh_weights()[2].detach()).norm()
    assert 0 < (stepped[2] - expected[2]).norm() < 0.02 * change


def test_learning_rates_of_muon_and_adamw_keep_their_proportion() -> None:
    optimizer = build_optimizer(manifest("muon", {"lr": 0.02, "adamw_lr": 0.001}).optimizer, fresh_weights())
    set_learning_rate(optimizer, 0.01)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, pytest.approx(0.0005)]


def test_value_that_an_older_torch_does_not_know_is_a_fault_of_the_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("Adjust learning rate function spectral_unclamped is not supported")

    monkeypatch.setattr(torch.optim.Muon, "__init__", refuse)
    config = manifest("muon", {"adjust_lr_fn": "spectral_unclamped"}).optimizer
    with pytest.raises(ManifestError, match=r"optimizer muon: torch .* refuses it: Adjust learning rate function"):
        build_optimizer(config, fresh_weights())


# Learning

LEARNING_RATES = {"sgd": 0.1, "asgd": 0.1, "adadelta": 1.0, "muon": 0.02, "radam": 0.05, "adafactor": 0.1}
LEARNING_RATES |= {"adabelief": 0.05, "lamb": 0.1, "lars": 0.1, "sgdw": 0.1, "adamwschedulefree": 0.02}
LEARNING_RATES |= {"prodigy": 1.0}
"""Where 0.005 is too small a one."""


@pytest.mark.parametrize("name", CONFIGURED)
def test_optimizer_learns_to_tell_two_kinds_of_images_apart(name: str) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(64, 1, 8, 8), torch.arange(64) % 2
    images[labels == 1, :, :, 4:] += 1
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    config = manifest(name, {"lr": LEARNING_RATES.get(name, 0.005)}).optimizer
    optimizer = build_optimizer(config, network.parameters())
    losses = []
    for _ in range(40):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3
