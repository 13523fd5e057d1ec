"""Convolutions as matrix products on a CPU, in those directions in which oneDNN's own are slower.

Chellapilla, Puri, Simard 2006, "High Performance Convolutional Neural Networks for Document Processing": the patches
under the kernel become the rows of a matrix (im2col).
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from job.training.device import Device

Direction = Literal["output", "input", "weight"]
"""The output, or the gradient of the input or of the weight."""


def use_products(model: nn.Module, device: Device) -> None:
    """Let convolutions of `model` be computed as matrix products where this CPU gains by it. Weights stay."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Conv2d) and (directions := choose_directions(layer, device)):
            model.set_submodule(name, MatrixConv2d(layer, directions))


def choose_directions(layer: nn.Conv2d, device: Device) -> frozenset[Direction]:
    """Where it was measured to gain: `tests/benchmarks/convolutions.py` on AVX2; in bf16 on a CPU with AMX."""
    directions: set[Direction] = set()
    if device.is_cuda:
        return frozenset()
    if device.arithmetic == "bf16" and torch.cpu._is_amx_tile_supported():
        halves = layer.stride[0] == 2 and layer.in_channels > 3
        directions = {"output", "input", "weight"} if halves or layer.out_channels >= 256 else set()
    elif device.arithmetic == "fp32" and torch.backends.cpu.get_cpu_capability() == "AVX2":
        wide: dict[Direction, bool] = {
            "output": layer.in_channels >= 512,
            "input": layer.out_channels >= 512,
            "weight": layer.out_channels >= 256,
        }
        directions = {direction for direction, gains in wide.items() if gains}
    return frozenset(directions)


class MatrixConv2d(nn.Conv2d):
    """An `nn.Conv2d` with the parameters of another, in training with matrix products in some directions."""

    def __init__(self, layer: nn.Conv2d, directions: frozenset[Direction]) -> None:
        """`layer` has neither bias nor dilation nor groups, as those of torchvision's ResNets."""
        self.size, self.step, self.margin = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
        super().__init__(
            layer.in_channels, layer.out_channels, self.size, self.step, self.margin, bias=False, device="meta"
        )
        self.weight = layer.weight
        self.directions = directions

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 - torch's name
        if not torch.is_grad_enabled() or input.device.type != "cpu" or bias is not None:  # folding adds one
            return cast("Tensor", super()._conv_forward(input, weight, bias))
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            input, weight = input.to(dtype), weight.to(dtype)  # noqa: A001
        return cast("Tensor", _Convolution.apply(input, weight, self))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, layer: MatrixConv2d) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.layer = layer
        if "output" not in layer.directions:
            return functional.conv2d(images, weight, None, layer.step, layer.margin)
        patches, shape = _patches(images, layer)
        return torch.mm(patches, _matrix(weight).t()).view(*shape, -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        layer: MatrixConv2d = ctx.layer
        wanted = dict(zip(("input", "weight"), ctx.needs_input_grad, strict=False))
        own = {direction: needed and direction in layer.directions for direction, needed in wanted.items()}
        by_torch = [needed and not own[direction] for direction, needed in wanted.items()]
        of_images = of_weight = None
        if any(by_torch):
            of_images, of_weight, _ = torch.ops.aten.convolution_backward(
                gradient, images, weight, None, [layer.step] * 2, [layer.margin] * 2, (1, 1), False, (0, 0), 1,
                [*by_torch, False],
            )  # fmt: skip
        rows = _rows(gradient)
        if own["weight"]:
            product = torch.mm(rows.t(), _patches(images, layer)[0])
            of_weight = product.view(*weight.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
        if own["input"]:
            of_images = _add_patches(torch.mm(rows, _matrix(weight)), images, gradient, layer)
        return of_images, of_weight, None


def _rows(images: Tensor) -> Tensor:
    """(N, C, H, W) as (N * H * W, C); a view where the memory is channels-last."""
    return images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])


def _matrix(weight: Tensor) -> Tensor:
    """(out, in, k, k) as (out, k * k * in); a view where the memory is channels-last."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _patches(images: Tensor, layer: MatrixConv2d) -> tuple[Tensor, tuple[int, int, int]]:
    """What the kernel sees at each place, (N * H' * W', k * k * C), and (N, H', W')."""
    padded = images.permute(0, 2, 3, 1)
    if layer.margin:  # padding by nothing copies all the same
        padded = functional.pad(padded, (0, 0, *(layer.margin,) * 4))
    windows = padded.unfold(1, layer.size, layer.step).unfold(2, layer.size, layer.step)  # (N, H', W', C, k, k)
    num_images, height, width = windows.shape[:3]
    patches = windows.permute(0, 1, 2, 4, 5, 3).reshape(num_images * height * width, -1)
    return patches, (num_images, height, width)


def _add_patches(patches: Tensor, images: Tensor, output: Tensor, layer: MatrixConv2d) -> Tensor:
    """The sum over all `patches` (N * H' * W', k * k * C) at the place of each in `images`: col2im, in float32."""
    size, step, margin = layer.size, layer.step, layer.margin
    num_images, channels, height, width = images.shape
    rows, columns = output.shape[2:]
    patches = patches.view(num_images, rows, columns, size, size, channels)
    total_type = torch.promote_types(patches.dtype, torch.float32)
    total = patches.new_zeros(num_images, height + 2 * margin, width + 2 * margin, channels, dtype=total_type)
    for top in range(size):
        for left in range(size):
            bottom, right = top + step * (rows - 1) + 1, left + step * (columns - 1) + 1
            total[:, top:bottom:step, left:right:step] += patches[:, :, :, top, left]
    inside = total[:, margin : margin + height, margin : margin + width]
    return inside.to(patches.dtype).permute(0, 3, 1, 2)
