"""A copy of a network for evaluation, its BatchNorm layers folded into the convolutions before them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn


class FoldedModel:
    """Gives the logits of `model` in evaluation mode with fewer operations, equal up to rounding.

    In evaluation a BatchNorm is a fixed scale and shift per channel. `refresh` takes over the weights and
    statistics of the moment, into the same memory every time.
    """

    def __init__(self, model: nn.Module) -> None:
        """In `model` each BatchNorm follows its convolution in the order of modules, as in torchvision's ResNets."""
        self._copy = copy.deepcopy(model).eval().requires_grad_(False)
        convolutions = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
        norms = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)]
        self._pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d, nn.Conv2d]] = []
        for (name, convolution), (norm_name, norm) in zip(convolutions, norms, strict=True):
            folded: nn.Conv2d = self._copy.get_submodule(name)  # type: ignore[assignment]  # a copy of `convolution`
            folded.bias = nn.Parameter(torch.zeros_like(norm.weight), requires_grad=False)
            self._copy.set_submodule(norm_name, nn.Identity())
            self._pairs.append((convolution, norm, folded))
        names = {f"{name}.{part}" for name, _ in convolutions + norms for part in ("weight", "bias")}
        self._others = [
            (weight, self._copy.get_parameter(name)) for name, weight in model.named_parameters() if name not in names
        ]

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the weights and statistics that the model has now."""
        for convolution, norm, folded in self._pairs:
            mean, variance = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
            scale = norm.weight * torch.rsqrt(variance + norm.eps)
            torch.mul(convolution.weight, scale.view(-1, 1, 1, 1), out=folded.weight)
            torch.sub(norm.bias, mean * scale, out=folded.bias)
        for weight, copied in self._others:
            copied.copy_(weight)

    def parameters(self) -> Iterator[nn.Parameter]:
        """What `refresh` writes to."""
        return self._copy.parameters()

    def __call__(self, images: Tensor) -> Tensor:
        """(B, num_classes) logits of images (B, 3, H, W)."""
        logits: Tensor = self._copy(images)
        return logits
