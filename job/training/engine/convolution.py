"""A convolution whose weights' gradient is a matrix product where oneDNN's kernel is slow: many channels, small maps.

Chellapilla, Puri, Simard 2006, "High Performance Convolutional Neural Networks for Document Processing": the patches
under the kernel become the rows of a matrix (im2col). Which layers do so follows from their shape alone, never from the
kind of CPU, so that the kind of CPU does not become a part of the result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

MIN_CHANNELS = 256
"""Outputs from which on a 3x3 kernel's gradient is a product. On AVX2 oneDNN takes up to 21 times as long, the smaller
the map the longer, and hardly ever less (maps of 1x1 to 14x14); with fewer channels the gain is within the noise."""
MAX_PATCH_NUMBERS = 1 << 23
"""Of the matrix that exists at once, 32 MiB; larger batches and maps are taken in pieces of whole images."""


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
        of_images = None
        if ctx.needs_input_grad[0]:
            of_images, _, _ = torch.ops.aten.convolution_backward(
                gradient, images, weight, None, [ctx.stride] * 2, [ctx.padding] * 2, (1, 1), False, (0, 0), 1,
                (True, False, False),
            )  # fmt: skip
        of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(images, gradient, size=weight.shape[-1], stride=ctx.stride, padding=ctx.padding)
        return of_images, of_weight, None, None


def weight_gradient(images: Tensor, gradient: Tensor, *, size: int, stride: int, padding: int) -> Tensor:
    """The gradient (out, in, size, size) of a kernel, of `images` (N, in, H, W) and `gradient` (N, out, H', W')."""
    padded = functional.pad(images.permute(0, 2, 3, 1), (0, 0, *(padding,) * 4))
    patches = padded.unfold(1, size, stride).unfold(2, size, stride).permute(0, 1, 2, 4, 5, 3)  # (N, H', W', k, k, in)
    num_numbers = size * size * images.shape[1]
    at_once = max(1, MAX_PATCH_NUMBERS // (num_numbers * gradient.shape[2] * gradient.shape[3]))
    total = gradient.new_zeros(gradient.shape[1], num_numbers)
    pieces = zip(torch.split(patches, at_once), torch.split(gradient.permute(0, 2, 3, 1), at_once), strict=True)
    for some, of_some in pieces:
        total.addmm_(of_some.reshape(-1, gradient.shape[1]).t(), some.reshape(-1, num_numbers))
    return total.view(-1, size, size, images.shape[1]).permute(0, 3, 1, 2)
