"""torchvision's ResNet18 with an eighth of its channels: the same tensors by name, 60 times smaller.

What a test says of files, records, exit codes and resumption holds for either. Tests that are about the network itself,
its size or its speed are marked `real_network`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn
from torchvision.models import _api
from torchvision.models.resnet import BasicBlock, ResNet

if TYPE_CHECKING:
    import pytest

WIDTH = 8
NETWORKS = _api.BUILTIN_MODELS
"""What torchvision builds under each name."""


class NarrowResNet(ResNet):
    """The layers of a ResNet18, with `WIDTH` channels instead of 64 at its beginning."""

    def __init__(self, num_classes: int = 1000) -> None:
        nn.Module.__init__(self)
        self._norm_layer: Any = nn.BatchNorm2d
        self.inplanes, self.dilation, self.groups, self.base_width = WIDTH, 1, 1, 64
        self.conv1 = nn.Conv2d(3, WIDTH, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(BasicBlock, WIDTH, 2)
        self.layer2 = self._make_layer(BasicBlock, 2 * WIDTH, 2, stride=2)
        self.layer3 = self._make_layer(BasicBlock, 4 * WIDTH, 2, stride=2)
        self.layer4 = self._make_layer(BasicBlock, 8 * WIDTH, 2, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * WIDTH, num_classes)


def build(*, weights: None = None, num_classes: int = 1000) -> NarrowResNet:
    """As torchvision's function of this name, without its weights."""
    assert weights is None
    return NarrowResNet(num_classes)


def use_narrow_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision build the narrow network under the name of its ResNet18."""
    monkeypatch.setitem(NETWORKS, "resnet18", build)
