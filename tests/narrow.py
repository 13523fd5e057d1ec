"""A ResNet18 with an eighth of its channels: the same tensors by name, 60 times smaller. And figures that are blank.

What a test says of files, records, exit codes and resumption holds for either. Tests that are about the network itself,
its size or its speed are marked `real_network`, and those about the figures of a run `real_figures`.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING

from job.training.engine.resnet import NETWORKS, BasicBlock, ResNet

if TYPE_CHECKING:
    import pytest

    from job.training.record.outcome import Outcome

WIDTH = 8
PLOTS = ("accuracy", "class_accuracy", "confusion", "loss", "samples")
BLANK = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4DwABAQEAHLCMmQAAAABJRU5ErkJggg==")
"""A PNG of one white pixel. To draw the five figures takes longer than such a network trains."""
REAL_FIGURES = "REAL_FIGURES"
"""The variable with which processes draw."""


class NarrowResNet(ResNet):
    """The layers of a ResNet18, with `WIDTH` channels instead of 64 at its beginning."""

    def draw_kernels(self) -> None:
        """Leave them as torch's layers begin, with which the tests' numbers were found."""


def build(num_classes: int = 1000) -> ResNet:
    """As the function that it stands in for."""
    return NarrowResNet(BasicBlock, (2, 2, 2, 2), num_classes=num_classes, width=WIDTH)


def leave_blank(outcome: Outcome) -> dict[str, bytes]:
    """As the function that it stands in for."""
    return dict.fromkeys(PLOTS, BLANK) if outcome.confusion else {}


def use_narrow_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a manifest's `resnet18` be the narrow network, and leave the figures blank."""
    monkeypatch.setitem(NETWORKS, "resnet18", build)
    if REAL_FIGURES not in os.environ:
        monkeypatch.setattr("job.training.record.completion.draw_plots", leave_blank)
