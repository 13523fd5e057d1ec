"""torchvision's ResNets (He et al. 2015, arXiv:1512.03385), without the import of torchvision.

That import brings the compiler of torch along and takes as long as torch's own, for one of its thousand files. For the
same random numbers these networks have the same tensors under the same names as torchvision's, and the same outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from job.training.engine.convolution import MIN_CHANNELS, WideConv2d


class BasicBlock(nn.Module):
    """Two convolutions of 3x3 and what goes round them."""

    expansion = 1

    def __init__(self, num_inputs: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(num_inputs, width, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module | None = None
        """Brings the input into the shape of the output, where they differ."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, width, H / stride, W / stride) of (B, num_inputs, H, W)."""
        identity = images if self.downsample is None else self.downsample(images)
        inner = self.relu(self.bn1(self.conv1(images)))
        output = self.bn2(self.conv2(inner))
        output += identity
        result: Tensor = self.relu(output)
        return result


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1, the stride in the second one as torchvision has it (ResNet v1.5)."""

    expansion = 4

    def __init__(self, num_inputs: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(num_inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, stride=stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _convolution(width, width * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None

    def forward(self, images: Tensor) -> Tensor:
        """(B, 4 width, H / stride, W / stride) of (B, num_inputs, H, W)."""
        identity = images if self.downsample is None else self.downsample(images)
        inner = self.relu(self.bn1(self.conv1(images)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        output = self.bn3(self.conv3(inner))
        output += identity
        result: Tensor = self.relu(output)
        return result


class ResNet(nn.Module):
    """A stem, four layers of blocks, and `fc`."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(
        self, block: type[BasicBlock | Bottleneck], num_blocks: Sequence[int], *, num_classes: int, width: int = 64
    ) -> None:
        """`width` is the number of channels of the stem; each layer after the first has twice those before it."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        num_inputs = width
        for number, depth in enumerate(num_blocks):
            layer = _layer(block, num_inputs, width << number, depth, stride=1 if number == 0 else 2)
            self.add_module(f"layer{number + 1}", layer)
            num_inputs = (width << number) * block.expansion
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(num_inputs, num_classes)
        self.draw_kernels()  # after all are made: the order of the random numbers is torchvision's

    def draw_kernels(self) -> None:
        """Give every convolution the weights to begin with."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(B, num_classes) of (B, 3, H, W)."""
        found = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        found = self.layer4(self.layer3(self.layer2(self.layer1(found))))
        result: Tensor = self.fc(torch.flatten(self.avgpool(found), 1))
        return result


def _layer(
    block: type[BasicBlock | Bottleneck], num_inputs: int, width: int, depth: int, *, stride: int
) -> nn.Sequential:
    """`depth` blocks, the first of which changes size and channels."""
    downsample: nn.Module | None = None
    if stride != 1 or num_inputs != width * block.expansion:  # made before its block, as torchvision does
        downsample = nn.Sequential(
            _convolution(num_inputs, width * block.expansion, 1, stride=stride),
            nn.BatchNorm2d(width * block.expansion),
        )
    first = block(num_inputs, width, stride=stride)
    first.downsample = downsample
    return nn.Sequential(first, *(block(width * block.expansion, width, stride=1) for _ in range(depth - 1)))


def _convolution(num_inputs: int, num_outputs: int, size: int, *, stride: int = 1) -> nn.Conv2d:
    kind = WideConv2d if size == 3 and num_outputs >= MIN_CHANNELS else nn.Conv2d
    return kind(num_inputs, num_outputs, kernel_size=size, stride=stride, padding=size // 2, bias=False)


def resnet18(num_classes: int = 1000) -> ResNet:
    """As torchvision's function of this name."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes=num_classes)


def resnet34(num_classes: int = 1000) -> ResNet:
    """As torchvision's function of this name."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes=num_classes)


def resnet50(num_classes: int = 1000) -> ResNet:
    """As torchvision's function of this name."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes=num_classes)


NETWORKS: dict[str, Callable[[int], nn.Module]] = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}
"""What a manifest's `model.name` builds, with so many classes."""
