"""torch's Muon for the kernels of convolutions and its AdamW for all other weights, as one optimizer.

torch's Muon takes matrices alone. A ResNet has one, fc, and Muon's author advises against it for the last layer. He
gives Muon the kernels of convolutions as matrices (https://github.com/KellerJordan/Muon), and so does this module. It
has no update of its own: it shows torch's two optimizers the network's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from job.training.engine.uncompiled import without_compiler

ADAMW = "adamw_"
"""The first letters of those attributes that are AdamW's."""


class MuonWithAdamW(torch.optim.Optimizer):
    """Takes Muon's step for each kernel, seen as a matrix with a row for an output channel, and AdamW's for the others.

    Its first group of parameters is Muon's, its second one AdamW's. `relative_lr` of a group is what its learning rate
    is multiplied with when one is set for both.
    """

    def __init__(self, weights: Iterable[nn.Parameter], *, lr: float, **settings: Any) -> None:
        """`settings` are arguments of Muon, and those of AdamW with the prefix `adamw_`.

        Raises `ValueError` if there is no kernel.
        """
        weights = list(weights)
        kernels = [weight for weight in weights if weight.ndim == 4]
        others = [weight for weight in weights if weight.ndim != 4]
        for_adamw = {key.removeprefix(ADAMW): settings.pop(key) for key in list(settings) if key.startswith(ADAMW)}
        self._matrices = [nn.Parameter(as_matrix(kernel.detach(), like=kernel)) for kernel in kernels]
        self._muon = without_compiler(torch.optim.Muon)(self._matrices, lr=lr, **settings)
        self._adamw = without_compiler(torch.optim.AdamW)(others, fused=True, **for_adamw)
        super().__init__(
            [
                self._muon.param_groups[0] | {"params": kernels, "relative_lr": 1.0},
                self._adamw.param_groups[0] | {"relative_lr": for_adamw["lr"] / lr},
            ],
            {},
        )

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Change all weights once by the gradients that they have."""
        muons, adamws = self.param_groups
        for kernel, matrix in zip(muons["params"], self._matrices, strict=True):
            matrix.grad = None if kernel.grad is None else as_matrix(kernel.grad, like=kernel)
            self._muon.state[matrix] = self.state[kernel]  # the same dict, so that it is saved and restored with ours
        self._muon.param_groups = [muons | {"params": self._matrices}]
        self._adamw.param_groups, self._adamw.state = [adamws], self.state
        with InFloat32() if self._matrices[0].device.type == "cpu" else nullcontext():
            self._muon.step()  # type: ignore[no-untyped-call]
        self._adamw.step()


def as_matrix(values: Tensor, *, like: Tensor) -> Tensor:
    """`values`, (out, in, height, width), as (out, in * height * width), a view if they lie in memory as `like` does.

    The columns are in the order in which the kernel `like` lies in memory. Their order does not change Muon's step.
    """
    order = sorted(range(1, like.ndim), key=like.stride, reverse=True)
    return values.permute(0, *order).reshape(len(values), -1)


class InFloat32(TorchFunctionMode):
    """Within it torch's Muon does not round to bf16 what it makes orthogonal.

    Most CPUs cannot multiply bf16 numbers at once. Without this a step of ResNet18 takes 123 s instead of 4 s (one busy
    core with AVX2, torch 2.15).
    """

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `function`, or copy its argument where it would convert it."""
        if function in (Tensor.to, Tensor.bfloat16):  # the first in torch 2.15, the second in earlier releases
            return args[0].clone()
        return function(*args, **(kwargs or {}))
