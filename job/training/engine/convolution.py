"""A convolution whose gradients are matrix products where oneDNN's kernels for them are slow: 3x3, many channels.

Where tiles fill the map, both gradients are those of `winograd`. Elsewhere the weights' gradient is the product of the
patches under the kernel (im2col: Chellapilla, Puri, Simard 2006, "High Performance Convolutional Neural Networks for
Document Processing"), and that of the images stays oneDNN's. Which layers do what follows from their shape alone, never
from the kind of CPU, so that the kind of CPU does not become a part of the result.
"""

from __future__ import annotations

from functools import partial, reduce
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from job.training.engine import winograd

MIN_CHANNELS = 128
"""Outputs from which on a 3x3 kernel's gradients are products. On AVX2 oneDNN takes up to 21 times as long, the smaller
the map the longer, and hardly ever less (maps of 1x1 to 28x28); with 64 it loses on some maps."""
MIN_SAVING = 1.5
"""How many times fewer multiplications tiles must take, since to make them and to put them together takes its time."""
MAX_PATCH_NUMBERS = 1 << 23
"""Of a matrix of patches, 32 MiB, of which tiles need four; larger batches and maps are taken in pieces of images."""


class WideConv2d(nn.Conv2d):
    """An `nn.Conv2d` without bias, dilation and groups: same parameters, same outputs, same gradients but for rounding.

    Only training in float32 on a CPU differs: elsewhere, without gradients, and where oneDNN is off, it is torch's own.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 - torch's name
        if not _trains_in_float32_on_cpu(input, weight):
            output: Tensor = super()._conv_forward(input, weight, bias)
        else:
            output = _Convolution.apply(input, weight, self.stride[0], int(self.padding[0]))
        return output


def _trains_in_float32_on_cpu(images: Tensor, weight: Tensor) -> bool:
    return (
        torch.is_grad_enabled()
        and weight.requires_grad
        and images.device.type == "cpu"
        and images.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and bool(torch.backends.mkldnn.enabled)
    )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        return functional.conv2d(images, weight, None, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, int], output: Tensor) -> None:  # noqa: ARG004
        images, weight, ctx.stride, ctx.padding = inputs
        ctx.save_for_backward(images, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, weight = ctx.saved_tensors
        of_images = of_weight = None
        if ctx.needs_input_grad[0]:
            of_images = input_gradient(images, weight, gradient, stride=ctx.stride, padding=ctx.padding)
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(images, gradient, size=weight.shape[-1], stride=ctx.stride, padding=ctx.padding)
        return of_images, of_weight, None, None


def input_gradient(images: Tensor, weight: Tensor, gradient: Tensor, *, stride: int, padding: int) -> Tensor:
    """The gradient of `images` (N, in, H, W), of a kernel (out, in, k, k) and that of the outputs (N, out, H', W')."""
    size, extent = weight.shape[-1], images.shape[2:]
    if _tiles_save(size, stride, extent):
        at_once = _num_at_once(winograd.count_products(*extent), images, gradient)
        pieces = torch.split(gradient.permute(0, 2, 3, 1), at_once)
        parts = [winograd.input_gradient(piece, weight, *extent, padding=padding) for piece in pieces]
        found = torch.cat(parts).permute(0, 3, 1, 2)
    else:
        found, _, _ = torch.ops.aten.convolution_backward(
            gradient, images, weight, None, [stride] * 2, [padding] * 2, (1, 1), False, (0, 0), 1, (True, False, False)
        )
    return found


def weight_gradient(images: Tensor, gradient: Tensor, *, size: int, stride: int, padding: int) -> Tensor:
    """The gradient (out, in, size, size) of a kernel, of `images` (N, in, H, W) and `gradient` (N, out, H', W')."""
    extent = gradient.shape[2:]
    if _tiles_save(size, stride, extent):
        at_once = _num_at_once(winograd.count_products(*extent), images, gradient)
        of_piece = partial(winograd.weight_gradient, padding=padding)
    else:
        at_once = _num_at_once(size**2 * extent.numel(), images)
        of_piece = partial(_gradient_of_patches, size=size, stride=stride, padding=padding)
    split = (torch.split(some.permute(0, 2, 3, 1), at_once) for some in (images, gradient))
    return reduce(torch.add, map(of_piece, *split))


def _tiles_save(size: int, stride: int, extent: Size) -> bool:
    num_products = size**2 * extent.numel()
    return size == winograd.KERNEL and stride == 1 and MIN_SAVING * winograd.count_products(*extent) <= num_products


def _num_at_once(num_numbers: int, *maps: Tensor) -> int:
    """Images in a piece, each of which takes so many numbers for a channel."""
    return max(1, MAX_PATCH_NUMBERS // (num_numbers * max(some.shape[1] for some in maps)))


def _gradient_of_patches(images: Tensor, gradient: Tensor, *, size: int, stride: int, padding: int) -> Tensor:
    """The gradient (out, in, size, size) of images and a gradient whose channels come last."""
    padded = functional.pad(images, (0, 0, *(padding,) * 4))
    patches = padded.unfold(1, size, stride).unfold(2, size, stride).permute(0, 1, 2, 4, 5, 3)  # (N, H', W', k, k, in)
    num_outputs, num_inputs = gradient.shape[3], images.shape[3]
    products = gradient.reshape(-1, num_outputs).t() @ patches.reshape(-1, size * size * num_inputs)
    return products.view(num_outputs, size, size, num_inputs).permute(0, 3, 1, 2)
