"""Arithmetic and energy of a training, against numbers known from elsewhere."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import resnet18

from job.manifest.models import Model
from job.training.engine.device import Device
from job.training.engine.model import build_model
from job.training.machine import EnergyMeter, count_flop, measure_efficiency, peak_flops

H100 = "NVIDIA H100 80GB HBM3"


def test_forward_and_backward_are_counted_as_the_literature_does() -> None:
    """ResNet18 has 1.82 G multiply-adds at 224x224 (torchvision's table); backward costs twice the forward pass.

    But for the first layer, which needs no gradient of its input: 0.118 G multiply-adds once less.
    """
    assert count_flop(resnet18(), image_size=224) == pytest.approx(2 * (3 * 1.82e9 - 0.118e9), rel=0.01)


def test_frozen_backbone_needs_no_backward_pass() -> None:
    whole, frozen = (
        count_flop(
            build_model(Model(weights="none", freeze_backbone=freeze), None, num_classes=10, seed=0), image_size=96
        )
        for freeze in (False, True)
    )
    assert whole / frozen == pytest.approx(2.9, abs=0.1)


def test_model_is_left_as_it_was() -> None:
    model = resnet18(num_classes=10).train()
    count_flop(model, image_size=64)
    assert model.training
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        (H100, "bf16", 989e12),
        ("NVIDIA H100 PCIe", "bf16", 756e12),
        ("NVIDIA L4", "fp32", 30.3e12),
        ("NVIDIA L40S", "fp32", 91.6e12),
        ("Tesla T4", "fp16", 65e12),
        ("Tesla T4", "bf16", None),
        ("cpu", "fp32", None),
        ("NVIDIA GeForce RTX 4090", "bf16", None),
    ],
)
def test_peak_is_that_of_the_very_gpu(name: str, precision: str, peak: float | None) -> None:
    assert peak_flops(name, precision) == peak


def test_utilisation_is_achieved_over_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "name", H100)
    device = Device(torch.device("cuda"), "bf16", 1)
    found = measure_efficiency(device, flop_per_image=2_000_000_000, images_per_second=49_450.0, energy_joules=12.0)
    assert found.achieved_flops == pytest.approx(9.89e13)
    assert found.utilisation_fraction == pytest.approx(0.1)
    assert found.energy_joules == 12.0


def test_cpu_has_neither_peak_nor_energy() -> None:
    device = Device(torch.device("cpu"), "fp32", 1)
    found = measure_efficiency(
        device, flop_per_image=10, images_per_second=2.0, energy_joules=EnergyMeter(device).joules()
    )
    assert found.achieved_flops == 20.0
    assert (found.peak_flops, found.utilisation_fraction, found.energy_joules) == (None, None, None)
