"""Schedule-free AdamW: it trains at one point, and evaluates an average of where it has been.

Defazio et al. 2024, arXiv:2405.15682; their own code is https://github.com/facebookresearch/schedule_free (Apache-2.0).
Here both the average x and the point z of the plain steps are kept, and the weights to train, y, are made of them.
Their code keeps y and z, and computes x from these, which does not come back to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class AdamWScheduleFree(torch.optim.Optimizer):
    """AdamW without a schedule. `eval` puts the average into the weights, `train` the point where to train on."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        r: float,
        weight_lr_power: float,
    ) -> None:
        counted = {"k": 0, "lr_max": 0.0, "weight_sum": 0.0, "is_training": True}
        own = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "r": r}
        super().__init__(params, own | {"weight_lr_power": weight_lr_power} | counted)

    @torch.no_grad()
    def eval(self) -> None:
        """The weights become the average; the same again if they are it already."""
        for group in self.param_groups:
            group["is_training"] = False
            for weight in group["params"]:
                if self.state[weight]:
                    weight.copy_(self.state[weight]["x"])

    @torch.no_grad()
    def train(self) -> None:
        """The weights become those to train, to the bit as they were before `eval`."""
        for group in self.param_groups:
            if not group["is_training"]:
                group["is_training"] = True
                for weight in group["params"]:
                    if self.state[weight]:
                        self._put_y(weight, beta1=group["betas"][0])

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Change all weights once by the gradients that they have."""
        for group in self.param_groups:
            lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
            group["k"] += 1
            group["lr_max"] = max(lr, group["lr_max"])
            weight = group["k"] ** group["r"] * group["lr_max"] ** group["weight_lr_power"]
            group["weight_sum"] += weight
            share = weight / group["weight_sum"] if group["weight_sum"] else 0.0
            correction = math.sqrt(1 - beta2 ** group["k"])
            for y in group["params"]:
                if y.grad is None:
                    continue
                state = self.state[y]
                if not state:
                    state["z"], state["x"] = (torch.clone(y, memory_format=torch.preserve_format) for _ in range(2))
                    state["exp_avg_sq"] = torch.zeros_like(y)
                mean_square: Tensor = state["exp_avg_sq"]
                mean_square.mul_(beta2).addcmul_(y.grad, y.grad, value=1 - beta2)
                step = y.grad / mean_square.sqrt().div_(correction).add_(group["eps"])
                state["z"].add_(step.add_(y, alpha=decay), alpha=-lr)
                state["x"].lerp_(state["z"], share)
                self._put_y(y, beta1=beta1)

    def _put_y(self, weight: nn.Parameter, *, beta1: float) -> None:
        state = self.state[weight]
        weight.copy_(torch.lerp(state["z"], state["x"], beta1))
