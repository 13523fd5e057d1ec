"""A ResNet18 with an eighth of its channels: the same tensors by name, 60 times smaller.

What a test says of files, records, exit codes and resumption holds for either. Tests that are about the network itself,
its size or its speed are marked `real_network`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from job.training.engine.resnet import NETWORKS, BasicBlock, ResNet

if TYPE_CHECKING:
    import pytest

WIDTH = 8


class NarrowResNet(ResNet):
    """The layers of a ResNet18, with `WIDTH` channels instead of 64 at its beginning."""

    def draw_kernels(self) -> None:
        """Leave them as torch's layers begin, with which the tests' numbers were found."""


def build(num_classes: int = 1000) -> ResNet:
    """As the function that it stands in for."""
    return NarrowResNet(BasicBlock, (2, 2, 2, 2), num_classes=num_classes, width=WIDTH)


def use_narrow_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a manifest's `resnet18` be the narrow network."""
    monkeypatch.setitem(NETWORKS, "resnet18", build)
